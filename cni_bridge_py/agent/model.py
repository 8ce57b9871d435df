"""The agent's data: nodes as Kubernetes has them, the host as it is, and the host as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netaddr import IPAddress, IPNetwork

from cni_bridge_py.addresses import InterfaceAddress

BRIDGE = "cni0"
"""The bridge of the cluster's pods on each node."""

NETWORK = "cluster"
"""The network's name, and with it the directory of its leases."""

CONFIGURATION = "10-bridge.conflist"
"""The configuration's file name: the runtime uses the first in alphabetical order."""

PROTOCOL = 152
"""Marks our routes (rtnetlink(7), rtm_protocol)."""


MAIN_TABLE = 254
"""RT_TABLE_MAIN of linux/rtnetlink.h."""

PRIORITY = {4: 0, 6: 1024}
"""The kernel's default metric of a route, by IP version (ip-route(8))."""


@dataclass(frozen=True)
class Node:
    """A node as Kubernetes has it.

    network_unavailable: it has a condition NetworkUnavailable that is not False.
    """

    name: str
    pod_cidrs: tuple[IPNetwork, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    uid: str = ""
    network_unavailable: bool = False


@dataclass(frozen=True)
class Route:
    """A route to another node's pods, through that node's address."""

    dst: IPNetwork
    via: IPAddress

    def __str__(self) -> str:
        return f"{self.dst} via {self.via}"


@dataclass(frozen=True)
class FoundRoute:
    """A route of the main table, or one with our protocol in any table.

    via is None if the route has no gateway, or several. With several, it has no interface either.
    """

    dst: IPNetwork
    via: IPAddress | None
    interface: str = ""
    protocol: int = PROTOCOL
    table: int = MAIN_TABLE
    priority: int = 0

    def __str__(self) -> str:
        return f"{self.dst} via {self.via}" if self.via else f"{self.dst} dev {self.interface}"


@dataclass(frozen=True)
class Link:
    """A link of the host: its MTU in bytes, and its addresses with the prefix lengths of their networks."""

    name: str
    mtu: int
    addresses: tuple[InterfaceAddress, ...] = ()


@dataclass(frozen=True)
class Found:
    """The host as it is.

    routes: those of the main table, and all of our protocol.
    plugins: names in the directory of plugins.
    configuration: the content of our file; None if there is none that can be read.
    first: the name of the file that the runtime uses; "" if there is none.
    pods: the addresses of pods that are plugged in.
    """

    links: tuple[Link, ...] = ()
    routes: tuple[FoundRoute, ...] = ()
    plugins: frozenset[str] = frozenset()
    configuration: Mapping[str, Any] | None = None
    first: str = ""
    pods: tuple[IPAddress, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Something that the agent cannot put right.

    reason: one word, for Kubernetes' Events.
    about: the name of the node that has the problem.
    message: what it means, and what to do.
    """

    reason: str
    about: str
    message: str


@dataclass(frozen=True)
class Wanted:
    """The host as it should be.

    routes: each with the name of the node whose pods it leads to.
    configuration: None if we do not know it; then the present one stays.
    former_gateways: the bridge's addresses from this node's former podCIDRs that no pod needs any more.
    keeps_others: keep routes that are not wanted, because our list of nodes is not reliable.
    """

    routes: Mapping[Route, str] = field(default_factory=dict)
    configuration: Mapping[str, Any] | None = None
    former_gateways: tuple[InterfaceAddress, ...] = ()
    keeps_others: bool = False
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class AddRoute:
    """Make a route to the pods of a node."""

    route: Route
    node: str

    def __str__(self) -> str:
        return f"route {self.route}: added, the way to the pods of {self.node}"


@dataclass(frozen=True)
class DeleteRoute:
    """Remove a route of ours that is not wanted."""

    route: FoundRoute

    def __str__(self) -> str:
        return f"route {self.route}: removed, it leads to no node's pods"


@dataclass(frozen=True)
class RemoveGateway:
    """Remove the gateway of a former podCIDR of this node from the bridge."""

    address: InterfaceAddress

    def __str__(self) -> str:
        return f"address {self.address}: removed from {BRIDGE}, this node's podCIDR has changed"


@dataclass(frozen=True)
class WriteConfiguration:
    """Write the configuration that the runtime passes to the plugin."""

    content: Mapping[str, Any]

    def __str__(self) -> str:
        ranges = self.content["plugins"][0]["ipam"]["ranges"]
        return f"{CONFIGURATION}: written, pods get addresses of {', '.join(each[0]['subnet'] for each in ranges)}"


Change = AddRoute | DeleteRoute | RemoveGateway | WriteConfiguration
