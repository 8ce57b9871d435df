"""A frozen executable that does nothing, made by the plugin's own recipe: what it takes to start an interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.bundle import BUILD, CHECKOUT

DIRECTORY = BUILD / "bare"
SCRIPT = "bundle/launcher.py"


def build_bare() -> Path:
    """The executable; built unless it is there and the recipe is the same."""
    executable = DIRECTORY / "dist/cni-bridge-py/cni-bridge-py"
    spec, script = DIRECTORY / "bare.spec", DIRECTORY / "bare.py"
    wanted = recipe(script)
    if not (executable.exists() and spec.exists() and spec.read_text() == wanted):
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        script.write_text("import os\n\nos._exit(0)\n")
        argv = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level=WARN"]
        argv += [f"--distpath={DIRECTORY / 'dist'}", f"--workpath={DIRECTORY / 'work'}", str(spec)]
        spec.write_text(wanted)
        subprocess.run(argv, cwd=CHECKOUT, check=True)
    return executable


def recipe(script: Path) -> str:
    """cni-bridge-py.spec with another script in the place of the launcher."""
    original = (CHECKOUT / "cni-bridge-py.spec").read_text()
    if SCRIPT not in original:
        raise LookupError(f"cni-bridge-py.spec does not name {SCRIPT}, which is to be another script here")
    return f"SPECPATH = {str(CHECKOUT)!r}  # {sys.executable} {sys.version!r}\n{original.replace(SCRIPT, str(script))}"
