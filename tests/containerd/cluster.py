"""A cluster of two nodes, as close to kind's as namespaces come: each a containerd, joined by a switch.

Addresses are those that kind takes unless told otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from cni_bridge_py.cli.cluster import ClusterNode, conflist, routes
from tests.containerd.runtime import Containerd
from tests.harness import Machine, Node, Plugin

CLUSTER_CIDRS = ("10.244.0.0/16", "fd00:10:244::/56")

OUTSIDE = ("172.18.0.1", "fc00:f853:ccd:e793::1")
"""The gateway of docker's network, and with it the world outside of the cluster."""

NODE_PREFIXES = (16, 64)

# As in a kind node, but for the bridge's: nobody may rely on an administrator who set those.
SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 1,
    "net.ipv4.conf.default.rp_filter": 1,
    "net.bridge.bridge-nf-call-iptables": 0,
    "net.bridge.bridge-nf-call-ip6tables": 0,
}


class Worker(Containerd):
    """A node of a cluster."""

    def __init__(
        self, cluster: Cluster, spec: ClusterNode, plugin: Plugin, network: dict[str, Any], containerd: Path
    ) -> None:
        self.spec = spec
        super().__init__(plugin, network, containerd, boot=lambda: cluster.boot(spec))

    @property
    def gateways(self) -> list[str]:
        """Its pods' gateways: the bridge's addresses."""
        return [address.partition("/")[0] for address in self.node.addresses(self.bridge)]


class Cluster:
    """Two nodes and the outside. A context manager: leaving it takes everything away again."""

    def __init__(
        self,
        plugin: Plugin,
        containerd: Path,
        *,
        dual_stack: bool = False,
        pod_prefix: int = 24,
        mtu: int = 1500,
        without: Sequence[str] = (),
    ) -> None:
        """Start it and wait until it can run pods.

        containerd: where the nodes' containerd is.
        pod_prefix: the length of the nodes' IPv4 podCIDRs.
        mtu: of the network that joins the nodes, bytes.
        without: keys to leave out of the plugin's configuration.
        """
        self.cidrs = CLUSTER_CIDRS[: 1 + dual_stack]
        self._specs = [_spec(number, dual_stack, pod_prefix, mtu) for number in (1, 2)]
        self._mtu = mtu
        self.workers: list[Worker] = []
        with contextlib.ExitStack() as running:
            self.outside = running.enter_context(Node())
            self._set_up_outside()
            for spec in self._specs:
                network = conflist(spec, list(self.cidrs))
                for key in without:
                    del network["plugins"][0][key]
                self.workers.append(running.enter_context(Worker(self, spec, plugin, network, containerd)))
            self._running = running.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def boot(self, spec: ClusterNode) -> Node:
        """Make a node, plug it in, and do what docker and `install.sh --kind` do to it."""
        node = Node()
        try:
            self._plug(spec.name, node)
            # A real node's own addresses have settled long before its first pod comes.
            node.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
            _set_addresses(node, "eth0", spec.addresses)
            for version, gateway in zip((4, 6), OUTSIDE, strict=True):
                # An IPv4 cluster's node has no way to the IPv6 gateway.
                node.run("ip", f"-{version}", "route", "add", "default", "via", gateway, "dev", "eth0", "onlink")
            for route in routes(spec, self._specs):
                node.run(*route.command)
            # A kernel without br_netfilter has not all of them.
            node.run("sysctl", "-qew", *(f"{name}={value}" for name, value in SYSCTLS.items()))
        except BaseException:
            node.close()
            raise
        return node

    def _set_up_outside(self) -> None:
        """A switch, and the ways to all pods: one that comes unmasqueraded is seen, too."""
        self.outside.run(*f"ip link add docker0 mtu {self._mtu} type bridge".split())
        _set_addresses(self.outside, "docker0", OUTSIDE)
        for route in routes(ClusterNode("outside", [], []), self._specs):
            self.outside.run(*route.command)
        self.outside.serve()

    def _plug(self, name: str, node: Node) -> None:
        # Both namespaces are named as this process sees them: a node has process numbers of its own.
        switch = Machine([f"--net={self.outside.netns}"])
        # The kernel takes its time to clean up after a node; one of that name may have been there.
        switch.run("ip", "link", "delete", name, check=False)
        mtu = f"mtu {self._mtu}"
        switch.run(*f"ip link add {name} {mtu} type veth peer name eth0 {mtu} netns {node.pid}".split())
        switch.run(*f"ip link set {name} master docker0 up".split())


def _spec(number: int, dual_stack: bool, pod_prefix: int, mtu: int) -> ClusterNode:
    pod_cidrs = [f"10.244.{number}.0/{pod_prefix}", f"fd00:10:244:{number}::/64"]
    addresses = [f"172.18.0.{number + 1}", f"fc00:f853:ccd:e793::{number + 1}"]
    count = 1 + dual_stack
    return ClusterNode(f"worker{number}", pod_cidrs[:count], addresses[:count], mtu)


def _set_addresses(machine: Machine, ifname: str, addresses: Sequence[str]) -> None:
    for address, prefix in zip(addresses, NODE_PREFIXES, strict=False):
        nodad = ["nodad"] if ":" in address else []
        machine.run("ip", "address", "add", f"{address}/{prefix}", "dev", ifname, *nodad)
    machine.run("ip", "link", "set", ifname, "up")
