"""ADD with an error from every system call in turn."""

from __future__ import annotations

import pytest

from tests.faults.errors import sweep_errors
from tests.faults.ground import CASES
from tests.faults.sweep import Sweep


def test_error(sweep: Sweep) -> None:
    sweep_errors(sweep, "ADD", "guarded", full=False)


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", CASES)
class TestAnywhere:
    def test_error(self, sweep: Sweep, case: str) -> None:
        sweep_errors(sweep, "ADD", case, full=True)
