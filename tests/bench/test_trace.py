"""Counting a trace of strace."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.trace import Trace, read_trace

INTERRUPTED = """\
51    execve("/usr/lib/cni/bridge", ["/usr/lib/cni/bridge"], 0x7ffd /* 9 vars */) = 0
51    openat(AT_FDCWD, "/etc/there", O_RDONLY|O_CLOEXEC) = 3
51    openat(AT_FDCWD, "/etc/missing", O_RDONLY <unfinished ...>
52    futex(0xc000080148, FUTEX_WAKE_PRIVATE, 1 <unfinished ...>
51    <... openat resumed>)             = -1 ENOENT (No such file or directory)
52    <... futex resumed>)              = 1
52    open("/etc/other", O_RDONLY)      = 4
51    --- SIGURG {si_signo=SIGURG, si_code=SI_TKILL, si_pid=51, si_uid=0} ---
52    exit_group(0 <unfinished ...>
52    +++ exited with 0 +++
"""


def test_calls_that_were_interrupted_count_once() -> None:
    assert read_trace(INTERRUPTED) == Trace(calls=6, opened=2, not_opened=1)


def traced(trace: Path, *argv: str | Path) -> Trace:
    subprocess.run(["strace", "-f", "-o", trace, "busybox", "cat", *argv], capture_output=True)
    return read_trace(trace.read_text())


def test_what_a_command_opens(tmp_path: Path) -> None:
    there, missing, trace = (tmp_path / name for name in ("there", "missing", "trace"))
    there.touch()
    one, both = traced(trace, there), traced(trace, there, missing)
    assert one.calls > 10
    assert both.calls > one.calls
    assert (both.opened, both.not_opened) == (one.opened, one.not_opened + 1)
