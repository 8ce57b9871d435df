"""An installer with directories to install into."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bundle import CHECKOUT, build_bundle

FAKE_PLUGIN = """#!/bin/sh
echo {version}
"""


class Installer:
    """install.sh of a checkout, and the directories that it is told to install into."""

    def __init__(self, top: Path) -> None:
        """A checkout under `top` with nothing built in it."""
        self.checkout = top / "checkout"
        self.bin_dir = top / "bin"
        self.conf_dir = top / "net.d"
        self.plugin = self.bin_dir / "cni-bridge-py"
        self._built = self.checkout / ".build/dist/cni-bridge-py"
        self.checkout.mkdir()
        shutil.copy(CHECKOUT / "install.sh", self.checkout)
        shutil.copytree(CHECKOUT / "conf", self.checkout / "conf")

    def build_fake(self, version: str) -> None:
        """Put something in the place of a built bundle that is quick to copy and prints `version`."""
        shutil.rmtree(self._built, ignore_errors=True)
        (self._built / ".cni-bridge-py").mkdir(parents=True)
        (self._built / ".cni-bridge-py/module").write_text(version)
        executable = self._built / "cni-bridge-py"
        executable.write_text(FAKE_PLUGIN.format(version=version))
        executable.chmod(0o755)

    def build_real(self, version: str) -> None:
        """Put the real bundle there, with a file in it that makes it another version."""
        shutil.rmtree(self._built, ignore_errors=True)
        shutil.copytree(build_bundle(), self._built, symlinks=True)
        (self._built / ".cni-bridge-py/version").write_text(version)

    def run(self, *args: str, path: Path | None = None, user: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run install.sh with the arguments, our two directories, no terminal and the PATH given."""
        return subprocess.run(
            [self.checkout / "install.sh", "--bin-dir", self.bin_dir, "--conf-dir", self.conf_dir, *args],
            env={**os.environ, "PATH": str(path or os.environ["PATH"])},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=user,
        )

    def succeed(self, *args: str) -> str:
        """Run it; what it said."""
        done = self.run(*args)
        assert done.returncode == 0, done
        return done.stdout

    def install(self, *args: str) -> str:
        """Install what has been built; what it said."""
        return self.succeed("--no-build", *args)

    def fail(self, *args: str, path: Path | None = None, user: int | None = None) -> str:
        """Run it, which must fail and change nothing; what it complained of."""
        before = self.contents()
        done = self.run(*args, path=path, user=user)
        assert done.returncode != 0, done
        assert self.contents() == before
        return done.stderr

    def contents(self) -> dict[str, str]:
        """Everything in the two directories: path -> what it holds."""
        files = [file for top in (self.bin_dir, self.conf_dir) if top.exists() for file in top.rglob("*")]
        return {str(file): _content(file) for file in files}

    def conf(self, name: str = "10-bridge.conf") -> Any:
        """An installed configuration."""
        return json.loads((self.conf_dir / name).read_text())

    def write_conf(self, name: str, content: str) -> None:
        """Put a configuration there by hand."""
        self.conf_dir.mkdir(exist_ok=True)
        (self.conf_dir / name).write_text(content)

    def confs(self) -> list[str]:
        """The names in the configuration directory."""
        return sorted(file.name for file in self.conf_dir.iterdir())

    def backups(self, name: str = "10-bridge.conf") -> list[str]:
        """What the backups of a configuration hold."""
        return [file.read_text() for file in self.conf_dir.glob(f"{name}.bak-*")]


def _content(file: Path) -> str:
    if file.is_symlink():
        return f"-> {file.readlink()}"
    return "directory" if file.is_dir() else file.read_text()


@pytest.fixture
def installer() -> Iterator[Installer]:
    """An installer whose checkout has a quick stand-in for the bundle."""
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        installer = Installer(Path(top))
        installer.build_fake("one")
        yield installer


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A directory to use as PATH: this machine's commands without Python and apt-get."""
    for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for file in Path(directory).iterdir():
            link = tmp_path / file.name
            if not file.name.startswith(("python", "apt-get")) and not link.is_symlink():
                link.symlink_to(file)
    return tmp_path
