"""What install.sh does to a node: it puts the plugin, its configuration and its command there, and takes them away.

How they are built is not here, but in `bundle` and install.sh.
"""

from __future__ import annotations


class Refused(Exception):
    """What was asked for is not done, and nothing was changed; the text says why, and the way out."""


def say(text: str) -> None:
    """Tell a person what was found or done."""
    print(text, flush=True)
