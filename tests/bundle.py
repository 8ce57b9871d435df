"""The executables, each built once for all the tests that want it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import netaddr

from bundle.build import NO_STATIC_LIBRARY

CHECKOUT = Path(__file__).resolve().parent.parent
BUILD = CHECKOUT / ".build"
DIST = BUILD / "dist"
"""Where install.sh builds, too, so that `install.sh --no-build` installs what is tested."""

EXECUTABLE = DIST / "cni-bridge-py"
COMMAND_LINE = DIST / "command-line" / "command-line"

SYSTEM_PYTHON = "/usr/bin/python3"


def build_executable() -> Path:
    """The plugin, one static file; built unless it is there and up to date.

    Raises subprocess.CalledProcessError if that fails, with what was said on standard error.
    """
    return _built(EXECUTABLE, lambda: make_executable(EXECUTABLE))


def build_command_line() -> Path:
    """PyInstaller's executable, the command line; built unless it is there and up to date.

    Raises subprocess.CalledProcessError if PyInstaller fails, with what it said on standard error.
    """
    return _built(COMMAND_LINE, _pyinstaller)


def make_executable(
    output: Path, checkout: Path = CHECKOUT, env: Mapping[str, str] = os.environ, under: Sequence[str] = ()
) -> None:
    """Build the plugin of a checkout with the system's Python, which has a static library, or else with this one.

    `under`: a command that runs the build.

    Raises subprocess.CalledProcessError if that fails, with what was said on standard error.
    """
    # Where netaddr is; only this interpreter may know.
    libraries = {"PYTHONPATH": str(Path(netaddr.__file__).parent.parent)}
    environment = {**env, **libraries}
    for python in (SYSTEM_PYTHON, sys.executable):
        argv: list[str | Path] = [*under, python, "-m", "bundle.build", "--output", output]
        done = subprocess.run(argv, cwd=checkout, env=environment, stderr=subprocess.PIPE, text=True)
        if done.returncode != NO_STATIC_LIBRARY:
            break
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    done.check_returncode()


def _built(product: Path, build: Callable[[], None]) -> Path:
    DIST.mkdir(parents=True, exist_ok=True)
    stamp = BUILD / f"{product.name}-tested-sources"
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sources = _fingerprint()
        if not (_read(stamp) == sources and product.exists()):
            stamp.unlink(missing_ok=True)
            build()
            stamp.write_text(sources)
    return product


def _pyinstaller() -> None:
    argv = [sys.executable, "-m", "PyInstaller", "--noconfirm"]
    argv += [f"--distpath={DIST}", f"--workpath={BUILD / 'work'}", "cni-bridge-py.spec"]
    subprocess.run(argv, cwd=CHECKOUT, env=os.environ | {"PYI_LOG_LEVEL": "ERROR"}, check=True)


def _sources() -> Iterator[Path]:
    yield CHECKOUT / "cni-bridge-py.spec"
    yield CHECKOUT / "pyproject.toml"
    for folder in ("bundle", "cni_bridge_py"):
        yield from sorted(file for file in (CHECKOUT / folder).rglob("*") if file.suffix in (".c", ".h", ".lds", ".py"))


def _fingerprint() -> str:
    """A hash of what the executables are made of, the interpreter included."""
    digest = hashlib.sha256(f"{sys.executable} {sys.version} {netaddr.__version__}".encode())
    for source in _sources():
        digest.update(f"{source} {source.stat().st_size}\n".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None
