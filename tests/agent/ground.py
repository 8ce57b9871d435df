"""A cluster's network made of namespaces: nodes on a switch, the outside, an API server there, and agents on the nodes.

Addresses are those that kind takes unless told otherwise.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Self

from tests.agent.apiserver import PORT, ApiServer
from tests.bundle import CHECKOUT
from tests.harness import Json, Machine, Node, in_network_of

OUTSIDE = ("172.18.0.1", "fc00:f853:ccd:e793::1")
"""The gateway of docker's network, and with it the world outside of the cluster."""

NODE_PREFIXES = (16, 64)
SERVICE_ACCOUNT = "run/secrets/kubernetes.io/serviceaccount"
CONFLIST = "etc/cni/net.d/10-bridge.conflist"
OURS = 152

# As in a kind node, but for the bridge's: nobody may rely on an administrator who set those.
SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 1,
    "net.ipv4.conf.default.rp_filter": 1,
    "net.bridge.bridge-nf-call-iptables": 0,
    "net.bridge.bridge-nf-call-ip6tables": 0,
}


@dataclass(frozen=True)
class Spec:
    """A node of the cluster: its name, its podCIDRs and its addresses, one of each IP version."""

    name: str
    pod_cidrs: list[str]
    addresses: list[str]


def spec(number: int, *, dual_stack: bool = False, pod_prefix: int = 24, name: str = "") -> Spec:
    """The cluster's node of that number, which begin with 1."""
    pod_cidrs = [f"10.244.{number}.0/{pod_prefix}", f"fd00:10:244:{number}::/64"]
    addresses = [f"172.18.0.{number + 1}", f"fc00:f853:ccd:e793::{number + 1}"]
    count = 1 + dual_stack
    return Spec(name or f"worker{number}", pod_cidrs[:count], addresses[:count])


class Ground:
    """The switch and what is behind it. A context manager: leaving it takes everything away again."""

    def __init__(self, *, mtu: int = 1500) -> None:
        """mtu: of the network that joins the nodes, bytes."""
        self._mtu = mtu
        with contextlib.ExitStack() as running:
            self.outside = running.enter_context(Node())
            self.outside.run(*f"ip link add docker0 mtu {mtu} type bridge".split())
            set_addresses(self.outside, "docker0", OUTSIDE)
            self.api = running.enter_context(ApiServer(self.outside, OUTSIDE[0]))
            self._running = running.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def boot(self, spec: Spec) -> Node:
        """Make a node, plug it in, and do to it what docker and kubeadm do."""
        node = Node()
        try:
            self.plug(spec.name, node)
            # A real node's own addresses have settled long before its first pod comes.
            node.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
            set_addresses(node, "eth0", spec.addresses)
            for version, gateway in zip((4, 6), OUTSIDE, strict=True):
                # An IPv4 cluster's node has no way to the IPv6 gateway.
                node.run("ip", f"-{version}", "route", "add", "default", "via", gateway, "dev", "eth0", "onlink")
            # A kernel without br_netfilter has not all of them.
            node.run("sysctl", "-qew", *(f"{name}={value}" for name, value in SYSCTLS.items()))
            self.api.write_service_account(node.root / SERVICE_ACCOUNT)
        except BaseException:
            node.close()
            raise
        return node

    def node(self, spec: Spec) -> Node:
        """Boot a node that goes with the ground."""
        return self._running.enter_context(self.boot(spec))

    def join(self, spec: Spec) -> None:
        """Have the API server know a node as it is, and the outside the way to its pods: what comes unmasqueraded is
        seen, too."""
        self.api.put(spec.name, spec.pod_cidrs, spec.addresses)
        for cidr, address in zip(spec.pod_cidrs, spec.addresses, strict=False):
            self.outside.run("ip", f"-{6 if ':' in cidr else 4}", "route", "replace", cidr, "via", address)

    def plug(self, name: str, node: Node) -> None:
        """Plug a cable into the switch and, as eth0, into a node."""
        # Both namespaces are named as this process sees them: a node has process numbers of its own.
        switch = Machine([f"--net={self.outside.netns}"])
        # The kernel takes its time to clean up after a node; one of that name may have been there.
        switch.run("ip", "link", "delete", name, check=False)
        mtu = f"mtu {self._mtu}"
        switch.run(*f"ip link add {name} {mtu} type veth peer name eth0 {mtu} netns {node.pid}".split())
        switch.run(*f"ip link set {name} master docker0 up".split())


class AgentProcess:
    """The agent, running on a node."""

    def __init__(self, node: Node, name: str, plugins: Path, *, command: Sequence[str] = (), port: int = 9809) -> None:
        """Start it.

        plugins: what it is to install.
        command: what is to run it, such as strace.
        """
        self.node = node
        self.log_file = node.directory / f"agent-{time.monotonic_ns()}.log"
        self._port = port
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONUNBUFFERED": "1",
            "NODE_NAME": name,
            "KUBERNETES_SERVICE_HOST": OUTSIDE[0],
            "KUBERNETES_SERVICE_PORT": str(PORT),
        }
        agent = [
            sys.executable,
            "-m",
            "cni_bridge_py",
            "agent",
            "--plugins",
            str(plugins),
            "--metrics",
            f"127.0.0.1:{port}",
        ]
        with self.log_file.open("w") as log:
            self.process = node.popen(
                *command, *agent, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self.log_file.read_text() if self.log_file.exists() else "(its node is gone)"

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def get(self, page: str) -> str:
        """A page of the agent's; "" where it answers with an error, or not at all."""
        connection = HTTPConnection("127.0.0.1", self._port)
        try:
            with in_network_of(self.node, lambda: socket.create_connection(("127.0.0.1", self._port), 5)) as tcp:
                connection.sock = tcp
                connection.request("GET", page)
                answer = connection.getresponse()
                return answer.read().decode() if answer.status == 200 else ""
        except OSError:
            return ""

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of a metric, the sum of all that have these labels; None where there is none."""
        found = []
        for line in self.get("/metrics").splitlines():
            match = re.fullmatch(r"cni_bridge_py_(\w+)(?:\{(.*)\})? (\S+)", line)
            if (
                match
                and match[1] == name
                and all(f'{key}="{value}"' in (match[2] or "") for key, value in labels.items())
            ):
                found.append(float(match[3]))
        return sum(found) if found else None

    @property
    def pid(self) -> int:
        """The process, which nsenter started."""
        nsenter = self.process.pid
        return int(Path(f"/proc/{nsenter}/task/{nsenter}/children").read_text().split()[0])

    @property
    def rss(self) -> float:
        """Resident memory, MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def our_routes(node: Machine) -> dict[str, str]:
    """The routes of our protocol, of both IP versions and all tables: destination -> gateway."""
    found = [each for version in (4, 6) for each in node.ip_json(f"-{version}", "route", "show", "table", "all")]
    return {each["dst"]: each.get("gateway", "") for each in found if str(each.get("protocol")) == str(OURS)}


def routes_to(*specs: Spec) -> dict[str, str]:
    """The routes that lead to the pods of some nodes."""
    return {cidr: way for each in specs for cidr, way in zip(each.pod_cidrs, each.addresses, strict=True)}


def set_addresses(machine: Machine, ifname: str, addresses: Sequence[str]) -> None:
    """Give a link addresses, one of each IP version, and set it up."""
    for address, prefix in zip(addresses, NODE_PREFIXES, strict=False):
        nodad = ["nodad"] if ":" in address else []
        machine.run("ip", "address", "add", f"{address}/{prefix}", "dev", ifname, *nodad)
    machine.run("ip", "link", "set", ifname, "up")


def eventually(what: Callable[[], object], expected: object = True, *, seconds: float = 30, why: str = "") -> None:
    """Wait until something is as expected. Raises AssertionError that says what it was at last."""
    deadline = time.monotonic() + seconds
    while (found := what()) != expected:
        if time.monotonic() > deadline:
            raise AssertionError(f"expected {expected!r}, found {found!r} {why}")
        time.sleep(0.05)


def always(what: Callable[[], object], expected: object, *, seconds: float) -> None:
    """See that something stays as it is for some time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert what() == expected
        time.sleep(0.1)


def configuration(node: Node) -> Json | None:
    """The configuration that the runtime finds; None while there is none."""
    file = node.root / CONFLIST
    parsed: Json | None = json.loads(file.read_text()) if file.exists() else None
    return parsed


def subnets(node: Node) -> list[str]:
    """The subnets that pods get addresses of."""
    found = configuration(node)
    return [each["subnet"] for ranges in found["plugins"][0]["ipam"]["ranges"] for each in ranges] if found else []
