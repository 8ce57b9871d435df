"""Every nftables message that we send, decoded by pyroute2; and what we read, encoded by pyroute2."""

from __future__ import annotations

import inspect
import struct
from typing import Any

import pytest
from netaddr import IPNetwork
from pyroute2.netlink import nlmsg
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

from cni_bridge_py.addresses import IPVersion
from cni_bridge_py.kernel import netlink, nftables
from cni_bridge_py.kernel.netlink import Message, NetlinkError
from cni_bridge_py.kernel.nftables import (
    ADDRESS,
    IFNAME,
    IFNAME_AND_MAC,
    IFNAME_AND_MARK,
    Chain,
    KeyType,
    Nftables,
    Rule,
    Set,
    interface_and_mac_key,
    interface_and_mark_key,
    interface_key,
)
from tests.unit.decoding import APPEND, CREATE, DUMP, REQUEST, Answering, answer, decode

MAC = "0a:58:0a:01:00:01"

INET, BRIDGE = 1, 7
NFTABLES = 10 << 8

POSTROUTING = Chain(INET, "postrouting", "nat", 4, 100)
PREROUTING = Chain(BRIDGE, "macspoofchk", "filter", 0, -300)
OF_NETWORK = Chain(INET, "masquerade-abc")

PODS = {version: Set(INET, f"pods{version}", ADDRESS[version]) for version in ADDRESS}
NETWORKS = {version: Set(INET, f"networks{version}", ADDRESS[version], intervals=True) for version in ADDRESS}
GUARDED = Set(BRIDGE, "attachments", IFNAME)
MACS = Set(BRIDGE, "macs", IFNAME_AND_MAC)
ATTACHMENTS = Set(INET, "attachments", IFNAME_AND_MARK)

# Expressions


def expression(name: str, **data: Any) -> dict[str, Any]:
    return {"NFTA_EXPR_NAME": name, "NFTA_EXPR_DATA": data}


def meta(key: str) -> dict[str, Any]:
    return expression("meta", NFTA_META_DREG="NFT_REG_1", NFTA_META_KEY=key)


def compare(data: bytes) -> dict[str, Any]:
    value = {"NFTA_DATA_VALUE": data}
    return expression("cmp", NFTA_CMP_SREG="NFT_REG_1", NFTA_CMP_OP="NFT_CMP_EQ", NFTA_CMP_DATA=value)


def payload(base: str, offset: int, length: int, register: str = "NFT_REG_1") -> dict[str, Any]:
    return expression(
        "payload",
        NFTA_PAYLOAD_DREG=register,
        NFTA_PAYLOAD_BASE=f"NFT_PAYLOAD_{base}_HEADER",
        NFTA_PAYLOAD_OFFSET=offset,
        NFTA_PAYLOAD_LEN=length,
    )


def load(version: int, field: str) -> list[dict[str, Any]]:
    """An address of a packet of that version (NFPROTO_IPV4, NFPROTO_IPV6), by its offset in the header."""
    offset, length = {(4, "saddr"): (12, 4), (4, "daddr"): (16, 4), (6, "saddr"): (8, 16), (6, "daddr"): (24, 16)}[
        version, field
    ]
    return [meta("NFT_META_NFPROTO"), compare({4: b"\x02", 6: b"\x0a"}[version]), payload("NETWORK", offset, length)]


def masked(ones: bytes, network: bytes) -> list[dict[str, Any]]:
    mask = expression(
        "bitwise",
        NFTA_BITWISE_SREG="NFT_REG_1",
        NFTA_BITWISE_DREG="NFT_REG_1",
        NFTA_BITWISE_LEN=len(ones),
        NFTA_BITWISE_MASK={"NFTA_DATA_VALUE": ones},
        NFTA_BITWISE_XOR={"NFTA_DATA_VALUE": bytes(len(ones))},
    )
    return [mask, compare(network)]


def lookup(name: str, **more: Any) -> dict[str, Any]:
    return expression("lookup", NFTA_LOOKUP_SET=name, NFTA_LOOKUP_SREG="NFT_REG_1", **more)


def immediate(verdict: str, **more: str) -> dict[str, Any]:
    data = {"NFTA_DATA_VERDICT": {"NFTA_VERDICT_CODE": verdict, **more}}
    return expression("immediate", NFTA_IMMEDIATE_DREG="NFT_REG_VERDICT", NFTA_IMMEDIATE_DATA=data)


WORDS: list[tuple[IPVersion, str]] = [(4, "ip"), (6, "ip6")]
RETURN = immediate("NFT_RETURN")
INVERTED = {"NFTA_LOOKUP_FLAGS": frozenset({"NFT_LOOKUP_F_INV"})}

RULES: list[tuple[Rule, str, list[dict[str, Any]]]] = [
    *[
        (
            nftables.return_to_network(IPNetwork(network), "why"),
            f"{word} daddr {network} return",
            [*load(version, "daddr"), *masked(ones, packed), RETURN],
        )
        for network, version, word, ones, packed in (
            ("10.0.0.0/15", 4, "ip", b"\xff\xfe\0\0", b"\x0a\0\0\0"),
            ("10.1.2.3/32", 4, "ip", b"\xff" * 4, b"\x0a\1\2\3"),
            ("0.0.0.0/0", 4, "ip", bytes(4), bytes(4)),
            ("ff00::/8", 6, "ip6", b"\xff" + bytes(15), b"\xff" + bytes(15)),
            ("fd00::4/127", 6, "ip6", b"\xff" * 15 + b"\xfe", b"\xfd" + bytes(14) + b"\4"),
        )
    ],
    *[
        (
            nftables.return_to_set(version, NETWORKS[version], "why"),
            f"{word} daddr @networks{version} return",
            [*load(version, "daddr"), lookup(f"networks{version}"), RETURN],
        )
        for version, word in WORDS
    ],
    *[
        (
            nftables.jump_from_set(version, PODS[version], OF_NETWORK, "why"),
            f"{word} saddr @pods{version} jump masquerade-abc",
            [
                *load(version, "saddr"),
                lookup(f"pods{version}"),
                immediate("NFT_JUMP", NFTA_VERDICT_CHAIN="masquerade-abc"),
            ],
        )
        for version, word in WORDS
    ],
    (
        nftables.masquerade("why"),
        "masquerade fully-random",
        [expression("masq", NFTA_MASQ_FLAGS=frozenset({"NF_NAT_RANGE_PROTO_RANDOM_FULLY"}))],
    ),
    (
        nftables.drop_other_macs(GUARDED, MACS, "why"),
        "iifname @attachments iifname . ether saddr != @macs drop",
        [
            meta("NFT_META_IIFNAME"),
            lookup("attachments"),
            meta("NFT_META_IIFNAME"),
            # The source address in the Ethernet header: 6 bytes after 6 of the destination's; behind the name.
            payload("LL", 6, 6, "NFT_REG_2"),
            lookup("macs", **INVERTED),
            immediate("NF_DROP"),
        ],
    ),
]


@pytest.mark.parametrize(("rule", "words", "expressions"), RULES, ids=str)
def test_rules(rule: Rule, words: str, expressions: list[dict[str, Any]]) -> None:
    kind, flags, said = decode(nft_rule_msg, nftables.new_rule(OF_NETWORK, rule))
    assert (kind, flags) == (NFTABLES | 6, REQUEST | CREATE | APPEND)
    assert said == OF_CHAIN | {"NFTA_RULE_EXPRESSIONS": expressions, "NFTA_RULE_USERDATA": "why"}
    assert str(rule) == f'{words} comment "why"'


def test_every_rule_is_in_the_table_above() -> None:
    makers = {name for name, returned in _functions() if returned == "Rule"}
    names = {"return_to_network", "return_to_set", "jump_from_set", "masquerade", "drop_other_macs"}
    assert makers == names


# Messages

OF_CHAIN = {"nfgen_family": INET, "NFTA_RULE_TABLE": "cni-bridge-py", "NFTA_RULE_CHAIN": "masquerade-abc"}


def chain(family: int, name: str, **more: Any) -> dict[str, Any]:
    return {"nfgen_family": family, "NFTA_CHAIN_TABLE": "cni-bridge-py", "NFTA_CHAIN_NAME": name, **more}


def base_chain(family: int, name: str, kind: str, hook: int, priority: int) -> dict[str, Any]:
    return chain(
        family,
        name,
        NFTA_CHAIN_HOOK={"NFTA_HOOK_HOOKNUM": hook, "NFTA_HOOK_PRIORITY": priority},
        NFTA_CHAIN_POLICY=1,  # what no rule takes is accepted
        NFTA_CHAIN_TYPE=kind,
    )


def a_set(family: int, name: str, key: int, length: int, byteorder: int, intervals: bool = False) -> dict[str, Any]:
    return {
        "nfgen_family": family,
        "NFTA_SET_TABLE": "cni-bridge-py",
        "NFTA_SET_NAME": name,
        "NFTA_SET_FLAGS": frozenset({"NFT_SET_INTERVAL"} if intervals else ()),
        "NFTA_SET_KEY_TYPE": key,
        "NFTA_SET_KEY_LEN": length,
        "NFTA_SET_ID": 1,
        "NFTA_SET_USERDATA": [("NFTNL_UDATA_SET_KEYBYTEORDER", struct.pack("=I", byteorder))],
    }


def elements(of: Set, *found: dict[str, Any]) -> dict[str, Any]:
    place = {"NFTA_SET_ELEM_LIST_TABLE": "cni-bridge-py", "NFTA_SET_ELEM_LIST_SET": of.name}
    return {"nfgen_family": of.family, **place, **({"NFTA_SET_ELEM_LIST_ELEMENTS": list(found)} if found else {})}


def key(data: bytes) -> dict[str, Any]:
    return {"NFTA_SET_ELEM_KEY": {"NFTA_DATA_VALUE": data}}


NONE, HOST, BIG = 0, 1, 2
"""libnftables' byte orders."""
IPADDR, IP6ADDR, ETHERADDR, MARK = 7, 8, 9, 19
"""libnftables' types of data."""

VETH = b"veth0123456789a\0"
PLACE = {"nfgen_family": BRIDGE, "NFTA_SET_TABLE": "cni-bridge-py", "NFTA_SET_NAME": "attachments"}

MESSAGES: list[tuple[type[nlmsg], Message, tuple[int, int, dict[str, Any]]]] = [
    *[
        (
            nft_table_msg,
            nftables.new_table(family),
            (NFTABLES | 0, REQUEST | CREATE, {"nfgen_family": family, "NFTA_TABLE_NAME": "cni-bridge-py"}),
        )
        for family in (INET, BRIDGE)
    ],
    (
        # After routing, at the priority of source NAT.
        nft_chain_msg,
        nftables.new_chain(POSTROUTING),
        (NFTABLES | 3, REQUEST | CREATE, base_chain(INET, "postrouting", "nat", 4, 100)),
    ),
    (
        # Before bridging, at the priority of the bridge's own destination NAT.
        nft_chain_msg,
        nftables.new_chain(PREROUTING),
        (NFTABLES | 3, REQUEST | CREATE, base_chain(BRIDGE, "macspoofchk", "filter", 0, -300)),
    ),
    *[
        (nft_chain_msg, maker(OF_NETWORK), (NFTABLES | kind, flags, chain(INET, "masquerade-abc")))
        for maker, kind, flags in (
            (nftables.new_chain, 3, REQUEST | CREATE),
            (nftables.get_chain, 4, REQUEST),
            (nftables.del_chain, 5, REQUEST),
        )
    ],
    (
        nft_chain_msg,
        nftables.get_chains(INET),
        (NFTABLES | 4, REQUEST | DUMP, {"nfgen_family": INET, "NFTA_CHAIN_TABLE": "cni-bridge-py"}),
    ),
    (nft_rule_msg, nftables.flush_chain(OF_NETWORK), (NFTABLES | 8, REQUEST, OF_CHAIN)),
    (nft_rule_msg, nftables.get_rules(OF_NETWORK), (NFTABLES | 7, REQUEST | DUMP, OF_CHAIN)),
    (
        nft_rule_msg,
        nftables.del_rule(OF_NETWORK, struct.pack(">Q", 77)),
        (NFTABLES | 8, REQUEST, OF_CHAIN | {"NFTA_RULE_HANDLE": 77}),
    ),
    *[
        (nft_set_msg, nftables.new_set(of), (NFTABLES | 9, REQUEST | CREATE, said))
        for of, said in (
            (PODS[4], a_set(INET, "pods4", IPADDR, 4, BIG)),
            (NETWORKS[6], a_set(INET, "networks6", IP6ADDR, 16, BIG, intervals=True)),
            (GUARDED, a_set(BRIDGE, "attachments", DATA_TYPE_IFNAME, 16, HOST)),
            # Each part of a joined key has six bits of its type.
            (MACS, a_set(BRIDGE, "macs", DATA_TYPE_IFNAME << 6 | ETHERADDR, 24, NONE)),
            (ATTACHMENTS, a_set(INET, "attachments", DATA_TYPE_IFNAME << 6 | MARK, 20, NONE)),
        )
    ],
    (nft_set_msg, nftables.del_set(GUARDED), (NFTABLES | 11, REQUEST, PLACE)),
    (
        nft_set_elem_list_msg,
        nftables.del_elements(ATTACHMENTS, [interface_and_mark_key("veth0123456789a", n) for n in (0, 258)]),
        (
            NFTABLES | 14,
            REQUEST,
            elements(ATTACHMENTS, *(key(VETH + struct.pack("=I", number)) for number in (0, 258))),
        ),
    ),
    (nft_set_elem_list_msg, nftables.flush_set(GUARDED), (NFTABLES | 14, REQUEST, elements(GUARDED))),
    (
        nft_set_elem_list_msg,
        nftables.get_element(MACS, interface_and_mac_key("veth1", MAC)),
        (NFTABLES | 13, REQUEST, elements(MACS, key(b"veth1" + bytes(11) + bytes.fromhex("0a580a0100010000")))),
    ),
    (nft_set_elem_list_msg, nftables.get_elements(GUARDED), (NFTABLES | 13, REQUEST | DUMP, elements(GUARDED))),
    (nft_gen_msg, nftables.get_generation(), (NFTABLES | 16, REQUEST, {})),
]


@pytest.mark.parametrize(("kind", "message", "expected"), MESSAGES)
def test_messages(kind: type[nlmsg], message: Message, expected: tuple[int, int, dict[str, Any]]) -> None:
    assert decode(kind, message) == expected


def said_of(messages: list[Message]) -> list[dict[str, Any]]:
    """The elements in messages that add some, which nothing but the message's size may divide."""
    found: list[dict[str, Any]] = []
    for message in messages:
        assert len(message.payload) < 1 << 16
        kind, flags, said = decode(nft_set_elem_list_msg, message)
        assert (kind, flags) == (NFTABLES | 12, REQUEST | CREATE)
        found += said["NFTA_SET_ELEM_LIST_ELEMENTS"]
    return found


def test_new_elements_have_comments() -> None:
    messages = nftables.new_elements(PODS[4], {b"\x0a\1\0\2": "veth1", b"\x0a\1\0\3": "ü"})
    assert len(messages) == 1
    assert said_of(messages) == [
        key(address) | {"NFTA_SET_ELEM_USERDATA": [("NFTNL_UDATA_SET_ELEM_COMMENT", comment)]}
        for address, comment in ((b"\x0a\1\0\2", b"veth1"), (b"\x0a\1\0\3", "ü".encode()))
    ]


@pytest.mark.parametrize("count", [0, 1, 299, 300, 301, 2000])
def test_any_number_of_elements_is_sent(count: int) -> None:
    """However long their comments: nft takes 127 bytes."""
    keys = [interface_and_mac_key("veth0123456789a", f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}") for n in range(count)]
    messages = nftables.new_elements(MACS, dict.fromkeys(keys, "x" * 127))
    assert [each["NFTA_SET_ELEM_KEY"]["NFTA_DATA_VALUE"] for each in said_of(messages)] == keys


END = {"NFTA_SET_ELEM_FLAGS": frozenset({1})}
"""NFT_SET_ELEM_INTERVAL_END, of which pyroute2 knows no name."""


@pytest.mark.parametrize(
    ("networks", "bounds"),
    [
        ([], []),
        (["10.1.0.0/16"], [key(b"\x0a\1\0\0"), key(b"\x0a\2\0\0") | END]),
        (["10.1.2.3/32"], [key(b"\x0a\1\2\3"), key(b"\x0a\1\2\4") | END]),
        (["0.0.0.0/0"], [key(bytes(4))]),
        (["255.255.255.255/32"], [key(b"\xff" * 4)]),
        (
            ["10.0.0.0/8", "128.0.0.0/1"],
            [key(b"\x0a\0\0\0"), key(b"\x0b\0\0\0") | END, key(b"\x80\0\0\0")],
        ),
        (["fd00::/8"], [key(b"\xfd" + bytes(15)), key(b"\xfe" + bytes(15)) | END]),
        (["::/0"], [key(bytes(16))]),
    ],
    ids=str,
)
def test_networks_are_intervals(networks: list[str], bounds: list[dict[str, Any]]) -> None:
    found = [IPNetwork(each) for each in networks]
    of = NETWORKS[6 if found and found[0].version == 6 else 4]
    assert said_of(nftables.new_networks(of, found)) == bounds


def test_any_number_of_networks_is_sent() -> None:
    networks = [IPNetwork((0xFD << 120 | n << 64, 66), version=6) for n in range(10_000)]
    starts = [
        each["NFTA_SET_ELEM_KEY"]["NFTA_DATA_VALUE"] for each in said_of(nftables.new_networks(NETWORKS[6], networks))
    ]
    assert starts[::2] == [each.network.packed for each in networks]


def test_a_chain_with_just_these_rules() -> None:
    rules = [rule for rule, _, _ in RULES[:2]]
    assert nftables.chain_with(OF_NETWORK, rules) == [
        nftables.new_chain(OF_NETWORK),
        nftables.flush_chain(OF_NETWORK),
        *(nftables.new_rule(OF_NETWORK, rule) for rule in rules),
    ]


def _functions() -> list[tuple[str, str]]:
    found = inspect.getmembers(nftables, inspect.isfunction)
    return [
        (name, function.__annotations__["return"])
        for name, function in found
        if function.__module__ == nftables.__name__ and not name.startswith("_")
    ]


def test_every_function_that_makes_messages_is_tested() -> None:
    tested = {
        *(
            "new_table",
            "new_chain",
            "get_chain",
            "get_chains",
            "del_chain",
            "flush_chain",
            "get_rules",
            "del_rule",
            "new_rule",
        ),
        *("new_set", "del_set", "del_elements", "flush_set", "get_element", "get_elements", "get_generation"),
        *("new_elements", "new_networks", "chain_with"),
    }
    assert {name for name, returned in _functions() if returned in ("Message", "list[Message]")} == tested


@pytest.mark.parametrize("name", [name for name in vars(nftables) if name.startswith("NFT_MSG_")])
def test_constants(name: str) -> None:
    import pyroute2.netlink.nfnetlink.nftsocket

    assert getattr(nftables, name) == getattr(pyroute2.netlink.nfnetlink.nftsocket, name)


# In nft's words


@pytest.mark.parametrize(
    ("of", "definition"),
    [
        (PODS[4], "{ type ipv4_addr; }"),
        (NETWORKS[6], "{ type ipv6_addr; flags interval; }"),
        (MACS, "{ type ifname . ether_addr; }"),
    ],
)
def test_what_nft_wants_to_know_of_a_set(of: Set, definition: str) -> None:
    assert of.definition == definition


def test_what_nft_wants_to_know_of_a_chain() -> None:
    assert POSTROUTING.definition == "{ type nat hook postrouting priority 100; policy accept; }"
    assert PREROUTING.definition == "{ type filter hook prerouting priority -300; policy accept; }"
    assert OF_NETWORK.definition == ""
    assert OF_NETWORK.place == "inet cni-bridge-py masquerade-abc"


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (ADDRESS[4], bytes([10, 1, 0, 2]), "10.1.0.2"),
        (ADDRESS[6], b"\xfd" + bytes(14) + b"\2", "fd00::2"),
        (ADDRESS[6], bytes(16), "::"),
        (IFNAME, interface_key("veth0123456789a"), "veth0123456789a"),
        (IFNAME_AND_MAC, interface_and_mac_key("veth1", MAC), f"veth1 . {MAC}"),
        (IFNAME_AND_MARK, interface_and_mark_key("veth1", 3), "veth1 . 3"),
    ],
)
def test_a_key_is_written_as_nft_does(kind: KeyType, data: bytes, words: str) -> None:
    assert len(data) == kind.length
    assert kind.words(data) == words


# What the kernel answers


class AnsweringNftables(Answering, Nftables):
    pass


def rule_answer(comment: str, handle: int = 4) -> bytes:
    userdata = bytes([0, len(comment.encode()) + 1]) + comment.encode() + b"\0"
    place = [("NFTA_RULE_TABLE", "cni-bridge-py"), ("NFTA_RULE_CHAIN", "masquerade-abc"), ("NFTA_RULE_HANDLE", handle)]
    return answer(nft_rule_msg, place, nfgen_family=INET) + netlink.attribute(7, userdata)


def test_reads_the_comments_and_handles_of_rules() -> None:
    longest = "x" * 253
    nft = AnsweringNftables(rule_answer("one: pods"), rule_answer("ü", 5), rule_answer(longest, 258))
    assert nft.comments(OF_NETWORK) == ["one: pods", "ü", longest]
    assert [struct.unpack(">Q", handle)[0] for handle, _ in nft.rules(OF_NETWORK)] == [4, 5, 258]
    assert nft.asked == [nftables.get_rules(OF_NETWORK)] * 2


def test_a_rule_without_comment_has_an_empty_one() -> None:
    said = answer(nft_rule_msg, [("NFTA_RULE_TABLE", "cni-bridge-py")], nfgen_family=INET)
    assert AnsweringNftables(said).comments(OF_NETWORK) == [""]


def test_reads_the_names_of_the_chains_in_our_table() -> None:
    said = [
        answer(nft_chain_msg, [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", name)], nfgen_family=INET)
        for table, name in (("cni-bridge-py", "postrouting"), ("theirs", "forward"), ("cni-bridge-py", "x"))
    ]
    nft = AnsweringNftables(*said)
    assert nft.chains(INET) == ["postrouting", "x"]
    assert nft.asked == [nftables.get_chains(INET)]


def test_reads_how_often_a_chain_is_used() -> None:
    said = answer(nft_chain_msg, [("NFTA_CHAIN_NAME", "x")], nfgen_family=INET) + netlink.be32(6, 258)
    nft = AnsweringNftables(said)
    assert nft.uses(OF_NETWORK) == 258
    assert nft.asked == [nftables.get_chain(OF_NETWORK)]


def elements_answer(*found: tuple[bytes, str | None]) -> bytes:
    place = [("NFTA_SET_ELEM_LIST_TABLE", "cni-bridge-py"), ("NFTA_SET_ELEM_LIST_SET", "pods4")]
    listed = b""
    for data, comment in found:
        userdata = b"" if comment is None else bytes([0, len(comment) + 1]) + comment.encode() + b"\0"
        element = netlink.nested(1, netlink.attribute(1, data))
        listed += netlink.nested(1, element, netlink.attribute(6, userdata) if userdata else b"")
    return answer(nft_set_elem_list_msg, place) + netlink.nested(3, listed)


def test_reads_the_comments_of_elements() -> None:
    one, two = bytes([10, 1, 0, 2]), bytes([10, 1, 0, 3])
    nft = AnsweringNftables(elements_answer((one, "veth1")), elements_answer((two, None)))
    assert nft.elements(PODS[4]) == {one: "veth1", two: ""}
    assert nft.comment(PODS[4], one) == "veth1"
    assert nft.comment(PODS[4], two) is None, "the answer was about another"
    assert nft.asked == [
        nftables.get_elements(PODS[4]),
        nftables.get_element(PODS[4], one),
        nftables.get_element(PODS[4], two),
    ]


def test_reads_the_first_of_many() -> None:
    key_ = bytes([10, 1, 0, 2])
    nft = AnsweringNftables(elements_answer((key_, "veth1")), elements_answer((bytes(4), "")))
    assert nft.some_elements(PODS[4]) == {key_: "veth1"}
    nft = AnsweringNftables(rule_answer("multicast"), rule_answer("x"))
    assert nft.first_comments(OF_NETWORK) == ["multicast"]
    assert nft.asked == [nftables.get_rules(OF_NETWORK)]


def test_looks_at_many_things_at_once() -> None:
    one, two, three = ((PODS[4], bytes([10, 1, 0, number])) for number in (1, 2, 3))
    generation = answer(nft_gen_msg, []) + netlink.be32(1, 77)
    uses = answer(nft_chain_msg, [], nfgen_family=INET) + netlink.be32(6, 5)
    missing = NetlinkError(2, "")
    comments = [elements_answer((one[1], "veth1")), missing, elements_answer((three[1], None))]
    nft = AnsweringNftables(generation, uses, *comments)
    seen = nft.look(OF_NETWORK, [one, two, three])
    assert seen == nftables.Seen(77, 5, {one: "veth1", two: None, three: ""})
    get_elements = [nftables.get_element(*each) for each in (one, two, three)]
    assert nft.asked == [nftables.get_generation(), nftables.get_chain(OF_NETWORK), *get_elements]
    assert AnsweringNftables(*comments).comments_of([one, two, three]) == ["veth1", None, ""]
    assert AnsweringNftables(generation, missing).look(OF_NETWORK, []).uses == 0
    with pytest.raises(NetlinkError):
        AnsweringNftables(generation, NetlinkError(1, "")).look(OF_NETWORK, [])


def test_what_is_not_there() -> None:
    nft = AnsweringNftables(refusal=NetlinkError(2, ""))  # ENOENT
    assert nft.comments(OF_NETWORK) == []
    assert nft.rules(OF_NETWORK) == []
    assert nft.uses(OF_NETWORK) == 0
    assert nft.comment(PODS[4], bytes(4)) is None
    assert nft.elements(PODS[4]) == {}


def test_what_is_refused() -> None:
    nft = AnsweringNftables(refusal=NetlinkError(1, ""))
    for ask in (
        lambda: nft.comments(OF_NETWORK),
        lambda: nft.uses(OF_NETWORK),
        lambda: nft.comment(PODS[4], bytes(4)),
        lambda: nft.elements(PODS[4]),
        nft.generation,
        lambda: nft.change([], 1),
    ):
        with pytest.raises(NetlinkError, match="Operation not permitted"):
            ask()


def test_reads_the_generation() -> None:
    nft = AnsweringNftables(answer(nft_gen_msg, [("NFTA_GEN_ID", 0x01020304), ("NFTA_GEN_PROC_PID", 9)]))
    assert nft.generation() == 0x01020304
    assert nft.asked == [nftables.get_generation()]


class batch_begin_msg(nfgen_msg):  # type: ignore[misc]
    nla_map = (("NFNL_BATCH_UNSPEC", "none"), ("NFNL_BATCH_GENID", "be32"))


def test_a_change_is_one_batch_of_the_generation_that_was_seen() -> None:
    nft = AnsweringNftables()
    messages = nftables.chain_with(OF_NETWORK, [])
    assert nft.change(messages, 0x01020304)
    [[first, *sent, last]] = nft.batches
    assert sent == messages
    assert decode(batch_begin_msg, first) == (0x10, REQUEST, {"res_id": 10, "NFNL_BATCH_GENID": 0x01020304})
    assert decode(nfgen_msg, last) == (0x11, REQUEST, {"res_id": 10})


def test_a_change_gives_way_to_one_by_somebody_else() -> None:
    assert not AnsweringNftables(refusal=NetlinkError(85, "")).change([], 1)  # ERESTART
