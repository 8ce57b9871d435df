"""DEL, GC and CHECK killed at every system call in turn."""

from __future__ import annotations

import pytest

from tests.faults.ground import CASES
from tests.faults.kills import sweep_kills
from tests.faults.sweep import Sweep


@pytest.mark.parametrize("verb", ["DEL", "GC", "CHECK"])
def test_killed(sweep: Sweep, verb: str) -> None:
    sweep_kills(sweep, verb, "guarded", full=False)


@pytest.mark.sweep
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("verb", ["DEL", "GC", "CHECK"])
def test_killed_anywhere(sweep: Sweep, verb: str, case: str) -> None:
    sweep_kills(sweep, verb, case, full=True)
