"""What README says of podman is typed, and prints what README shows."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests import image
from tests.bundle import CHECKOUT
from tests.harness import Node, Plugin
from tests.pages.conftest import sit_down
from tests.pages.markdown import blocks
from tests.pages.test_commands import type_block
from tests.podman.test_podman import STORAGE_CONF

CONTAINERS_CONF = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
"""What a podman within a test needs."""


def test_what_is_typed_and_seen(node: Node, plugin: Plugin, command_line: Plugin) -> None:
    (block,) = (each for each in blocks(CHECKOUT / "README.md") if "podman" in each.words)
    node.write("/etc/containers/containers.conf", CONTAINERS_CONF)
    node.write("/etc/containers/storage.conf", STORAGE_CONF)
    node.run("sh", "-c", "mount --bind /dev/null /usr/bin/containerd")
    image.write_archive(node.directory / "image.tar", os.uname().machine)
    with sit_down(node, plugin, command_line) as shell:
        first, rest = block.text.split("$ sudo ./install.sh", 1)
        assert type_block(shell, replace(block, text=first)) == []
        if "cni support is not enabled" in shell.type("podman info").printed:
            pytest.skip("this podman is built without CNI, as version 5 usually is")
        shell.type(f"podman load --input {node.directory}/image.tar")
        rest = f"$ sudo ./install.sh{rest}".replace(" busybox ", f" --cgroup-parent=/{node.cgroup} {image.NAME} ")
        assert type_block(shell, replace(block, text=rest)) == []
