"""Standard output, even if it is closed or full, nobody reads the pipe, or the locale lacks our letters."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import NoReturn

from rich.console import Console as RichConsole

NARROWEST = 20
"""Columns. No terminal is narrower, but some environments claim fewer columns, or none."""

AS_FAR_AS_IT_GOES = "as-far-as-it-goes"
"""The error handler of our output. It keeps names that are not UTF-8, and writes `?` for what the locale lacks."""


class Console(RichConsole):
    """rich's Console, but it does not guess what to highlight."""

    def __init__(self, *, soft_wrap: bool = False, width: int | None = None) -> None:
        super().__init__(highlight=False, soft_wrap=soft_wrap, width=width)
        if self.width < NARROWEST:
            self.width = NARROWEST

    def on_broken_pipe(self) -> NoReturn:
        """Pass the error on to `main`, which also handles it for commands without a console."""
        raise  # rich calls this from its exception handler


def prepare() -> None:
    """Make standard input, output and error usable, whatever the caller has closed and whatever the locale is."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, so no other file gets it
    codecs.register_error(AS_FAR_AS_IT_GOES, _as_far_as_it_goes)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 # stays open as long as the process runs
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=AS_FAR_AS_IT_GOES)


def drop_output() -> None:
    """Discard unwritten output. It cannot be written, and the interpreter would try again at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _as_far_as_it_goes(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.replace_errors(error)
