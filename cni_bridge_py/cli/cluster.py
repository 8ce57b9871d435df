"""What each node of a cluster needs so that pods on all nodes reach one another: a configuration, and routes.

Pure: from what is known of the nodes to what is to be written and run on them. Who does it is `kind.py`, and tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import netaddr

NETWORK = "kind"
"""The network's name, and with it the folder of its leases."""

ROUTE_PROTOCOL = "152"
"""By which our routes are known from others' (rtnetlink(7), rtm_protocol); it has no name in iproute2's rt_protos."""

FLUSH_ROUTES = [["ip", f"-{version}", "route", "flush", "protocol", ROUTE_PROTOCOL] for version in (4, 6)]
"""The commands that take our routes away, whatever nodes they led to."""


@dataclass(frozen=True)
class ClusterNode:
    """A node: its name, its own part of the cluster's pod range, its addresses, and the MTU of the link they are on.

    An MTU of 0 is the kernel's default.
    """

    name: str
    pod_cidrs: list[str]
    addresses: list[str]
    mtu: int = 0


@dataclass(frozen=True)
class NodeRoute:
    """The way to another node's pods: through that node's address."""

    dst: str
    via: str

    @property
    def version(self) -> int:
        """The IP version."""
        return int(netaddr.IPNetwork(self.dst).version)

    @property
    def command(self) -> list[str]:
        """The command that makes it, or corrects it."""
        way = [self.dst, "via", self.via, "protocol", ROUTE_PROTOCOL]
        return ["ip", f"-{self.version}", "route", "replace", *way]


def conflist(node: ClusterNode, cluster_cidrs: list[str]) -> dict[str, Any]:
    """The node's 10-bridge.conflist: its own pods' addresses, and no masquerade towards the cluster's other pods."""
    return {
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": "cni-bridge-py",
                "bridge": "cni0",
                "mtu": node.mtu,
                "isGateway": True,
                "isDefaultGateway": True,
                "ipMasq": True,
                "nonMasqueradeCIDRs": cluster_cidrs,
                "hairpinMode": True,
                "bridgeNetfilter": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": cidr}] for cidr in node.pod_cidrs]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def routes(node: ClusterNode, nodes: list[ClusterNode]) -> list[NodeRoute]:
    """The node's routes to the pods of all other nodes. Raises ValueError where one has no address to lead to."""
    return [
        NodeRoute(cidr, _address_for(cidr, other))
        for other in nodes
        if other.name != node.name
        for cidr in other.pod_cidrs
    ]


def _address_for(cidr: str, node: ClusterNode) -> str:
    """The node's address of the IP version of `cidr`. Raises ValueError where it has none."""
    version = netaddr.IPNetwork(cidr).version
    for address in node.addresses:
        if netaddr.IPAddress(address).version == version:
            return address
    raise ValueError(f"node {node.name} has pods in {cidr}, but no IPv{version} address to reach them at")
