"""Changes to a network configuration, as commands: sed is on every node, and jq or Python are not."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

SPACE = "[[:space:]]*"


def edit(path: Path | str, *changes: str) -> str:
    """The command that makes these changes to a file."""
    return f"sed -i -z '{'; '.join(changes)}' {quote(str(path))}"


def replaced(key: str, old: str, new: str) -> str:
    """A key has another value; both are given as JSON has them, the old one as a pattern."""
    return rf"s|\(\"{key}\":{SPACE}\){old}|\1{new}|g".replace(r"\"", '"')


def dropped(key: str, value: str) -> str:
    """A key is gone, and one of the commas beside it; its value is given as a pattern."""
    member = f'"{key}":{SPACE}{value}'
    return f"s|,{SPACE}{member}||g; s|{member}{SPACE},{SPACE}||g"


def added(key: str, value: str, after: str, after_value: str) -> str:
    """A key is there, behind another one."""
    return rf's|\("{after}":{SPACE}{after_value}\)|\1, "{key}": {value}|'
