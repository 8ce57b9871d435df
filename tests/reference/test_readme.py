"""README tells of the reference what the tests here see."""

from __future__ import annotations

from tests.bundle import CHECKOUT
from tests.reference.test_damage import ONLY_OURS
from tests.reference.test_side_by_side import DELETED, MEANT, REFUSED, SERVED

README = (CHECKOUT / "README.md").read_text()


def test_every_meant_difference_is_listed_and_no_other() -> None:
    table = README.partition("| difference |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").replace("`", "").split(" | ") for line in table.splitlines()[2:]]
    meant = [[each.name, each.reason.replace("`", "")] for each in MEANT]
    check = ["what CHECK notices", f"all that the reference's does, and: {', '.join(ONLY_OURS)}"]
    assert sorted(rows) == sorted([*meant, check])


def test_how_many_configurations_were_compared() -> None:
    assert f"runs {len(SERVED + REFUSED + DELETED)} configurations through both" in README
