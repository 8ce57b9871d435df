"""nftables over netlink: our own tables, in them what masquerades networks and what keeps pods to their MAC.

No `nft` or `iptables` binary is needed on the node. Names are the kernel's (linux/netfilter/nf_tables.h); what nft(8)
would print is beside each function.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import ENOENT, ERESTART
from struct import pack

from netaddr import IPNetwork

from cni_bridge_py.kernel.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    Message,
    NetlinkError,
    NetlinkSocket,
    Tolerating,
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
NFNL_BATCH_GENID = 1
NFT_MSG_NEWTABLE = 0
NFT_MSG_NEWCHAIN = 3
NFT_MSG_GETCHAIN = 4
NFT_MSG_DELCHAIN = 5
NFT_MSG_NEWRULE = 6
NFT_MSG_GETRULE = 7
NFT_MSG_DELRULE = 8
NFT_MSG_NEWSET = 9
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

NFTA_GEN_ID = 1
NFTA_TABLE_NAME = 1
NFTA_CHAIN_TABLE = 1
NFTA_CHAIN_NAME = 3
NFTA_CHAIN_HOOK = 4
NFTA_CHAIN_POLICY = 5
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
BYTEORDER_HOST_ENDIAN = 1
NFTA_SET_ELEM_LIST_TABLE = 1
NFTA_SET_ELEM_LIST_SET = 2
NFTA_SET_ELEM_LIST_ELEMENTS = 3
NFTA_SET_ELEM_KEY = 1
NFTA_SET_ELEM_DATA = 2
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
TYPE_IFNAME = 41
"""nft's number for this type of data (libnftables' datatype.h), which tells it how to print a map."""

GUARDED = "guarded"
"""The map from a guarded pod's host veth to the chain that knows its MAC."""


@dataclass(frozen=True)
class Chain:
    """A chain of ours: the table's family and the chain's name; for a base chain, where it hooks in."""

    family: int
    name: str
    type: str = ""
    hook: int = 0
    priority: int = 0

    @property
    def place(self) -> str:
        """Where nft finds it: `inet cni-bridge-py masquerade-podnet`."""
        return f"{self.table} {self.name}"

    @property
    def table(self) -> str:
        """Where nft finds its table: `inet cni-bridge-py`."""
        return f"{FAMILY_NAME[self.family]} {TABLE}"

    @property
    def definition(self) -> str:
        """What nft wants to know to make it; nothing for a chain that is only jumped to."""
        if not self.type:
            return ""
        hook = {NF_INET_POST_ROUTING: "postrouting", NF_BR_PRE_ROUTING: "prerouting"}[self.hook]
        return f"{{ type {self.type} hook {hook} priority {self.priority}; policy accept; }}"


def masquerade_chain(network: str) -> Chain:
    """The chain of a network whose pods are masqueraded."""
    name = f"masquerade-{network}"
    return Chain(NFPROTO_INET, name, "nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC)


MACSPOOFCHK_CHAIN = Chain(NFPROTO_BRIDGE, "macspoofchk", "filter", NF_BR_PRE_ROUTING, NF_BR_PRI_NAT_DST_BRIDGED)


def macspoofchk_chain(veth: str) -> Chain:
    """The chain of one guarded pod, called as its host veth."""
    return Chain(NFPROTO_BRIDGE, veth)


class Rule:
    """What a chain's rules share: a comment, which says why to people and tells the rule from others to us."""

    comment: str

    def expressions(self) -> list[bytes]:
        """The rule's expressions, as attributes."""
        raise NotImplementedError


@dataclass(frozen=True)
class AddressRule(Rule):
    """Packets whose `field` (saddr or daddr) is in `network` meet `verdict` (`return` or `masquerade`)."""

    field: str
    network: IPNetwork
    verdict: str
    comment: str

    def expressions(self) -> list[bytes]:
        """meta nfproto VERSION, the address field & mask == network, VERDICT"""
        network = self.network
        address, ones = network.network.packed, network.netmask.packed
        offset = ADDRESS_OFFSET[network.version, self.field]
        return [
            _meta(NFT_META_NFPROTO),
            _compare(NFT_CMP_EQ, bytes([NFPROTO[network.version]])),
            _payload(NFT_PAYLOAD_NETWORK_HEADER, offset, len(address)),
            _mask(ones),
            _compare(NFT_CMP_EQ, address),
            _masquerade() if self.verdict == "masquerade" else _verdict(NFT_RETURN),
        ]

    def __str__(self) -> str:
        ip = "ip" if self.network.version == 4 else "ip6"
        verdict = "masquerade fully-random" if self.verdict == "masquerade" else self.verdict
        return f'{ip} {self.field} {self.network} {verdict} comment "{self.comment}"'


@dataclass(frozen=True)
class GuardRule(Rule):
    """Frames that come in through a guarded pod's host veth go through that pod's chain."""

    comment: str = "macspoofchk: each pod has a chain"

    def expressions(self) -> list[bytes]:
        """iifname vmap @guarded"""
        return [_meta(NFT_META_IIFNAME), _lookup_verdict(GUARDED)]

    def __str__(self) -> str:
        return f'iifname vmap @{GUARDED} comment "{self.comment}"'


@dataclass(frozen=True)
class MacRule(Rule):
    """Frames with another source MAC are dropped."""

    mac: str

    @property
    def comment(self) -> str:  # type: ignore[override]
        """The MAC, in words."""
        return f"sends from {self.mac} only"

    def expressions(self) -> list[bytes]:
        """ether saddr != MAC drop"""
        return [
            _payload(NFT_PAYLOAD_LL_HEADER, ETHER_SADDR_OFFSET, ETH_ALEN),
            _compare(NFT_CMP_NEQ, bytes.fromhex(self.mac.replace(":", ""))),
            _verdict(NF_DROP),
        ]

    def __str__(self) -> str:
        return f'ether saddr != {self.mac} drop comment "{self.comment}"'


def new_table(family: int) -> Message:
    """nft add table FAMILY cni-bridge-py"""
    return _message(family, NFT_MSG_NEWTABLE, NLM_F_CREATE, text(NFTA_TABLE_NAME, TABLE))


def new_chain(chain: Chain) -> Message:
    """nft add chain FAMILY cni-bridge-py NAME ['{ type ... hook ... priority ...; policy accept; }']"""
    return _message(
        chain.family,
        NFT_MSG_NEWCHAIN,
        NLM_F_CREATE,
        text(NFTA_CHAIN_TABLE, TABLE),
        text(NFTA_CHAIN_NAME, chain.name),
        *(_hook(chain) if chain.type else ()),
    )


def _hook(chain: Chain) -> tuple[bytes, bytes, bytes]:
    number = be32(NFTA_HOOK_HOOKNUM, chain.hook)
    priority = be32(NFTA_HOOK_PRIORITY, chain.priority & 0xFFFFFFFF)
    hook = nested(NFTA_CHAIN_HOOK, number, priority)
    return hook, be32(NFTA_CHAIN_POLICY, NF_ACCEPT), text(NFTA_CHAIN_TYPE, chain.type)


def del_chain(chain: Chain) -> Message:
    """nft delete chain FAMILY cni-bridge-py NAME"""
    names = text(NFTA_CHAIN_TABLE, TABLE), text(NFTA_CHAIN_NAME, chain.name)
    return _message(chain.family, NFT_MSG_DELCHAIN, 0, *names)


def get_chains(family: int) -> Message:
    """nft list chains FAMILY"""
    return _message(family, NFT_MSG_GETCHAIN, NLM_F_DUMP)


def flush_chain(chain: Chain) -> Message:
    """nft flush chain FAMILY cni-bridge-py NAME"""
    return _message(chain.family, NFT_MSG_DELRULE, 0, *_place(chain))


def new_rule(chain: Chain, rule: Rule) -> Message:
    """nft add rule FAMILY cni-bridge-py NAME RULE"""
    comment = rule.comment.encode() + b"\0"
    return _message(
        chain.family,
        NFT_MSG_NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        *_place(chain),
        nested(NFTA_RULE_EXPRESSIONS, *rule.expressions()),
        attribute(NFTA_RULE_USERDATA, pack("BB", NFTNL_UDATA_RULE_COMMENT, len(comment)) + comment),
    )


def get_rules(chain: Chain) -> Message:
    """nft list chain FAMILY cni-bridge-py NAME"""
    return _message(chain.family, NFT_MSG_GETRULE, NLM_F_DUMP, *_place(chain))


def new_guarded_map() -> Message:
    """nft add map bridge cni-bridge-py guarded '{ type ifname : verdict; }'"""
    return _message(
        NFPROTO_BRIDGE,
        NFT_MSG_NEWSET,
        NLM_F_CREATE,
        text(NFTA_SET_TABLE, TABLE),
        text(NFTA_SET_NAME, GUARDED),
        be32(NFTA_SET_FLAGS, NFT_SET_MAP),
        be32(NFTA_SET_KEY_TYPE, TYPE_IFNAME),
        be32(NFTA_SET_KEY_LEN, IFNAMSIZ),
        be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT),
        be32(NFTA_SET_ID, 1),
        attribute(NFTA_SET_USERDATA, pack("=BBI", NFTNL_UDATA_SET_KEYBYTEORDER, 4, BYTEORDER_HOST_ENDIAN)),
    )


def new_guarded(veth: str) -> Message:
    """nft add element bridge cni-bridge-py guarded '{ VETH : jump VETH }'"""
    jump = nested(NFTA_DATA_VERDICT, be32(NFTA_VERDICT_CODE, NFT_JUMP & 0xFFFFFFFF), text(NFTA_VERDICT_CHAIN, veth))
    return _element(NFT_MSG_NEWSETELEM, NLM_F_CREATE, veth, nested(NFTA_SET_ELEM_DATA, jump))


def del_guarded(veth: str) -> Message:
    """nft delete element bridge cni-bridge-py guarded '{ VETH }'"""
    return _element(NFT_MSG_DELSETELEM, 0, veth)


def get_guarded(veth: str) -> Message:
    """nft get element bridge cni-bridge-py guarded '{ VETH }'"""
    return _element(NFT_MSG_GETSETELEM, 0, veth)


def get_generation() -> Message:
    """Ask for the number of the rule set's state."""
    return _message(AF_UNSPEC, NFT_MSG_GETGEN, 0)


def _place(chain: Chain) -> tuple[bytes, bytes]:
    return text(NFTA_RULE_TABLE, TABLE), text(NFTA_RULE_CHAIN, chain.name)


def _element(kind: int, flags: int, veth: str, *data: bytes) -> Message:
    value = attribute(NFTA_DATA_VALUE, veth.encode().ljust(IFNAMSIZ, b"\0"))
    element = nested(NFTA_LIST_ELEM, nested(NFTA_SET_ELEM_KEY, value), *data)
    return _message(
        NFPROTO_BRIDGE,
        kind,
        flags,
        text(NFTA_SET_ELEM_LIST_TABLE, TABLE),
        text(NFTA_SET_ELEM_LIST_SET, GUARDED),
        nested(NFTA_SET_ELEM_LIST_ELEMENTS, element),
    )


def _message(family: int, kind: int, flags: int, *parts: bytes) -> Message:
    header = pack(">BBH", family, 0, 0)  # struct nfgenmsg
    return Message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, header + b"".join(parts))


def _batch_edge(kind: int, *parts: bytes) -> Message:
    return Message(kind, 0, pack(">BBH", AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES) + b"".join(parts))


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


def _lookup_verdict(name: str) -> bytes:
    registers = be32(NFTA_LOOKUP_SREG, NFT_REG_1), be32(NFTA_LOOKUP_DREG, NFT_REG_VERDICT)
    return _expression("lookup", text(NFTA_LOOKUP_SET, name), *registers)


def _verdict(code: int) -> bytes:
    verdict = nested(NFTA_DATA_VERDICT, be32(NFTA_VERDICT_CODE, code & 0xFFFFFFFF))
    return _expression("immediate", be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT), nested(NFTA_IMMEDIATE_DATA, verdict))


def _masquerade() -> bytes:
    return _expression("masq", be32(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY))


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(NFTA_LIST_ELEM, text(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, *parts))


def _comment_of(payload: bytes) -> str:
    userdata = dict(attributes(payload[4:])).get(NFTA_RULE_USERDATA, b"")
    return userdata[2:].rstrip(b"\0").decode(errors="replace")


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
        try:
            return [_comment_of(payload) for payload in self.dump(get_rules(chain))]
        except NetlinkError as error:
            if error.errno == ENOENT:
                return []
            raise

    def replace(self, chain: Chain, rules: list[Rule], generation: int) -> bool:
        """Make a chain of ours hold just these rules, in one transaction.

        Returns False, and has changed nothing, when the rule set is no more of that `generation`. Raises NetlinkError
        where the kernel has not all that the rules need.
        """
        messages = [new_table(chain.family)]
        messages += [new_guarded_map()] if chain == MACSPOOFCHK_CHAIN else []
        messages += [new_chain(chain), flush_chain(chain), *(new_rule(chain, rule) for rule in rules)]
        try:
            self._transact(messages, be32(NFNL_BATCH_GENID, generation))
        except NetlinkError as error:
            if error.errno == ERESTART:
                return False
            raise
        return True

    def guard(self, veth: str, rule: Rule) -> None:
        """Have frames from a pod's host veth go through a chain of its own with that rule."""
        chain = macspoofchk_chain(veth)
        self._transact([new_chain(chain), flush_chain(chain), new_rule(chain, rule), new_guarded(veth)])

    def unguard(self, veth: str) -> None:
        """Take a pod's chain away; one that is not there is no error."""
        for message in (del_guarded(veth), del_chain(macspoofchk_chain(veth))):
            with Tolerating(ENOENT):
                self._transact([message])

    def guarded(self) -> list[str]:
        """The host veths of all guarded pods, those that are gone included."""
        found = (dict(attributes(payload[4:])) for payload in self.dump(get_chains(NFPROTO_BRIDGE)))
        ours = (each for each in found if each[NFTA_CHAIN_TABLE] == TABLE.encode() + b"\0")
        names = [each[NFTA_CHAIN_NAME].rstrip(b"\0").decode(errors="replace") for each in ours]
        return [name for name in names if name != MACSPOOFCHK_CHAIN.name]

    def is_guarded(self, veth: str) -> bool:
        """Whether frames from a pod's host veth go through its chain."""
        try:
            self.get(get_guarded(veth))
        except NetlinkError as error:
            if error.errno == ENOENT:
                return False
            raise
        return True

    def _transact(self, messages: list[Message], *conditions: bytes) -> None:
        self.transact(messages, _batch_edge(NFNL_MSG_BATCH_BEGIN, *conditions), _batch_edge(NFNL_MSG_BATCH_END))
