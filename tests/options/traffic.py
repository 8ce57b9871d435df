"""What pods reach."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.harness import Machine


def reaches(machine: Machine, *addresses: str) -> list[bool]:
    """Which of the addresses answer a machine; asked all at once, for silence takes its time."""
    with ThreadPoolExecutor(len(addresses)) as pool:
        return list(pool.map(machine.ping, addresses))
