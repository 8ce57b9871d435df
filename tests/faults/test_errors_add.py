"""ADD with an error from every system call in turn."""

from __future__ import annotations

import pytest

from tests.faults.errors import sweep_errors, sweep_errors_of_first_add
from tests.faults.ground import CASES, REFUSED
from tests.faults.sweep import Sweep


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", ["guarded", "chained", "delegated"])
def test_error(sweep: Sweep, case: str) -> None:
    sweep_errors(sweep, "ADD", case, full=False)


@pytest.mark.sweep
@pytest.mark.timeout(7200)
class TestAnywhere:
    @pytest.mark.parametrize(("verb", "case"), [*(("ADD", case) for case in CASES), (REFUSED, "guarded")])
    def test_error(self, sweep: Sweep, verb: str, case: str) -> None:
        sweep_errors(sweep, verb, case, full=True)

    def test_error_over_what_pods_share(self, sweep: Sweep) -> None:
        sweep_errors_of_first_add(sweep, "guarded")
