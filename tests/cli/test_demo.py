"""`demo`, and what the program says when it is run by hand."""

from __future__ import annotations

import os

import pytest

from cni_bridge_py.cli import demo
from cni_bridge_py.cni.errors import CniError
from tests.harness import Node, Plugin


def test_the_demo_shows_pods_and_leaves_nothing(plugin: Plugin, node: Node) -> None:
    before = node.snapshot()
    said = node.run(*plugin.argv, "demo", timeout=60).stdout
    for word in ("10.22.0.2", "10.22.0.3", "0a:58:0a:16:00:02", "veth", "cni0", "ping", "Nothing is left behind"):
        assert word in said
    assert node.snapshot() == before
    assert node.run("find", "/tmp", "-maxdepth", "1", "-name", "cni-bridge-py-demo-*").stdout == ""


def test_the_demo_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(CniError) as refused:
        demo.run(None)
    assert "sudo" in refused.value.details


def test_by_hand_it_says_what_it_is_and_how_to_use_it(plugin: Plugin, node: Node) -> None:
    said = node.run(*plugin.argv).stdout
    for word in ("CNI plugin", "CNI_COMMAND", "cnitool", "demo", "explain"):
        assert word in said
    assert node.run(*plugin.argv, "--version").stdout.startswith("cni-bridge-py ")
