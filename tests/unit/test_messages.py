"""Every netlink message that we send, decoded by pyroute2; and what we read, encoded by pyroute2."""

from __future__ import annotations

import inspect
import socket
import struct
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from netaddr import IPNetwork
from pyroute2.netlink import nlmsg, nlmsgerr
from pyroute2.netlink.nfnetlink import nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    DATA_TYPE_IFNAME,
    nft_chain_msg,
    nft_gen_msg,
    nft_rule_msg,
    nft_set_elem_list_msg,
    nft_set_msg,
    nft_table_msg,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from cni_bridge_py.addresses import InterfaceAddress, IPVersion, parse_address, parse_ip
from cni_bridge_py.kernel import netlink, nftables, rtnetlink
from cni_bridge_py.kernel.netlink import Message, NetlinkError, NetlinkSocket
from cni_bridge_py.kernel.nftables import (
    MACSPOOFCHK_CHAIN,
    AddressRule,
    Chain,
    GuardRule,
    MacRule,
    Nftables,
    Rule,
    macspoofchk_chain,
    masquerade_chain,
)
from cni_bridge_py.kernel.rtnetlink import KernelRoute, Link, Rtnetlink

MAC = "0a:58:0a:01:00:01"
MAC_2 = "0a:58:0a:01:00:02"

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
EXCL, CREATE, APPEND = 0x200, 0x400, 0x800

CREATE_NEW = REQUEST | CREATE | EXCL


def told(decoded: Any) -> Any:
    """What pyroute2 made of a message, as plain dictionaries: attributes beside the fields of the header."""
    if isinstance(decoded, list):
        return [told(each) for each in decoded]
    if not isinstance(decoded, dict):
        return decoded
    fields = {key: value for key, value in decoded.items() if key not in ("attrs", "header", "__align", "state")}
    attributes = [(each[0], told(each[1])) for each in decoded.get("attrs", [])]
    assert len(attributes) == len(dict(attributes)), f"an attribute twice: {attributes}"
    return {**{key: value for key, value in fields.items() if value != 0}, **dict(attributes)}


def decode(kind: type[nlmsg], message: Message) -> tuple[int, int, Any]:
    """The message's type, its flags, and what it says to pyroute2; zero fields are left out."""
    data = netlink.encode(message, 7)
    decoded = kind(data)
    decoded.decode()
    header = decoded["header"]
    assert (header["length"], header["sequence_number"], header["pid"]) == (len(data), 7, 0)
    return header["type"], header["flags"], told(decoded)


# rtnetlink


NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
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
            rtnetlink.set_port(5, hairpin=hairpin, isolated=isolated),
            (SETLINK, REQUEST, {"family": socket.AF_BRIDGE, "index": 5, "IFLA_PROTINFO": modes}),
        )
        for hairpin, isolated, modes in (
            (True, False, {"IFLA_BRPORT_MODE": 1}),
            (False, True, {"IFLA_BRPORT_ISOLATED": 1}),
            (True, True, {"IFLA_BRPORT_MODE": 1, "IFLA_BRPORT_ISOLATED": 1}),
        )
    ],
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


# nftables


NFPROTO_INET, NFPROTO_BRIDGE = 1, 7
NFTABLES = 10 << 8


def match(nfproto: bytes, offset: int, mask: bytes, network: bytes) -> list[dict[str, Any]]:
    """The expressions that compare an address field of an IP version with a network."""
    register = "NFT_REG_1"

    def compare(data: bytes) -> dict[str, Any]:
        how = {"NFTA_CMP_SREG": register, "NFTA_CMP_OP": "NFT_CMP_EQ", "NFTA_CMP_DATA": {"NFTA_DATA_VALUE": data}}
        return {"NFTA_EXPR_NAME": "cmp", "NFTA_EXPR_DATA": how}

    return [
        {
            "NFTA_EXPR_NAME": "meta",
            "NFTA_EXPR_DATA": {"NFTA_META_DREG": register, "NFTA_META_KEY": "NFT_META_NFPROTO"},
        },
        compare(nfproto),
        {
            "NFTA_EXPR_NAME": "payload",
            "NFTA_EXPR_DATA": {
                "NFTA_PAYLOAD_DREG": register,
                "NFTA_PAYLOAD_BASE": "NFT_PAYLOAD_NETWORK_HEADER",
                "NFTA_PAYLOAD_OFFSET": offset,
                "NFTA_PAYLOAD_LEN": len(network),
            },
        },
        {
            "NFTA_EXPR_NAME": "bitwise",
            "NFTA_EXPR_DATA": {
                "NFTA_BITWISE_SREG": register,
                "NFTA_BITWISE_DREG": register,
                "NFTA_BITWISE_LEN": len(network),
                "NFTA_BITWISE_MASK": {"NFTA_DATA_VALUE": mask},
                "NFTA_BITWISE_XOR": {"NFTA_DATA_VALUE": bytes(len(network))},
            },
        },
        compare(network),
    ]


IPV4, IPV6 = b"\x02", b"\x0a"

MASQUERADE = {
    "NFTA_EXPR_NAME": "masq",
    "NFTA_EXPR_DATA": {"NFTA_MASQ_FLAGS": frozenset({"NF_NAT_RANGE_PROTO_RANDOM_FULLY"})},
}


def immediate(verdict: str) -> dict[str, Any]:
    return {
        "NFTA_EXPR_NAME": "immediate",
        "NFTA_EXPR_DATA": {
            "NFTA_IMMEDIATE_DREG": "NFT_REG_VERDICT",
            "NFTA_IMMEDIATE_DATA": {"NFTA_DATA_VERDICT": {"NFTA_VERDICT_CODE": verdict}},
        },
    }


RULES: list[tuple[AddressRule, list[dict[str, Any]]]] = [
    (
        AddressRule("saddr", parse_address("10.1.0.0/16"), "masquerade", "why"),
        match(IPV4, 12, b"\xff\xff\0\0", b"\x0a\1\0\0"),
    ),
    (
        AddressRule("daddr", parse_address("10.1.0.0/15"), "return", "why"),
        match(IPV4, 16, b"\xff\xfe\0\0", b"\x0a\0\0\0"),
    ),
    (
        AddressRule("saddr", parse_address("10.1.2.3/32"), "return", "why"),
        match(IPV4, 12, b"\xff" * 4, b"\x0a\1\2\3"),
    ),
    (AddressRule("daddr", parse_address("0.0.0.0/0"), "return", "why"), match(IPV4, 16, bytes(4), bytes(4))),
    (
        AddressRule("saddr", parse_address("fd00::/64"), "masquerade", "why"),
        match(IPV6, 8, b"\xff" * 8 + bytes(8), b"\xfd" + bytes(15)),
    ),
    (
        AddressRule("daddr", parse_address("fd00::5/127"), "return", "why"),
        match(IPV6, 24, b"\xff" * 15 + b"\xfe", b"\xfd" + bytes(14) + b"\4"),
    ),
]

MASQUERADE_NET = masquerade_chain("net")
OF_VETH1 = macspoofchk_chain("veth1")


@pytest.mark.parametrize(
    ("rule", "expressions"), RULES, ids=lambda value: str(value) if isinstance(value, Rule) else ""
)
def test_rules_on_addresses(rule: AddressRule, expressions: list[dict[str, Any]]) -> None:
    verdict = MASQUERADE if rule.verdict == "masquerade" else immediate("NFT_RETURN")
    assert decode(nft_rule_msg, nftables.new_rule(MASQUERADE_NET, rule)) == (
        NFTABLES | 6,
        REQUEST | CREATE | APPEND,
        OF_CHAIN | {"NFTA_RULE_EXPRESSIONS": [*expressions, verdict], "NFTA_RULE_USERDATA": "why"},
    )


def test_the_rule_that_finds_a_pods_own_chain() -> None:
    lookup = {
        "NFTA_LOOKUP_SET": "guarded",
        "NFTA_LOOKUP_SREG": "NFT_REG_1",
        "NFTA_LOOKUP_DREG": "NFT_REG_VERDICT",
    }
    assert decode(nft_rule_msg, nftables.new_rule(MACSPOOFCHK_CHAIN, GuardRule())) == (
        NFTABLES | 6,
        REQUEST | CREATE | APPEND,
        {
            "nfgen_family": NFPROTO_BRIDGE,
            "NFTA_RULE_TABLE": "cni-bridge-py",
            "NFTA_RULE_CHAIN": "macspoofchk",
            "NFTA_RULE_EXPRESSIONS": [
                {
                    "NFTA_EXPR_NAME": "meta",
                    "NFTA_EXPR_DATA": {"NFTA_META_DREG": "NFT_REG_1", "NFTA_META_KEY": "NFT_META_IIFNAME"},
                },
                {"NFTA_EXPR_NAME": "lookup", "NFTA_EXPR_DATA": lookup},
            ],
            "NFTA_RULE_USERDATA": "macspoofchk: each pod has a chain",
        },
    )


def test_the_rule_that_keeps_a_pod_to_its_mac() -> None:
    assert decode(nft_rule_msg, nftables.new_rule(OF_VETH1, MacRule(MAC))) == (
        NFTABLES | 6,
        REQUEST | CREATE | APPEND,
        {
            "nfgen_family": NFPROTO_BRIDGE,
            "NFTA_RULE_TABLE": "cni-bridge-py",
            "NFTA_RULE_CHAIN": "veth1",
            "NFTA_RULE_EXPRESSIONS": [
                {
                    # The source address in the Ethernet header: 6 bytes after 6 of the destination's.
                    "NFTA_EXPR_NAME": "payload",
                    "NFTA_EXPR_DATA": {
                        "NFTA_PAYLOAD_DREG": "NFT_REG_1",
                        "NFTA_PAYLOAD_BASE": "NFT_PAYLOAD_LL_HEADER",
                        "NFTA_PAYLOAD_OFFSET": 6,
                        "NFTA_PAYLOAD_LEN": 6,
                    },
                },
                {
                    "NFTA_EXPR_NAME": "cmp",
                    "NFTA_EXPR_DATA": {
                        "NFTA_CMP_SREG": "NFT_REG_1",
                        "NFTA_CMP_OP": "NFT_CMP_NEQ",
                        "NFTA_CMP_DATA": {"NFTA_DATA_VALUE": bytes.fromhex("0a580a010001")},
                    },
                },
                immediate("NF_DROP"),
            ],
            "NFTA_RULE_USERDATA": f"sends from {MAC} only",
        },
    )


OF_CHAIN = {
    "nfgen_family": NFPROTO_INET,
    "NFTA_RULE_TABLE": "cni-bridge-py",
    "NFTA_RULE_CHAIN": "masquerade-net",
}


def base_chain(family: int, name: str, kind: str, hook: int, priority: int) -> dict[str, Any]:
    return {
        "nfgen_family": family,
        "NFTA_CHAIN_TABLE": "cni-bridge-py",
        "NFTA_CHAIN_NAME": name,
        "NFTA_CHAIN_HOOK": {"NFTA_HOOK_HOOKNUM": hook, "NFTA_HOOK_PRIORITY": priority},
        "NFTA_CHAIN_POLICY": 1,  # what no rule takes is accepted
        "NFTA_CHAIN_TYPE": kind,
    }


def guarded(veth: str, data: dict[str, Any]) -> dict[str, Any]:
    """An element of the map, whose key fills an interface name's room."""
    key = {"NFTA_SET_ELEM_KEY": {"NFTA_DATA_VALUE": veth.encode() + bytes(16 - len(veth))}}
    return {
        "nfgen_family": NFPROTO_BRIDGE,
        "NFTA_SET_ELEM_LIST_TABLE": "cni-bridge-py",
        "NFTA_SET_ELEM_LIST_SET": "guarded",
        "NFTA_SET_ELEM_LIST_ELEMENTS": [key | data],
    }


HOST_ENDIAN = struct.pack("=I", 1)

PLAIN_CHAIN = {"nfgen_family": NFPROTO_BRIDGE, "NFTA_CHAIN_TABLE": "cni-bridge-py", "NFTA_CHAIN_NAME": "veth1"}


NFTABLES_MESSAGES: list[tuple[type[nlmsg], Message, tuple[int, int, dict[str, Any]]]] = [
    *[
        (
            nft_table_msg,
            nftables.new_table(family),
            (NFTABLES | 0, REQUEST | CREATE, {"nfgen_family": family, "NFTA_TABLE_NAME": "cni-bridge-py"}),
        )
        for family in (NFPROTO_INET, NFPROTO_BRIDGE)
    ],
    (
        # After routing, at the priority of source NAT.
        nft_chain_msg,
        nftables.new_chain(MASQUERADE_NET),
        (NFTABLES | 3, REQUEST | CREATE, base_chain(NFPROTO_INET, "masquerade-net", "nat", 4, 100)),
    ),
    (
        # Before bridging, at the priority of the bridge's own destination NAT.
        nft_chain_msg,
        nftables.new_chain(MACSPOOFCHK_CHAIN),
        (NFTABLES | 3, REQUEST | CREATE, base_chain(NFPROTO_BRIDGE, "macspoofchk", "filter", 0, -300)),
    ),
    (nft_chain_msg, nftables.new_chain(OF_VETH1), (NFTABLES | 3, REQUEST | CREATE, PLAIN_CHAIN)),
    (nft_chain_msg, nftables.del_chain(OF_VETH1), (NFTABLES | 5, REQUEST, PLAIN_CHAIN)),
    (
        nft_chain_msg,
        nftables.get_chains(NFPROTO_BRIDGE),
        (NFTABLES | 4, REQUEST | DUMP, {"nfgen_family": NFPROTO_BRIDGE}),
    ),
    (nft_rule_msg, nftables.flush_chain(MASQUERADE_NET), (NFTABLES | 8, REQUEST, OF_CHAIN)),
    (nft_rule_msg, nftables.get_rules(MASQUERADE_NET), (NFTABLES | 7, REQUEST | DUMP, OF_CHAIN)),
    (
        nft_set_msg,
        nftables.new_guarded_map(),
        (
            NFTABLES | 9,
            REQUEST | CREATE,
            {
                "nfgen_family": NFPROTO_BRIDGE,
                "NFTA_SET_TABLE": "cni-bridge-py",
                "NFTA_SET_NAME": "guarded",
                "NFTA_SET_FLAGS": frozenset({"NFT_SET_MAP"}),
                "NFTA_SET_KEY_TYPE": DATA_TYPE_IFNAME,
                "NFTA_SET_KEY_LEN": 16,
                "NFTA_SET_DATA_TYPE": 0xFFFFFF00,  # NFT_DATA_VERDICT
                "NFTA_SET_ID": 1,
                "NFTA_SET_USERDATA": [("NFTNL_UDATA_SET_KEYBYTEORDER", HOST_ENDIAN)],
            },
        ),
    ),
    (
        nft_set_elem_list_msg,
        nftables.new_guarded("veth0123456789a"),
        (
            NFTABLES | 12,
            REQUEST | CREATE,
            guarded(
                "veth0123456789a",
                {
                    "NFTA_SET_ELEM_DATA": {
                        "NFTA_DATA_VERDICT": {
                            "NFTA_VERDICT_CODE": "NFT_JUMP",
                            "NFTA_VERDICT_CHAIN": "veth0123456789a",
                        }
                    }
                },
            ),
        ),
    ),
    (nft_set_elem_list_msg, nftables.del_guarded("veth1"), (NFTABLES | 14, REQUEST, guarded("veth1", {}))),
    (nft_set_elem_list_msg, nftables.get_guarded("veth1"), (NFTABLES | 13, REQUEST, guarded("veth1", {}))),
    (nft_gen_msg, nftables.get_generation(), (NFTABLES | 16, REQUEST, {})),
]


@pytest.mark.parametrize(("kind", "message", "expected"), NFTABLES_MESSAGES)
def test_nftables(kind: type[nlmsg], message: Message, expected: tuple[int, int, dict[str, Any]]) -> None:
    assert decode(kind, message) == expected


TESTED = {
    rtnetlink: {
        "get_link",
        "new_bridge",
        "new_veth",
        "set_link",
        "get_link_by_index",
        "get_links",
        "get_vlans",
        "set_port",
        "set_vlan_filtering",
        "set_netfilter",
        "add_vlans",
        "del_vlan",
        "del_link",
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
    },
    nftables: {
        "new_table",
        "new_chain",
        "del_chain",
        "flush_chain",
        "new_rule",
        "get_chains",
        "get_rules",
        "new_guarded_map",
        "new_guarded",
        "del_guarded",
        "get_guarded",
        "get_generation",
    },
}


@pytest.mark.parametrize("module", TESTED, ids=lambda module: module.__name__)
def test_every_function_that_makes_a_message_is_in_the_tables_above(module: ModuleType) -> None:
    makers = {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and function.__annotations__["return"] in ("Message", "bytes")
    }
    assert makers - {"mac_bytes"} == TESTED[module]


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


@pytest.mark.parametrize("name", [name for name in vars(nftables) if name.startswith("NFT_MSG_")])
def test_constants_of_nftables(name: str) -> None:
    import pyroute2.netlink.nfnetlink.nftsocket

    assert getattr(nftables, name) == getattr(pyroute2.netlink.nfnetlink.nftsocket, name)


# What the kernel answers


def answer(kind: type[nlmsg], attributes: list[Any], **fields: Any) -> bytes:
    """The payload of a message as pyroute2 encodes it."""
    message = kind()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data[16:])


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
    "hairpin": False,
    "isolated": False,
    "vlan_filtering": False,
    "netfilter": False,
    "default_vlan": 0,
    "takes_first_ports_mac": False,
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


class Answering(NetlinkSocket):
    """A socket that keeps what it is asked, and answers what it was given."""

    def __init__(self, *answers: bytes, refusal: NetlinkError | None = None) -> None:
        self.asked: list[Message] = []
        self.batches: list[list[Message]] = []
        self.answers = list(answers)
        self.refusal = refusal

    def dump(self, message: Message) -> list[bytes]:
        self.asked.append(message)
        if self.refusal:
            raise self.refusal
        return self.answers

    def get(self, message: Message) -> bytes:
        return self.dump(message)[0]

    def transact(self, messages: list[Message], first: Message, last: Message) -> None:
        self.batches.append([first, *messages, last])
        if self.refusal:
            raise self.refusal


class AnsweringRtnetlink(Answering, Rtnetlink):
    pass


class AnsweringNftables(Answering, Nftables):
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


def rule_answer(comment: str) -> bytes:
    userdata = bytes([0, len(comment.encode()) + 1]) + comment.encode() + b"\0"
    attributes = [("NFTA_RULE_TABLE", "cni-bridge-py"), ("NFTA_RULE_CHAIN", "masquerade-net"), ("NFTA_RULE_HANDLE", 4)]
    return answer(nft_rule_msg, attributes, nfgen_family=NFPROTO_INET) + netlink.attribute(7, userdata)


def test_reads_the_comments_of_rules() -> None:
    longest = "x" * 253
    nft = AnsweringNftables(rule_answer("one: pods"), rule_answer("ü"), rule_answer(longest))
    assert nft.comments(MASQUERADE_NET) == ["one: pods", "ü", longest]
    assert nft.asked == [nftables.get_rules(MASQUERADE_NET)]


def test_a_rule_without_comment_has_an_empty_one() -> None:
    payload = answer(nft_rule_msg, [("NFTA_RULE_TABLE", "cni-bridge-py")], nfgen_family=NFPROTO_INET)
    assert AnsweringNftables(payload).comments(MASQUERADE_NET) == [""]


def test_a_chain_that_is_not_there_has_no_comments() -> None:
    assert AnsweringNftables(refusal=NetlinkError(2, "")).comments(MASQUERADE_NET) == []
    with pytest.raises(NetlinkError, match="Operation not permitted"):
        AnsweringNftables(refusal=NetlinkError(1, "")).comments(MASQUERADE_NET)


def test_reads_the_generation() -> None:
    nft = AnsweringNftables(answer(nft_gen_msg, [("NFTA_GEN_ID", 0x01020304), ("NFTA_GEN_PROC_PID", 9)]))
    assert nft.generation() == 0x01020304
    assert nft.asked == [nftables.get_generation()]


class batch_begin_msg(nfgen_msg):  # type: ignore[misc]
    nla_map = (("NFNL_BATCH_UNSPEC", "none"), ("NFNL_BATCH_GENID", "be32"))


BEGIN, END = 0x10, 0x11


@pytest.mark.parametrize(
    ("chain", "first_messages"),
    [
        (MASQUERADE_NET, [nftables.new_table(NFPROTO_INET)]),
        (MACSPOOFCHK_CHAIN, [nftables.new_table(NFPROTO_BRIDGE), nftables.new_guarded_map()]),
    ],
)
def test_a_replacement_is_one_batch_of_the_generation_that_was_seen(
    chain: Chain, first_messages: list[Message]
) -> None:
    rules: list[Rule] = [rule for rule, _ in RULES[:2]]
    nft = AnsweringNftables()
    assert nft.replace(chain, rules, 0x01020304)
    [[first, *messages, last]] = nft.batches
    assert messages == [
        *first_messages,
        nftables.new_chain(chain),
        nftables.flush_chain(chain),
        *[nftables.new_rule(chain, rule) for rule in rules],
    ]
    assert decode(batch_begin_msg, first) == (BEGIN, REQUEST, {"res_id": 10, "NFNL_BATCH_GENID": 0x01020304})
    assert decode(nfgen_msg, last) == (END, REQUEST, {"res_id": 10})


def test_a_replacement_gives_way_to_a_change_by_somebody_else() -> None:
    assert not AnsweringNftables(refusal=NetlinkError(85, "")).replace(MASQUERADE_NET, [], 1)  # ERESTART
    with pytest.raises(NetlinkError, match="no such thing"):
        AnsweringNftables(refusal=NetlinkError(95, "no such thing")).replace(MASQUERADE_NET, [], 1)


def test_a_pod_is_guarded_in_one_batch() -> None:
    nft = AnsweringNftables()
    nft.guard("veth1", MacRule(MAC))
    [[first, *messages, last]] = nft.batches
    assert messages == [
        nftables.new_chain(OF_VETH1),
        nftables.flush_chain(OF_VETH1),
        nftables.new_rule(OF_VETH1, MacRule(MAC)),
        nftables.new_guarded("veth1"),
    ]
    assert decode(batch_begin_msg, first) == (BEGIN, REQUEST, {"res_id": 10})
    assert decode(nfgen_msg, last) == (END, REQUEST, {"res_id": 10})


@pytest.mark.parametrize("errno", [None, 2])
def test_a_pods_guard_is_taken_away_as_far_as_it_is_there(errno: int | None) -> None:
    nft = AnsweringNftables(refusal=NetlinkError(errno, "") if errno else None)
    nft.unguard("veth1")
    batches = [messages[1:-1] for messages in nft.batches]
    assert batches == [[nftables.del_guarded("veth1")], [nftables.del_chain(OF_VETH1)]]
    with pytest.raises(NetlinkError, match="Operation not permitted"):
        AnsweringNftables(refusal=NetlinkError(1, "")).unguard("veth1")


def test_tells_whether_a_pod_is_guarded() -> None:
    nft = AnsweringNftables(b"an element")
    assert nft.is_guarded("veth1")
    assert nft.asked == [nftables.get_guarded("veth1")]
    assert not AnsweringNftables(refusal=NetlinkError(2, "")).is_guarded("veth1")
    with pytest.raises(NetlinkError, match="Operation not permitted"):
        AnsweringNftables(refusal=NetlinkError(1, "")).is_guarded("veth1")


# The socket


class FakeSocket:
    """Stands in for the kernel: keeps the datagrams that it is sent, and gives back prepared ones."""

    def __init__(self, *_: int) -> None:
        self.sent: list[bytes] = []
        self.to_receive: list[bytes] = []

    def setsockopt(self, *_: int) -> None:
        pass

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recv_into(self, buffer: bytearray) -> int:
        datagram = self.to_receive.pop(0)
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def close(self) -> None:
        pass


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


def test_a_batch_is_one_datagram_and_each_of_its_messages_acknowledged(kernel: Kernel) -> None:
    ours, fake = kernel(acknowledgement(sequence=2), acknowledgement(sequence=3))
    ours.transact([NEW, NEW], FIRST, LAST)
    acked = Message(20, CREATE | ACK, b"abcd")
    batch = [FIRST, acked, acked, LAST]
    assert fake.sent == [b"".join(netlink.encode(message, number) for number, message in enumerate(batch, 1))]
    assert fake.to_receive == []


def test_a_batch_that_is_refused_is_forgotten(kernel: Kernel) -> None:
    ours, fake = kernel(
        acknowledgement(sequence=2) + acknowledgement(95, "no such expression", sequence=3),
        acknowledgement(95, sequence=4) + acknowledgement(sequence=6),
    )
    with pytest.raises(NetlinkError, match="no such expression"):
        ours.transact([NEW, NEW, NEW], FIRST, LAST)
    ours.ask(NEW)
    assert fake.to_receive == []


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
