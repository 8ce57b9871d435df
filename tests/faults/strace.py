"""The plugin under strace: which system calls it makes, and one of them failing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.harness import Node, Plugin, Reply

KILLED = -9
STRACE = ("strace", "--quiet=attach,exit,personality")
"""The plugin is one process; a delegated IPAM plugin is another, whose system calls are not ours."""

LINE = re.compile(r"(\w+)\((.*)")

LOOKING = {"close", "fstat", "getdents64", "geteuid", "ioctl", "lseek", "newfstatat", "read", "recvfrom", "setsockopt"}
MEMORY = {"brk", "madvise", "mmap", "mprotect", "mremap", "munmap"}
"""System calls that change nothing outside of the process."""

Call = Callable[[Plugin], Reply]
"""Calls the plugin that it is given."""


class Moment(NamedTuple):
    """The nth system call of a name in a call of the plugin, and what strace says of it."""

    syscall: str
    occurrence: int
    arguments: str = ""

    @property
    def may_change(self) -> bool:
        """Whether it may change something outside of the process, other than a lock that goes with the process."""
        if self.syscall == "openat":
            return "O_CREAT" in self.arguments or "O_TRUNC" in self.arguments
        return self.syscall not in LOOKING | MEMORY

    @property
    def writes_answer(self) -> bool:
        """Whether it is what a runtime hears."""
        return self.syscall == "write" and self.arguments.startswith("1,")

    def __str__(self) -> str:
        return f"{self.syscall} no. {self.occurrence} ({self.arguments[:160]})"


def moments(node: Node, plugin: Plugin, call: Call) -> list[Moment]:
    """The system calls that `call` makes, in order, from the one on that reads the configuration.

    Before that, no plugin can know which network it is about, nor touch it.
    """
    log = _log(node)
    call(_under(plugin, "--output", log))
    met: Counter[str] = Counter()
    found: list[Moment] = []
    for syscall, arguments in _lines(log):
        met[syscall] += 1
        if found or (syscall == "read" and arguments.startswith("0,")):
            found.append(Moment(syscall, met[syscall], arguments))
    return found


def killed(node: Node, plugin: Plugin, moment: Moment, call: Call) -> None:
    """Make `call`, killed on its way into a system call, which then has no effect; see that it was killed there."""
    log = _log(node)
    reply = call(_injecting(plugin, moment, "signal=KILL", log))
    assert reply.status == KILLED, f"it was not killed at {moment}: {reply}"
    assert len(_lines(log)) <= moment.occurrence, "it went on"
    assert log.read_text().endswith("+++ killed by SIGKILL +++\n")


def failed(node: Node, plugin: Plugin, moment: Moment, errno: str, call: Call, *, onwards: bool = False) -> Reply:
    """Make `call`, one of whose system calls fails without effect; what it answers.

    `onwards`: so do all that follow of the same name.
    """
    log = _log(node)
    # The kernel's brk() has no errors, but returns where the heap ends; for 0, the C library finds that out anew.
    fault = "retval=0" if moment.syscall == "brk" else f"error={errno}"
    reply = call(_injecting(plugin, moment, fault, log, "+" if onwards else ""))
    assert "(INJECTED)" in log.read_text(errors="replace"), f"it came by no {moment}: {reply}"
    return reply


def _log(node: Node) -> Path:
    return node.directory / "strace"


def _lines(log: Path) -> list[tuple[str, str]]:
    """Name and all that follows, of each system call in a log; one that the kernel restarted is a single one."""
    matches = map(LINE.match, log.read_text(errors="replace").splitlines())
    return [(match[1], match[2]) for match in matches if match and "= ? ERESTART" not in match[2]]


def _injecting(plugin: Plugin, moment: Moment, fault: str, log: Path, onwards: str = "") -> Plugin:
    inject = f"--inject={moment.syscall}:{fault}:when={moment.occurrence}{onwards}"
    return _under(plugin, "--output", log, f"--trace={moment.syscall}", inject)


def _under(plugin: Plugin, *options: str | Path) -> Plugin:
    return Plugin([*STRACE, *map(str, options), *plugin.argv], cni_path=plugin.cni_path)
