"""The executable bundle, built once for all the tests that want it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
BUILD = CHECKOUT / ".build"
BUNDLE = BUILD / "dist" / "cni-bridge-py"
"""Where install.sh builds it too, so that `install.sh --no-build` installs what is tested."""


def build_bundle() -> Path:
    """The directory with the executable `cni-bridge-py`; built unless it is there and up to date.

    Raises subprocess.CalledProcessError if PyInstaller fails, with what it said on standard error.
    """
    BUILD.mkdir(exist_ok=True)
    stamp = BUILD / "tested-sources"
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = _fingerprint()
        if not (_read(stamp) == sources and (BUNDLE / "cni-bridge-py").exists()):
            stamp.unlink(missing_ok=True)
            _pyinstaller()
            stamp.write_text(sources)
    return BUNDLE


def _pyinstaller() -> None:
    argv = [sys.executable, "-m", "PyInstaller", "--noconfirm"]
    argv += [f"--distpath={BUNDLE.parent}", f"--workpath={BUILD / 'work'}", "cni-bridge-py.spec"]
    subprocess.run(argv, cwd=CHECKOUT, env=os.environ | {"PYI_LOG_LEVEL": "ERROR"}, check=True)


def _fingerprint() -> str:
    """A hash of what the bundle is made of, the interpreter included."""
    sources = [
        CHECKOUT / "cni-bridge-py.spec",
        CHECKOUT / "pyproject.toml",
        *sorted(file for file in (CHECKOUT / "bundle").rglob("*") if file.suffix in (".c", ".py")),
        *sorted((CHECKOUT / "cni_bridge_py").rglob("*.py")),
    ]
    digest = hashlib.sha256(f"{sys.executable} {sys.version}".encode())
    for source in sources:
        digest.update(f"{source} {source.stat().st_size}\n".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None
