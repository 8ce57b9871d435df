"""A checkout to run `install.sh --kind` from, and the machine that it finds itself on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bundle import CHECKOUT, build_command_line, build_executable
from tests.harness import REFERENCE_BIN_DIR, Json, Node

STANDIN = Path(__file__).parent / "standin.py"
IMAGE = "debian:12"
V4, V6 = ["10.244.0.0/16"], ["10.244.0.0/16", "fd00:10:244::/56"]


class Machine:
    """A developer's machine: a checkout with a bundle in it, docker, kind and kubectl, and nodes for a cluster."""

    def __init__(self, top: Path, make_node: Callable[[], Node]) -> None:
        self.checkout = top / "checkout"
        self.path = top / "bin"
        self._state = top / "state"
        self._make_node = make_node
        self.nodes: dict[str, Node] = {}
        self.checkout.mkdir()
        for name in ("install.sh", "pyproject.toml", "kind-config.yaml"):
            shutil.copy(CHECKOUT / name, self.checkout)
        shutil.copytree(CHECKOUT / "conf", self.checkout / "conf")
        (self.checkout / "cni_bridge_py").symlink_to(CHECKOUT / "cni_bridge_py")
        shutil.copytree(build_command_line().parent, self.checkout / ".build/dist/command-line")
        shutil.copy(build_executable(), self.checkout / ".build/dist")
        (self.checkout / ".build/venv").symlink_to(sys.prefix)
        self.path.mkdir()
        for tool in ("docker", "kind", "kubectl"):
            self.put_tool(tool)
        self.state: Json = {"clusters": [], "nodes": {}, "images": [], "registry": [], "broken": [], "pod_subnet": V4}

    def put_tool(self, name: str) -> None:
        script = self.path / name
        script.write_text(f"#!{sys.executable}\n{STANDIN.read_text()}")
        script.chmod(0o755)

    def add_node(self, name: str, **more: Any) -> Node:
        """Start a container that is to be a node of the cluster."""
        number = len(self.nodes) + 1
        node = self.nodes[name] = self._make_node()
        addresses = [f"172.18.0.{number + 1}", f"fc00:f853:ccd:e793::{number + 1}"]
        self.wire(node, addresses)
        node.run("cp", REFERENCE_BIN_DIR / "portmap", "/opt/cni/bin/")  # which kind's node images have
        versions = len(self.state["pod_subnet"])
        self.state["nodes"][name] = {
            "pid": node.pid,
            "pod_cidrs": [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"][:versions],
            "addresses": addresses[:versions],
            **more,
        }
        return node

    @staticmethod
    def wire(node: Node, addresses: list[str]) -> None:
        node.run(*["ip", "link", "add", "eth0", "mtu", "1450", "type", "veth", "peer", "name", "docker0"])
        node.run(*["ip", "link", "set", "docker0", "up"])
        for address, length in zip(addresses, (16, 64), strict=True):
            node.run("ip", "address", "add", f"{address}/{length}", "dev", "eth0", *(["nodad"] if length == 64 else []))
        node.run(*["ip", "link", "set", "eth0", "up"])

    def start_nodes(self, *pod_subnet: str) -> None:
        self.state["pod_subnet"] = list(pod_subnet or V4)
        for name in ("control-plane", "worker", "worker2"):
            self.add_node(f"cni-bridge-py-{name}")

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run install.sh; what the stand-ins did stays known."""
        self._state.write_text(json.dumps(self.state))
        done = subprocess.run(
            [self.checkout / "install.sh", *arguments],
            env={**os.environ, **self.environment(), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self.state = json.loads(self._state.read_text())
        return done

    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.path}:{os.environ['PATH']}", "STANDIN": str(self._state), "COLUMNS": "200"}

    def succeed(self, *arguments: str) -> str:
        done = self.run(*without_building(arguments))
        assert done.returncode == 0, done
        return done.stdout

    def fail(self, *arguments: str) -> str:
        done = self.run(*without_building(arguments))
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr
        return done.stderr

    def calls(self, *start: str) -> list[str]:
        """What was asked of the tools, in order; those that begin so."""
        log = Path(f"{self._state}.log")
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.startswith(" ".join(start))]


def without_building(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The options, and the one that has nothing built; uninstalling builds nothing anyway."""
    return arguments if "--uninstall" in arguments else ("--no-build", *arguments)


@pytest.fixture
def machine(tmp_path: Path, make_node: Callable[[], Node]) -> Machine:
    return Machine(tmp_path, make_node)
