"""nftables over netlink: the messages and expressions that our tables need, and a socket to send them.

The node needs no `nft` or `iptables` binary. Names are the kernel's (linux/netfilter/nf_tables.h). Each function says
what nft(8) would print. `wiring/packet_filter.py` says what our tables hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import ENOENT, ERESTART
from struct import pack, unpack

from netaddr import IPAddress, IPNetwork

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
NFT_RETURN = -5
NF_NAT_RANGE_PROTO_RANDOM_FULLY = 1 << 4

NFNL_BATCH_GENID = 1
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
NFTA_RULE_HANDLE = 3
NFTA_RULE_EXPRESSIONS = 4
NFTA_RULE_USERDATA = 7
NFTNL_UDATA_RULE_COMMENT = 0
NFTA_SET_TABLE = 1
NFTA_SET_NAME = 2
NFTA_SET_FLAGS = 3
NFTA_SET_KEY_TYPE = 4
NFTA_SET_KEY_LEN = 5
NFTA_SET_ID = 10
NFTA_SET_USERDATA = 13
NFTNL_UDATA_SET_KEYBYTEORDER = 0
BYTEORDER_INVALID, BYTEORDER_HOST_ENDIAN, BYTEORDER_BIG_ENDIAN = 0, 1, 2
NFTA_SET_ELEM_LIST_TABLE = 1
NFTA_SET_ELEM_LIST_SET = 2
NFTA_SET_ELEM_LIST_ELEMENTS = 3
NFTA_SET_ELEM_KEY = 1
NFTA_SET_ELEM_FLAGS = 3
NFTA_SET_ELEM_USERDATA = 6
NFTNL_UDATA_SET_ELEM_COMMENT = 0
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
NFT_REG_2 = 2
NFT_META_IIFNAME = 6
NFT_META_NFPROTO = 15
NFT_PAYLOAD_LL_HEADER = 0
NFT_PAYLOAD_NETWORK_HEADER = 1
NFT_CMP_EQ = 0
NFT_SET_INTERVAL = 4
NFT_LOOKUP_F_INV = 1
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
NFTA_LOOKUP_FLAGS = 5
NFTA_IMMEDIATE_DREG = 1
NFTA_IMMEDIATE_DATA = 2
NFTA_MASQ_FLAGS = 1

ADDRESS_OFFSET = {(4, "saddr"): 12, (4, "daddr"): 16, (6, "saddr"): 8, (6, "daddr"): 24}
"""Offsets into the IP header, in bytes: struct iphdr, struct ipv6hdr."""
ETHER_SADDR_OFFSET, ETH_ALEN = 6, 6
"""struct ethhdr."""
IFNAMSIZ = 16
TYPE_IPADDR, TYPE_IP6ADDR, TYPE_ETHERADDR, TYPE_MARK, TYPE_IFNAME = 7, 8, 9, 19, 41
"""nft's numbers for data types (libnftables' datatype.h), which tell nft how to print a set."""
TYPE_BITS = 6
"""How many bits each part of a concatenated type takes."""

ELEMENTS_A_MESSAGE = 300
"""A message's list of elements has 64 KiB; an element with a key of 24 bytes and the longest comment takes 172."""


@dataclass(frozen=True)
class Chain:
    """A chain in one of our tables: the table's family and the chain's name; for a base chain, also its hook."""

    family: int
    name: str
    type: str = ""
    hook: int = 0
    priority: int = 0

    @property
    def place(self) -> str:
        """How nft names it: `inet cni-bridge-py masquerade`."""
        return f"{table_name(self.family)} {self.name}"

    @property
    def definition(self) -> str:
        """Its definition for nft; empty for a chain without a hook."""
        if not self.type:
            return ""
        hook = {NF_INET_POST_ROUTING: "postrouting", NF_BR_PRE_ROUTING: "prerouting"}[self.hook]
        return f"{{ type {self.type} hook {hook} priority {self.priority}; policy accept; }}"


@dataclass(frozen=True)
class KeyType:
    """The type of a set's keys: nft's name and number for it, its length in bytes, and its byte order."""

    name: str
    number: int
    length: int
    byteorder: int

    def words(self, key: bytes) -> str:
        """A key in nft's notation."""
        if self.byteorder == BYTEORDER_BIG_ENDIAN:
            return str(IPAddress(int.from_bytes(key, "big"), 4 if self.length == 4 else 6))
        interface, rest = key[:IFNAMSIZ].rstrip(b"\0").decode(), key[IFNAMSIZ:]
        if self.name == IFNAME_AND_MAC.name:
            return f"{interface} . {rest[:ETH_ALEN].hex(':')}"
        return f"{interface} . {unpack('=I', rest)[0]}" if rest else interface


IFNAME = KeyType("ifname", TYPE_IFNAME, IFNAMSIZ, BYTEORDER_HOST_ENDIAN)
ADDRESS: dict[IPVersion, KeyType] = {
    4: KeyType("ipv4_addr", TYPE_IPADDR, 4, BYTEORDER_BIG_ENDIAN),
    6: KeyType("ipv6_addr", TYPE_IP6ADDR, 16, BYTEORDER_BIG_ENDIAN),
}
# Concatenations; each part fills whole registers of four bytes.
IFNAME_AND_MAC = KeyType("ifname . ether_addr", TYPE_IFNAME << TYPE_BITS | TYPE_ETHERADDR, 24, BYTEORDER_INVALID)
IFNAME_AND_MARK = KeyType("ifname . mark", TYPE_IFNAME << TYPE_BITS | TYPE_MARK, 20, BYTEORDER_INVALID)


def interface_key(name: str) -> bytes:
    """A key of the type IFNAME."""
    return name.encode().ljust(IFNAMSIZ, b"\0")


def interface_and_mac_key(name: str, mac: str) -> bytes:
    """A key of the type IFNAME_AND_MAC."""
    return (interface_key(name) + bytes.fromhex(mac.replace(":", ""))).ljust(IFNAME_AND_MAC.length, b"\0")


def interface_and_mark_key(name: str, mark: int) -> bytes:
    """A key of the type IFNAME_AND_MARK."""
    return interface_key(name) + pack("=I", mark)


@dataclass(frozen=True)
class Set:
    """A set in one of our tables, of single keys or of networks (`intervals`)."""

    family: int
    name: str
    key: KeyType
    intervals: bool = False

    @property
    def place(self) -> str:
        """How nft names it: `inet cni-bridge-py attachments`."""
        return f"{table_name(self.family)} {self.name}"

    @property
    def definition(self) -> str:
        """Its definition for nft."""
        return f"{{ type {self.key.name}; {'flags interval; ' if self.intervals else ''}}}"


Element = tuple[Set, bytes]
"""A set, and a key in it."""


@dataclass(frozen=True)
class Rule:
    """A rule: its expressions, the same in nft's notation, and a comment.

    The comment tells people why the rule is there, and tells us which rule it is.
    """

    expressions: tuple[bytes, ...]
    words: str
    comment: str

    def __str__(self) -> str:
        return f'{self.words} comment "{self.comment}"'


def table_name(family: int) -> str:
    """How nft names our table: `inet cni-bridge-py`."""
    return f"{FAMILY_NAME[family]} {TABLE}"


# Rules


def jump_from_set(version: IPVersion, sources: Set, chain: Chain, comment: str) -> Rule:
    """ip saddr @SOURCES jump CHAIN"""
    expressions = (*_load_address(version, "saddr"), _lookup(sources.name), _verdict(NFT_JUMP, chain.name))
    return Rule(expressions, f"{_ip(version)} saddr @{sources.name} jump {chain.name}", comment)


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


def drop_other_macs(interfaces: Set, allowed: Set, comment: str) -> Rule:
    """iifname @INTERFACES iifname . ether saddr != @ALLOWED drop"""
    expressions = (
        _meta(NFT_META_IIFNAME),
        _lookup(interfaces.name),
        _meta(NFT_META_IIFNAME),
        _payload(NFT_PAYLOAD_LL_HEADER, ETHER_SADDR_OFFSET, ETH_ALEN, NFT_REG_2),
        _lookup(allowed.name, NFT_LOOKUP_F_INV),
        _verdict(NF_DROP),
    )
    words = f"iifname @{interfaces.name} iifname . ether saddr != @{allowed.name} drop"
    return Rule(expressions, words, comment)


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


def get_chains(family: int) -> Message:
    """nft list chains FAMILY. Kernels that do not filter dumps list the chains of other tables, too."""
    return _message(family, NFT_MSG_GETCHAIN, NLM_F_DUMP, text(NFTA_CHAIN_TABLE, TABLE))


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


def del_rule(chain: Chain, handle: bytes) -> Message:
    """nft delete rule FAMILY cni-bridge-py NAME handle HANDLE"""
    return _message(chain.family, NFT_MSG_DELRULE, 0, *_rule_place(chain), attribute(NFTA_RULE_HANDLE, handle))


def _rule_place(chain: Chain) -> tuple[bytes, bytes]:
    return text(NFTA_RULE_TABLE, TABLE), text(NFTA_RULE_CHAIN, chain.name)


def chain_with(chain: Chain, rules: list[Rule]) -> list[Message]:
    """Replace the rules of a chain."""
    return [new_chain(chain), flush_chain(chain), *(new_rule(chain, rule) for rule in rules)]


def new_set(of: Set) -> Message:
    """nft add set FAMILY cni-bridge-py NAME '{ type KEY; [flags interval;] }'"""
    return _message(
        of.family,
        NFT_MSG_NEWSET,
        NLM_F_CREATE,
        *_set_place(of),
        be32(NFTA_SET_FLAGS, NFT_SET_INTERVAL if of.intervals else 0),
        be32(NFTA_SET_KEY_TYPE, of.key.number),
        be32(NFTA_SET_KEY_LEN, of.key.length),
        be32(NFTA_SET_ID, 1),  # the kernel requires an id, but later messages refer to the set by its name
        attribute(NFTA_SET_USERDATA, pack("=BBI", NFTNL_UDATA_SET_KEYBYTEORDER, 4, of.key.byteorder)),
    )


def del_set(of: Set) -> Message:
    """nft delete set FAMILY cni-bridge-py NAME"""
    return _message(of.family, NFT_MSG_DELSET, 0, *_set_place(of))


def _set_place(of: Set) -> tuple[bytes, bytes]:
    return text(NFTA_SET_TABLE, TABLE), text(NFTA_SET_NAME, of.name)


def new_elements(of: Set, comments: dict[bytes, str]) -> list[Message]:
    """nft add element FAMILY cni-bridge-py NAME '{ KEY comment COMMENT, ... }'

    If an element is already there, the kernel leaves it as it is, including its comment.
    """
    elements = [_key(key) + _comment(comment) for key, comment in comments.items()]
    return [_elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, of, part) for part in _parts(elements)]


def del_elements(of: Set, keys: Sequence[bytes]) -> Message:
    """nft delete element FAMILY cni-bridge-py NAME '{ KEY, ... }'"""
    return _elements(NFT_MSG_DELSETELEM, 0, of, [_key(key) for key in keys])


def flush_set(of: Set) -> Message:
    """nft flush set FAMILY cni-bridge-py NAME"""
    return _message(of.family, NFT_MSG_DELSETELEM, 0, *_elements_place(of))


def get_element(of: Set, key: bytes) -> Message:
    """nft get element FAMILY cni-bridge-py NAME '{ KEY }'"""
    return _elements(NFT_MSG_GETSETELEM, 0, of, [_key(key)])


def get_elements(of: Set) -> Message:
    """nft list set FAMILY cni-bridge-py NAME"""
    return _message(of.family, NFT_MSG_GETSETELEM, NLM_F_DUMP, *_elements_place(of))


def new_networks(of: Set, networks: Sequence[IPNetwork]) -> list[Message]:
    """nft add element FAMILY cni-bridge-py NAME '{ NETWORK, NETWORK, ... }'; no two networks overlap or touch."""
    bounds = []
    for network in networks:
        bounds.append(_key(network.network.packed))
        if network.last < (1 << 8 * of.key.length) - 1:  # the highest address of all needs no end element
            end = (network.last + 1).to_bytes(of.key.length, "big")
            bounds.append(_key(end) + be32(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END))
    return [_elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, of, part) for part in _parts(bounds)]


def get_generation() -> Message:
    """Ask for the generation of the ruleset."""
    return _message(AF_UNSPEC, NFT_MSG_GETGEN, 0)


def _key(key: bytes) -> bytes:
    return nested(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, key))


def _comment(comment: str) -> bytes:
    data = comment.encode() + b"\0"
    return attribute(NFTA_SET_ELEM_USERDATA, pack("BB", NFTNL_UDATA_SET_ELEM_COMMENT, len(data)) + data)


def _parts(elements: list[bytes]) -> list[list[bytes]]:
    return [elements[start : start + ELEMENTS_A_MESSAGE] for start in range(0, len(elements), ELEMENTS_A_MESSAGE)]


def _elements(kind: int, flags: int, of: Set, elements: list[bytes]) -> Message:
    members = nested(NFTA_SET_ELEM_LIST_ELEMENTS, *(nested(NFTA_LIST_ELEM, each) for each in elements))
    return _message(of.family, kind, flags, *_elements_place(of), members)


def _elements_place(of: Set) -> tuple[bytes, bytes]:
    return text(NFTA_SET_ELEM_LIST_TABLE, TABLE), text(NFTA_SET_ELEM_LIST_SET, of.name)


def _message(family: int, kind: int, flags: int, *parts: bytes) -> Message:
    header = pack(">BBH", family, 0, 0)  # struct nfgenmsg
    return Message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, header + b"".join(parts))


def _batch_edge(kind: int, *parts: bytes) -> Message:
    return Message(kind, 0, pack(">BBH", AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES) + b"".join(parts))


# Expressions


def _load_address(version: IPVersion, field: str) -> tuple[bytes, ...]:
    """meta nfproto VERSION, and load an address of the packet into the register."""
    load = _payload(NFT_PAYLOAD_NETWORK_HEADER, ADDRESS_OFFSET[version, field], ADDRESS[version].length)
    return _meta(NFT_META_NFPROTO), _compare(NFT_CMP_EQ, bytes([NFPROTO[version]])), load


def _meta(key: int) -> bytes:
    return _expression("meta", be32(NFTA_META_DREG, NFT_REG_1), be32(NFTA_META_KEY, key))


def _payload(base: int, offset: int, length: int, register: int = NFT_REG_1) -> bytes:
    return _expression(
        "payload",
        be32(NFTA_PAYLOAD_DREG, register),
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


def _lookup(name: str, flags: int = 0) -> bytes:
    """Continue if the register is in the set, or if it is not."""
    inverted = (be32(NFTA_LOOKUP_FLAGS, flags),) if flags else ()
    return _expression("lookup", text(NFTA_LOOKUP_SET, name), be32(NFTA_LOOKUP_SREG, NFT_REG_1), *inverted)


def _verdict(code: int, chain: str = "") -> bytes:
    target = (text(NFTA_VERDICT_CHAIN, chain),) if chain else ()
    verdict = nested(NFTA_DATA_VERDICT, be32(NFTA_VERDICT_CODE, code & 0xFFFFFFFF), *target)
    data = nested(NFTA_IMMEDIATE_DATA, verdict)
    return _expression("immediate", be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT), data)


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(NFTA_LIST_ELEM, text(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, *parts))


@dataclass(frozen=True)
class Seen:
    """The answers to one look at the ruleset; see Nftables.look."""

    generation: int
    uses: int
    comments: dict[Element, str | None]


class Nftables(NetlinkSocket):
    """An nftables socket of one network namespace."""

    def __init__(self) -> None:
        super().__init__(NETLINK_NETFILTER)

    def generation(self) -> int:
        """The generation of the ruleset, which every change by anybody increments.

        Raises NetlinkError if the kernel has no nf_tables.
        """
        return _generation(self.get(get_generation()))

    def look(self, chain: Chain, elements: Sequence[Element]) -> Seen:
        """The number of the rule set's state, and what `uses` and `comment` tell of a chain and of elements after it.

        Raises NetlinkError.
        """
        asked = [get_generation(), get_chain(chain), *(get_element(of, key) for of, key in elements)]
        generation, uses, *comments = (_unless_missing(each) for each in self.get_each(asked))
        found = {element: _comment_of(element[1], each) for element, each in zip(elements, comments, strict=True)}
        return Seen(_generation(generation), _uses(uses), found)

    def comments(self, chain: Chain) -> list[str]:
        """The comments of the rules in a chain of ours, in order; none if there is no such chain."""
        return [comment for _, comment in self.rules(chain)]

    def first_comments(self, chain: Chain) -> list[str]:
        """The comments of the first rules in a chain of ours: about ten, however many there are."""
        return [comment for _, comment in map(_handle_and_comment, self._found(get_rules(chain), self.first))]

    def rules(self, chain: Chain) -> list[tuple[bytes, str]]:
        """The rules of a chain of ours, as handle and comment, in order; none if there is no such chain."""
        return [_handle_and_comment(payload) for payload in self._found(get_rules(chain))]

    def chains(self, family: int) -> list[str]:
        """The names of the chains in our table of that family; none if there is no such table."""
        found = (dict(attributes(payload[4:])) for payload in self._found(get_chains(family)))
        return [_text(each[NFTA_CHAIN_NAME]) for each in found if _text(each[NFTA_CHAIN_TABLE]) == TABLE]

    def uses(self, chain: Chain) -> int:
        """How many rules a chain of ours has, plus how many others jump to it; 0 if there is no such chain."""
        return _uses(self._find(get_chain(chain)))

    def comment(self, of: Set, key: bytes) -> str | None:
        """The comment of an element; None if a set of ours has no element with that key."""
        return _comment_of(key, self._find(get_element(of, key)))

    def comments_of(self, elements: Sequence[Element]) -> list[str | None]:
        """What `comment` returns, for each of the elements."""
        answers = self.get_each([get_element(of, key) for of, key in elements])
        return [_comment_of(key, _unless_missing(each)) for (_, key), each in zip(elements, answers, strict=True)]

    def elements(self, of: Set) -> dict[bytes, str]:
        """All elements of a set of ours, and their comments; none if there is no such set."""
        return _all_elements(self._found(get_elements(of)))

    def some_elements(self, of: Set) -> dict[bytes, str]:
        """Some elements of a set of ours: at least three, if it has as many."""
        return _all_elements(self._found(get_elements(of), self.first))

    def _found(self, message: Message, ask: Callable[[Message], list[bytes]] | None = None) -> list[bytes]:
        try:
            return (ask or self.dump)(message)
        except NetlinkError as error:
            if error.errno == ENOENT:
                return []
            raise

    def _find(self, message: Message) -> bytes:
        try:
            return self.get(message)
        except NetlinkError as error:
            return _unless_missing(error)

    def change(self, messages: list[Message], generation: int) -> bool:
        """Make changes in one transaction: all of them or none.

        If somebody else has changed the ruleset since that `generation`, return False, and change nothing.
        Raises NetlinkError with the first reason.
        """
        first = _batch_edge(NFNL_MSG_BATCH_BEGIN, be32(NFNL_BATCH_GENID, generation))
        try:
            self.transact(messages, first, _batch_edge(NFNL_MSG_BATCH_END))
        except NetlinkError as error:
            if error.errno != ERESTART:
                raise
            return False
        return True


def _unless_missing(answer: bytes | NetlinkError) -> bytes:
    """An answer; empty if the kernel says that there is no such object. Raises any other refusal."""
    if isinstance(answer, bytes):
        return answer
    if answer.errno != ENOENT:
        raise answer
    return b""


def _generation(payload: bytes) -> int:
    return int.from_bytes(dict(attributes(payload[4:]))[NFTA_GEN_ID], "big")


def _uses(payload: bytes) -> int:
    return int.from_bytes(dict(attributes(payload[4:])).get(NFTA_CHAIN_USE, b""), "big")


def _comment_of(key: bytes, payload: bytes) -> str | None:
    return _elements_of(payload).get(key)


def _all_elements(payloads: list[bytes]) -> dict[bytes, str]:
    return {key: each for payload in payloads for key, each in _elements_of(payload).items()}


def _elements_of(payload: bytes) -> dict[bytes, str]:
    """The elements in one answer, and their comments."""
    told = dict(attributes(payload[4:]))
    found = {}
    for _, element in attributes(told.get(NFTA_SET_ELEM_LIST_ELEMENTS, b"")):
        parts = dict(attributes(element))
        key = dict(attributes(parts.get(NFTA_SET_ELEM_KEY, b""))).get(NFTA_DATA_VALUE, b"")
        found[key] = _text(parts.get(NFTA_SET_ELEM_USERDATA, b"")[2:])
    return found


def _handle_and_comment(payload: bytes) -> tuple[bytes, str]:
    told = dict(attributes(payload[4:]))
    return told.get(NFTA_RULE_HANDLE, b""), _text(told.get(NFTA_RULE_USERDATA, b"")[2:])


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
