"""What the agent decides, as pure functions: nodes and host as they are -> what is wanted -> the changes to make.

Nothing is remembered: the same nodes and the same host always give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netaddr import AddrFormatError, IPAddress, IPNetwork, cidr_merge

from cni_bridge_py.addresses import InterfaceAddress, overlap
from cni_bridge_py.agent.model import (
    BRIDGE,
    CONFIGURATION,
    MAIN_TABLE,
    NETWORK,
    PRIORITY,
    PROTOCOL,
    AddRoute,
    Change,
    DeleteRoute,
    Found,
    FoundRoute,
    Node,
    Problem,
    RemoveGateway,
    Route,
    Wanted,
    WriteConfiguration,
)
from cni_bridge_py.node.confdir import PLUGIN

FORMER = "formerSubnets"
"""The key of the configuration with this node's former podCIDRs, as long as anything is left of them.

The plugin does not know it, and ignores it.
"""


def wanted(me: str, nodes: Mapping[str, Node], found: Found) -> Wanted:
    """The host as it should be, given the cluster's nodes.

    me: this node's name. A list of nodes without it is not reliable: other nodes may be missing from it, too.
    """
    own = nodes.get(me)
    routes, problems = _routes(me, nodes, found)
    if own is None:
        return Wanted(routes, keeps_others=True, problems=tuple(problems))
    if not own.pod_cidrs:
        return Wanted(routes, problems=(*problems, _no_pod_cidr(me)))
    kept, gateways = _former(own, found)
    portmap = "portmap" in found.plugins
    configuration = conflist(own.pod_cidrs, _cluster_cidrs(nodes), _mtu(own, found), portmap)
    if former := {str(each) for each in kept} | {str(each.cidr) for each in gateways}:
        configuration["plugins"][0][FORMER] = sorted(former)
    if kept:
        problems.append(_pods_of_former(own, kept))
    if found.first and found.first < CONFIGURATION:
        problems.append(_other_configuration(me, found.first))
    if not portmap:
        problems.append(Problem("NoPortmap", me, f"{me} has no plugin portmap: hostPorts do not work there"))
    return Wanted(routes, configuration, gateways, problems=tuple(problems))


def _no_pod_cidr(me: str) -> Problem:
    message = (
        f"{me} has no podCIDR, so its pods get no addresses: kube-controller-manager needs --allocate-node-cidrs and "
        "--cluster-cidr, as kubeadm init --pod-network-cidr sets them"
    )
    return Problem("NoPodCIDR", me, message)


def _pods_of_former(own: Node, kept: list[IPNetwork]) -> Problem:
    message = (
        f"the podCIDR of {own.name} is {_words(own.pod_cidrs)} now, but pods with addresses of {_words(kept)} still "
        "run there, and other nodes no longer reach them: delete them, and they come back with new addresses"
    )
    return Problem("PodsOfFormerPodCIDR", own.name, message)


def _other_configuration(me: str, first: str) -> Problem:
    message = f"the container runtime of {me} uses {first}, which sorts before {CONFIGURATION}: move it away"
    return Problem("OtherConfiguration", me, message)


def changes(wanted: Wanted, found: Found) -> list[Change]:
    """The changes, in order, that make the host as it should be; none if it already is.

    The configuration comes last: with it, the node becomes Ready.
    """
    ours = [each for each in found.routes if each.protocol == PROTOCOL]
    there = {route for each in ours if (route := _as_wanted(each, wanted)) is not None}
    ways = {route.dst for route in wanted.routes}
    unwanted = [each for each in ours if _as_wanted(each, wanted) is None]
    todo: list[Change] = [DeleteRoute(each) for each in unwanted if each.dst in ways or not wanted.keeps_others]
    todo += [AddRoute(route, node) for route, node in wanted.routes.items() if route not in there]
    todo += [RemoveGateway(each) for each in wanted.former_gateways]
    if wanted.configuration is not None and wanted.configuration != found.configuration:
        todo.append(WriteConfiguration(wanted.configuration))
    return todo


def _as_wanted(found: FoundRoute, wanted: Wanted) -> Route | None:
    """The wanted route that is the same as a route of ours; None if there is none."""
    if found.via is None or found.table != MAIN_TABLE:
        return None
    route = Route(found.dst, found.via)
    return route if route in wanted.routes else None


def conflist(
    pod_cidrs: Iterable[IPNetwork], cluster_cidrs: Iterable[IPNetwork], mtu: int, portmap: bool = True
) -> dict[str, Any]:
    """The node's configuration: addresses for its own pods, and no masquerade towards the cluster's other pods.

    Its version is 1.0.0: from 1.1.0 on, a full range would make the whole node NotReady (docs/operating.md).
    """
    bridge = {
        "type": PLUGIN,
        "bridge": BRIDGE,
        "mtu": mtu,
        "isGateway": True,
        "isDefaultGateway": True,
        "ipMasq": True,
        "nonMasqueradeCIDRs": [str(each) for each in cluster_cidrs],
        "hairpinMode": True,
        "bridgeNetfilter": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": str(each)}] for each in pod_cidrs]},
    }
    chain = [{"type": "portmap", "capabilities": {"portMappings": True}}] if portmap else []
    return {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [bridge, *chain]}


def subnets(configuration: Mapping[str, Any] | None) -> list[IPNetwork]:
    """The present and former subnets of a configuration; none if the configuration is not ours."""
    try:
        bridge = configuration["plugins"][0]  # type: ignore[index]
        now = [each["subnet"] for ranges in bridge["ipam"]["ranges"] for each in ranges]
        return [IPNetwork(each) for each in (*now, *bridge.get(FORMER, ()))]
    except (AddrFormatError, AttributeError, KeyError, IndexError, TypeError, ValueError):
        return []


def gateway(subnet: IPNetwork) -> InterfaceAddress:
    """The gateway of a subnet's pods with the prefix length, which is the bridge's address."""
    return InterfaceAddress((subnet.first + 1, subnet.prefixlen), subnet.version)


def _routes(me: str, nodes: Mapping[str, Node], found: Found) -> tuple[dict[Route, str], list[Problem]]:
    own = nodes[me].pod_cidrs if me in nodes else ()
    reach = [each.dst for each in found.routes if _is_on_link(each)]
    others = {(each.dst, each.via) for each in found.routes if _is_anothers(each)}
    taken = {dst for dst, _ in others}
    routes: dict[Route, str] = {}
    owners: dict[IPNetwork, str] = {}
    problems: list[Problem] = []
    for node in sorted(nodes.values(), key=lambda each: each.name):
        if node.name == me:
            continue
        for cidr in node.pod_cidrs:
            way = _way(cidr, node, reach)
            if any(overlap(cidr, each) for each in own) or cidr in owners:
                reason = "PodCIDROverlaps"
                message = f"the podCIDR {cidr} of {node.name} overlaps that of {owners.get(cidr, me)}: no route to it"
            elif not isinstance(way, IPAddress):
                reason, message = way
            elif cidr in taken:
                # If another program's route already leads there, we need none.
                if (cidr, way) in others:
                    continue
                reason = "RouteTaken"
                message = f"another program's route to {cidr} is in the way of ours to {node.name} via {way}"
            else:
                owners[cidr] = node.name
                routes[Route(cidr, way)] = node.name
                continue
            problems.append(Problem(reason, node.name, message))
    return routes, problems


def _way(cidr: IPNetwork, node: Node, reach: list[IPNetwork]) -> IPAddress | tuple[str, str]:
    """The address through which to reach a node's pods, or else the reason and message of a problem."""
    addresses = [each for each in node.addresses if each.version == cidr.version]
    if not addresses:
        return "NoNodeAddress", f"{node.name} has pods in {cidr}, but no IPv{cidr.version} address to reach them at"
    for address in addresses:
        if any(address in each for each in reach):
            return address
    message = (
        f"{node.name} ({_words(addresses)}) is not on the same link as this node: no route to its pods in {cidr}, "
        "which are reached only if the network routes pod ranges"
    )
    return "NodeNotOnLink", message


def _is_on_link(route: FoundRoute) -> bool:
    """Whether the route says that its whole destination is on one link. A default route does not count.

    A route with several gateways has no interface, so it does not count either.
    """
    anothers = route.protocol != PROTOCOL and route.table == MAIN_TABLE
    return anothers and route.via is None and route.dst.prefixlen > 0 and route.interface not in ("", BRIDGE)


def _is_anothers(route: FoundRoute) -> bool:
    """Whether another program's route is in the way of ours to the same destination."""
    return route.protocol != PROTOCOL and route.table == MAIN_TABLE and route.priority == PRIORITY[route.dst.version]


def _former(own: Node, found: Found) -> tuple[list[IPNetwork], tuple[InterfaceAddress, ...]]:
    """What is left of this node's former podCIDRs: those that still have pods, and gateways that can be removed.

    Both stay in the configuration until a later look finds nothing left, so an agent that is killed forgets nothing.
    """
    former = [each for each in subnets(found.configuration) if each not in own.pod_cidrs]
    kept = [each for each in former if any(pod in each for pod in found.pods)]
    bridge = {address for link in found.links if link.name == BRIDGE for address in link.addresses}
    gone = [gateway(each) for each in former if each not in kept]
    return kept, tuple(each for each in gone if each in bridge)


def _cluster_cidrs(nodes: Mapping[str, Node]) -> list[IPNetwork]:
    """The pod ranges of all nodes, merged into as few networks as possible."""
    return cidr_merge([cidr for node in nodes.values() for cidr in node.pod_cidrs])


def _mtu(own: Node, found: Found) -> int:
    """The uplink's MTU in bytes. The uplink is the link that has the node's address.

    If no link has it, because the node's address is changing, keep the configuration's MTU. 0 is the kernel's default.
    """
    uplinks = [link for link in found.links if any(address.ip in own.addresses for address in link.addresses)]
    if uplinks:
        return min(link.mtu for link in uplinks)
    try:
        return int(found.configuration["plugins"][0]["mtu"])  # type: ignore[index]
    except (KeyError, IndexError, TypeError, ValueError):
        return 0


def _words(things: Iterable[object]) -> str:
    return ", ".join(map(str, things))
