"""Every netlink message that we send, decoded by pyroute2; and what we read, encoded by pyroute2."""

from __future__ import annotations

import inspect
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from netaddr import IPNetwork
from pyroute2.netlink import nlmsg, nlmsgerr
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from cni_bridge_py.addresses import InterfaceAddress, IPVersion, parse_address, parse_ip
from cni_bridge_py.kernel import netlink, rtnetlink
from cni_bridge_py.kernel.netlink import Message, NetlinkError, NetlinkSocket
from cni_bridge_py.kernel.rtnetlink import KernelRoute, Link, Rtnetlink
from tests.unit.decoding import ACK, APPEND, CREATE, CREATE_NEW, DUMP, REQUEST, Answering, answer, decode

MAC = "0a:58:0a:01:00:01"
MAC_2 = "0a:58:0a:01:00:02"

# rtnetlink


NEWLINK, DELLINK, GETLINK, SETLINK, NEWLINKPROP = 16, 17, 18, 19, 108
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, GETROUTE = 24, 26

NEW_ROUTE = REQUEST | CREATE
UP = {"flags": 1, "change": 1}

BRVLAN_COMPRESSED, SKIP_STATS = 4, 8
"""RTEXT_FILTER_*"""

MASTER, PVID, UNTAGGED = 1, 2, 4
"""BRIDGE_VLAN_INFO_*"""


def route(dst: str, gw: str, **options: int) -> Message:
    return rtnetlink.new_route(parse_address(dst).cidr, parse_ip(gw) if gw else None, 4, **options)


LINK_MESSAGES: list[tuple[Message, tuple[int, int, dict[str, Any]]]] = [
    (rtnetlink.get_link("veth1"), (GETLINK, REQUEST, {"IFLA_IFNAME": "veth1", "IFLA_EXT_MASK": SKIP_STATS})),
    (rtnetlink.get_link_by_index(5), (GETLINK, REQUEST, {"index": 5, "IFLA_EXT_MASK": SKIP_STATS})),
    (rtnetlink.get_links(), (GETLINK, REQUEST | DUMP, {"IFLA_EXT_MASK": SKIP_STATS})),
    (
        rtnetlink.get_vlans(),
        (GETLINK, REQUEST | DUMP, {"family": socket.AF_BRIDGE, "IFLA_EXT_MASK": BRVLAN_COMPRESSED}),
    ),
    (
        rtnetlink.new_bridge("cni0", MAC, 1400, True),
        (
            NEWLINK,
            CREATE_NEW,
            UP
            | {
                "IFLA_IFNAME": "cni0",
                "IFLA_ADDRESS": MAC,
                "IFLA_MTU": 1400,
                "IFLA_LINKINFO": {"IFLA_INFO_KIND": "bridge", "IFLA_INFO_DATA": {"IFLA_BR_VLAN_FILTERING": 1}},
            },
        ),
    ),
    (
        rtnetlink.new_bridge("a" * 15, MAC, 0, False),
        (
            NEWLINK,
            CREATE_NEW,
            UP | {"IFLA_IFNAME": "a" * 15, "IFLA_ADDRESS": MAC, "IFLA_LINKINFO": {"IFLA_INFO_KIND": "bridge"}},
        ),
    ),
    (
        rtnetlink.new_veth("veth1", MAC, "eth0", MAC_2, 9, 1400),
        (
            NEWLINK,
            CREATE_NEW,
            {
                "IFLA_IFNAME": "veth1",
                "IFLA_ADDRESS": MAC,
                "IFLA_MTU": 1400,
                "IFLA_LINKINFO": {
                    "IFLA_INFO_KIND": "veth",
                    "IFLA_INFO_DATA": {
                        "VETH_INFO_PEER": {
                            "IFLA_IFNAME": "eth0",
                            "IFLA_ADDRESS": MAC_2,
                            "IFLA_NET_NS_FD": 9,
                            "IFLA_MTU": 1400,
                        }
                    },
                },
            },
        ),
    ),
    (
        rtnetlink.new_veth("veth1", MAC, "eth0", MAC_2, 9, 0),
        (
            NEWLINK,
            CREATE_NEW,
            {
                "IFLA_IFNAME": "veth1",
                "IFLA_ADDRESS": MAC,
                "IFLA_LINKINFO": {
                    "IFLA_INFO_KIND": "veth",
                    "IFLA_INFO_DATA": {
                        "VETH_INFO_PEER": {"IFLA_IFNAME": "eth0", "IFLA_ADDRESS": MAC_2, "IFLA_NET_NS_FD": 9}
                    },
                },
            },
        ),
    ),
    (
        rtnetlink.new_veth("cni0.100", "", "veth1", "", None, 0),
        (
            NEWLINK,
            CREATE_NEW,
            {
                "IFLA_IFNAME": "cni0.100",
                "IFLA_LINKINFO": {
                    "IFLA_INFO_KIND": "veth",
                    "IFLA_INFO_DATA": {"VETH_INFO_PEER": {"IFLA_IFNAME": "veth1"}},
                },
            },
        ),
    ),
    (rtnetlink.set_link("eth0", flags=rtnetlink.IFF_UP), (SETLINK, REQUEST, UP | {"IFLA_IFNAME": "eth0"})),
    (rtnetlink.set_down("lo"), (SETLINK, REQUEST, {"change": 1, "IFLA_IFNAME": "lo"})),
    (
        rtnetlink.set_link("cni0", flags=rtnetlink.IFF_UP | rtnetlink.IFF_PROMISC),
        (SETLINK, REQUEST, {"flags": 0x101, "change": 0x101, "IFLA_IFNAME": "cni0"}),
    ),
    (
        rtnetlink.set_link("veth1", rtnetlink.master(5), rtnetlink.alias("shop/cart-ü"), flags=rtnetlink.IFF_UP),
        (SETLINK, REQUEST, UP | {"IFLA_IFNAME": "veth1", "IFLA_MASTER": 5, "IFLA_IFALIAS": "shop/cart-ü"}),
    ),
    (
        rtnetlink.set_link("cni0", rtnetlink.address(MAC)),
        (SETLINK, REQUEST, {"IFLA_IFNAME": "cni0", "IFLA_ADDRESS": MAC}),
    ),
    *[
        (
            rtnetlink.set_port_up("veth1", hairpin=hairpin, isolated=isolated),
            (
                NEWLINK,
                REQUEST,
                UP
                | {
                    "IFLA_IFNAME": "veth1",
                    "IFLA_LINKINFO": {"IFLA_INFO_SLAVE_KIND": "bridge", "IFLA_INFO_SLAVE_DATA": modes},
                },
            ),
        )
        for hairpin, isolated, modes in (
            (True, False, {"IFLA_BRPORT_MODE": 1}),
            (False, True, {"IFLA_BRPORT_ISOLATED": 1}),
            (True, True, {"IFLA_BRPORT_MODE": 1, "IFLA_BRPORT_ISOLATED": 1}),
        )
    ],
    (
        rtnetlink.set_port_up("veth1", hairpin=False, isolated=False),
        (SETLINK, REQUEST, UP | {"IFLA_IFNAME": "veth1"}),
    ),
    (
        rtnetlink.set_vlan_filtering("cni0"),
        (
            NEWLINK,
            REQUEST,
            {
                "IFLA_IFNAME": "cni0",
                "IFLA_LINKINFO": {"IFLA_INFO_KIND": "bridge", "IFLA_INFO_DATA": {"IFLA_BR_VLAN_FILTERING": 1}},
            },
        ),
    ),
    (
        rtnetlink.set_netfilter("cni0"),
        (
            NEWLINK,
            REQUEST,
            {
                "IFLA_IFNAME": "cni0",
                "IFLA_LINKINFO": {
                    "IFLA_INFO_KIND": "bridge",
                    "IFLA_INFO_DATA": {"IFLA_BR_NF_CALL_IPTABLES": 1, "IFLA_BR_NF_CALL_IP6TABLES": 1},
                },
            },
        ),
    ),
    (rtnetlink.del_link("veth1"), (DELLINK, REQUEST, {"IFLA_IFNAME": "veth1"})),
]

ADDRESS_MESSAGES: list[tuple[Message, tuple[int, int, dict[str, Any]]]] = [
    (
        rtnetlink.new_address(4, parse_address("10.1.2.3/20")),
        (
            NEWADDR,
            CREATE_NEW,
            {
                "family": socket.AF_INET,
                "prefixlen": 20,
                "index": 4,
                "IFA_LOCAL": "10.1.2.3",
                "IFA_ADDRESS": "10.1.2.3",
                "IFA_BROADCAST": "10.1.15.255",
                "IFA_FLAGS": 0,
            },
        ),
    ),
    *[
        (
            rtnetlink.new_address(4, parse_address(f"10.1.2.3/{length}")),
            (
                NEWADDR,
                CREATE_NEW,
                {
                    "family": socket.AF_INET,
                    "prefixlen": length,
                    "index": 4,
                    "IFA_LOCAL": "10.1.2.3",
                    "IFA_ADDRESS": "10.1.2.3",
                    "IFA_FLAGS": 0,
                },
            ),
        )
        for length in (31, 32)
    ],
    *[
        (
            rtnetlink.new_address(4, parse_address("fd00::2/64"), **options),
            (
                NEWADDR,
                CREATE_NEW,
                {
                    "family": socket.AF_INET6,
                    "prefixlen": 64,
                    "index": 4,
                    "IFA_LOCAL": "fd00::2",
                    "IFA_ADDRESS": "fd00::2",
                    "IFA_FLAGS": flags,
                },
            ),
        )
        for options, flags in (({}, rtnetlink.IFA_F_NODAD), ({"dad": True}, 0))
    ],
    (
        rtnetlink.del_address(4, parse_address("10.1.2.3/20")),
        (
            DELADDR,
            REQUEST,
            {"family": socket.AF_INET, "prefixlen": 20, "index": 4, "IFA_LOCAL": "10.1.2.3"},
        ),
    ),
    (
        rtnetlink.del_address(4, parse_address("fd00::2/64")),
        (DELADDR, REQUEST, {"family": socket.AF_INET6, "prefixlen": 64, "index": 4, "IFA_LOCAL": "fd00::2"}),
    ),
    (rtnetlink.get_addresses(4, 4), (GETADDR, REQUEST | DUMP, {"family": socket.AF_INET, "index": 4})),
    (rtnetlink.get_addresses(4, 6), (GETADDR, REQUEST | DUMP, {"family": socket.AF_INET6, "index": 4})),
    (
        rtnetlink.get_addresses(4, 4, netns=struct.pack("=i", 7)),
        # The number is text to pyroute2, which drops the zeros.
        (GETADDR, REQUEST | DUMP, {"family": socket.AF_INET, "index": 4, "IFA_TARGET_NETNSID": "\7"}),
    ),
]

# Of the main table, made at boot time (as `ip route` says it), unicast.
ROUTE_4 = {"family": socket.AF_INET, "table": 254, "proto": 3, "type": 1, "RTA_OIF": 4}
ROUTE_6 = ROUTE_4 | {"family": socket.AF_INET6}

ROUTE_MESSAGES: list[tuple[Message, tuple[int, int, dict[str, Any]]]] = [
    (route("0.0.0.0/0", "10.1.0.1"), (NEWROUTE, NEW_ROUTE, ROUTE_4 | {"RTA_GATEWAY": "10.1.0.1"})),
    (route("::/0", "fd00::1"), (NEWROUTE, NEW_ROUTE, ROUTE_6 | {"RTA_GATEWAY": "fd00::1"})),
    (route("10.9.0.0/16", ""), (NEWROUTE, NEW_ROUTE, ROUTE_4 | {"dst_len": 16, "RTA_DST": "10.9.0.0"})),
    (route("10.9.1.2/16", ""), (NEWROUTE, NEW_ROUTE, ROUTE_4 | {"dst_len": 16, "RTA_DST": "10.9.0.0"})),
    (
        route("fd01::/64", "fd00::1"),
        (NEWROUTE, NEW_ROUTE, ROUTE_6 | {"dst_len": 64, "RTA_DST": "fd01::", "RTA_GATEWAY": "fd00::1"}),
    ),
    (
        route("10.9.0.0/16", "10.1.0.1", mtu=1300, advmss=1260, priority=7, table=100, scope=253),
        (
            NEWROUTE,
            NEW_ROUTE,
            ROUTE_4
            | {
                "dst_len": 16,
                "table": 100,
                "scope": 253,
                "RTA_DST": "10.9.0.0",
                "RTA_GATEWAY": "10.1.0.1",
                "RTA_PRIORITY": 7,
                "RTA_TABLE": 100,
                "RTA_METRICS": {"RTAX_MTU": 1300, "RTAX_ADVMSS": 1260},
            },
        ),
    ),
    (
        route("fd01::/64", "", mtu=1300),
        (NEWROUTE, NEW_ROUTE, ROUTE_6 | {"dst_len": 64, "RTA_DST": "fd01::", "RTA_METRICS": {"RTAX_MTU": 1300}}),
    ),
    (
        route("fd01::/64", "", advmss=1260),
        (NEWROUTE, NEW_ROUTE, ROUTE_6 | {"dst_len": 64, "RTA_DST": "fd01::", "RTA_METRICS": {"RTAX_ADVMSS": 1260}}),
    ),
    (
        # The header has room for 255: RT_TABLE_UNSPEC there, and the attribute tells.
        route("10.9.0.0/16", "", table=1000),
        (
            NEWROUTE,
            NEW_ROUTE,
            {key: value for key, value in ROUTE_4.items() if key != "table"}
            | {"dst_len": 16, "RTA_DST": "10.9.0.0", "RTA_TABLE": 1000},
        ),
    ),
    (rtnetlink.get_routes(4), (GETROUTE, REQUEST | DUMP, {"family": socket.AF_INET})),
    (rtnetlink.get_routes(6), (GETROUTE, REQUEST | DUMP, {"family": socket.AF_INET6})),
]


@pytest.mark.parametrize(("message", "expected"), LINK_MESSAGES)
def test_links(message: Message, expected: tuple[int, int, dict[str, Any]]) -> None:
    assert decode(ifinfmsg, message) == expected


RANGE_BEGIN, RANGE_END = 8, 16

VLAN_MESSAGES = [
    (rtnetlink.add_vlans(5, 100, []), SETLINK, [(100, PVID | UNTAGGED)]),
    (rtnetlink.add_vlans(5, 1, [7, 9]), SETLINK, [(1, PVID | UNTAGGED), (7, 0), (9, 0)]),
    (
        rtnetlink.add_vlans(5, 3, [1, 2, 4, 5, 6, 4094]),
        SETLINK,
        [
            *[(3, PVID | UNTAGGED), (1, RANGE_BEGIN), (2, RANGE_END)],
            *[(4, RANGE_BEGIN), (6, RANGE_END), (4094, 0)],
        ],
    ),
    (rtnetlink.del_vlan(5, 100), DELLINK, [(100, 0)]),
]


@pytest.mark.parametrize(("message", "kind", "vlans"), VLAN_MESSAGES)
def test_vlans(message: Message, kind: int, vlans: list[tuple[int, int]]) -> None:
    decoded = ifinfmsg(netlink.encode(message, 1))
    decoded.decode()
    assert (message.type, message.flags, decoded["family"], decoded["index"]) == (kind, 0, socket.AF_BRIDGE, 5)
    infos = decoded.get_attr("IFLA_AF_SPEC").get_attrs("IFLA_BRIDGE_VLAN_INFO")
    assert [(info["vid"], info["flags"]) for info in infos] == vlans


@pytest.mark.parametrize(("message", "expected"), ADDRESS_MESSAGES)
def test_addresses(message: Message, expected: tuple[int, int, dict[str, Any]]) -> None:
    assert decode(ifaddrmsg, message) == expected


@pytest.mark.parametrize(("message", "expected"), ROUTE_MESSAGES)
def test_routes(message: Message, expected: tuple[int, int, dict[str, Any]]) -> None:
    assert decode(rtmsg, message) == expected


def test_alternative_names() -> None:
    """pyroute2 gives each of the names under the one attribute that they have."""
    kind, flags, said = decode(ifinfmsg, rtnetlink.add_altnames("veth1", ["veth1.mac.x"]))
    assert (kind, flags) == (NEWLINKPROP, CREATE_NEW | APPEND)
    assert said == {"IFLA_IFNAME": "veth1", "IFLA_PROP_LIST": {"IFLA_ALT_IFNAME": "veth1.mac.x"}}
    message = ifinfmsg(netlink.encode(rtnetlink.add_altnames("veth1", ["a" * 127, "b"]), 1))
    message.decode()
    properties = message.get_attr("IFLA_PROP_LIST")
    assert [name for _, name in properties["attrs"]] == ["a" * 127, "b"]


TESTED = {
    "get_link",
    "new_bridge",
    "new_veth",
    "set_link",
    "set_down",
    "get_link_by_index",
    "get_links",
    "get_vlans",
    "set_port_up",
    "set_vlan_filtering",
    "set_netfilter",
    "add_vlans",
    "del_vlan",
    "del_link",
    "add_altnames",
    "new_address",
    "del_address",
    "get_addresses",
    "new_route",
    "get_routes",
    # attributes for set_link
    "master",
    "alias",
    "address",
    "mtu",
}


def test_every_function_that_makes_a_message_is_in_the_tables_above() -> None:
    makers = {
        name
        for name, function in inspect.getmembers(rtnetlink, inspect.isfunction)
        if function.__module__ == rtnetlink.__name__
        and not name.startswith("_")
        and function.__annotations__["return"] in ("Message", "bytes")
    }
    assert makers - {"mac_bytes"} == TESTED


# Constants


@pytest.mark.parametrize(
    "name",
    [
        "NLM_F_REQUEST",
        "NLM_F_ACK",
        "NLM_F_DUMP",
        "NLM_F_EXCL",
        "NLM_F_CREATE",
        "NLM_F_APPEND",
        "NLMSG_ERROR",
        "NLMSG_DONE",
        "NETLINK_EXT_ACK",
    ],
)
def test_constants_of_netlink(name: str) -> None:
    import pyroute2.netlink

    assert getattr(netlink, name) == getattr(pyroute2.netlink, name)


@pytest.mark.parametrize("name", [name for name in vars(rtnetlink) if name.startswith("RTM_")])
def test_constants_of_rtnetlink(name: str) -> None:
    import pyroute2.netlink.rtnl

    assert getattr(rtnetlink, name) == getattr(pyroute2.netlink.rtnl, name)


@pytest.mark.parametrize("name", [name for name in vars(rtnetlink) if name.startswith("IFA_F_")])
def test_flags_of_addresses(name: str) -> None:
    import pyroute2.netlink.rtnl.ifaddrmsg

    assert getattr(rtnetlink, name) == getattr(pyroute2.netlink.rtnl.ifaddrmsg, name)


@pytest.mark.parametrize("name", [name for name in vars(rtnetlink) if name.startswith("IFF_")])
def test_flags_of_links(name: str) -> None:
    import pyroute2.netlink.rtnl.ifinfmsg

    assert getattr(rtnetlink, name) == getattr(pyroute2.netlink.rtnl.ifinfmsg, name)


# What the kernel answers


NOTHING: dict[str, Any] = {
    "index": 1,
    "name": "lo",
    "kind": "",
    "flags": 0,
    "mac": "",
    "mtu": 0,
    "master": 0,
    "peer": 0,
    "alias": "",
    "altnames": [],
    "hairpin": False,
    "isolated": False,
    "vlan_filtering": False,
    "netfilter": False,
    "default_vlan": 0,
    "takes_first_ports_mac": False,
    "accept_ra": 0,
}
VETH = NOTHING | {
    "index": 7,
    "name": "veth1",
    "kind": "veth",
    "flags": 0x1003,
    "mac": MAC,
    "mtu": 1400,
    "master": 5,
    "peer": 2,
    "alias": "shop/cart-ü",
}


def fields(link: Link) -> dict[str, Any]:
    """What a link says of itself."""
    return {name: getattr(link, name) for name in NOTHING}


def link_answer(slave_data: list[Any], flags: int = 0x1003) -> bytes:
    return answer(
        ifinfmsg,
        [
            ("IFLA_IFNAME", "veth1"),
            ("IFLA_TXQLEN", 1000),
            ("IFLA_ADDRESS", MAC),
            ("IFLA_BROADCAST", "ff:ff:ff:ff:ff:ff"),
            ("IFLA_MTU", 1400),
            ("IFLA_LINK", 2),
            ("IFLA_MASTER", 5),
            ("IFLA_IFALIAS", "shop/cart-ü"),
            (
                "IFLA_LINKINFO",
                {
                    "attrs": [
                        ("IFLA_INFO_KIND", "veth"),
                        ("IFLA_INFO_SLAVE_KIND", "bridge"),
                        ("IFLA_INFO_SLAVE_DATA", {"attrs": slave_data}),
                    ]
                },
            ),
        ],
        index=7,
        flags=flags,
        ifi_type=1,
    )


@pytest.mark.parametrize(
    ("slave_data", "modes"),
    [
        ([], {}),
        ([("IFLA_BRPORT_MODE", 0), ("IFLA_BRPORT_ISOLATED", 0)], {}),
        ([("IFLA_BRPORT_STATE", 3), ("IFLA_BRPORT_MODE", 1), ("IFLA_BRPORT_LEARNING", 0)], {"hairpin": True}),
        ([("IFLA_BRPORT_ISOLATED", 1)], {"isolated": True}),
    ],
)
def test_reads_a_link(slave_data: list[Any], modes: dict[str, bool]) -> None:
    link = Link(link_answer(slave_data))
    assert fields(link) == VETH | modes
    assert link.is_up


@pytest.mark.parametrize(
    ("data", "modes"),
    [
        ([("IFLA_BR_STP_STATE", 1), ("IFLA_BR_VLAN_FILTERING", 0)], {}),
        ([("IFLA_BR_VLAN_FILTERING", 1)], {"vlan_filtering": True}),
        ([("IFLA_BR_VLAN_DEFAULT_PVID", 4094)], {"default_vlan": 4094}),
        ([("IFLA_BR_BRIDGE_ID", {"prio": 128, "addr": "00:00:00:00:00:00"})], {"takes_first_ports_mac": True}),
        ([("IFLA_BR_BRIDGE_ID", {"prio": 128, "addr": MAC})], {}),
        ([("IFLA_BR_NF_CALL_IPTABLES", 1), ("IFLA_BR_NF_CALL_IP6TABLES", 1)], {"netfilter": True}),
        ([("IFLA_BR_NF_CALL_IPTABLES", 1), ("IFLA_BR_NF_CALL_IP6TABLES", 0)], {}),
        ([("IFLA_BR_NF_CALL_IPTABLES", 0), ("IFLA_BR_NF_CALL_IP6TABLES", 1)], {}),
        ([("IFLA_BR_NF_CALL_IPTABLES", 0), ("IFLA_BR_NF_CALL_IP6TABLES", 0)], {}),
    ],
)
def test_reads_a_bridge(data: list[Any], modes: dict[str, bool]) -> None:
    info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": data})]}
    link = Link(answer(ifinfmsg, [("IFLA_IFNAME", "cni0"), ("IFLA_LINKINFO", info)], index=3))
    assert fields(link) == NOTHING | {"index": 3, "name": "cni0", "kind": "bridge"} | modes


@pytest.mark.parametrize("value", [0, 1, 2])
def test_reads_whether_a_link_takes_advertisements(value: int) -> None:
    parameters = struct.pack("=4i", 0, 64, 1500, value)  # forwarding, hop_limit, mtu, accept_ra (linux/ipv6.h)
    families = netlink.nested(2, netlink.u32(1, 0)), netlink.nested(10, netlink.attribute(2, parameters))
    told = answer(ifinfmsg, [("IFLA_IFNAME", "cni0")], index=3) + netlink.nested(26, *families)
    assert fields(Link(told)) == NOTHING | {"index": 3, "name": "cni0", "accept_ra": value}


def test_reads_alternative_names() -> None:
    names = {"attrs": [("IFLA_ALT_IFNAME", "enp1"), ("IFLA_ALT_IFNAME", "ü")]}
    link = Link(answer(ifinfmsg, [("IFLA_IFNAME", "lo"), ("IFLA_PROP_LIST", names)], index=1))
    assert fields(link) == NOTHING | {"altnames": ["enp1", "ü"]}


def test_reads_a_link_that_says_little() -> None:
    link = Link(answer(ifinfmsg, [("IFLA_IFNAME", "lo")], index=1))
    assert fields(link) == NOTHING
    assert not link.is_up


def test_reads_the_vlans_of_a_port() -> None:
    def port(index: int, *vlans: tuple[int, int]) -> bytes:
        infos = [("IFLA_BRIDGE_VLAN_INFO", {"flags": flags, "vid": vlan}) for vlan, flags in vlans]
        attributes = [("IFLA_IFNAME", f"veth{index}"), ("IFLA_AF_SPEC", {"attrs": infos})]
        return answer(ifinfmsg, attributes, family=socket.AF_BRIDGE, index=index)

    trunk = (100, RANGE_BEGIN), (102, RANGE_END), (7, UNTAGGED)
    rtnl = AnsweringRtnetlink(port(4, (7, 0)), port(5, (1, PVID | UNTAGGED), *trunk), port(6))
    assert rtnl.vlans(5) == {1: PVID | UNTAGGED, 7: UNTAGGED, 100: 0, 101: 0, 102: 0}
    assert rtnl.vlans(6) == rtnl.vlans(9) == {}
    assert rtnl.asked[0] == rtnetlink.get_vlans()


@pytest.mark.parametrize(
    ("payload", "version", "expected"),
    [
        (
            answer(rtmsg, [("RTA_GATEWAY", "10.1.0.1"), ("RTA_OIF", 4)], family=socket.AF_INET, table=254, type=1),
            4,
            KernelRoute(IPNetwork("0.0.0.0/0"), [parse_ip("10.1.0.1")], 4, 254, 0, 0, 0, 0, 0),
        ),
        (
            answer(
                rtmsg,
                [
                    ("RTA_DST", "10.9.0.0"),
                    ("RTA_OIF", 4),
                    ("RTA_TABLE", 1000),
                    ("RTA_PRIORITY", 7),
                    ("RTA_PREFSRC", "10.1.0.2"),
                    ("RTA_METRICS", {"attrs": [("RTAX_MTU", 1300), ("RTAX_ADVMSS", 1260)]}),
                ],
                family=socket.AF_INET,
                dst_len=16,
                table=252,
                scope=253,
                proto=3,
                type=1,
            ),
            4,
            KernelRoute(IPNetwork("10.9.0.0/16"), [], 4, 1000, 253, 7, 1300, 1260, 3),
        ),
        (
            answer(
                rtmsg,
                [("RTA_DST", "fd01::"), ("RTA_GATEWAY", "fd00::1"), ("RTA_OIF", 4), ("RTA_PRIORITY", 1024)],
                family=socket.AF_INET6,
                dst_len=64,
                table=254,
                proto=9,
                type=1,
            ),
            6,
            KernelRoute(IPNetwork("fd01::/64"), [parse_ip("fd00::1")], 4, 254, 0, 1024, 0, 0, 9),
        ),
    ],
)
def test_reads_a_route(payload: bytes, version: IPVersion, expected: KernelRoute) -> None:
    assert rtnetlink.parse_route(payload, version) == expected


class AnsweringRtnetlink(Answering, Rtnetlink):
    pass


@pytest.mark.parametrize(
    ("version", "answers", "expected"),
    [
        (4, [], {}),
        (
            4,
            [
                answer(
                    ifaddrmsg,
                    [
                        ("IFA_ADDRESS", "10.1.0.9"),
                        ("IFA_LOCAL", "10.1.0.2"),
                        ("IFA_LABEL", "eth0"),
                        ("IFA_FLAGS", 0x280),
                    ],
                    family=socket.AF_INET,
                    prefixlen=16,
                    flags=0x80,
                    index=4,
                ),
                answer(
                    ifaddrmsg, [("IFA_LOCAL", "10.7.0.2")], family=socket.AF_INET, prefixlen=16, flags=0x80, index=4
                ),
            ],
            {parse_address("10.1.0.2/16"): 0x280, parse_address("10.7.0.2/16"): 0x80},
        ),
        (
            6,
            [
                answer(
                    ifaddrmsg,
                    [("IFA_ADDRESS", "fd00::2"), ("IFA_FLAGS", 0x42)],
                    family=socket.AF_INET6,
                    prefixlen=64,
                    index=4,
                )
            ],
            {parse_address("fd00::2/64"): 0x42},
        ),
        pytest.param(
            4,
            [answer(ifaddrmsg, [("IFA_LOCAL", "127.0.0.1")], family=socket.AF_INET, prefixlen=8, index=1)],
            {},
            id="another link's, of a kernel that does not filter",
        ),
    ],
)
def test_reads_addresses(version: IPVersion, answers: list[bytes], expected: dict[InterfaceAddress, int]) -> None:
    rtnl = AnsweringRtnetlink(*answers)
    assert rtnl.addresses(4, version) == expected
    assert rtnl.asked == [rtnetlink.get_addresses(4, version)]


@pytest.mark.parametrize(("told", "count"), [("\7\0\0", 1), ("\6\0\0", 0), ("", 0)])
def test_reads_addresses_of_the_namespace_that_was_asked_for(told: str, count: int) -> None:
    """An old kernel takes no notice, and tells those of its own."""
    attrs = [("IFA_LOCAL", "10.1.0.2"), *([("IFA_TARGET_NETNSID", told)] if told else [])]
    rtnl = AnsweringRtnetlink(answer(ifaddrmsg, attrs, family=socket.AF_INET, prefixlen=16, index=4))
    assert len(rtnl.addresses(4, 4, netns=struct.pack("=i", 7))) == count


def test_a_link_that_is_not_there_is_none() -> None:
    rtnl = AnsweringRtnetlink(refusal=NetlinkError(19, ""))  # ENODEV
    assert rtnl.link("veth1") is rtnl.link_by_index(7) is None
    rtnl = AnsweringRtnetlink(refusal=NetlinkError(1, ""))
    for ask in (partial(rtnl.link, "veth1"), partial(rtnl.link_by_index, 7)):
        with pytest.raises(NetlinkError, match="Operation not permitted"):
            ask()


def test_asks_for_the_links_and_routes_that_it_reads() -> None:
    rtnl = AnsweringRtnetlink(link_answer([]))
    found = [rtnl.link("veth1"), rtnl.link_by_index(7), *rtnl.links()]
    assert [fields(link) for link in found if link] == [VETH] * 3
    expected = [rtnetlink.get_link("veth1"), rtnetlink.get_link_by_index(7), rtnetlink.get_links()]
    assert rtnl.asked == expected
    rtnl = AnsweringRtnetlink()
    assert rtnl.routes(6) == []
    assert rtnl.asked == [rtnetlink.get_routes(6)]


# The socket


class FakeSocket:
    """Stands in for the kernel: keeps the datagrams that it is sent, and gives back prepared ones."""

    def __init__(self, *_: int) -> None:
        self.sent: list[bytes] = []
        self.to_receive: list[bytes] = []
        self.options: list[tuple[int, int, int]] = []
        self.offered = 0
        self.is_closed = False

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.append((level, option, value))

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recv(self, size: int) -> bytes:
        self.offered = size
        return self.to_receive.pop(0)[:size]

    def close(self) -> None:
        self.is_closed = True


Kernel = Callable[..., tuple[NetlinkSocket, FakeSocket]]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    def make(*datagrams: bytes) -> tuple[NetlinkSocket, FakeSocket]:
        fake = FakeSocket()
        fake.to_receive = list(datagrams)
        monkeypatch.setattr(netlink, "socket", lambda *_: fake)
        return NetlinkSocket(0), fake

    return make


def reply(kind: int, payload: bytes = b"", sequence: int = 1, flags: int = 0) -> bytes:
    message = nlmsg()
    message["header"]["type"], message["header"]["flags"] = kind, flags
    message["header"]["sequence_number"] = sequence
    message.encode()
    data = bytearray(message.data) + payload
    data[:4] = len(data).to_bytes(4, "little")
    return bytes(data) + bytes(-len(data) % 4)


def acknowledgement(errno: int = 0, text: str = "", sequence: int = 1) -> bytes:
    """struct nlmsgerr as the kernel sends it: the error, the request's header, what it says about it."""
    message = nlmsgerr()
    message["error"] = -errno
    message.encode()
    payload = bytes(message.data[16:20]) + bytes(16)
    told = netlink.text(1, text) if text else b""
    # NLM_F_CAPPED, and NLM_F_ACK_TLVS where there is more to tell.
    return reply(2, payload + told, sequence, 0x100 | (0x200 if text else 0))


NEW, GET, ALL = Message(20, CREATE, b"abcd"), Message(18, 0, b"abcd"), Message(22, DUMP, b"abcd")


def test_a_change_is_answered_by_an_acknowledgement(kernel: Kernel) -> None:
    ours, fake = kernel(acknowledgement())
    ours.ask(NEW)
    assert fake.sent == [netlink.encode(Message(20, CREATE | ACK, b"abcd"), 1)]
    assert fake.to_receive == []


def test_one_thing_is_answered_by_itself(kernel: Kernel) -> None:
    ours, fake = kernel(reply(16, b"link"))
    assert ours.get(GET) == b"link"
    assert fake.sent == [netlink.encode(GET, 1)], "an acknowledgement would be one answer more"


def test_a_dump_comes_in_parts(kernel: Kernel) -> None:
    done = reply(3, bytes(4))
    ours, fake = kernel(reply(20, b"one1") + reply(20, b"two"), reply(20, b"three"), done)
    assert ours.dump(ALL) == [b"one1", b"two", b"three"]
    assert fake.sent == [netlink.encode(ALL, 1)], "a dump's end is its acknowledgement"


SO_SNDBUFFORCE = 32
"""asm-generic/socket.h"""

INTERRUPTED = 0x10
"""NLM_F_DUMP_INTR of linux/netlink.h."""


@pytest.mark.parametrize("interrupted", [[True, False], [False, True], [True, True]])
def test_a_dump_that_is_not_of_one_moment_is_asked_for_again(kernel: Kernel, interrupted: list[bool]) -> None:
    first, end = (INTERRUPTED if each else 0 for each in interrupted)
    ours, fake = kernel(
        reply(20, b"old1", flags=first),
        reply(3, bytes(4), flags=end),
        reply(20, b"new1", sequence=2),
        reply(3, bytes(4), sequence=2),
    )
    assert ours.dump(ALL) == [b"new1"]
    assert fake.sent == [netlink.encode(ALL, 1), netlink.encode(ALL, 2)]


def test_a_dump_is_asked_for_only_so_often(kernel: Kernel) -> None:
    answers = [reply(3, bytes(4), sequence=n, flags=INTERRUPTED) for n in range(1, 12)]
    ours, fake = kernel(*answers)
    assert ours.dump(ALL) == []
    assert len(fake.sent) == 10


def test_requests_are_numbered_and_answers_to_earlier_ones_passed_over(kernel: Kernel) -> None:
    ours, fake = kernel(
        acknowledgement(sequence=1),
        reply(16, b"old1", sequence=1) + reply(16, b"link", sequence=2),
    )
    ours.ask(NEW)
    assert ours.get(GET) == b"link"
    assert [int.from_bytes(data[8:12], "little") for data in fake.sent] == [1, 2]


@pytest.mark.parametrize(
    ("datagram", "errno", "message"),
    [
        (acknowledgement(17), 17, "File exists"),
        (acknowledgement(22, "Invalid prefix for given prefix length"), 22, "Invalid prefix for given prefix length"),
        (reply(3, (-4).to_bytes(4, "little", signed=True)), 4, "Interrupted system call"),
    ],
    ids=["errno alone", "with the kernel's words", "at the end of a dump"],
)
def test_a_refusal_is_raised_in_the_kernels_words(kernel: Kernel, datagram: bytes, errno: int, message: str) -> None:
    for ask in ("ask", "get", "dump"):
        ours, _ = kernel(datagram)
        with pytest.raises(NetlinkError) as caught:
            getattr(ours, ask)(NEW)
        assert (caught.value.errno, str(caught.value)) == (errno, message)


FIRST, LAST = Message(0x10, 0, b"beg1"), Message(0x11, 0, b"end1")


def test_a_batch_is_one_datagram_and_acknowledged_once(kernel: Kernel) -> None:
    """What the kernel says does not depend on how much it is asked for."""
    ours, fake = kernel(acknowledgement(sequence=4))
    ours.transact([NEW, NEW, NEW], FIRST, LAST)
    acked = Message(20, CREATE | ACK, b"abcd")
    batch = [FIRST, NEW, NEW, acked, LAST]
    assert fake.sent == [b"".join(netlink.encode(message, number) for number, message in enumerate(batch, 1))]
    assert fake.to_receive == []


def test_a_batch_that_is_refused_is_forgotten(kernel: Kernel) -> None:
    """The kernel tells refusals unasked, and before the acknowledgement; the next request is not answered by them."""
    ours, fake = kernel(
        acknowledgement(95, "no such expression", sequence=3),
        acknowledgement(95, sequence=4) + acknowledgement(sequence=6),
    )
    with pytest.raises(NetlinkError, match="no such expression"):
        ours.transact([NEW, NEW, NEW], FIRST, LAST)
    ours.ask(NEW)
    assert fake.to_receive == []


@pytest.mark.parametrize(("size", "makes_room"), [(100, False), (1 << 20, True)])
def test_a_large_batch_gets_a_buffer_that_has_room_for_it(kernel: Kernel, size: int, makes_room: bool) -> None:
    ours, fake = kernel(acknowledgement(sequence=2))
    ours.transact([Message(20, CREATE, bytes(size))], FIRST, LAST)
    room = [value for _, option, value in fake.options if option == SO_SNDBUFFORCE]
    assert bool(room) == makes_room
    assert all(value > size for value in room)


def test_of_a_dump_the_first_answers_may_be_enough(kernel: Kernel) -> None:
    ours, fake = kernel(reply(20, b"one1") + reply(20, b"two2"), reply(20, b"three"), reply(3, bytes(4)))
    assert ours.first(ALL) == [b"one1", b"two2", b"three"]
    assert fake.offered < 1 << 13, "the kernel would fill it"
    ours, _ = kernel(reply(20, b"one1") + reply(3, bytes(4)))
    assert ours.first(ALL) == [b"one1"]
    ours, _ = kernel(acknowledgement(2))
    with pytest.raises(NetlinkError, match="No such file"):
        ours.first(ALL)


def test_a_socket_with_answers_left_in_it_is_used_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the dump would look like the next answer. Closing may take long, so it comes at the end."""
    first, second = FakeSocket(), FakeSocket()
    first.to_receive = [reply(20, b"one1"), reply(20, b"two2"), reply(20, b"more")]
    second.to_receive = [reply(16, b"link", sequence=2)]
    sockets = iter([first, second])
    monkeypatch.setattr(netlink, "socket", lambda *_: next(sockets))
    ours = NetlinkSocket(0)
    assert ours.first(ALL) == [b"one1", b"two2"]
    assert ours.get(GET) == b"link"
    assert not first.is_closed
    ours.close()
    assert first.is_closed
    assert second.is_closed


def test_many_requests_are_one_datagram(kernel: Kernel) -> None:
    ours, fake = kernel(reply(16, b"one1"), acknowledgement(2, sequence=2), reply(16, b"two2", sequence=3))
    one, missing, two = ours.get_each([GET, NEW, GET])
    assert (one, two) == (b"one1", b"two2")
    assert isinstance(missing, NetlinkError)
    assert missing.errno == 2
    assert fake.sent == [b"".join(netlink.encode(each, number) for number, each in enumerate([GET, NEW, GET], 1))]


def test_not_more_requests_at_once_than_a_buffer_has_room_for(kernel: Kernel) -> None:
    """A link takes about 2 KB, and the buffer has 208 KiB (net.core.rmem_default)."""
    ours, fake = kernel(*(reply(16, bytes([n, 0, 0, 0]), sequence=n) for n in range(1, 101)))
    answers = ours.get_each([GET] * 100)
    assert answers == [bytes([n, 0, 0, 0]) for n in range(1, 101)]
    assert all(len(data) < 50 * len(netlink.encode(GET, 1)) for data in fake.sent)
    assert ours.get_each([]) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\0\0\0", []),
        (netlink.u8(1, 5) + netlink.u32(2, 6), [(1, b"\x05"), (2, b"\6\0\0\0")]),
        (netlink.nested(3, netlink.text(4, "ab")), [(3, netlink.text(4, "ab"))]),
        (netlink.u8(0x4000 | 5, 1), [(5, b"\1")]),
        pytest.param(b"\0\0\1\0" + netlink.u8(1, 5), [], id="a length of 0 would never end"),
        pytest.param(b"\3\0\1\0", [], id="shorter than its header"),
    ],
)
def test_reads_attributes(data: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert netlink.attributes(data) == expected
