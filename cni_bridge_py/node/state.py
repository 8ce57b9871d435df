"""What the kernel says of a node, each thing read once.

Links are read with the plugin's own rtnetlink: for 250 pods it takes 0.05 s, pyroute2 0.3 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import ENODEV
from functools import cached_property
from pathlib import Path
from struct import unpack_from

from netaddr import IPNetwork

from cni_bridge_py.addresses import InterfaceAddress
from cni_bridge_py.kernel import rtnetlink, sysctl
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import Message, NetlinkError, attribute, attributes
from cni_bridge_py.kernel.rtnetlink import IFINFOMSG, KernelRoute, Link

RT_TABLE_LOCAL = 255
LINK_SCOPE = IPNetwork("fe80::/10")

IFLA_TARGET_NETNSID = 46
"""linux/if_link.h: ask for a link of another network namespace, by its id (Linux 5.0)."""


@dataclass(frozen=True)
class Traffic:
    """What went through a link since it was made: bytes and packets, as the link's owner sees it."""

    received_bytes: int
    received_packets: int
    sent_bytes: int
    sent_packets: int

    @property
    def of_peer(self) -> Traffic:
        """The same from a veth's other end."""
        return Traffic(self.sent_bytes, self.sent_packets, self.received_bytes, self.received_packets)


class State:
    """A look at the network namespace that this process is in."""

    def __init__(self, kernel: Kernel | None = None) -> None:
        self.kernel = kernel or Kernel()

    @cached_property
    def links(self) -> dict[str, Link]:
        """The links by name."""
        return {link.name: link for link in self.kernel.host.links()}

    @cached_property
    def names(self) -> dict[int, str]:
        """The links' names by index."""
        return {link.index: name for name, link in self.links.items()}

    def ports(self, bridge: str) -> list[Link]:
        """The ports of a bridge; none where there is no such bridge."""
        index = self.links[bridge].index if bridge in self.links else -1
        return [link for link in self.links.values() if link.master == index]

    def addresses(self, name: str) -> list[InterfaceAddress]:
        """The addresses of a link, without link-local ones; none where there is no such link."""
        link = self.links.get(name)
        return self._addresses(link.index, b"") if link else []

    def peer(self, veth: Link) -> Link | None:
        """The other end of a veth that is in another namespace; None where it cannot be seen."""
        if not veth.peer_netns:
            return None
        header = IFINFOMSG.pack(rtnetlink.AF_UNSPEC, 0, veth.peer, 0, 0)
        message = Message(rtnetlink.RTM_GETLINK, 0, header + attribute(IFLA_TARGET_NETNSID, veth.peer_netns))
        try:
            return Link(self.kernel.host.get(message))
        except NetlinkError:
            return None  # it went meanwhile, or the kernel is older

    def peer_addresses(self, veth: Link) -> list[InterfaceAddress]:
        """The addresses of a veth's other end, in its own namespace, without link-local ones."""
        return self._addresses(veth.peer, veth.peer_netns) if veth.peer_netns else []

    def _addresses(self, index: int, netns: bytes) -> list[InterfaceAddress]:
        try:
            found = [*self.kernel.host.addresses(index, 4, netns), *self.kernel.host.addresses(index, 6, netns)]
        except NetlinkError as error:
            if error.errno == ENODEV or netns:
                return []  # it went meanwhile
            raise
        return [each for each in found if not each.ip.is_link_local()]

    @cached_property
    def routes(self) -> list[KernelRoute]:
        """The unicast routes of both IP versions, in every table but the local one."""
        both = [*self.kernel.host.routes(4), *self.kernel.host.routes(6)]
        return [route for route in both if route.table != RT_TABLE_LOCAL and route.dst.ip not in LINK_SCOPE]

    @cached_property
    def traffic(self) -> dict[str, Traffic]:
        """What went through each link (proc_pid_net(5), `dev`)."""
        lines = Path("/proc/self/net/dev").read_text().splitlines()[2:]
        found = {}
        for line in lines:
            name, _, counters = line.rpartition(":")
            told = [int(each) for each in counters.split()]
            found[name.strip()] = Traffic(told[0], told[1], told[8], told[9])
        return found

    @cached_property
    def vlans(self) -> dict[int, list[int]]:
        """The VLAN ids of each bridge port, by its index."""
        found: dict[int, list[int]] = {}
        for payload in self.kernel.host.dump(rtnetlink.get_vlans()):
            told = dict(attributes(payload[IFINFOMSG.size :]))
            for kind, info in attributes(told.get(rtnetlink.IFLA_AF_SPEC, b"")):
                if kind == rtnetlink.IFLA_BRIDGE_VLAN_INFO:
                    found.setdefault(IFINFOMSG.unpack_from(payload)[2], []).append(unpack_from("=HH", info)[1])
        return found

    def uplinks(self, version: int) -> list[str]:
        """The links that default routes of the main table lead to, the preferred one first."""
        defaults = [each for each in self.routes if _is_default(each, version)]
        return [self.names.get(each.oif, "") for each in sorted(defaults, key=lambda each: each.priority)]

    def next_hops(self, version: int) -> list[str]:
        """The gateways of the default routes, the preferred one first."""
        defaults = [each for each in self.routes if _is_default(each, version)]
        return [str(gw) for each in sorted(defaults, key=lambda each: each.priority) for gw in each.gws]


def _is_default(route: KernelRoute, version: int) -> bool:
    return route.dst.version == version and route.dst.prefixlen == 0 and route.table == rtnetlink.RT_TABLE_MAIN


def sysctl_value(name: str) -> str:
    """A sysctl's value; empty where the kernel has none of that name."""
    try:
        return sysctl.read(name)
    except OSError:
        return ""
