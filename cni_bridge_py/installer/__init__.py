"""What install.sh does to a node: it installs the plugin, its configuration and its command, and uninstalls them.

How they are built is not here, but in `bundle` and install.sh.
"""

from __future__ import annotations

from contextlib import suppress


class Refused(Exception):
    """The request is refused, and nothing was changed. The text says why, and what to do."""


def say(text: str) -> None:
    """Print what was found or done. If nobody can read it, the installation still goes on to its end."""
    with suppress(OSError):
        print(text, flush=True)
