"""nftables over netlink: the messages and expressions that our table takes, and a socket to send them through.

No `nft` or `iptables` binary is needed on the node. Names are the kernel's (linux/netfilter/nf_tables.h); what nft(8)
would print is beside each function. What the table holds is in `wiring/packet_filter.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from errno import ENOENT
from struct import pack

from netaddr import IPNetwork

from cni_bridge_py.addresses import IPVersion
from cni_bridge_py.kernel.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    Message,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attributes,
    be32,
    nested,
    text,
)

TABLE = "cni-bridge-py"

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN = 0x10
NFNL_MSG_BATCH_END = 0x11
NFT_MSG_NEWTABLE = 0
NFT_MSG_NEWCHAIN = 3
NFT_MSG_GETCHAIN = 4
NFT_MSG_DELCHAIN = 5
NFT_MSG_NEWRULE = 6
NFT_MSG_GETRULE = 7
NFT_MSG_DELRULE = 8
NFT_MSG_NEWSET = 9
NFT_MSG_DELSET = 11
NFT_MSG_NEWSETELEM = 12
NFT_MSG_GETSETELEM = 13
NFT_MSG_DELSETELEM = 14
NFT_MSG_GETGEN = 16

AF_UNSPEC = 0
NFPROTO_INET = 1
NFPROTO_BRIDGE = 7
NFPROTO = {4: 2, 6: 10}
"""NFPROTO_IPV4 and NFPROTO_IPV6."""
FAMILY_NAME = {NFPROTO_INET: "inet", NFPROTO_BRIDGE: "bridge"}
NF_BR_PRE_ROUTING = 0
NF_INET_POST_ROUTING = 4
NF_BR_PRI_NAT_DST_BRIDGED = -300
NF_IP_PRI_NAT_SRC = 100
NF_DROP = 0
NF_ACCEPT = 1
NFT_JUMP = -3
NFT_GOTO = -4
NFT_RETURN = -5
NF_NAT_RANGE_PROTO_RANDOM_FULLY = 1 << 4

NFTA_GEN_ID = 1
NFTA_TABLE_NAME = 1
NFTA_CHAIN_TABLE = 1
NFTA_CHAIN_NAME = 3
NFTA_CHAIN_HOOK = 4
NFTA_CHAIN_POLICY = 5
NFTA_CHAIN_USE = 6
NFTA_CHAIN_TYPE = 7
NFTA_HOOK_HOOKNUM = 1
NFTA_HOOK_PRIORITY = 2
NFTA_RULE_TABLE = 1
NFTA_RULE_CHAIN = 2
NFTA_RULE_EXPRESSIONS = 4
NFTA_RULE_USERDATA = 7
NFTNL_UDATA_RULE_COMMENT = 0
NFTA_SET_TABLE = 1
NFTA_SET_NAME = 2
NFTA_SET_FLAGS = 3
NFTA_SET_KEY_TYPE = 4
NFTA_SET_KEY_LEN = 5
NFTA_SET_DATA_TYPE = 6
NFTA_SET_ID = 10
NFTA_SET_USERDATA = 13
NFTNL_UDATA_SET_KEYBYTEORDER = 0
BYTEORDER_HOST_ENDIAN, BYTEORDER_BIG_ENDIAN = 1, 2
NFTA_SET_ELEM_LIST_TABLE = 1
NFTA_SET_ELEM_LIST_SET = 2
NFTA_SET_ELEM_LIST_ELEMENTS = 3
NFTA_SET_ELEM_KEY = 1
NFTA_SET_ELEM_DATA = 2
NFTA_SET_ELEM_FLAGS = 3
NFT_SET_ELEM_INTERVAL_END = 1
NFTA_LIST_ELEM = 1
NFTA_EXPR_NAME = 1
NFTA_EXPR_DATA = 2
NFTA_DATA_VALUE = 1
NFTA_DATA_VERDICT = 2
NFTA_VERDICT_CODE = 1
NFTA_VERDICT_CHAIN = 2

NFT_REG_VERDICT = 0
NFT_REG_1 = 1
NFT_META_IIFNAME = 6
NFT_META_NFPROTO = 15
NFT_PAYLOAD_LL_HEADER = 0
NFT_PAYLOAD_NETWORK_HEADER = 1
NFT_CMP_EQ = 0
NFT_CMP_NEQ = 1
NFT_SET_INTERVAL = 4
NFT_SET_MAP = 8
NFT_DATA_VERDICT = 0xFFFFFF00
NFTA_META_DREG = 1
NFTA_META_KEY = 2
NFTA_PAYLOAD_DREG = 1
NFTA_PAYLOAD_BASE = 2
NFTA_PAYLOAD_OFFSET = 3
NFTA_PAYLOAD_LEN = 4
NFTA_BITWISE_SREG = 1
NFTA_BITWISE_DREG = 2
NFTA_BITWISE_LEN = 3
NFTA_BITWISE_MASK = 4
NFTA_BITWISE_XOR = 5
NFTA_CMP_SREG = 1
NFTA_CMP_OP = 2
NFTA_CMP_DATA = 3
NFTA_LOOKUP_SET = 1
NFTA_LOOKUP_SREG = 2
NFTA_LOOKUP_DREG = 3
NFTA_IMMEDIATE_DREG = 1
NFTA_IMMEDIATE_DATA = 2
NFTA_MASQ_FLAGS = 1

ADDRESS_OFFSET = {(4, "saddr"): 12, (4, "daddr"): 16, (6, "saddr"): 8, (6, "daddr"): 24}
"""Bytes into the IP header: struct iphdr, struct ipv6hdr."""
ETHER_SADDR_OFFSET, ETH_ALEN = 6, 6
"""struct ethhdr."""
IFNAMSIZ = 16
TYPE_IPADDR, TYPE_IP6ADDR, TYPE_IFNAME = 7, 8, 41
"""nft's numbers for types of data (libnftables' datatype.h), which tell it how to print a set."""

ELEMENTS_A_MESSAGE = 500
"""A message's list of elements has 64 KiB; a pair that bounds an interval of IPv6 takes 80 bytes."""


@dataclass(frozen=True)
class Chain:
    """A chain of our table: the table's family and the chain's name; for a base chain, where it hooks in."""

    family: int
    name: str
    type: str = ""
    hook: int = 0
    priority: int = 0

    @property
    def place(self) -> str:
        """Where nft finds it: `inet cni-bridge-py masquerade`."""
        return f"{table_name(self.family)} {self.name}"

    @property
    def definition(self) -> str:
        """What nft wants to know to make it; nothing for a chain that is only jumped to."""
        if not self.type:
            return ""
        hook = {NF_INET_POST_ROUTING: "postrouting", NF_BR_PRE_ROUTING: "prerouting"}[self.hook]
        return f"{{ type {self.type} hook {hook} priority {self.priority}; policy accept; }}"


@dataclass(frozen=True)
class KeyType:
    """What a set's keys are: nft's word and number for it, its length in bytes, and its byte order."""

    name: str
    number: int
    length: int
    byteorder: int


IFNAME = KeyType("ifname", TYPE_IFNAME, IFNAMSIZ, BYTEORDER_HOST_ENDIAN)
ADDRESS: dict[IPVersion, KeyType] = {
    4: KeyType("ipv4_addr", TYPE_IPADDR, 4, BYTEORDER_BIG_ENDIAN),
    6: KeyType("ipv6_addr", TYPE_IP6ADDR, 16, BYTEORDER_BIG_ENDIAN),
}


@dataclass(frozen=True)
class Set:
    """A set of networks, or a map from keys to the chains that are jumped to (`is_map`)."""

    family: int
    name: str
    key: KeyType
    is_map: bool

    @property
    def place(self) -> str:
        """Where nft finds it: `inet cni-bridge-py masqueraded4`."""
        return f"{table_name(self.family)} {self.name}"

    @property
    def kind(self) -> str:
        """What nft calls it."""
        return "map" if self.is_map else "set"

    @property
    def definition(self) -> str:
        """What nft wants to know to make it."""
        return (
            f"{{ type {self.key.name} : verdict; }}" if self.is_map else f"{{ type {self.key.name}; flags interval; }}"
        )


@dataclass(frozen=True)
class Rule:
    """A rule: its expressions, the same in nft's words, and a comment.

    The comment says why to people, and tells a rule from others to us.
    """

    expressions: tuple[bytes, ...]
    words: str
    comment: str

    def __str__(self) -> str:
        return f'{self.words} comment "{self.comment}"'


def table_name(family: int) -> str:
    """How nft calls our table: `inet cni-bridge-py`."""
    return f"{FAMILY_NAME[family]} {TABLE}"


# Rules


def jump_by_source(version: IPVersion, chains: Set, comment: str) -> Rule:
    """ip saddr vmap @CHAINS"""
    expressions = (*_load_address(version, "saddr"), _lookup(chains.name, NFT_REG_VERDICT))
    return Rule(expressions, f"{_ip(version)} saddr vmap @{chains.name}", comment)


def jump_by_interface(chains: Set, comment: str) -> Rule:
    """iifname vmap @CHAINS"""
    expressions = (_meta(NFT_META_IIFNAME), _lookup(chains.name, NFT_REG_VERDICT))
    return Rule(expressions, f"iifname vmap @{chains.name}", comment)


def return_to_set(version: IPVersion, networks: Set, comment: str) -> Rule:
    """ip daddr @NETWORKS return"""
    expressions = (*_load_address(version, "daddr"), _lookup(networks.name), _verdict(NFT_RETURN))
    return Rule(expressions, f"{_ip(version)} daddr @{networks.name} return", comment)


def return_to_network(network: IPNetwork, comment: str) -> Rule:
    """ip daddr NETWORK return"""
    address, ones = network.network.packed, network.netmask.packed
    load = _load_address(network.version, "daddr")
    expressions = (*load, _mask(ones), _compare(NFT_CMP_EQ, address), _verdict(NFT_RETURN))
    return Rule(expressions, f"{_ip(network.version)} daddr {network.cidr} return", comment)


def masquerade(comment: str) -> Rule:
    """masquerade fully-random"""
    flags = be32(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY)
    return Rule((_expression("masq", flags),), "masquerade fully-random", comment)


def go_to(chain: Chain, comment: str) -> Rule:
    """goto CHAIN"""
    return Rule((_verdict(NFT_GOTO, chain.name),), f"goto {chain.name}", comment)


def drop_other_sources(mac: str, comment: str) -> Rule:
    """ether saddr != MAC drop"""
    expressions = (
        _payload(NFT_PAYLOAD_LL_HEADER, ETHER_SADDR_OFFSET, ETH_ALEN),
        _compare(NFT_CMP_NEQ, bytes.fromhex(mac.replace(":", ""))),
        _verdict(NF_DROP),
    )
    return Rule(expressions, f"ether saddr != {mac} drop", comment)


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"


# Messages


def new_table(family: int) -> Message:
    """nft add table FAMILY cni-bridge-py"""
    return _message(family, NFT_MSG_NEWTABLE, NLM_F_CREATE, text(NFTA_TABLE_NAME, TABLE))


def new_chain(chain: Chain) -> Message:
    """nft add chain FAMILY cni-bridge-py NAME ['{ type ... hook ... priority ...; policy accept; }']"""
    hook = _hook(chain) if chain.type else ()
    return _message(chain.family, NFT_MSG_NEWCHAIN, NLM_F_CREATE, *_chain_place(chain), *hook)


def _hook(chain: Chain) -> tuple[bytes, bytes, bytes]:
    number = be32(NFTA_HOOK_HOOKNUM, chain.hook)
    priority = be32(NFTA_HOOK_PRIORITY, chain.priority & 0xFFFFFFFF)
    hook = nested(NFTA_CHAIN_HOOK, number, priority)
    return hook, be32(NFTA_CHAIN_POLICY, NF_ACCEPT), text(NFTA_CHAIN_TYPE, chain.type)


def del_chain(chain: Chain) -> Message:
    """nft delete chain FAMILY cni-bridge-py NAME"""
    return _message(chain.family, NFT_MSG_DELCHAIN, 0, *_chain_place(chain))


def get_chain(chain: Chain) -> Message:
    """Ask for one chain, without its rules."""
    return _message(chain.family, NFT_MSG_GETCHAIN, 0, *_chain_place(chain))


def _chain_place(chain: Chain) -> tuple[bytes, bytes]:
    return text(NFTA_CHAIN_TABLE, TABLE), text(NFTA_CHAIN_NAME, chain.name)


def flush_chain(chain: Chain) -> Message:
    """nft flush chain FAMILY cni-bridge-py NAME"""
    return _message(chain.family, NFT_MSG_DELRULE, 0, *_rule_place(chain))


def new_rule(chain: Chain, rule: Rule) -> Message:
    """nft add rule FAMILY cni-bridge-py NAME RULE"""
    comment = rule.comment.encode() + b"\0"
    return _message(
        chain.family,
        NFT_MSG_NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        *_rule_place(chain),
        nested(NFTA_RULE_EXPRESSIONS, *rule.expressions),
        attribute(NFTA_RULE_USERDATA, pack("BB", NFTNL_UDATA_RULE_COMMENT, len(comment)) + comment),
    )


def get_rules(chain: Chain) -> Message:
    """nft list chain FAMILY cni-bridge-py NAME"""
    return _message(chain.family, NFT_MSG_GETRULE, NLM_F_DUMP, *_rule_place(chain))


def get_all_rules(family: int) -> Message:
    """nft list table FAMILY cni-bridge-py"""
    return _message(family, NFT_MSG_GETRULE, NLM_F_DUMP, text(NFTA_RULE_TABLE, TABLE))


def _rule_place(chain: Chain) -> tuple[bytes, bytes]:
    return text(NFTA_RULE_TABLE, TABLE), text(NFTA_RULE_CHAIN, chain.name)


def chain_of(chain: Chain, rules: list[Rule]) -> list[Message]:
    """Have a chain hold just these rules."""
    return [new_chain(chain), flush_chain(chain), *(new_rule(chain, rule) for rule in rules)]


def new_set(of: Set) -> Message:
    """nft add map FAMILY cni-bridge-py NAME '{ type KEY : verdict; }' (or set ... '{ type KEY; flags interval; }')"""
    data = (be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT),) if of.is_map else ()
    return _message(
        of.family,
        NFT_MSG_NEWSET,
        NLM_F_CREATE,
        *_set_place(of),
        be32(NFTA_SET_FLAGS, NFT_SET_MAP if of.is_map else NFT_SET_INTERVAL),
        be32(NFTA_SET_KEY_TYPE, of.key.number),
        be32(NFTA_SET_KEY_LEN, of.key.length),
        *data,
        be32(NFTA_SET_ID, 1),  # the kernel wants one; what refers to the set names it
        attribute(NFTA_SET_USERDATA, pack("=BBI", NFTNL_UDATA_SET_KEYBYTEORDER, 4, of.key.byteorder)),
    )


def del_set(of: Set) -> Message:
    """nft delete set FAMILY cni-bridge-py NAME"""
    return _message(of.family, NFT_MSG_DELSET, 0, *_set_place(of))


def _set_place(of: Set) -> tuple[bytes, bytes]:
    return text(NFTA_SET_TABLE, TABLE), text(NFTA_SET_NAME, of.name)


def new_jump(chains: Set, key: bytes, chain: str) -> Message:
    """nft add element FAMILY cni-bridge-py NAME '{ KEY : jump CHAIN }'"""
    jump = nested(NFTA_SET_ELEM_DATA, _verdict_data(NFT_JUMP, chain))
    return _elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, chains, [_key(chains, key) + jump])


def del_jump(chains: Set, key: bytes) -> Message:
    """nft delete element FAMILY cni-bridge-py NAME '{ KEY }'"""
    return _elements(NFT_MSG_DELSETELEM, 0, chains, [_key(chains, key)])


def get_jump(chains: Set, key: bytes) -> Message:
    """nft get element FAMILY cni-bridge-py NAME '{ KEY }'"""
    return _elements(NFT_MSG_GETSETELEM, 0, chains, [_key(chains, key)])


def get_elements(of: Set) -> Message:
    """nft list map FAMILY cni-bridge-py NAME"""
    place = text(NFTA_SET_ELEM_LIST_TABLE, TABLE), text(NFTA_SET_ELEM_LIST_SET, of.name)
    return _message(of.family, NFT_MSG_GETSETELEM, NLM_F_DUMP, *place)


def new_networks(networks: Set, members: Sequence[IPNetwork]) -> list[Message]:
    """nft add element FAMILY cni-bridge-py NAME '{ NETWORK, NETWORK, ... }'; no two networks overlap or touch."""
    bounds = []
    for each in members:
        bounds.append(_key(networks, each.network.packed))
        if each.last < (1 << 8 * networks.key.length) - 1:  # the last of all addresses ends what it is in
            end = (each.last + 1).to_bytes(networks.key.length, "big")
            bounds.append(_key(networks, end) + be32(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END))
    parts = [bounds[start : start + ELEMENTS_A_MESSAGE] for start in range(0, len(bounds), ELEMENTS_A_MESSAGE)]
    return [_elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, networks, part) for part in parts]


def get_generation() -> Message:
    """Ask for the number of the rule set's state."""
    return _message(AF_UNSPEC, NFT_MSG_GETGEN, 0)


def _key(of: Set, key: bytes) -> bytes:
    return nested(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, key.ljust(of.key.length, b"\0")))


def _elements(kind: int, flags: int, of: Set, elements: list[bytes]) -> Message:
    return _message(
        of.family,
        kind,
        flags,
        text(NFTA_SET_ELEM_LIST_TABLE, TABLE),
        text(NFTA_SET_ELEM_LIST_SET, of.name),
        nested(NFTA_SET_ELEM_LIST_ELEMENTS, *(nested(NFTA_LIST_ELEM, each) for each in elements)),
    )


def _message(family: int, kind: int, flags: int, *parts: bytes) -> Message:
    header = pack(">BBH", family, 0, 0)  # struct nfgenmsg
    return Message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, header + b"".join(parts))


def _batch_edge(kind: int) -> Message:
    return Message(kind, 0, pack(">BBH", AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES))


# Expressions


def _load_address(version: IPVersion, field: str) -> tuple[bytes, ...]:
    """meta nfproto VERSION, and the address of a packet into the register."""
    load = _payload(NFT_PAYLOAD_NETWORK_HEADER, ADDRESS_OFFSET[version, field], ADDRESS[version].length)
    return _meta(NFT_META_NFPROTO), _compare(NFT_CMP_EQ, bytes([NFPROTO[version]])), load


def _meta(key: int) -> bytes:
    return _expression("meta", be32(NFTA_META_DREG, NFT_REG_1), be32(NFTA_META_KEY, key))


def _payload(base: int, offset: int, length: int) -> bytes:
    return _expression(
        "payload",
        be32(NFTA_PAYLOAD_DREG, NFT_REG_1),
        be32(NFTA_PAYLOAD_BASE, base),
        be32(NFTA_PAYLOAD_OFFSET, offset),
        be32(NFTA_PAYLOAD_LEN, length),
    )


def _mask(ones: bytes) -> bytes:
    return _expression(
        "bitwise",
        be32(NFTA_BITWISE_SREG, NFT_REG_1),
        be32(NFTA_BITWISE_DREG, NFT_REG_1),
        be32(NFTA_BITWISE_LEN, len(ones)),
        nested(NFTA_BITWISE_MASK, attribute(NFTA_DATA_VALUE, ones)),
        nested(NFTA_BITWISE_XOR, attribute(NFTA_DATA_VALUE, bytes(len(ones)))),
    )


def _compare(operator: int, data: bytes) -> bytes:
    return _expression(
        "cmp",
        be32(NFTA_CMP_SREG, NFT_REG_1),
        be32(NFTA_CMP_OP, operator),
        nested(NFTA_CMP_DATA, attribute(NFTA_DATA_VALUE, data)),
    )


def _lookup(name: str, result: int | None = None) -> bytes:
    """Look the register up: in a map, whose value goes into the register `result`; in a set, else the rule ends."""
    found = (be32(NFTA_LOOKUP_DREG, result),) if result is not None else ()
    return _expression("lookup", text(NFTA_LOOKUP_SET, name), be32(NFTA_LOOKUP_SREG, NFT_REG_1), *found)


def _verdict(code: int, chain: str = "") -> bytes:
    data = nested(NFTA_IMMEDIATE_DATA, _verdict_data(code, chain))
    return _expression("immediate", be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT), data)


def _verdict_data(code: int, chain: str) -> bytes:
    target = (text(NFTA_VERDICT_CHAIN, chain),) if chain else ()
    return nested(NFTA_DATA_VERDICT, be32(NFTA_VERDICT_CODE, code & 0xFFFFFFFF), *target)


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(NFTA_LIST_ELEM, text(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, *parts))


class Nftables(NetlinkSocket):
    """An nftables socket of one network namespace."""

    def __init__(self) -> None:
        super().__init__(NETLINK_NETFILTER)

    def generation(self) -> int:
        """The number of the rule set's state, which every change by anybody counts up.

        Raises NetlinkError where the kernel has no nf_tables.
        """
        told = dict(attributes(self.get(get_generation())[4:]))
        return int.from_bytes(told[NFTA_GEN_ID], "big")

    def comments(self, chain: Chain) -> list[str]:
        """The comments of the rules in a chain of ours, in order; none where there is no such chain."""
        return [comment for _, comment in self._rules(get_rules(chain))]

    def all_comments(self, family: int) -> list[tuple[str, str]]:
        """The rules of our table of a family, as the chain's name and the comment; none where there is no table."""
        return self._rules(get_all_rules(family))

    def _rules(self, message: Message) -> list[tuple[str, str]]:
        try:
            return [_name_and_comment(payload) for payload in self.dump(message)]
        except NetlinkError as error:
            if error.errno == ENOENT:
                return []
            raise

    def uses(self, chain: Chain) -> int:
        """How many rules a chain of ours has, and how many others jump to it, in one sum; 0 where it is not there."""
        told = self._find(get_chain(chain))
        return int.from_bytes(told.get(NFTA_CHAIN_USE, b""), "big")

    def jump(self, chains: Set, key: bytes) -> str:
        """The chain that a map of ours has for a key; empty where it has none."""
        elements = dict(attributes(self._find(get_jump(chains, key)).get(NFTA_SET_ELEM_LIST_ELEMENTS, b"")))
        return _key_and_chain(elements.get(NFTA_LIST_ELEM, b""))[1]

    def keys(self, chains: Set, chain: str) -> list[bytes]:
        """The keys for which a map of ours has that chain: all of its elements are looked at."""
        found = []
        for payload in self.dump(get_elements(chains)):
            for _, element in attributes(dict(attributes(payload[4:])).get(NFTA_SET_ELEM_LIST_ELEMENTS, b"")):
                key, target = _key_and_chain(element)
                if target == chain:
                    found.append(key)
        return found

    def _find(self, message: Message) -> dict[int, bytes]:
        try:
            return dict(attributes(self.get(message)[4:]))
        except NetlinkError as error:
            if error.errno == ENOENT:
                return {}
            raise

    def change(self, messages: list[Message]) -> None:
        """Make changes in one transaction: all of them or none. Raises NetlinkError with the first reason."""
        self.transact(messages, _batch_edge(NFNL_MSG_BATCH_BEGIN), _batch_edge(NFNL_MSG_BATCH_END))


def _key_and_chain(element: bytes) -> tuple[bytes, str]:
    """An element's key, and the chain that is jumped to; both empty where it has none."""
    told = dict(attributes(element))
    data = dict(attributes(told.get(NFTA_SET_ELEM_DATA, b"")))
    verdict = dict(attributes(data.get(NFTA_DATA_VERDICT, b"")))
    key = dict(attributes(told.get(NFTA_SET_ELEM_KEY, b"")))
    return key.get(NFTA_DATA_VALUE, b""), _text(verdict.get(NFTA_VERDICT_CHAIN, b""))


def _name_and_comment(payload: bytes) -> tuple[str, str]:
    told = dict(attributes(payload[4:]))
    return _text(told.get(NFTA_RULE_CHAIN, b"")), _text(told.get(NFTA_RULE_USERDATA, b"")[2:])


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
