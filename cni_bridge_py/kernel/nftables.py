"""nftables over netlink: one table of ours, in it one chain for each network that masquerades.

No `nft` or `iptables` binary is needed on the node. Names are the kernel's (linux/netfilter/nf_tables.h); what nft(8)
would print is beside each function.
"""

from __future__ import annotations

from errno import ENOENT, ERESTART
from struct import pack

from cni_bridge_py.addresses import IPNetwork, packed
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
from cni_bridge_py.record import record

TABLE = "cni-bridge-py"

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN = 0x10
NFNL_MSG_BATCH_END = 0x11
NFT_MSG_NEWTABLE = 0
NFT_MSG_NEWCHAIN = 3
NFT_MSG_NEWRULE = 6
NFT_MSG_GETRULE = 7
NFT_MSG_DELRULE = 8
NFT_MSG_GETGEN = 16
NFTA_GEN_ID = 1
NFNL_BATCH_GENID = 1

AF_UNSPEC = 0
NFPROTO_INET = 1
NFPROTO = {4: 2, 6: 10}
"""NFPROTO_IPV4 and NFPROTO_IPV6."""
NF_INET_POST_ROUTING = 4
NF_IP_PRI_NAT_SRC = 100
NF_ACCEPT = 1
NF_NAT_RANGE_PROTO_RANDOM_FULLY = 1 << 4

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
NFTA_LIST_ELEM = 1
NFTA_EXPR_NAME = 1
NFTA_EXPR_DATA = 2
NFTA_DATA_VALUE = 1
NFTA_DATA_VERDICT = 2
NFTA_VERDICT_CODE = 1

NFT_REG_VERDICT = 0
NFT_REG_1 = 1
NFT_RETURN = -5
NFT_META_NFPROTO = 15
NFT_PAYLOAD_NETWORK_HEADER = 1
NFT_CMP_EQ = 0
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
NFTA_IMMEDIATE_DREG = 1
NFTA_IMMEDIATE_DATA = 2
NFTA_MASQ_FLAGS = 1

OFFSET = {(4, "saddr"): 12, (4, "daddr"): 16, (6, "saddr"): 8, (6, "daddr"): 24}
"""Bytes into the IP header: struct iphdr, struct ipv6hdr."""


@record
class Rule:
    """Packets whose `field` (saddr or daddr) is in `network` meet `verdict` (`return` or `masquerade`).

    `comment` says why, to whoever lists the rules, and tells the rule from others: it is what is compared.
    """

    field: str
    network: IPNetwork
    verdict: str
    comment: str

    def __str__(self) -> str:
        ip = "ip" if self.network.version == 4 else "ip6"
        verdict = "masquerade fully-random" if self.verdict == "masquerade" else self.verdict
        return f'{ip} {self.field} {self.network} {verdict} comment "{self.comment}"'


def new_table() -> Message:
    """nft add table inet cni-bridge-py"""
    return _message(NFT_MSG_NEWTABLE, NLM_F_CREATE, text(NFTA_TABLE_NAME, TABLE))


def new_nat_chain(chain: str) -> Message:
    """nft add chain inet cni-bridge-py CHAIN '{ type nat hook postrouting priority srcnat; policy accept; }'"""
    return _message(
        NFT_MSG_NEWCHAIN,
        NLM_F_CREATE,
        text(NFTA_CHAIN_TABLE, TABLE),
        text(NFTA_CHAIN_NAME, chain),
        nested(
            NFTA_CHAIN_HOOK,
            be32(NFTA_HOOK_HOOKNUM, NF_INET_POST_ROUTING),
            be32(NFTA_HOOK_PRIORITY, NF_IP_PRI_NAT_SRC),
        ),
        be32(NFTA_CHAIN_POLICY, NF_ACCEPT),
        text(NFTA_CHAIN_TYPE, "nat"),
    )


def flush_chain(chain: str) -> Message:
    """nft flush chain inet cni-bridge-py CHAIN"""
    return _message(NFT_MSG_DELRULE, 0, *_place(chain))


def new_rule(chain: str, rule: Rule) -> Message:
    """nft add rule inet cni-bridge-py CHAIN RULE"""
    comment = rule.comment.encode() + b"\0"
    return _message(
        NFT_MSG_NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        *_place(chain),
        nested(NFTA_RULE_EXPRESSIONS, *_match(rule.field, rule.network), _verdict(rule.verdict)),
        attribute(NFTA_RULE_USERDATA, pack("BB", NFTNL_UDATA_RULE_COMMENT, len(comment)) + comment),
    )


def get_rules(chain: str) -> Message:
    """nft list chain inet cni-bridge-py CHAIN"""
    return _message(NFT_MSG_GETRULE, NLM_F_DUMP, *_place(chain))


def _place(chain: str) -> tuple[bytes, bytes]:
    return text(NFTA_RULE_TABLE, TABLE), text(NFTA_RULE_CHAIN, chain)


def _message(kind: int, flags: int, *parts: bytes) -> Message:
    header = pack(">BBH", NFPROTO_INET, 0, 0)  # struct nfgenmsg
    return Message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, header + b"".join(parts))


def _batch_edge(kind: int, *parts: bytes) -> Message:
    return Message(kind, 0, pack(">BBH", AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES) + b"".join(parts))


def _match(field: str, network: IPNetwork) -> list[bytes]:
    """meta nfproto VERSION, then the address field & mask == network."""
    address = packed(network.version, network.first)
    mask = bytes(a ^ b ^ 0xFF for a, b in zip(address, packed(network.version, network.last), strict=True))
    return [
        _expression("meta", be32(NFTA_META_DREG, NFT_REG_1), be32(NFTA_META_KEY, NFT_META_NFPROTO)),
        _equals(bytes([NFPROTO[network.version]])),
        _expression(
            "payload",
            be32(NFTA_PAYLOAD_DREG, NFT_REG_1),
            be32(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER),
            be32(NFTA_PAYLOAD_OFFSET, OFFSET[network.version, field]),
            be32(NFTA_PAYLOAD_LEN, len(address)),
        ),
        _expression(
            "bitwise",
            be32(NFTA_BITWISE_SREG, NFT_REG_1),
            be32(NFTA_BITWISE_DREG, NFT_REG_1),
            be32(NFTA_BITWISE_LEN, len(address)),
            nested(NFTA_BITWISE_MASK, attribute(NFTA_DATA_VALUE, mask)),
            nested(NFTA_BITWISE_XOR, attribute(NFTA_DATA_VALUE, bytes(len(address)))),
        ),
        _equals(address),
    ]


def _equals(data: bytes) -> bytes:
    return _expression(
        "cmp",
        be32(NFTA_CMP_SREG, NFT_REG_1),
        be32(NFTA_CMP_OP, NFT_CMP_EQ),
        nested(NFTA_CMP_DATA, attribute(NFTA_DATA_VALUE, data)),
    )


def _verdict(verdict: str) -> bytes:
    if verdict == "masquerade":
        return _expression("masq", be32(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY))
    code = nested(NFTA_DATA_VERDICT, be32(NFTA_VERDICT_CODE, NFT_RETURN & 0xFFFFFFFF))
    return _expression("immediate", be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT), nested(NFTA_IMMEDIATE_DATA, code))


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(NFTA_LIST_ELEM, text(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, *parts))


def _comment_of(payload: bytes) -> str:
    userdata = dict(attributes(payload[4:])).get(NFTA_RULE_USERDATA, b"")
    return userdata[2:].rstrip(b"\0").decode(errors="replace")


class Nftables(NetlinkSocket):
    """An nftables socket of one network namespace."""

    def __init__(self) -> None:
        super().__init__(NETLINK_NETFILTER)

    def comments(self, chain: str) -> list[str]:
        """The comments of the rules in our chain, in order; none where there is no such chain. One request."""
        try:
            return [_comment_of(payload) for payload in self.ask(get_rules(chain))]
        except NetlinkError as error:
            if error.errno == ENOENT:
                return []
            raise

    def generation(self) -> int:
        """The number of the rule set's state, which every change by anybody counts up."""
        told = dict(attributes(self.ask(_message(NFT_MSG_GETGEN, 0))[0][4:]))
        return int.from_bytes(told[NFTA_GEN_ID], "big")

    def replace(self, chain: str, rules: list[Rule], generation: int) -> bool:
        """Make our chain hold just these rules, in one transaction.

        Returns False, and has changed nothing, when the rule set is no more of that `generation`. Raises NetlinkError
        where the kernel has no nf_tables, or not all that the rules need.
        """
        messages = [new_table(), new_nat_chain(chain), flush_chain(chain)]
        messages += [new_rule(chain, rule) for rule in rules]
        begin = _batch_edge(NFNL_MSG_BATCH_BEGIN, be32(NFNL_BATCH_GENID, generation))
        try:
            self.transact(messages, begin, _batch_edge(NFNL_MSG_BATCH_END))
        except NetlinkError as error:
            if error.errno == ERESTART:
                return False
            raise
        return True
