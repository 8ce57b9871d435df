"""The newest releases of what we are compared with, which newest.sh brings from Debian sid."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bundle import BUILD

DIRECTORY = BUILD / "newest"


class Package(NamedTuple):
    """A Debian package, unpacked."""

    name: str
    directory: Path
    """Where its files are, as they would be below /."""
    release: str
    """What it is."""
    pinned: str
    """What newest.sh asks for, and the tests' tables speak of. Debian sid may have moved on."""


def find(name: str) -> Package | None:
    """The package; None where it could not be had."""
    directory = DIRECTORY / name
    if not directory.exists():
        return None
    release, pinned = ((directory / file).read_text().strip() for file in ("release", "pinned"))
    return Package(name, directory, release, pinned)


def require(name: str) -> Package:
    """The package. The test that needs it is skipped where it could not be had; with CI set, it fails."""
    if package := find(name):
        return package
    reason = f"{name} could not be had from Debian sid (tests/newest.sh)"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def reference_dir() -> Path:
    """Where the newest reference plugins are: bridge, host-local and so on."""
    return require("containernetworking-plugins").directory / "usr/lib/cni"


def containerd_dir() -> Path:
    """Where the newest containerd, its shim and ctr are."""
    return require("containerd").directory / "usr/bin"
