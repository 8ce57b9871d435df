"""DEL, GC and CHECK killed at every system call in turn."""

from __future__ import annotations

import pytest

from tests.faults.ground import CASES
from tests.faults.kills import sweep_kills, sweep_kills_of_check
from tests.faults.sweep import Sweep


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_killed(sweep: Sweep, verb: str) -> None:
    sweep_kills(sweep, verb, "guarded", full=False)


def test_check_killed(sweep: Sweep) -> None:
    sweep_kills_of_check(sweep, "guarded", full=False)


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", CASES)
class TestAnywhere:
    @pytest.mark.parametrize("verb", ["DEL", "GC"])
    def test_killed(self, sweep: Sweep, verb: str, case: str) -> None:
        sweep_kills(sweep, verb, case, full=True)

    def test_check_killed(self, sweep: Sweep, case: str) -> None:
        sweep_kills_of_check(sweep, case, full=True)
