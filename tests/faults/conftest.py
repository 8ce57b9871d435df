"""What the sweeps share: the sweep itself, and the counts at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.bundle import build_executable
from tests.faults.sweep import Sweep
from tests.harness import Node, Plugin

COUNTED = ("system calls", "kills", "errors")
"""The properties that sweeps record."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was done."""
    totals: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                totals.update({name: n for name, n in report.user_properties if name in COUNTED})
    if totals:
        terminalreporter.write_line("swept: " + ", ".join(f"{totals[name]} {name}" for name in COUNTED))


@pytest.fixture(scope="session")
def frozen() -> Plugin:
    """The executable, whatever plugin is under test: for what is true of it alone."""
    return Plugin(build_executable())


@pytest.fixture
def sweep(make_node: Callable[[], Node], plugin: Plugin, record_property: Callable[[str, object], None]) -> Sweep:
    """What tries faults on the plugin, one after the other."""
    return Sweep(make_node, plugin, record_property)
