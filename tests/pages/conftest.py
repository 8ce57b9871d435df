"""The machine that pages are read at: a node with containerd, this checkout, and a way out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT
from tests.harness import PATH, Node, Outside, Plugin
from tests.pages.shell import Shell

# What is the machine's and no node's own: plugins, commands, and the runtimes that pages do not speak of.
PRIVATE = """
set -e
for tree in /usr/lib/cni /usr/local; do
    mkdir -p $tree /run/private$tree /run/private$tree.work
    mount -t overlay overlay $tree -o lowerdir=$tree,upperdir=/run/private$tree,workdir=/run/private$tree.work
done
"""
WITHOUT_OTHERS = """
for command in podman crio; do
    [ ! -e /usr/bin/$command ] || mount --bind /dev/null /usr/bin/$command
done
"""

# Building takes minutes, and is tested where it is the matter.
BUILT_BEFORE = """
[[ $* != *--build-only* ]] || { echo "Built"; exit; }
[[ $* == *--uninstall* || $* == *--kind* ]] || set -- --no-build "$@"
"""


@pytest.fixture
def shell_at(make_node: Callable[[], Node], plugin: Plugin, command_line: Plugin) -> Iterator[Callable[[], Shell]]:
    """A function that gives a shell on a machine of its own, in the checkout's directory."""
    shells: list[Shell] = []

    def open_shell() -> Shell:
        node = make_node()
        node.run("sh", "-c", WITHOUT_OTHERS)
        shells.append(sit_down(node, plugin, command_line))
        return shells[-1]

    yield open_shell
    for each in shells:
        with each:
            pass


def sit_down(node: Node, plugin: Plugin, command_line: Plugin) -> Shell:
    """A shell on a node that is a whole machine: a way out, a checkout, and directories of its own."""
    Outside(node)
    node.run("sh", "-c", PRIVATE)
    checkout = node.directory / "cni-bridge-py"
    _check_out(checkout, Path(plugin.argv[0]), Path(command_line.argv[0]).resolve())
    return Shell(node, str(checkout), {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root"})


def _check_out(directory: Path, plugin: Path, command_line: Path) -> None:
    """A checkout in which both executables have been built."""
    directory.mkdir()
    for entry in CHECKOUT.iterdir():
        if not entry.name.startswith(".") and entry.name != "install.sh":
            (directory / entry.name).symlink_to(entry)
    first, rest = (CHECKOUT / "install.sh").read_text().split("\n", 1)
    (directory / "install.sh").write_text(f"{first}\n{BUILT_BEFORE}{rest}")
    (directory / "install.sh").chmod(0o755)
    dist = directory / ".build/dist"
    dist.mkdir(parents=True)
    (directory / ".build/venv").symlink_to(sys.prefix)
    shutil.copy(plugin, dist / "cni-bridge-py")
    if command_line.name == "command-line":
        shutil.copytree(command_line.parent, dist / "command-line")
    else:  # the package's source, behind a script
        (dist / "command-line").mkdir()
        shutil.copy(command_line, dist / "command-line/command-line")
