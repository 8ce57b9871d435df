"""What a person would type for each step, word by word."""

from __future__ import annotations

import pytest

from cni_bridge_py.addresses import parse_address
from cni_bridge_py.wiring import filter_steps, node_steps, pod_steps
from cni_bridge_py.wiring.filter_steps import (
    ClearFilter,
    EnsureMacSpoofCheck,
    EnsureMasquerade,
    GuardMac,
    MasqueradePod,
    UnmasqueradePod,
    WriteAltnames,
)
from cni_bridge_py.wiring.node_steps import (
    EnableBridgeNetfilter,
    EnableForwarding,
    EnsureBridge,
    EnsureGatewayAddresses,
    EnsureVlanGateway,
    SetPortVlans,
)
from cni_bridge_py.wiring.packet_filter import MasqueradeChain, chain_of
from cni_bridge_py.wiring.pod_filter import Exceptions, PodFilter
from cni_bridge_py.wiring.pod_steps import (
    AddAddress,
    AnnounceMac,
    AttachToBridge,
    AwaitAddresses,
    CreateVethPair,
    DeleteForeignVeth,
    DeleteVethPair,
    DetectDuplicates,
    EnableIPv6,
    PlugBackIn,
    SetUp,
)
from cni_bridge_py.wiring.step import Step
from tests.unit.support import add_route, route_to

MAC = "0a:58:0a:01:00:01"
MAC_2 = "0a:58:0a:01:00:02"

TAKE_ADVERTISEMENTS = "grep -lx 1 /proc/sys/net/ipv6/conf/*/accept_ra | grep -v -e /all/ -e /default/"
IN_POD = "nsenter --net=$POD"
OWNER = "fe:00:00:00:00:01"
FILTERED = PodFilter(
    "veth1",
    OWNER,
    MAC,
    (parse_address("10.1.0.2/16"), parse_address("fd00::2/128")),
    Exceptions(
        (parse_address("10.0.0.0/8").cidr, parse_address("192.0.2.0/25").cidr, parse_address("192.0.2.128/25").cidr)
    ),
)
NAME = chain_of(FILTERED).name
CHAIN = f"inet cni-bridge-py masquerade-{NAME}"
POSTROUTING = "inet cni-bridge-py postrouting"
MACSPOOFCHK = "bridge cni-bridge-py macspoofchk"
NO_POD = 'comment "of no pod: gone after a flush"'
OF_NETWORKS = "own networks of pods, and nonMasqueradeCIDRs"
GUARDED_ONLY = 'comment "guarded pods send from their own MAC only"'

TABLE: list[tuple[Step, list[str]]] = [
    (
        EnsureBridge("cni0", MAC, 0, False),
        [f"ip link add cni0 up address {MAC} type bridge", "sysctl -qw net/ipv6/conf/cni0/accept_ra=0"],
    ),
    (
        EnsureBridge("br.1", "", 1400, True),
        [
            "ip link add br.1 up mtu 1400 type bridge",
            "ip link set br.1 address $(ip -br link show br.1 | awk '{print $3}')",
            "sysctl -qw net/ipv6/conf/br.1/accept_ra=0",
            "ip link set br.1 promisc on",
        ],
    ),
    (
        EnsureBridge("cni0", MAC, 0, False, True),
        [
            f"ip link add cni0 up address {MAC} type bridge vlan_filtering 1",
            "sysctl -qw net/ipv6/conf/cni0/accept_ra=0",
        ],
    ),
    (EnableBridgeNetfilter("cni0"), ["ip link set cni0 type bridge nf_call_iptables 1 nf_call_ip6tables 1"]),
    (
        EnsureVlanGateway("cni0.100", MAC, "veth9", MAC_2, "cni0", 100, 0, False),
        [
            f"ip link add cni0.100 address {MAC} type veth peer name veth9 address {MAC_2}",
            "sysctl -qw net/ipv6/conf/cni0.100/accept_ra=0",
            "ip link set veth9 master cni0",
            "bridge vlan del vid 1 dev veth9",
            "bridge vlan add vid 100 dev veth9 pvid untagged",
            "ip link set veth9 up",
            "ip link set cni0.100 up",
        ],
    ),
    (
        EnsureVlanGateway("cni0.100", MAC, "veth9", MAC_2, "cni0", 100, 1400, True),
        [
            f"ip link add cni0.100 address {MAC} mtu 1400 type veth peer name veth9 address {MAC_2} mtu 1400",
            "sysctl -qw net/ipv6/conf/cni0.100/accept_ra=0",
            "ip link set veth9 master cni0",
            "bridge vlan add vid 100 dev veth9 pvid untagged",
            "ip link set veth9 up",
            "ip link set cni0.100 up",
        ],
    ),
    (SetPortVlans("veth1", "cni0", 100, [], True), ["bridge vlan add vid 100 dev veth1 pvid untagged"]),
    # The default VLAN, which the port is in, becomes the native one or one of the trunk.
    (
        SetPortVlans("veth1", "cni0", 1, [7], False),
        ["bridge vlan add vid 1 dev veth1 pvid untagged", "bridge vlan add vid 7 dev veth1"],
    ),
    (
        SetPortVlans("veth1", "cni0", 7, [1], False),
        ["bridge vlan add vid 7 dev veth1 pvid untagged", "bridge vlan add vid 1 dev veth1"],
    ),
    (
        SetPortVlans("veth1", "cni0", 7, [8], False),
        [
            "bridge vlan del vid 1 dev veth1",
            "bridge vlan add vid 7 dev veth1 pvid untagged",
            "bridge vlan add vid 8 dev veth1",
        ],
    ),
    (
        EnsureGatewayAddresses("cni0", [parse_address("10.1.0.1/16"), parse_address("fd00::1/64")], False),
        [
            "sysctl -qw net/ipv6/conf/cni0/disable_ipv6=0",
            "sysctl -qw net/ipv6/conf/cni0/keep_addr_on_down=1",
            "sysctl -qw net/ipv6/conf/cni0/accept_dad=0",
            "ip address add 10.1.0.1/16 broadcast + dev cni0",
            "ip address add fd00::1/64 nodad dev cni0",
        ],
    ),
    (EnableForwarding(4), ["sysctl -qw net/ipv4/ip_forward=1"]),
    (
        EnableForwarding(6),
        [
            "if [ $(sysctl -n net/ipv6/conf/all/forwarding) = 0 ]; then",
            f'    {TAKE_ADVERTISEMENTS} | while read -r file; do echo 2 > "$file"; done',
            "    sysctl -qw net/ipv6/conf/all/forwarding=1",
            "fi",
        ],
    ),
    # A new bridge has no other pods: there is nothing to type.
    (PlugBackIn("net", "cni0", AttachToBridge("veth1", "cni0"), None), []),
    (
        EnsureMasquerade(MasqueradeChain((), Exceptions())),
        [
            "nft add table inet cni-bridge-py",
            "nft add set inet cni-bridge-py attachments '{ type ifname . mark; }'",
            f"nft add chain {POSTROUTING} '{{ type nat hook postrouting priority 100; policy accept; }}'",
            f"nft flush chain {POSTROUTING}",
            f"nft add rule {POSTROUTING} 'ip daddr 224.0.0.0/4 return comment \"multicast\"'",
            f"nft add rule {POSTROUTING} 'ip6 daddr ff00::/8 return comment \"multicast\"'",
            f"nft add element inet cni-bridge-py attachments '{{ lo . 0 {NO_POD} }}'",
        ],
    ),
    (
        EnsureMacSpoofCheck(),
        [
            "nft add table bridge cni-bridge-py",
            "nft add set bridge cni-bridge-py attachments '{ type ifname; }'",
            "nft add set bridge cni-bridge-py macs '{ type ifname . ether_addr; }'",
            f"nft add chain {MACSPOOFCHK} '{{ type filter hook prerouting priority -300; policy accept; }}'",
            f"nft flush chain {MACSPOOFCHK}",
            f"nft add rule {MACSPOOFCHK} 'iifname @attachments iifname . ether saddr != @macs drop {GUARDED_ONLY}'",
            f"nft add element bridge cni-bridge-py attachments '{{ lo {NO_POD} }}'",
            f"nft add element bridge cni-bridge-py macs '{{ lo . 00:00:00:00:00:00 {NO_POD} }}'",
        ],
    ),
    (
        WriteAltnames(FILTERED),
        [
            (
                f"ip link property add dev veth1 altname veth1.mac.{MAC} altname veth1.masquerade.10.1.0.2-16"
                f" altname veth1.masquerade.fd00::2-128 altname veth1.exceptions.{FILTERED.exceptions.digest}"
                " altname veth1.exception.10.0.0.0-8 altname veth1.exception.192.0.2.0-25"
                " altname veth1.exception.192.0.2.128-25"
            )
        ],
    ),
    (
        # Its own network is among the exceptions, which are merged where they touch.
        MasqueradePod(FILTERED),
        [
            f"nft add set inet cni-bridge-py pods4-{NAME} '{{ type ipv4_addr; }}'",
            f"nft add set inet cni-bridge-py pods6-{NAME} '{{ type ipv6_addr; }}'",
            f"nft add set inet cni-bridge-py exceptions4-{NAME} '{{ type ipv4_addr; flags interval; }}'",
            f"nft add set inet cni-bridge-py exceptions6-{NAME} '{{ type ipv6_addr; flags interval; }}'",
            f"nft flush set inet cni-bridge-py exceptions4-{NAME}",
            f"nft flush set inet cni-bridge-py exceptions6-{NAME}",
            f"nft add element inet cni-bridge-py exceptions4-{NAME} '{{ 0.0.0.0/32, 10.0.0.0/8, 192.0.2.0/24 }}'",
            f"nft add element inet cni-bridge-py exceptions6-{NAME} '{{ ::/128 }}'",
            f"nft add chain {CHAIN}",
            f"nft flush chain {CHAIN}",
            f"nft add rule {CHAIN} 'ip daddr @exceptions4-{NAME} return comment \"{OF_NETWORKS}\"'",
            f"nft add rule {CHAIN} 'ip6 daddr @exceptions6-{NAME} return comment \"{OF_NETWORKS}\"'",
            f"nft add rule {CHAIN} 'masquerade fully-random comment \"what leaves the node\"'",
            f"nft add element inet cni-bridge-py pods4-{NAME} '{{ 0.0.0.0 {NO_POD} }}'",
            f"nft add element inet cni-bridge-py pods6-{NAME} '{{ :: {NO_POD} }}'",
            f"nft add rule {POSTROUTING} 'ip saddr @pods4-{NAME} jump masquerade-{NAME} comment \"{NAME}\"'",
            f"nft add rule {POSTROUTING} 'ip6 saddr @pods6-{NAME} jump masquerade-{NAME} comment \"{NAME}\"'",
            f"nft add element inet cni-bridge-py pods4-{NAME} '{{ 10.1.0.2 comment \"veth1\" }}'",
            f"nft add element inet cni-bridge-py pods6-{NAME} '{{ fd00::2 comment \"veth1\" }}'",
            f"nft add element inet cni-bridge-py attachments '{{ veth1 . 0 comment \"{OWNER}: {NAME} 10.1.0.2/16\" }}'",
            f"nft add element inet cni-bridge-py attachments '{{ veth1 . 1 comment \"{OWNER}: {NAME} fd00::2/128\" }}'",
        ],
    ),
    (
        GuardMac(FILTERED),
        [
            f"nft add element bridge cni-bridge-py attachments '{{ veth1 comment \"{OWNER}: {MAC}\" }}'",
            f"nft add element bridge cni-bridge-py macs '{{ veth1 . {MAC} comment \"veth1\" }}'",
        ],
    ),
    (
        UnmasqueradePod(FILTERED),
        [
            f"nft delete element inet cni-bridge-py pods4-{NAME} '{{ 10.1.0.2 }}'",
            f"nft delete element inet cni-bridge-py pods6-{NAME} '{{ fd00::2 }}'",
            "nft delete element inet cni-bridge-py attachments '{ veth1 . 0 }'",
            "nft delete element inet cni-bridge-py attachments '{ veth1 . 1 }'",
            f"# masquerade-{NAME} and its sets are deleted with their last pod",
        ],
    ),
    (UnmasqueradePod(PodFilter("veth1", OWNER, MAC)), []),
    (
        ClearFilter(FILTERED),
        [
            "nft delete element bridge cni-bridge-py attachments '{ veth1 }'",
            f"nft delete element bridge cni-bridge-py macs '{{ veth1 . {MAC} }}'",
        ],
    ),
    (ClearFilter(PodFilter("veth1", OWNER)), []),
    (
        CreateVethPair("veth1", MAC, "eth0", MAC_2, 0),
        [f"ip link add veth1 address {MAC} type veth peer name eth0 address {MAC_2} netns $POD"],
    ),
    (
        CreateVethPair("veth1", MAC, "eth0", MAC_2, 1400),
        [f"ip link add veth1 address {MAC} mtu 1400 type veth peer name eth0 address {MAC_2} mtu 1400 netns $POD"],
    ),
    (AttachToBridge("veth1", "cni0", "", False), ["ip link set veth1 master cni0", "ip link set veth1 up"]),
    (
        AttachToBridge("veth1", "cni0", "shop/cart-0", True),
        [
            "ip link set veth1 master cni0 alias shop/cart-0",
            "bridge link set dev veth1 hairpin on",
            "ip link set veth1 up",
        ],
    ),
    (
        AttachToBridge("veth1", "cni0", hairpin=True, isolated=True),
        [
            "ip link set veth1 master cni0",
            "bridge link set dev veth1 hairpin on",
            "bridge link set dev veth1 isolated on",
            "ip link set veth1 up",
        ],
    ),
    # CNI_ARGS can hold anything: what it holds is quoted for the shell.
    (
        AttachToBridge("veth1", "cni0", "a'; reboot", False),
        ["""ip link set veth1 master cni0 alias 'a'"'"'; reboot'""", "ip link set veth1 up"],
    ),
    # An alias has room for 255 bytes, and no half letter at its end.
    (
        AttachToBridge("veth1", "cni0", "x" + "é" * 200, False),
        [f"ip link set veth1 master cni0 alias 'x{'é' * 127}'", "ip link set veth1 up"],
    ),
    (
        EnableIPv6("eth0"),
        [
            f"{IN_POD} sysctl -qw net/ipv6/conf/lo/disable_ipv6=0",
            f"{IN_POD} sysctl -qw net/ipv6/conf/eth0/disable_ipv6=0",
            f"{IN_POD} sysctl -qw net/ipv6/conf/eth0/keep_addr_on_down=1",
        ],
    ),
    (DetectDuplicates("eth0", wanted=True), [f"{IN_POD} sysctl -qw net/ipv6/conf/eth0/accept_dad=1"]),
    (DetectDuplicates("e;id", wanted=False), [f"{IN_POD} sysctl -qw 'net/ipv6/conf/e;id/accept_dad=0'"]),
    (SetUp("eth0"), [f"{IN_POD} ip link set eth0 up"]),
    (
        AddAddress("eth0", parse_address("10.1.0.2/16")),
        [f"{IN_POD} ip address add 10.1.0.2/16 broadcast + dev eth0"],
    ),
    (AddAddress("eth0", parse_address("fd00::2/64")), [f"{IN_POD} ip address add fd00::2/64 nodad dev eth0"]),
    (
        add_route("eth0", route_to("0.0.0.0/0"), "10.1.0.1"),
        [f"{IN_POD} ip -4 route add 0.0.0.0/0 via 10.1.0.1 dev eth0"],
    ),
    # Without gateway `ip` would make it of scope link.
    (add_route("eth0", route_to("10.9.0.0/16"), ""), [f"{IN_POD} ip -4 route add 10.9.0.0/16 dev eth0 scope 0"]),
    (add_route("eth0", route_to("fd01::/64"), ""), [f"{IN_POD} ip -6 route add fd01::/64 dev eth0"]),
    (
        add_route("eth0", route_to("10.9.0.0/16", "10.1.0.9", 1300, 1260, 5, 100, 253), "10.1.0.9"),
        [
            (
                f"{IN_POD} ip -4 route add 10.9.0.0/16 via 10.1.0.9 dev eth0"
                " metric 5 table 100 scope 253 mtu 1300 advmss 1260"
            )
        ],
    ),
    (
        AddAddress("eth0", parse_address("fd00::2/64"), dad=True),
        [f"{IN_POD} ip address add fd00::2/64 dev eth0"],
    ),
    (
        AddAddress("eth0", parse_address("10.1.0.2/16"), dad=True),
        [f"{IN_POD} ip address add 10.1.0.2/16 broadcast + dev eth0"],
    ),
    (
        AnnounceMac("eth0"),
        [
            f"{IN_POD} sysctl -qw net/ipv4/conf/eth0/arp_notify=1",
            f"{IN_POD} sysctl -qw net/ipv6/conf/eth0/ndisc_notify=1",
        ],
    ),
    (
        AwaitAddresses("eth0"),
        [f"while {IN_POD} ip -6 address show dev eth0 tentative | grep -q inet6; do sleep 0.1; done"],
    ),
    (DeleteVethPair("veth1"), ["ip link del veth1"]),
    (DeleteForeignVeth("eth0", None), [f"{IN_POD} ip link del eth0"]),
]


@pytest.mark.parametrize(("step", "commands"), TABLE, ids=lambda value: str(value) if isinstance(value, Step) else "")
def test_the_commands(step: Step, commands: list[str]) -> None:
    assert step.commands() == commands


def test_every_kind_of_step_is_in_the_table_above() -> None:
    kinds = {
        kind
        for kind in [*vars(filter_steps).values(), *vars(node_steps).values(), *vars(pod_steps).values()]
        if isinstance(kind, type) and issubclass(kind, Step) and kind is not Step
    }
    assert {type(step) for step, _ in TABLE} == kinds


@pytest.mark.parametrize("step", [step for step, _ in TABLE], ids=str)
def test_every_step_says_in_words_what_it_is(step: Step) -> None:
    words = str(step)
    assert words
    assert "(" not in words, "this looks like repr()"
    assert "\n" not in words
