"""DEL, GC and CHECK with an error from every system call in turn."""

from __future__ import annotations

import pytest

from tests.faults.errors import sweep_errors
from tests.faults.ground import CASES
from tests.faults.sweep import Sweep


@pytest.mark.parametrize("verb", ["DEL", "GC", "CHECK"])
def test_error(sweep: Sweep, verb: str) -> None:
    sweep_errors(sweep, verb, "guarded", full=False)


@pytest.mark.sweep
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("verb", ["DEL", "GC", "CHECK"])
def test_error_anywhere(sweep: Sweep, verb: str, case: str) -> None:
    sweep_errors(sweep, verb, case, full=True)
