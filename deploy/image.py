"""Makes the root directory of the agent's image: `python3 -m deploy.image --plugin FILE --output DIRECTORY`.

    /agent/     PyInstaller's directory: the agent, an interpreter, and their libraries
    /plugins/   what the agent installs on nodes: the plugin, and those of its chain where this machine has them
    /lib, ...   the C library of this machine, and its loader, at their places: there is no other system in the image

It is made of what is here, so that it can be built where no registry is reached. The Python that runs this becomes part
of it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
NAME = "cni-bridge-py"

CHAIN = ["portmap"]
"""Plugins that the agent's configuration names behind ours."""

CHAIN_DIRECTORIES = ["/usr/lib/cni", "/opt/cni/bin"]
"""Where Debian's containernetworking-plugins and others have them."""

UNUSED = [
    "PIL",
    "_pyrepl",
    "curses",
    "doctest",
    "markdown_it",
    "pdb",
    "pydoc",
    "pygments",
    "readline",
    "setuptools",
    "tkinter",
    "xmlrpc",
]
"""Imported by the libraries somewhere, used by nothing that the agent runs."""


def make(plugin: Path, output: Path) -> None:
    """Replace the directory. Raises subprocess.CalledProcessError if PyInstaller fails, and OSError."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    make_agent(output / "agent")
    for library in outside(output / "agent"):
        target = output / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    plugins = output / "plugins"
    plugins.mkdir()
    shutil.copy(plugin, plugins / NAME)
    for name in CHAIN:
        if found := shutil.which(name, path=os.pathsep.join(CHAIN_DIRECTORIES)):
            shutil.copy(found, plugins / name)
    for path in (output, *output.rglob("*")):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def make_agent(directory: Path) -> None:
    """PyInstaller's directory of the agent."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--onedir", "--optimize=2", "--strip"]
        command += [f"--name={NAME}", "--contents-directory=libraries", "--log-level=ERROR", f"--paths={CHECKOUT}"]
        command += [f"--distpath={work}/dist", f"--workpath={work}/work", f"--specpath={work}"]
        command += [f"--exclude-module={each}" for each in UNUSED]
        subprocess.run([*command, CHECKOUT / "cni_bridge_py" / "__main__.py"], check=True)
        shutil.move(Path(work, "dist", NAME), directory)


def is_elf(file: Path) -> bool:
    """Whether a file is an executable or a library."""
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return content.read(4) == b"\x7fELF"


def outside(directory: Path) -> set[Path]:
    """The libraries that PyInstaller's directory needs and lacks. Its executable looks for none of them inside."""
    executable, libraries = directory / NAME, [file for file in directory.rglob("*") if is_elf(file)]
    inside = {file.name for file in libraries}
    return needed([executable]) | {each for each in needed(libraries) if each.name not in inside}


def needed(files: Sequence[Path]) -> set[Path]:
    """The loader and the libraries that files need, where the loader finds them (ldd(1))."""
    listed = subprocess.run(["ldd", *files], capture_output=True, text=True, check=True).stdout
    return {Path(path) for path in re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", listed, re.MULTILINE)}


def main() -> int:
    """Make it; the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m deploy.image", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plugin", type=Path, required=True, help="the plugin, as a single static executable")
    parser.add_argument("--output", type=Path, required=True, help="the directory, which is made anew")
    arguments = parser.parse_args()
    make(arguments.plugin, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
