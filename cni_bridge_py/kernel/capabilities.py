"""What this process may do (capabilities(7), proc_pid_status(5))."""

from __future__ import annotations

NEEDED = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""linux/capability.h: links, addresses and rules need the first; entering a pod's namespace needs the second."""


def missing() -> list[str]:
    """The capabilities that wiring a pod needs, and that this process lacks."""
    with open("/proc/self/status", encoding="utf-8") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    return [name for name, bit in NEEDED.items() if not effective >> bit & 1]
