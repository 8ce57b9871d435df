"""An installer on a node of its own, with something in the place of what it builds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT
from tests.harness import Json, Node

BIN, CONF, PREFIX = "/opt/cni/bin", "/etc/cni/net.d", "/usr/local"

# The directories of the machine that are not a node's own already.
TREES = ("/usr/lib/cni", "/usr/local")
PRIVATE = f"""
set -e
for tree in {" ".join(TREES)}; do
    mkdir -p /run/private$tree /run/private$tree.work
    mount -t overlay overlay $tree -o lowerdir=$tree,upperdir=/run/private$tree,workdir=/run/private$tree.work
done
"""

# It has the package's name in it, as the real one has, by which it is known again.
STAND_IN = """#!/bin/sh
# cni_bridge_py {version}
[ "$CNI_COMMAND" != VERSION ] || echo '{{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0"], "is": "{version}"}}'
"""


class Installer:
    """install.sh of a checkout, and the node that it is run on."""

    def __init__(self, node: Node, name: str = "checkout") -> None:
        """A checkout in the node's directory with nothing built in it."""
        self.node = node
        self.checkout = node.directory / name
        self.dist = self.checkout / ".build/dist"
        self.checkout.mkdir()
        shutil.copy(CHECKOUT / "install.sh", self.checkout)
        shutil.copytree(CHECKOUT / "conf", self.checkout / "conf")
        (self.checkout / "cni_bridge_py").symlink_to(CHECKOUT / "cni_bridge_py")

    def build(self, version: str) -> None:
        """Put stand-ins where the plugin and the command for people are built, and the libraries that they take."""
        venv = self.checkout / ".build/venv"
        if not venv.exists():
            venv.parent.mkdir()
            venv.symlink_to(sys.prefix)
        command = self.dist / "command-line"
        command.mkdir(parents=True, exist_ok=True)
        for path in (self.dist / "cni-bridge-py", command / "command-line"):
            path.unlink(missing_ok=True)  # it may be running
            path.write_text(STAND_IN.format(version=version))
            path.chmod(0o755)

    def build_source(self) -> None:
        """Have the plugin be the package of this checkout."""
        main = "import sys; sys.argv[0] = '$0'; from cni_bridge_py.__main__ import main; sys.exit(main())"
        script = f'#!/bin/sh\n# cni_bridge_py\nPYTHONPATH={CHECKOUT} exec {sys.executable} -c "{main}" "$@"\n'
        (self.dist / "cni-bridge-py").write_text(script)

    def run(
        self, *args: str, path: Path | None = None, user: int | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run install.sh on the node; path: another PATH; user: another user than root."""
        # Which may read everything, as the Python of the tests may be root's own.
        read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        become = ("setpriv", f"--reuid={user}", "--clear-groups", *read) if user is not None else ()
        environment = {**os.environ, **(env or {}), "PATH": str(path or os.environ["PATH"])}
        return self.node.run(*become, self.checkout / "install.sh", *args, check=False, env=environment, timeout=280)

    def succeed(self, *args: str, path: Path | None = None) -> str:
        """Run it as it is given; what it said."""
        done = self.run(*args, path=path)
        assert done.returncode == 0, done
        return done.stdout

    def install(self, *args: str) -> str:
        """Install what has been built, into directories that are named; what it said."""
        return self.succeed("--no-build", f"--bin-dir={BIN}", f"--conf-dir={CONF}", *args)

    def uninstall(self, *args: str) -> str:
        """Take it away from those directories; what it said."""
        return self.succeed("--uninstall", f"--bin-dir={BIN}", f"--conf-dir={CONF}", *args)

    def refuse(self, *args: str, path: Path | None = None, user: int | None = None) -> str:
        """Run it, which must fail and change nothing; what it complained of."""
        before = self.contents()
        done = self.run(*args, path=path, user=user)
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr
        assert self.contents() == before
        return done.stderr

    def refuse_install(self, *args: str, user: int | None = None) -> str:
        """`refuse` for what has been built, and directories that are named."""
        return self.refuse("--no-build", f"--bin-dir={BIN}", f"--conf-dir={CONF}", *args, user=user)

    def path(self, path: str) -> Path:
        """A file of the node as it is seen from here. Absolute links in it lead to the machine's files."""
        return self.node.root / path.lstrip("/")

    def contents(self) -> dict[str, str]:
        """Everything that was put into the directories that may change: path -> what it holds."""
        tops = [self.path(top) for top in ("/opt/cni", "/opt/mine", "/etc/cni", *map("/run/private{}".format, TREES))]
        files = [file for top in tops if top.exists() for file in top.rglob("*") if not _is_overlays(file)]
        return {str(file.relative_to(self.node.root)): _content(file) for file in files}

    def version(self, plugin: str = f"{BIN}/cni-bridge-py") -> str:
        """Which version is installed, as it says itself."""
        answer = json.loads(self.node.run(plugin, env={"CNI_COMMAND": "VERSION"}, input="{}").stdout)
        return str(answer["is"])

    def conf(self, name: str = "10-bridge.conf") -> Json:
        """An installed configuration."""
        parsed: Json = json.loads(self.path(f"{CONF}/{name}").read_text())
        return parsed

    def write_conf(self, name: str, content: str | Json) -> None:
        """Put a configuration there by hand."""
        self.node.write(f"{CONF}/{name}", content if isinstance(content, str) else json.dumps(content))

    def confs(self) -> list[str]:
        """The names in the configuration directory, backups among them."""
        return sorted(file.name for file in self.path(CONF).iterdir())

    def picked_up(self) -> list[str]:
        """Those that a runtime takes notice of."""
        return [name for name in self.confs() if name.endswith((".conf", ".conflist", ".json"))]

    def backups(self, name: str = "10-bridge.conf") -> list[str]:
        """What the backups of a configuration hold."""
        return [file.read_text() for file in self.path(CONF).glob(f"{name}.bak-*")]


def shipped(name: str = "10-bridge.conf") -> Json:
    """A configuration of conf/."""
    parsed: Json = json.loads((CHECKOUT / "conf" / name).read_text())
    return parsed


def _is_overlays(file: Path) -> bool:
    """Whether it is a directory that an overlay keeps, though nothing in it may have changed."""
    return file.is_dir() and "/run/private/" in str(file)


def _content(file: Path) -> str:
    if file.is_symlink():
        return f"-> {file.readlink()}"
    return "directory" if file.is_dir() else file.read_bytes().decode(errors="replace")


@pytest.fixture
def make_installer(make_node: Callable[[], Node]) -> Callable[[], Installer]:
    def make() -> Installer:
        node = make_node()
        node.run("sh", "-c", PRIVATE)
        node.run("chmod", "755", node.directory)
        installer = Installer(node)
        installer.build("one")
        return installer

    return make


@pytest.fixture
def installer(make_installer: Callable[[], Installer]) -> Installer:
    """An installer that has built something which is quick to copy."""
    return make_installer()


@pytest.fixture
def commands(installer: Installer) -> Path:
    """A directory to use as PATH: this machine's commands without Python, apt-get and container runtimes."""
    hidden = ("python", "apt-", "containerd", "crio", "podman", "docker", "kind", "kubectl")
    folder = installer.node.directory / "commands"
    folder.mkdir()
    for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for file in Path(directory).iterdir():
            link = folder / file.name
            if not file.name.startswith(hidden) and not link.is_symlink():
                link.symlink_to(file)
    return folder


def put_command(folder: Path, name: str, script: str) -> None:
    """Put a shell script there under a command's name."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
