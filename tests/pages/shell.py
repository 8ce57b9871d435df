"""A shell that somebody sits at: it keeps directory, variables and jobs from one command to the next."""

from __future__ import annotations

import os
import re
import secrets
import select
import subprocess
import time
from collections.abc import Mapping
from typing import NamedTuple, Self

from tests.harness import Machine

PATIENCE = 60.0
"""Seconds after which we assume that a command hangs, unless a shell has its own patience."""

DOTS = "..."

# Nodes have no sudo, because every user there is root.
START = "sudo() { \"$@\"; }; cd '{directory}'\n"


class Answer(NamedTuple):
    """What a command printed, on standard output and error, and its exit status."""

    printed: str
    status: int


class Shell:
    """A bash. A context manager; commands may start another shell, and leave it with `exit`."""

    def __init__(
        self, machine: Machine | None, directory: str, env: Mapping[str, str], patience: float = PATIENCE
    ) -> None:
        """machine: where it runs, None for this machine; directory: where it starts; patience: in seconds."""
        self._patience = patience
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": {**env}}
        argv = ("bash", "--norc", "--noprofile")
        self._bash = machine.popen(*argv, **pipes) if machine else subprocess.Popen(argv, text=True, **pipes)  # type: ignore[call-overload]
        self.type(START.replace("{directory}", directory))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bash.kill()
        self._bash.communicate()

    def type(self, command: str) -> Answer:
        """Type a command and wait until it is done. Raises TimeoutError with what it printed so far."""
        mark = secrets.token_hex(8)
        assert self._bash.stdin
        self._bash.stdin.write(f"{command}\nprintf '\\n%s %d\\n' {mark} $?\n")
        self._bash.stdin.flush()
        printed, status = self._read_until(re.compile(rf"\n{mark} (\d+)\n"), command)
        return Answer(printed, status)

    def _read_until(self, mark: re.Pattern[str], command: str) -> tuple[str, int]:
        assert self._bash.stdout
        stdout = self._bash.stdout.fileno()
        read, until = b"", time.monotonic() + self._patience
        while True:
            text = read.decode(errors="replace")
            if found := mark.search(text):
                return text[: found.start()], int(found[1])
            ready, _, _ = select.select([stdout], [], [], max(0.0, until - time.monotonic()))
            more = os.read(stdout, 1 << 16) if ready else b""
            if not more:
                raise TimeoutError(f"this hangs, or has ended the shell: {command}\n{text}")
            read += more


def is_as_shown(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed. Dots in the page stand for some text of a line, or for lines.

    Times are compared as if they were all the same.
    """
    lines = ("(.*\n)*?" if line.strip() == DOTS else _with_dots(line) for line in _plain(shown))
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _plain(printed))) is not None


def _with_dots(line: str) -> str:
    return re.escape(line).replace(re.escape(DOTS), ".*?") + "\n"


def _plain(text: str) -> list[str]:
    text = re.sub(r"\d+(\.\d+)? ?ms\b", "N ms", text.replace("\r", ""))
    # From source, the command is a script, which is told the path that it was found at.
    text = text.replace("/usr/local/bin/cni-bridge-py ", "cni-bridge-py ")
    return [line.rstrip() for line in text.strip("\n").splitlines()]
