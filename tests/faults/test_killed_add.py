"""ADD killed at every system call in turn."""

from __future__ import annotations

import pytest

from tests.faults.ground import CASES, REFUSED
from tests.faults.kills import sweep_kills, sweep_kills_after_loss, sweep_kills_of_first_add
from tests.faults.sweep import Sweep


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", ["guarded", "chained", "delegated"])
def test_killed(sweep: Sweep, case: str) -> None:
    sweep_kills(sweep, "ADD", case, full=False)


def test_killed_over_what_pods_share(sweep: Sweep) -> None:
    sweep_kills_of_first_add(sweep, "guarded", full=False)


def test_killed_after_the_store_was_lost(sweep: Sweep) -> None:
    sweep_kills_after_loss(sweep, "guarded", full=False)


@pytest.mark.sweep
@pytest.mark.timeout(7200)
class TestAnywhere:
    @pytest.mark.parametrize(("verb", "case"), [*(("ADD", case) for case in CASES), (REFUSED, "guarded")])
    def test_killed(self, sweep: Sweep, verb: str, case: str) -> None:
        sweep_kills(sweep, verb, case, full=True)

    def test_killed_over_what_pods_share(self, sweep: Sweep) -> None:
        sweep_kills_of_first_add(sweep, "guarded", full=True)

    def test_killed_after_the_store_was_lost(self, sweep: Sweep) -> None:
        sweep_kills_after_loss(sweep, "guarded", full=True)
