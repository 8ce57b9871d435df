"""Finds a node's addresses and routes that are in the way of a pod subnet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from netaddr import IPNetwork
from pyroute2 import IPRoute

from cni_bridge_py.addresses import overlap

RT_TABLE_MAIN = 254
RTN_UNICAST = 1
RTPROT_KERNEL = 2
"""linux/rtnetlink.h."""


def in_the_way(subnets: Iterable[IPNetwork], bridge: str) -> list[str]:
    """A line for each address and route of the node that overlaps one of the subnets, except the bridge's own."""
    with IPRoute() as kernel:
        links = {link["index"]: link.get("ifname") for link in kernel.get_links()}
        taken = [*_addresses(kernel, links), *_routes(kernel, links)]
    lines = (
        f"{subnet} overlaps {what}"
        for subnet in subnets
        for link, network, what in taken
        if link != bridge and not link.startswith(f"{bridge}.") and overlap(subnet, network)
    )
    return list(dict.fromkeys(lines))


def addresses_of(link: str) -> list[IPNetwork]:
    """The addresses of a link with their prefix lengths, without link-local ones; none if there is no such link."""
    with IPRoute() as kernel:
        links = {each["index"]: each.get("ifname") for each in kernel.get_links()}
        found = [
            IPNetwork(f"{each.get('address')}/{each['prefixlen']}")
            for each in kernel.get_addr()
            if links.get(each["index"]) == link
        ]
    return [each for each in found if not each.ip.is_link_local()]


def uplink_mtu() -> tuple[str, int] | None:
    """The link with the default route, and its MTU in bytes: of several, the lowest MTU; None without such a link."""
    with IPRoute() as kernel:
        links = {link["index"]: link for link in kernel.get_links()}
        uplinks = [links[oif] for route in kernel.get_routes() if _is_default(route) for oif in _links_of(route)]
    found = [(link.get("mtu"), link.get("ifname")) for link in uplinks]
    if not found:
        return None
    mtu, name = min(found)
    return name, mtu


def _addresses(kernel: IPRoute, links: dict[int, str]) -> Iterator[tuple[str, IPNetwork, str]]:
    for each in kernel.get_addr():
        name = links.get(each["index"], "")
        network = IPNetwork(f"{each.get('local') or each.get('address')}/{each['prefixlen']}")
        if not network.ip.is_link_local():
            yield name, network, f"the address {network} of {name}"


def _routes(kernel: IPRoute, links: dict[int, str]) -> Iterator[tuple[str, IPNetwork, str]]:
    for each in kernel.get_routes(table=RT_TABLE_MAIN):
        destination = each.get("dst")
        if each["type"] != RTN_UNICAST or each["proto"] == RTPROT_KERNEL or not destination:
            continue  # the kernel made it for an address, which we have looked at
        network = IPNetwork(f"{destination}/{each['dst_len']}")
        for oif in _links_of(each):
            name = links.get(oif, "")
            if not network.ip.is_link_local():
                yield name, network, f"the route {network} by {name}"


def _is_default(route: Any) -> bool:
    return bool(route["dst_len"] == 0 and route["type"] == RTN_UNICAST and route.get("table") == RT_TABLE_MAIN)


def _links_of(route: Any) -> list[int]:
    hops = route.get("multipath")
    return [hop["oif"] for hop in hops] if hops else [oif for oif in [route.get("oif")] if oif]
