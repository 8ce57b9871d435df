"""rtnetlink: the few messages that wiring a pod needs (rtnetlink(7), linux/if_link.h, linux/rtnetlink.h).

The functions only make messages. `Rtnetlink` sends them in one network namespace, and reads the kernel's answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import ENODEV
from socket import AF_INET, AF_INET6
from struct import Struct, pack, unpack_from

from netaddr import IPAddress, IPNetwork

from cni_bridge_py.addresses import InterfaceAddress, IPVersion
from cni_bridge_py.kernel.netlink import (
    NETLINK_GET_STRICT_CHK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    SOL_NETLINK,
    Message,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attributes,
    nested,
    text,
    u8,
    u32,
)

NETLINK_ROUTE = 0

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_GETROUTE = 26
RTM_NEWLINKPROP = 108

AF_UNSPEC = 0
AF_BRIDGE = 7

IFINFOMSG = Struct("=BxHiII")
"""struct ifinfomsg: family, device type, index, flags, which flags to change."""
IFF_UP = 0x1
IFF_PROMISC = 0x100

IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_LINK = 5
IFLA_MASTER = 10
IFLA_PROTINFO = 12
IFLA_LINKINFO = 18
IFLA_NET_NS_FD = 28
IFLA_IFALIAS = 20
IFLA_AF_SPEC = 26
IFLA_EXT_MASK = 29
IFLA_LINK_NETNSID = 37
IFLA_PROP_LIST = 52
IFLA_ALT_IFNAME = 53
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_INFO_SLAVE_KIND = 4
IFLA_INFO_SLAVE_DATA = 5
IFLA_BR_VLAN_FILTERING = 7
IFLA_BR_BRIDGE_ID = 11
IFLA_BR_NF_CALL_IPTABLES = 36
IFLA_BR_NF_CALL_IP6TABLES = 37
IFLA_BR_VLAN_DEFAULT_PVID = 39
IFLA_INET6_CONF = 2
DEVCONF_ACCEPT_RA = 3
IFLA_BRPORT_MODE = 4
IFLA_BRPORT_ISOLATED = 33
IFLA_BRIDGE_VLAN_INFO = 2
BRIDGE_VLAN_INFO_PVID = 0x2
BRIDGE_VLAN_INFO_UNTAGGED = 0x4
BRIDGE_VLAN_INFO_RANGE_BEGIN = 0x8
BRIDGE_VLAN_INFO_RANGE_END = 0x10
VETH_INFO_PEER = 1
RTEXT_FILTER_BRVLAN_COMPRESSED = 4
RTEXT_FILTER_SKIP_STATS = 8

IFADDRMSG = Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, index."""
IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_FLAGS = 8
IFA_TARGET_NETNSID = 10
IFA_F_NODAD = 0x02
IFA_F_DADFAILED = 0x08
IFA_F_TENTATIVE = 0x40

RTMSG = Struct("=BBBBBBBBI")
"""struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type, flags."""
RTNEXTHOP = Struct("=HBBi")
"""struct rtnexthop: length, flags, hops, index."""
RT_TABLE_MAIN = 254
RTPROT_BOOT = 3
RTPROT_RA = 9
RT_SCOPE_UNIVERSE = 0
RTN_UNICAST = 1
RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RTA_METRICS = 8
RTA_MULTIPATH = 9
RTA_TABLE = 15
RTAX_MTU = 2
RTAX_ADVMSS = 8

FAMILY = {4: AF_INET, 6: AF_INET6}


class Link:
    """A link as RTM_GETLINK reports it. That is more than any caller needs, so an attribute is decoded on request."""

    def __init__(self, payload: bytes) -> None:
        _, _, self.index, self.flags, _ = IFINFOMSG.unpack_from(payload)
        self._told = dict(attributes(payload[IFINFOMSG.size :]))
        self.name = _text(self._told.get(IFLA_IFNAME, b""))

    @property
    def is_up(self) -> bool:
        """Whether the link was set up (IFF_UP), not whether it has a carrier."""
        return bool(self.flags & IFF_UP)

    @property
    def kind(self) -> str:
        """Such as `veth` or `bridge`; empty for a physical interface."""
        return _text(self._info(IFLA_INFO_KIND))

    @property
    def mac(self) -> str:
        """The MAC address, with colons."""
        return self._told.get(IFLA_ADDRESS, b"").hex(":")

    @property
    def mtu(self) -> int:
        """Bytes."""
        return _u32(self._told.get(IFLA_MTU))

    @property
    def master(self) -> int:
        """The index of the bridge of which it is a port; 0 if it is not a port."""
        return _u32(self._told.get(IFLA_MASTER))

    @property
    def peer(self) -> int:
        """The index of a veth's other end, in that end's own namespace."""
        return _u32(self._told.get(IFLA_LINK))

    @property
    def peer_netns(self) -> bytes:
        """The id of the namespace that a veth's other end is in (a number, as the kernel writes it)."""
        return self._told.get(IFLA_LINK_NETNSID, b"")

    @property
    def alias(self) -> str:
        """The alias (IFLA_IFALIAS)."""
        return _text(self._told.get(IFLA_IFALIAS, b""))

    @property
    def altnames(self) -> list[str]:
        """The alternative names."""
        found = attributes(self._told.get(IFLA_PROP_LIST, b""))
        return [_text(name) for kind, name in found if kind == IFLA_ALT_IFNAME]

    @property
    def accept_ra(self) -> int:
        """The kernel parameter net.ipv6.conf.NAME.accept_ra; 0 if IPv6 is off."""
        ipv6 = dict(attributes(dict(attributes(self._told.get(IFLA_AF_SPEC, b""))).get(AF_INET6, b"")))
        values = ipv6.get(IFLA_INET6_CONF, b"")
        return int(unpack_from("=i", values, 4 * DEVCONF_ACCEPT_RA)[0]) if values else 0

    @property
    def hairpin(self) -> bool:
        """Of a bridge port: whether it is in hairpin mode."""
        return self._port.get(IFLA_BRPORT_MODE) == b"\1"

    @property
    def isolated(self) -> bool:
        """Of a bridge port: whether it is isolated."""
        return self._port.get(IFLA_BRPORT_ISOLATED) == b"\1"

    @property
    def vlan_filtering(self) -> bool:
        """Of a bridge: whether it filters VLANs."""
        return self._bridge.get(IFLA_BR_VLAN_FILTERING) == b"\1"

    @property
    def default_vlan(self) -> int:
        """Of a bridge: the VLAN of new ports; 0 for none."""
        told = self._bridge.get(IFLA_BR_VLAN_DEFAULT_PVID)
        return int(unpack_from("=H", told)[0]) if told else 0

    @property
    def takes_first_ports_mac(self) -> bool:
        """Of a bridge: whether it has no port, and will take the first port's MAC because nobody has set one.

        Its id (struct ifla_bridge_id) has the MAC that was set, else a port's MAC, else zeros.
        """
        return self._bridge.get(IFLA_BR_BRIDGE_ID, b"")[2:] == bytes(6)

    @property
    def can_filter_vlans(self) -> bool:
        """Of a bridge: whether the kernel has CONFIG_BRIDGE_VLAN_FILTERING."""
        return IFLA_BR_VLAN_FILTERING in self._bridge

    @property
    def netfilter(self) -> bool:
        """Of a bridge: whether its packets pass the packet filter, for both IPv4 and IPv6."""
        bridge = self._bridge
        return bridge.get(IFLA_BR_NF_CALL_IPTABLES) == bridge.get(IFLA_BR_NF_CALL_IP6TABLES) == b"\1"

    @property
    def _bridge(self) -> dict[int, bytes]:
        return dict(attributes(self._info(IFLA_INFO_DATA)))

    @property
    def _port(self) -> dict[int, bytes]:
        return dict(attributes(self._info(IFLA_INFO_SLAVE_DATA)))

    def _info(self, kind: int) -> bytes:
        return dict(attributes(self._told.get(IFLA_LINKINFO, b""))).get(kind, b"")


@dataclass(frozen=True)
class KernelRoute:
    """A route as RTM_GETROUTE reports it. A `dst` of length 0 is a default route; `gws` has each next hop's gateway."""

    dst: IPNetwork
    gws: list[IPAddress]
    oif: int
    table: int
    scope: int
    priority: int
    mtu: int
    advmss: int
    protocol: int


def mac_bytes(mac: str) -> bytes:
    """A MAC address written with colons, as bytes."""
    return bytes.fromhex(mac.replace(":", ""))


# Links


def get_link(name: str) -> Message:
    """Ask for one link by its name."""
    return Message(
        RTM_GETLINK,
        0,
        IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + text(IFLA_IFNAME, name) + u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS),
    )


def get_link_by_index(index: int) -> Message:
    """Ask for one link by its index."""
    header = IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, 0)
    return Message(RTM_GETLINK, 0, header + u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS))


def get_links() -> Message:
    """Ask for all links."""
    header = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0)
    return Message(RTM_GETLINK, NLM_F_DUMP, header + u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS))


def new_bridge(name: str, mac: str, mtu: int, vlan_filtering: bool) -> Message:
    """ip link add NAME up address MAC [mtu MTU] type bridge [vlan_filtering 1]; the MAC is pinned."""
    data = nested(IFLA_INFO_DATA, u8(IFLA_BR_VLAN_FILTERING, 1)) if vlan_filtering else b""
    return Message(
        RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        IFINFOMSG.pack(AF_UNSPEC, 0, 0, IFF_UP, IFF_UP)
        + text(IFLA_IFNAME, name)
        + attribute(IFLA_ADDRESS, mac_bytes(mac))
        + (u32(IFLA_MTU, mtu) if mtu else b"")
        + nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"), data),
    )


def new_veth(name: str, mac: str, peer: str, peer_mac: str, peer_netns: int | None, mtu: int) -> Message:
    """ip link add NAME [address MAC] [mtu MTU] type veth peer name PEER [address PEER_MAC] [mtu MTU] [netns FD]"""
    netns = u32(IFLA_NET_NS_FD, peer_netns) if peer_netns is not None else b""
    peer_info = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + _veth_end(peer, peer_mac, mtu) + netns
    data = nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer_info))
    return Message(
        RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0)
        + _veth_end(name, mac, mtu)
        + nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth"), data),
    )


def _veth_end(name: str, mac: str, mtu: int) -> bytes:
    address_part = address(mac) if mac else b""
    return text(IFLA_IFNAME, name) + address_part + (u32(IFLA_MTU, mtu) if mtu else b"")


def set_link(name: str, *changes: bytes, flags: int = 0) -> Message:
    """ip link set NAME ...: turn `flags` on and make the `changes`, attributes from the functions below."""
    header = IFINFOMSG.pack(AF_UNSPEC, 0, 0, flags, flags)
    return Message(RTM_SETLINK, 0, header + text(IFLA_IFNAME, name) + b"".join(changes))


def set_down(name: str) -> Message:
    """ip link set NAME down"""
    return Message(RTM_SETLINK, 0, IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, IFF_UP) + text(IFLA_IFNAME, name))


def master(index: int) -> bytes:
    """ip link set ... master"""
    return u32(IFLA_MASTER, index)


def alias(value: str) -> bytes:
    """ip link set ... alias"""
    return attribute(IFLA_IFALIAS, value.encode())


def address(mac: str) -> bytes:
    """ip link set ... address"""
    return attribute(IFLA_ADDRESS, mac_bytes(mac))


def mtu(value: int) -> bytes:
    """ip link set ... mtu"""
    return u32(IFLA_MTU, value)


def set_port_up(name: str, *, hairpin: bool, isolated: bool) -> Message:
    """ip link set NAME up [type bridge_slave [hairpin on] [isolated on]]"""
    header = IFINFOMSG.pack(AF_UNSPEC, 0, 0, IFF_UP, IFF_UP)
    modes = (u8(IFLA_BRPORT_MODE, 1) if hairpin else b"") + (u8(IFLA_BRPORT_ISOLATED, 1) if isolated else b"")
    if not modes:
        return set_link(name, flags=IFF_UP)
    info = nested(IFLA_LINKINFO, text(IFLA_INFO_SLAVE_KIND, "bridge"), nested(IFLA_INFO_SLAVE_DATA, modes))
    return Message(RTM_NEWLINK, 0, header + text(IFLA_IFNAME, name) + info)


def set_vlan_filtering(name: str) -> Message:
    """ip link set NAME type bridge vlan_filtering 1"""
    return _set_bridge(name, u8(IFLA_BR_VLAN_FILTERING, 1))


def set_netfilter(name: str) -> Message:
    """ip link set NAME type bridge nf_call_iptables 1 nf_call_ip6tables 1"""
    return _set_bridge(name, u8(IFLA_BR_NF_CALL_IPTABLES, 1), u8(IFLA_BR_NF_CALL_IP6TABLES, 1))


def _set_bridge(name: str, *changes: bytes) -> Message:
    info = nested(IFLA_INFO_DATA, *changes)
    header = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0)
    link_info = nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"), info)
    return Message(RTM_NEWLINK, 0, header + text(IFLA_IFNAME, name) + link_info)


def add_vlans(index: int, native: int, tagged: list[int]) -> Message:
    """bridge vlan add vid NATIVE dev ... pvid untagged, and one for each VLAN of `tagged`, which are in order."""
    infos = [_vlan_info(native, BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED)]
    for first, last in _runs(tagged):
        if first == last:
            infos.append(_vlan_info(first, 0))
        else:
            infos.append(_vlan_info(first, BRIDGE_VLAN_INFO_RANGE_BEGIN))
            infos.append(_vlan_info(last, BRIDGE_VLAN_INFO_RANGE_END))
    return Message(RTM_SETLINK, 0, _vlans(index, *infos))


def del_vlan(index: int, vlan: int) -> Message:
    """bridge vlan del vid VLAN dev ..."""
    return Message(RTM_DELLINK, 0, _vlans(index, _vlan_info(vlan, 0)))


def _vlans(index: int, *infos: bytes) -> bytes:
    return IFINFOMSG.pack(AF_BRIDGE, 0, index, 0, 0) + nested(IFLA_AF_SPEC, *infos)


def _vlan_info(vlan: int, flags: int) -> bytes:
    """struct bridge_vlan_info."""
    return attribute(IFLA_BRIDGE_VLAN_INFO, pack("=HH", flags, vlan))


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """The first and the last of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def add_altnames(name: str, altnames: list[str]) -> Message:
    """ip link property add dev NAME altname ALTNAME altname ..."""
    header = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0)
    properties = nested(IFLA_PROP_LIST, *(text(IFLA_ALT_IFNAME, each) for each in altnames))
    flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND
    return Message(RTM_NEWLINKPROP, flags, header + text(IFLA_IFNAME, name) + properties)


def get_vlans() -> Message:
    """bridge vlan show"""
    return Message(
        RTM_GETLINK,
        NLM_F_DUMP,
        IFINFOMSG.pack(AF_BRIDGE, 0, 0, 0, 0) + u32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED),
    )


def del_link(name: str) -> Message:
    """ip link del NAME"""
    return Message(RTM_DELLINK, 0, IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + text(IFLA_IFNAME, name))


# Addresses


def new_address(index: int, address: InterfaceAddress, dad: bool = False) -> Message:
    """ip address add ADDRESS dev INDEX [nodad]; the broadcast address is set for IPv4, as `broadcast +` does."""
    ip = address.ip.packed
    flags = IFA_F_NODAD if address.version == 6 and not dad else 0
    payload = IFADDRMSG.pack(FAMILY[address.version], address.prefixlen, 0, RT_SCOPE_UNIVERSE, index)
    payload += attribute(IFA_LOCAL, ip) + attribute(IFA_ADDRESS, ip) + u32(IFA_FLAGS, flags)
    if address.version == 4 and address.broadcast:
        payload += attribute(IFA_BROADCAST, address.broadcast.packed)
    return Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, payload)


def del_address(index: int, address: InterfaceAddress) -> Message:
    """ip address del ADDRESS dev INDEX"""
    payload = IFADDRMSG.pack(FAMILY[address.version], address.prefixlen, 0, 0, index)
    return Message(RTM_DELADDR, 0, payload + attribute(IFA_LOCAL, address.ip.packed))


def get_addresses(index: int, version: int, netns: bytes = b"") -> Message:
    """ip -VERSION address show dev INDEX; of a link in another namespace, whose id is `netns`."""
    target = attribute(IFA_TARGET_NETNSID, netns) if netns else b""
    return Message(RTM_GETADDR, NLM_F_DUMP, IFADDRMSG.pack(FAMILY[version], 0, 0, 0, index) + target)


# Routes


def new_route(
    dst: IPNetwork,
    gw: IPAddress | None,
    oif: int,
    *,
    mtu: int = 0,
    advmss: int = 0,
    priority: int = 0,
    table: int | None = None,
    scope: int | None = None,
) -> Message:
    """ip route add DST [via GW] dev OIF [metric PRIORITY] [table TABLE] [scope SCOPE] [mtu MTU] [advmss ADVMSS]"""
    metrics = (u32(RTAX_MTU, mtu) if mtu else b"") + (u32(RTAX_ADVMSS, advmss) if advmss else b"")
    payload = RTMSG.pack(
        FAMILY[dst.version],
        dst.prefixlen,
        0,
        0,
        RT_TABLE_MAIN if table is None else table if table < 256 else 0,
        RTPROT_BOOT,
        scope or RT_SCOPE_UNIVERSE,
        RTN_UNICAST,
        0,
    )
    payload += attribute(RTA_DST, dst.network.packed) if dst.prefixlen else b""
    payload += attribute(RTA_GATEWAY, gw.packed) if gw else b""
    payload += u32(RTA_OIF, oif)
    payload += u32(RTA_PRIORITY, priority) if priority else b""
    payload += u32(RTA_TABLE, table) if table is not None else b""
    payload += nested(RTA_METRICS, metrics) if metrics else b""
    return Message(RTM_NEWROUTE, NLM_F_CREATE, payload)


def get_routes(version: int) -> Message:
    """ip -VERSION route show table all"""
    return Message(RTM_GETROUTE, NLM_F_DUMP, RTMSG.pack(FAMILY[version], 0, 0, 0, 0, 0, 0, 0, 0))


def parse_route(payload: bytes, version: IPVersion) -> KernelRoute:
    """Read one of the answers to `get_routes`."""
    _, length, _, _, table, protocol, scope, _, _ = RTMSG.unpack_from(payload)
    told = dict(attributes(payload[RTMSG.size :]))
    metrics = dict(attributes(told.get(RTA_METRICS, b"")))
    hops = [told, *_next_hops(told.get(RTA_MULTIPATH, b""))]
    return KernelRoute(
        dst=IPNetwork((int.from_bytes(told.get(RTA_DST, b""), "big"), length), version),
        gws=[IPAddress(int.from_bytes(hop[RTA_GATEWAY], "big"), version) for hop in hops if RTA_GATEWAY in hop],
        oif=_u32(told.get(RTA_OIF)),
        table=_u32(told.get(RTA_TABLE)) or table,
        scope=scope,
        priority=_u32(told.get(RTA_PRIORITY)),
        mtu=_u32(metrics.get(RTAX_MTU)),
        advmss=_u32(metrics.get(RTAX_ADVMSS)),
        protocol=protocol,
    )


def _next_hops(data: bytes) -> Iterator[dict[int, bytes]]:
    """The attributes of each struct rtnexthop."""
    while len(data) >= RTNEXTHOP.size:
        length = RTNEXTHOP.unpack_from(data)[0]
        yield dict(attributes(data[RTNEXTHOP.size : length]))
        data = data[max(length, RTNEXTHOP.size) :]


def _u32(data: bytes | None) -> int:
    return int(unpack_from("=I", data)[0]) if data else 0


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


class Rtnetlink(NetlinkSocket):
    """An rtnetlink socket: the links, addresses and routes of one network namespace."""

    def __init__(self) -> None:
        super().__init__(NETLINK_ROUTE)
        with suppress(OSError):  # kernels before 4.20 do not filter dumps, so every reader filters again
            self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)

    def link(self, name: str) -> Link | None:
        """The link of that name, or None."""
        return self._link(get_link(name))

    def link_by_index(self, index: int) -> Link | None:
        """The link of that index, or None."""
        return self._link(get_link_by_index(index))

    def links(self) -> list[Link]:
        """All links."""
        return [Link(payload) for payload in self.dump(get_links())]

    def vlans(self, index: int) -> dict[int, int]:
        """The VLAN ids of a bridge port and their flags, BRIDGE_VLAN_INFO_PVID and BRIDGE_VLAN_INFO_UNTAGGED."""
        found = {}
        for payload in self.dump(get_vlans()):
            if IFINFOMSG.unpack_from(payload)[2] == index:
                spec = dict(attributes(payload[IFINFOMSG.size :])).get(IFLA_AF_SPEC, b"")
                first = 0
                for _, info in (each for each in attributes(spec) if each[0] == IFLA_BRIDGE_VLAN_INFO):
                    flags, vlan = unpack_from("=HH", info)
                    first = first if flags & BRIDGE_VLAN_INFO_RANGE_END else vlan
                    kept = flags & (BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED)
                    found.update(dict.fromkeys(range(first, vlan + 1), kept))
        return found

    def _link(self, message: Message) -> Link | None:
        try:
            return Link(self.get(message))
        except NetlinkError as error:
            if error.errno == ENODEV:
                return None
            raise

    def addresses(self, index: int, version: IPVersion, netns: bytes = b"") -> dict[InterfaceAddress, int]:
        """The addresses of a link and their flags (IFA_F_*). For a link in another namespace, give that namespace's id.

        Kernels before 4.20 do not look into other namespaces; then there are none.
        """
        found = {}
        for payload in self.dump(get_addresses(index, version, netns)):
            family, length, old_flags, _, owner = IFADDRMSG.unpack_from(payload)
            told = dict(attributes(payload[IFADDRMSG.size :]))
            ip = told.get(IFA_LOCAL) or told.get(IFA_ADDRESS, b"")
            # Asked for IPv6 addresses, a kernel without IPv6 returns the IPv4 addresses.
            if owner == index and family == FAMILY[version] and told.get(IFA_TARGET_NETNSID, b"") == netns:
                address = InterfaceAddress((int.from_bytes(ip, "big"), length), version)
                found[address] = _u32(told.get(IFA_FLAGS)) or old_flags
        return found

    def routes(self, version: IPVersion) -> list[KernelRoute]:
        """The routes of every table."""
        return [parse_route(payload, version) for payload in self.dump(get_routes(version))]

    def has_advertised_route(self, index: int) -> bool:
        """Whether a route over a link came from a router advertisement."""
        return any(route.oif == index and route.protocol == RTPROT_RA for route in self.routes(6))
