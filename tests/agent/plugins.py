"""What the agent's image has for nodes."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.harness import REFERENCE_BIN_DIR, Plugin


def write_plugins(directory: Path, plugin: Plugin) -> None:
    """The plugin under test, in one file as the image has it, and portmap."""
    shutil.copy(plugin.argv[0], directory / "cni-bridge-py")
    shutil.copy(REFERENCE_BIN_DIR / "portmap", directory)
