"""A checkout to run what `install.sh --kind` runs from, and the machine that it finds itself on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bundle import CHECKOUT
from tests.harness import Json

STANDIN = Path(__file__).parent / "standin.py"
V4, V6 = 1, 2
NAMES = [f"cni-bridge-py-{each}" for each in ("control-plane", "worker", "worker2")]

BUILDER = """\
import pathlib, sys
root = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
root.mkdir(parents=True, exist_ok=True)
(root / "built").touch()
"""
"""What stands for the program that makes the image's files, which takes a while."""


class Machine:
    """A developer's machine: a checkout, docker, kind and kubectl, and nodes for a cluster."""

    def __init__(self, top: Path) -> None:
        self.checkout = top / "checkout"
        self.path = top / "bin"
        self.state_file = top / "state"
        (self.checkout / "deploy").mkdir(parents=True)
        for name in ("Dockerfile", "cni-bridge-py.yaml", "__init__.py"):
            (self.checkout / "deploy" / name).symlink_to(CHECKOUT / "deploy" / name)
        (self.checkout / "deploy/image.py").write_text(BUILDER)
        self.plugin = self.checkout / ".build/dist/cni-bridge-py"
        self.plugin.parent.mkdir(parents=True)
        self.plugin.touch()
        self.config = CHECKOUT / "kind-config.yaml"
        self.path.mkdir()
        for tool in ("docker", "kind", "kubectl"):
            script = self.path / tool
            script.write_text(f"#!{sys.executable}\n{STANDIN.read_text()}")
            script.chmod(0o755)
        self.state: Json = {
            "clusters": [],
            "contexts": [],
            "nodes": {},
            "images": [],
            "loaded": [],
            "applied": 0,
        }

    def add_nodes(self, versions: int = V4, **more: Any) -> None:
        """Have containers that are to be nodes of the cluster, of one IP version or of both."""
        for number, name in enumerate(NAMES):
            self.state["nodes"][name] = {
                "pod_cidrs": [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"][:versions],
                "addresses": [f"172.18.0.{number + 2}", f"fc00:f853:ccd:e793::{number + 2}"][:versions],
                "files": [],
                **more,
            }

    def have_cluster(self, name: str) -> None:
        """Have a cluster that somebody else made."""
        self.state["clusters"].append(name)

    def command(self, action: str, name: str = "cni-bridge-py", *more: str) -> list[str]:
        argv = [sys.executable, "-m", "cni_bridge_py.cli.kind", action, f"--checkout={self.checkout}"]
        return [*argv, f"--name={name}", *([f"--config={self.config}"] if action == "install" else []), *more]

    def environment(self, columns: int = 200) -> dict[str, str]:
        tools = {"PATH": f"{self.path}:{os.environ['PATH']}", "STANDIN": str(self.state_file)}
        return {**os.environ, **tools, "PYTHONPATH": str(CHECKOUT), "COLUMNS": str(columns)}

    def save(self) -> None:
        self.state_file.write_text(json.dumps(self.state))

    def load(self) -> None:
        self.state = json.loads(self.state_file.read_text())

    def run(self, *arguments: str, columns: int = 200) -> subprocess.CompletedProcess[str]:
        """Run it; what the stand-ins did stays known."""
        self.save()
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment(columns),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self.load()
        assert "Traceback" not in done.stderr
        return done

    def interrupt(self, *arguments: str, when: str) -> subprocess.CompletedProcess[str]:
        """Run it in a terminal of its own, so to speak, and press Ctrl-C once a tool was asked that."""
        self.save()
        running = subprocess.Popen(
            self.command(*arguments),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while not self.calls(when):
            assert running.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
        self.load()
        return subprocess.CompletedProcess(running.args, running.returncode, stdout, stderr)

    def succeed(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done
        return done.stdout

    def fail(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 1, done
        return done.stderr

    def calls(self, *start: str) -> list[str]:
        """What was asked of the tools, in order; those that begin so."""
        log = Path(f"{self.state_file}.log")
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.startswith(" ".join(start))]


def without_building(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The options, and the one that has nothing built; uninstalling builds nothing anyway."""
    return arguments if "--uninstall" in arguments else ("--no-build", *arguments)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)
