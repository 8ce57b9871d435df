"""Changes to a network configuration, as commands. They use sed: every node has it, but not jq or Python."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

SPACE = "[[:space:]]*"


def edit(path: Path | str, *changes: str) -> str:
    """The command that makes these changes to a file."""
    return f"sed -i -z '{'; '.join(changes)}' {quote(str(path))}"


def replaced(key: str, old: str, new: str) -> str:
    """Give a key another value. Both values are in JSON, the old one as a pattern."""
    return rf"s|\(\"{key}\":{SPACE}\){old}|\1{new}|g".replace(r"\"", '"')


def dropped(key: str, value: str) -> str:
    """Remove a key, and one of the commas beside it. Its value is given as a pattern."""
    member = f'"{key}":{SPACE}{value}'
    return f"s|,{SPACE}{member}||g; s|{member}{SPACE},{SPACE}||g"


def added(key: str, value: str, after: str, after_value: str) -> str:
    """Add a key after another one."""
    return rf's|\("{after}":{SPACE}{after_value}\)|\1, "{key}": {value}|'
