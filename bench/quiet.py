"""Waiting until the machine is idle: what one section leaves to the kernel is not the next one's cost."""

from __future__ import annotations

import os
import time
from pathlib import Path

IDLE = 0.1
"""How many processors may be busy on a machine that is called idle."""


def wait_until_idle(limit: float) -> bool:
    """Wait for half a second in which the machine is idle, `limit` seconds at most; whether there was one."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        before = _busy_seconds()
        time.sleep(0.5)
        if _busy_seconds() - before < 0.5 * IDLE:
            return True
    return False


def _busy_seconds() -> float:
    """The time that all processors together have worked (proc_stat(5))."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
