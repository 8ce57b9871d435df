"""An executable like the plugin's that does nothing: what it takes to start an interpreter."""

from __future__ import annotations

from pathlib import Path

from bundle.freeze import build_launcher
from tests.bundle import BUILD, build_bundle

DIRECTORY = BUILD / "bare"
CONTENTS = ".cni-bridge-py"


def build_bare() -> Path:
    """Make the executable: the plugin's own launcher and libraries, and a start that ends at once."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    libraries = DIRECTORY / CONTENTS
    libraries.unlink(missing_ok=True)
    libraries.symlink_to(build_bundle() / CONTENTS)
    start, executable = DIRECTORY / "start.py", DIRECTORY / "bare"
    start.write_text("import posix\n\nposix._exit(0)\n")
    build_launcher(executable, DIRECTORY, CONTENTS, start)
    return executable
