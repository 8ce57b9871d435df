"""docs/from-the-reference.md says of the reference what the tests here see."""

from __future__ import annotations

from tests.bundle import CHECKOUT
from tests.reference.cases import ANSWERED, REFUSED, SERVED
from tests.reference.differences import MEANT
from tests.reference.releases import RELEASES
from tests.reference.test_damage import ONLY_OURS

PAGE = (CHECKOUT / "docs/from-the-reference.md").read_text()


def test_every_meant_difference_is_listed_and_no_other() -> None:
    table = PAGE.partition("| difference |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").replace("`", "").split(" | ") for line in table.splitlines()[2:]]
    meant = [[each.name, each.reason.replace("`", ""), ", ".join(each.releases)] for each in MEANT]
    check = f"everything that the reference notices, and: {', '.join(ONLY_OURS)}"
    assert sorted(rows) == sorted([*meant, ["what CHECK notices", check, ", ".join(RELEASES)]])


def test_how_many_configurations_were_compared() -> None:
    assert f"runs {len(SERVED + REFUSED + ANSWERED)} configurations through" in PAGE
