"""Standard output as it is found: closed, full, a pipe that nobody reads, a locale without our letters."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import NoReturn

from rich.console import Console as RichConsole

NARROWEST = 20
"""Columns. Less, or none at all, is what no terminal has and some environments say."""

AS_FAR_AS_IT_GOES = "as-far-as-it-goes"
"""The error handler of our output: names that are not UTF-8 as they are, letters that the locale lacks as `?`."""


class Console(RichConsole):
    """rich's, for text without its guesses at what to highlight."""

    def __init__(self, *, soft_wrap: bool = False, width: int | None = None) -> None:
        super().__init__(highlight=False, soft_wrap=soft_wrap, width=width)
        if self.width < NARROWEST:
            self.width = NARROWEST

    def on_broken_pipe(self) -> NoReturn:
        """Leave it to `main`, which is told of it by commands without a console as well."""
        raise  # rich calls this where it handles the exception


def prepare() -> None:
    """See that all three streams can be written to, whatever the caller has closed and whatever the locale is."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number: nothing else that is opened gets it
    codecs.register_error(AS_FAR_AS_IT_GOES, _as_far_as_it_goes)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 # open as long as the process is
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=AS_FAR_AS_IT_GOES)


def drop_output() -> None:
    """Have what was not written yet go nowhere: it cannot be written, and the interpreter would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _as_far_as_it_goes(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.replace_errors(error)
