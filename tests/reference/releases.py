"""The reference's releases that ours is compared with."""

from __future__ import annotations

from pathlib import Path

from tests import newest
from tests.harness import REFERENCE_BIN_DIR, Plugin

NEWEST, DEBIAN = "1.9.1", "1.1.1"
"""Debian sid's, and that of Debian stable and Ubuntu LTS."""

RELEASES = (NEWEST, DEBIAN)


def bin_dir(release: str) -> Path:
    """Where the release's plugins are."""
    return newest.reference_dir() if release == NEWEST else REFERENCE_BIN_DIR


def reference(release: str) -> Plugin:
    """The release's bridge, which calls the release's host-local."""
    return Plugin(bin_dir(release) / "bridge")
