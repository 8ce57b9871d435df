"""The network configurations in a directory, as container runtimes see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

PLUGIN = "cni-bridge-py"

SUFFIXES = (".conf", ".conflist", ".json")
"""What libcni picks up (ConfFiles in api.go's callers)."""

BACKUP = ".bak-"
"""The suffix of a configuration that is kept, but that no runtime picks up."""

Json = dict[str, Any]


@dataclass(frozen=True)
class NetworkFile:
    """A file with a network configuration, a configuration list, or something else."""

    path: Path
    content: bytes

    @cached_property
    def document(self) -> Json:
        """The JSON object in it; empty if there is none."""
        try:
            document = json.loads(self.content)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def plugins(self) -> list[Json]:
        """The plugins' configurations, in the order in which they are run."""
        return plugins(self.document)

    @property
    def is_ours(self) -> bool:
        """Whether this plugin is among them."""
        return PLUGIN in types(self.document)

    @property
    def is_list(self) -> bool:
        """Whether it is a configuration list. libcni decides this by the file's name."""
        return self.path.suffix == ".conflist"

    def __str__(self) -> str:
        told = " and ".join(types(self.document)) or "nothing that a runtime can use"
        return f"{self.path} (network {self.document.get('name', 'without a name')}: {told})"


def plugins(document: Json) -> list[Json]:
    """The plugins' configurations in a network configuration or list."""
    members = document.get("plugins", [document])
    return [each for each in members if isinstance(each, dict)] if isinstance(members, list) else []


def types(document: Json) -> list[str]:
    """The plugins' names."""
    return [str(each["type"]) for each in plugins(document) if "type" in each]


def ours(document: Json) -> Json:
    """This plugin's part of a network configuration or list, to read or to change. Raises KeyError if there is none."""
    for each in plugins(document):
        if each.get("type") == PLUGIN:
            return each
    raise KeyError(PLUGIN)


def alone(document: Json) -> Json:
    """This plugin's part as a configuration of its own, as a runtime would pass it."""
    return {key: document[key] for key in ("cniVersion", "name") if key in document} | ours(document)


def files(folder: Path) -> list[NetworkFile]:
    """The configurations in a directory, in the runtimes' order: they use the first."""
    return _read(folder, lambda path: path.suffix in SUFFIXES)


def backups(folder: Path) -> list[NetworkFile]:
    """The configurations of ours that were set aside there."""
    return [each for each in _read(folder, lambda path: BACKUP in path.name) if each.is_ours]


def _read(folder: Path, wanted: Callable[[Path], bool]) -> list[NetworkFile]:
    paths = sorted((path for path in folder.glob("*") if wanted(path) and path.is_file()), key=lambda p: bytes(p))
    return [NetworkFile(path, path.read_bytes()) for path in paths]
