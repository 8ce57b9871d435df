"""What a trace by `strace -f` tells: how many system calls, how many files opened."""

from __future__ import annotations

import re
from typing import NamedTuple

LINE = re.compile(r"\d+ +(?P<resumed><\.\.\. )?(?P<call>\w+)(?: resumed>|\()(?P<rest>.*)")
OPENING = ("open", "openat", "openat2", "creat")


class Trace(NamedTuple):
    """Numbers of a traced command and all its children."""

    calls: int
    opened: int
    """Files and directories that were opened."""
    not_opened: int
    """Those that were tried, and nearly always missing."""


def read_trace(text: str) -> Trace:
    """Count. A call that another process interrupted has two lines, of which the second has the outcome."""
    calls = opened = not_opened = 0
    for line in filter(None, map(LINE.match, text.splitlines())):
        calls += not line["resumed"]
        if line["call"] in OPENING and (outcome := re.search(r"\) += (-?\d+)", line["rest"])):
            opened += int(outcome[1]) >= 0
            not_opened += int(outcome[1]) < 0
    return Trace(calls, opened, not_opened)
