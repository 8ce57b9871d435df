"""A node with pods and a world outside, for a doctor to look at."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.harness import PATH, Json, Node, Outside, Plugin, Pod

CONF: Json = {
    "cniVersion": "1.0.0",
    "name": "podnet",
    "type": "cni-bridge-py",
    "bridge": "cni0",
    "isDefaultGateway": True,
    "ipMasq": True,
    "macspoofchk": True,
    "hairpinMode": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]]},
}
FILE = "/etc/cni/net.d/10-bridge.conf"
PROGRAM = "/opt/cni/bin/cni-bridge-py"


class Examined(dict[str, Json]):
    """The doctor's findings by the questions' short names, and all the commands that mend."""

    def __init__(self, printed: Json) -> None:
        super().__init__({each["key"]: each for each in printed["questions"]})
        self.commands: list[str] = printed["commands"]

    def told(self, key: str) -> str:
        """What is wrong about a question, in words; AssertionError where all is well."""
        finding = self[key]
        assert finding["answer"] == "no", finding
        assert all(each["found"] and each["meaning"] and each["commands"] for each in finding["troubles"]), finding
        return " ".join(each["found"] for each in finding["troubles"])

    @property
    def wrong(self) -> list[str]:
        """The questions whose answer is no."""
        return [key for key, finding in self.items() if finding["answer"] == "no"]


class Patient:
    """A node with two pods, wired by the installed plugin."""

    def __init__(self, node: Node, plugin: Plugin, conf: Json, pods: int = 2) -> None:
        self.node, self.plugin, self.conf = node, plugin, conf
        plugin.install(node)
        node.write("/etc/containerd/config.toml", "version = 2\n")
        node.write(FILE, json.dumps(conf, indent=2))
        self.outside = Outside(node)
        self.pods = [self.add(f"web-{number}") for number in range(pods)]

    def add(self, name: str, conf: Json | None = None) -> Pod:
        """One pod more."""
        pod = self.node.pod(name)
        args = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"
        self.plugin.add(self.node, conf or self.conf, pod, args=args)
        return pod

    def sh(self, script: str, *, check: bool = True, env: dict[str, str] | None = None) -> str:
        """Run shell commands on the node."""
        variables = {"PATH": PATH, "LC_ALL": "C", **(env or {})}
        return self.node.run("sh", "-ec", script, check=check, env=variables).stdout

    def doctor(self, *options: str) -> Examined:
        """What the doctor says; its exit status fits that."""
        done = self.node.run(PROGRAM, "doctor", "--json", *options, check=False)
        assert done.stderr == "", done.stderr
        examined = Examined(json.loads(done.stdout))
        answers = {each["answer"] for each in examined.values()}
        assert done.returncode == (1 if "no" in answers else 2 if "could not look" in answers else 0)
        return examined

    def cure(self, commands: list[str], env: dict[str, str] | None = None) -> None:
        """Run commands that the doctor gave."""
        for command in commands:
            self.sh(command, env=env)

    def reach(self) -> dict[str, bool]:
        """What pods reach: each other and the world, by both IP versions."""
        one, other = self.pods[:2]
        world = self.outside
        asked: dict[str, Callable[[], bool]] = {}
        for address in other.addresses():
            version = "6" if ":" in address else "4"
            target, node = (
                (world.address6, world.node_address6) if version == "6" else (world.address, world.node_address)
            )
            asked[f"pods{version}"] = partial(one.ping, address)
            asked[f"world{version}"] = partial(lambda target, node: one.seen_as(target) == node, target, node)
        with ThreadPoolExecutor() as pool:  # what is lost takes seconds to be given up
            return dict(zip(asked, pool.map(lambda ask: ask(), asked.values()), strict=True))

    def is_well(self) -> bool:
        """Whether pods reach each other and the world; asked twice, for a neighbour that failed is given up for 3 s."""
        return any(all(self.reach().values()) for _ in range(2))


@pytest.fixture(scope="session")
def plugin(command_line: Plugin) -> Plugin:
    """What a person runs at a node, which wires its pods, too."""
    return command_line


@pytest.fixture
def make_patient(make_node: Callable[[], Node], plugin: Plugin) -> Iterator[Callable[..., Patient]]:
    """A function that makes a node with pods; keys of the configuration are its arguments."""
    with contextlib.ExitStack():
        yield lambda pods=2, **keys: Patient(make_node(), plugin, merged(keys), pods)


@pytest.fixture
def patient(make_patient: Callable[..., Patient]) -> Patient:
    """A node with two pods in a network of both IP versions, masqueraded and guarded."""
    return make_patient()


def merged(keys: dict[str, Any]) -> Json:
    """The configuration with other keys; None takes one away."""
    return {key: value for key, value in {**CONF, **keys}.items() if value is not None}


def need(command: str) -> None:
    """Skip a test where a program is not installed: tests/environment.sh installs none that would start a daemon."""
    if not shutil.which(command):
        pytest.skip(f"there is no {command} here")
