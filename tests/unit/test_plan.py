"""The steps that a configuration comes to, for one table of configurations. No kernel is asked."""

from __future__ import annotations

import socket
from typing import Any

import netaddr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_bridge_py.addresses import parse_address, parse_ip
from cni_bridge_py.cni.result import Interface, IPConfig, Result, Route
from cni_bridge_py.kernel import netlink, sysctl
from cni_bridge_py.wiring import plan
from cni_bridge_py.wiring.filter_steps import (
    ClearFilter,
    EnsureMacSpoofCheck,
    EnsureMasquerade,
    GuardMac,
    MasqueradePod,
    UnmasqueradePod,
    WriteAltnames,
)
from cni_bridge_py.wiring.names import Links, address_mac, host_veth, host_veth_mac
from cni_bridge_py.wiring.node_steps import (
    EnableBridgeNetfilter,
    EnableForwarding,
    EnsureBridge,
    EnsureGatewayAddresses,
    EnsureVlanGateway,
    SetPortVlans,
)
from cni_bridge_py.wiring.packet_filter import MasqueradeChain
from cni_bridge_py.wiring.pod_filter import Exceptions, PodFilter
from cni_bridge_py.wiring.pod_steps import (
    AddAddress,
    AddRoute,
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
from tests.unit.support import add_route, ip_config, network, refusal, route_to

HOST = "veth0123456789a"
HOST_MAC = host_veth_mac("net", HOST)

IPV4 = ip_config("10.1.0.2/16", "10.1.0.1")
IPV6 = ip_config("fd00::2/64", "fd00::1")
OTHER_IPV4 = ip_config("10.2.0.2/16", "10.2.0.1")
NEIGHBOUR = ip_config("10.1.0.3/16", "10.1.0.1")
NO_GATEWAY = ip_config("10.1.0.2/16", "")

MAC_4 = "0a:58:0a:01:00:02"
MAC_6 = address_mac(parse_ip("fd00::2"))
GATEWAY_MAC_4 = "0a:58:0a:01:00:01"
GATEWAY_PORT = host_veth("gateway", "cni0.100")
GATEWAY_MAC_6 = address_mac(parse_ip("fd00::1"))
L2_MAC = "0a:58:4f:c9:4f:4c"

DEFAULT4 = route_to("0.0.0.0/0", "10.1.0.1")
DEFAULT6 = route_to("::/0", "fd00::1")


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan is made of its arguments alone."""

    def refuse(*_: object) -> None:
        raise AssertionError("the kernel was asked")

    monkeypatch.setattr(netlink, "socket", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    for name in ("read", "ensure", "prefer", "exists"):
        monkeypatch.setattr(sysctl, name, refuse)


def steps_of(keys: dict[str, Any], ips: list[IPConfig], routes: list[Route], pod: str = "") -> list[Step]:
    """What an ADD does with a configuration and the addresses and routes that IPAM gave."""
    steps = plan.wiring(network(**keys), HOST, "eth0", Result([], ips, routes, {}), pod).steps
    # Of every plan, and a test of its own below.
    return [step for step in steps if not isinstance(step, PlugBackIn)]


def bridge(mac: str = "", mtu: int = 0, promisc: bool = False, name: str = "cni0", vlans: bool = False) -> Step:
    return EnsureBridge(name, mac, mtu, promisc, vlans)


def veth(pod_mac: str, mtu: int = 0) -> Step:
    return CreateVethPair(HOST, HOST_MAC, "eth0", pod_mac, mtu)


def port(alias: str = "", hairpin: bool = False, name: str = "cni0", isolated: bool = False) -> Step:
    return AttachToBridge(HOST, name, alias, hairpin, isolated)


def gateways(*addresses: str, force: bool = False, name: str = "cni0") -> Step:
    return EnsureGatewayAddresses(name, [parse_address(each) for each in addresses], force)


def address(text: str, dad: bool = False) -> Step:
    return AddAddress("eth0", parse_address(text), dad)


def exceptions(*networks: str) -> Exceptions:
    return Exceptions(tuple(parse_address(each).cidr for each in networks))


def table(addresses: list[str], *networks: str) -> Step:
    """The step that makes the masquerade table. It also looks at the chains of other networks."""
    return EnsureMasquerade(
        MasqueradeChain(tuple(sorted(parse_address(each).cidr for each in addresses)), exceptions(*networks))
    )


def masqueraded(addresses: list[str], *networks: str) -> list[Step]:
    """The steps that have the pod's addresses masqueraded, but for these networks."""
    pod = PodFilter(HOST, HOST_MAC, "", tuple(map(parse_address, addresses)), exceptions(*networks))
    return [WriteAltnames(pod), MasqueradePod(pod)]


def guarded(mac: str) -> list[Step]:
    """The steps that keep the pod to its MAC."""
    pod = PodFilter(HOST, HOST_MAC, mac)
    return [WriteAltnames(pod), GuardMac(pod)]


BOTH = PodFilter(HOST, HOST_MAC, MAC_4, (IPV4.address,))

TABLE: dict[str, tuple[dict[str, Any], list[IPConfig], list[Route], list[Step]]] = {
    "layer 2 only": ({}, [], [], [bridge(), veth(L2_MAC), port(), SetUp("eth0")]),
    "layer 2 only has no gateway and no way out": (
        {"isDefaultGateway": True, "ipMasq": True, "forceAddress": True},
        [],
        [],
        [bridge(), veth(L2_MAC), port(), SetUp("eth0")],
    ),
    "an address": ({}, [IPV4], [], [bridge(), veth(MAC_4), port(), SetUp("eth0"), address("10.1.0.2/16")]),
    "an IPv6 address": (
        {},
        [IPV6],
        [],
        [bridge(), veth(MAC_6), port(), EnableIPv6("eth0"), SetUp("eth0"), address("fd00::2/64")],
    ),
    "routes without isGateway": (
        {},
        [IPV4],
        [route_to("0.0.0.0/0"), route_to("10.9.0.0/16", "10.1.0.9")],
        [
            bridge(),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            add_route("eth0", route_to("0.0.0.0/0"), "10.1.0.1"),
            add_route("eth0", route_to("10.9.0.0/16", "10.1.0.9"), "10.1.0.9"),
        ],
    ),
    "isGateway": (
        {"isGateway": True},
        [IPV4],
        [],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16"),
            EnableForwarding(4),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
        ],
    ),
    "isDefaultGateway": (
        {"isDefaultGateway": True},
        [IPV4],
        [route_to("10.9.0.0/16")],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16"),
            EnableForwarding(4),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            add_route("eth0", route_to("10.9.0.0/16"), "10.1.0.1"),
            add_route("eth0", DEFAULT4, "10.1.0.1"),
        ],
    ),
    "isDefaultGateway with a default route of one's own": (
        {"isDefaultGateway": True},
        [IPV4],
        [route_to("0.0.0.0/0", "10.1.0.254")],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16"),
            EnableForwarding(4),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            add_route("eth0", route_to("0.0.0.0/0", "10.1.0.254"), "10.1.0.254"),
        ],
    ),
    # As the reference has it: only a default route with a gateway of its own takes the place of ours.
    "isDefaultGateway with a default route without gateway": (
        {"isDefaultGateway": True},
        [IPV4],
        [route_to("0.0.0.0/0")],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16"),
            EnableForwarding(4),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            add_route("eth0", route_to("0.0.0.0/0"), "10.1.0.1"),
            add_route("eth0", DEFAULT4, "10.1.0.1"),
        ],
    ),
    "isDefaultGateway, IPv6": (
        {"isDefaultGateway": True},
        [IPV6],
        [],
        [
            bridge(GATEWAY_MAC_6),
            gateways("fd00::1/64"),
            EnableForwarding(6),
            veth(MAC_6),
            port(),
            EnableIPv6("eth0"),
            SetUp("eth0"),
            address("fd00::2/64"),
            add_route("eth0", DEFAULT6, "fd00::1"),
        ],
    ),
    "isDefaultGateway, dual stack, one default route of one's own": (
        {"isDefaultGateway": True},
        [IPV4, IPV6],
        [route_to("::/0", "fd00::fe")],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16", "fd00::1/64"),
            EnableForwarding(4),
            EnableForwarding(6),
            veth(MAC_4),
            port(),
            EnableIPv6("eth0"),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            address("fd00::2/64"),
            add_route("eth0", route_to("::/0", "fd00::fe"), "fd00::fe"),
            add_route("eth0", DEFAULT4, "10.1.0.1"),
        ],
    ),
    "dual stack, IPv6 first, with masquerade": (
        {"isDefaultGateway": True, "ipMasq": True},
        [IPV6, IPV4],
        [],
        [
            bridge(GATEWAY_MAC_6),
            gateways("fd00::1/64", "10.1.0.1/16"),
            EnableForwarding(4),
            EnableForwarding(6),
            table(["fd00::2/64", "10.1.0.2/16"]),
            veth(MAC_4),
            *masqueraded(["fd00::2/64", "10.1.0.2/16"]),
            port(),
            EnableIPv6("eth0"),
            SetUp("eth0"),
            address("fd00::2/64"),
            address("10.1.0.2/16"),
            add_route("eth0", DEFAULT6, "fd00::1"),
            add_route("eth0", DEFAULT4, "10.1.0.1"),
        ],
    ),
    "two addresses of a family": (
        {"isDefaultGateway": True},
        [IPV4, OTHER_IPV4],
        [],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16", "10.2.0.1/16"),
            EnableForwarding(4),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            address("10.2.0.2/16"),
            add_route("eth0", DEFAULT4, "10.1.0.1"),
        ],
    ),
    "two addresses of one subnet": (
        {"isGateway": True},
        [IPV4, NEIGHBOUR],
        [],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16"),
            EnableForwarding(4),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            address("10.1.0.3/16"),
        ],
    ),
    "isGateway where IPAM names no gateway": (
        {"isGateway": True},
        [ip_config("10.1.7.9/16"), ip_config("fd00::2/64")],
        [route_to("10.9.0.0/16")],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16", "fd00::1/64"),
            EnableForwarding(4),
            EnableForwarding(6),
            veth("0a:58:0a:01:07:09"),
            port(),
            EnableIPv6("eth0"),
            SetUp("eth0"),
            address("10.1.7.9/16"),
            address("fd00::2/64"),
            add_route("eth0", route_to("10.9.0.0/16"), "10.1.0.1"),
        ],
    ),
    "routes without any gateway": (
        {},
        [NO_GATEWAY],
        [route_to("10.9.0.0/16"), route_to("fd01::/64")],
        [
            bridge(),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            add_route("eth0", route_to("10.9.0.0/16"), ""),
            add_route("eth0", route_to("fd01::/64"), ""),
        ],
    ),
    "a route goes through the gateway of its own IP version": (
        {},
        [NO_GATEWAY, IPV6, OTHER_IPV4],
        [route_to("10.9.0.0/16"), route_to("fd01::/64")],
        [
            bridge(),
            veth(MAC_4),
            port(),
            EnableIPv6("eth0"),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            address("fd00::2/64"),
            address("10.2.0.2/16"),
            add_route("eth0", route_to("10.9.0.0/16"), "10.2.0.1"),
            add_route("eth0", route_to("fd01::/64"), "fd00::1"),
        ],
    ),
    "route options are kept": (
        {},
        [IPV4],
        [route_to("10.9.0.0/16", "", 1300, 1260, 5, 100, 252)],
        [
            bridge(),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            add_route("eth0", route_to("10.9.0.0/16", "", 1300, 1260, 5, 100, 252), "10.1.0.1"),
        ],
    ),
    "on link: by a gateway of 0.0.0.0 or ::, or by the scope": (
        {},
        [IPV4, IPV6],
        [route_to("10.9.0.0/16", "0.0.0.0"), route_to("fd01::/64", "::"), route_to("10.8.0.0/16", scope=253)],
        [
            bridge(),
            veth(MAC_4),
            port(),
            EnableIPv6("eth0"),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            address("fd00::2/64"),
            add_route("eth0", route_to("10.9.0.0/16", "0.0.0.0"), ""),
            add_route("eth0", route_to("fd01::/64", "::"), ""),
            add_route("eth0", route_to("10.8.0.0/16", scope=253), ""),
        ],
    ),
    "a gateway outside the subnet, which a route on link reaches": (
        {},
        [IPV4],
        [route_to("0.0.0.0/0", "169.254.1.1"), route_to("169.254.1.1/32", "0.0.0.0")],
        [
            bridge(),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            add_route("eth0", route_to("169.254.1.1/32", "0.0.0.0", scope=253), ""),
            add_route("eth0", route_to("0.0.0.0/0", "169.254.1.1"), "169.254.1.1"),
        ],
    ),
    "isDefaultGateway with a default route on link": (
        {"isDefaultGateway": True},
        [IPV4],
        [route_to("0.0.0.0/0", "0.0.0.0")],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16"),
            EnableForwarding(4),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
            add_route("eth0", route_to("0.0.0.0/0", "0.0.0.0"), ""),
        ],
    ),
    "ipMasq without isGateway": (
        {"ipMasq": True, "nonMasqueradeCIDRs": ["10.0.0.0/8", "fd00::/8"]},
        [IPV4],
        [],
        [
            bridge(),
            table(["10.1.0.2/16"], "10.0.0.0/8", "fd00::/8"),
            veth(MAC_4),
            *masqueraded(["10.1.0.2/16"], "10.0.0.0/8", "fd00::/8"),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
        ],
    ),
    "nonMasqueradeCIDRs without ipMasq": (
        {"nonMasqueradeCIDRs": ["10.0.0.0/8"]},
        [IPV4],
        [],
        [bridge(), veth(MAC_4), port(), SetUp("eth0"), address("10.1.0.2/16")],
    ),
    "bridge, mtu, hairpinMode": (
        {"bridge": "br-pods", "mtu": 1400, "hairpinMode": True},
        [IPV4],
        [],
        [
            bridge(mtu=1400, name="br-pods"),
            veth(MAC_4, mtu=1400),
            port(hairpin=True, name="br-pods"),
            SetUp("eth0"),
            address("10.1.0.2/16"),
        ],
    ),
    "bridgeNetfilter": (
        {"bridgeNetfilter": True},
        [],
        [],
        [bridge(), EnableBridgeNetfilter("cni0"), veth(L2_MAC), port(), SetUp("eth0")],
    ),
    "portIsolation": ({"portIsolation": True}, [], [], [bridge(), veth(L2_MAC), port(isolated=True), SetUp("eth0")]),
    "macspoofchk": (
        {"macspoofchk": True},
        [IPV4],
        [],
        [
            bridge(),
            EnsureMacSpoofCheck(),
            veth(MAC_4),
            *guarded(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
        ],
    ),
    "macspoofchk and ipMasq": (
        {"macspoofchk": True, "ipMasq": True},
        [IPV4],
        [],
        [
            bridge(),
            table(["10.1.0.2/16"]),
            EnsureMacSpoofCheck(),
            veth(MAC_4),
            WriteAltnames(BOTH),
            MasqueradePod(BOTH),
            GuardMac(BOTH),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
        ],
    ),
    "a MAC that is asked for": (
        {"runtimeConfig": {"mac": "C2:11:22:33:44:55"}, "macspoofchk": True},
        [IPV4],
        [],
        [
            bridge(),
            EnsureMacSpoofCheck(),
            veth("c2:11:22:33:44:55"),
            *guarded("c2:11:22:33:44:55"),
            port(),
            AnnounceMac("eth0"),
            SetUp("eth0"),
            address("10.1.0.2/16"),
        ],
    ),
    "disableContainerInterface": (
        {"disableContainerInterface": True},
        [],
        [],
        [bridge(), veth(L2_MAC), port()],
    ),
    "enabledad": (
        {"enabledad": True},
        [IPV4, IPV6],
        [],
        [
            bridge(),
            veth(MAC_4),
            port(),
            EnableIPv6("eth0"),
            SetUp("eth0"),
            address("10.1.0.2/16", dad=True),
            address("fd00::2/64", dad=True),
            AwaitAddresses("eth0"),
        ],
    ),
    "enabledad, without IPv6": (
        {"enabledad": True},
        [IPV4],
        [],
        [bridge(), veth(MAC_4), port(), SetUp("eth0"), address("10.1.0.2/16", dad=True)],
    ),
    "vlan": (
        {"vlan": 100},
        [],
        [],
        [bridge(vlans=True), veth(L2_MAC), port(), SetPortVlans(HOST, "cni0", 100, [], False), SetUp("eth0")],
    ),
    "vlan with isGateway, with the default VLAN": (
        {"vlan": 100, "preserveDefaultVlan": True, "isGateway": True, "mtu": 1400},
        [IPV4],
        [],
        [
            bridge(mtu=1400, vlans=True),
            EnsureVlanGateway(
                "cni0.100",
                GATEWAY_MAC_4,
                GATEWAY_PORT,
                host_veth_mac("", GATEWAY_PORT),
                "cni0",
                100,
                1400,
                True,
            ),
            gateways("10.1.0.1/16", name="cni0.100"),
            EnableForwarding(4),
            veth(MAC_4, mtu=1400),
            port(),
            SetPortVlans(HOST, "cni0", 100, [], True),
            SetUp("eth0"),
            address("10.1.0.2/16"),
        ],
    ),
    "vlanTrunk": (
        {"vlanTrunk": [{"minID": 10, "maxID": 12}, {"id": 7}]},
        [],
        [],
        [
            bridge(vlans=True),
            veth(L2_MAC),
            port(),
            SetPortVlans(HOST, "cni0", 1, [7, 10, 11, 12], False),
            SetUp("eth0"),
        ],
    ),
    "vlanTrunk with vlan, which is the native one": (
        {"vlanTrunk": [{"minID": 10, "maxID": 12}, {"id": 1}], "vlan": 11},
        [],
        [],
        [bridge(vlans=True), veth(L2_MAC), port(), SetPortVlans(HOST, "cni0", 11, [1, 10, 12], False), SetUp("eth0")],
    ),
    "promiscMode": ({"promiscMode": True}, [], [], [bridge(promisc=True), veth(L2_MAC), port(), SetUp("eth0")]),
    "forceAddress": (
        {"isGateway": True, "forceAddress": True},
        [IPV4],
        [],
        [
            bridge(GATEWAY_MAC_4),
            gateways("10.1.0.1/16", force=True),
            EnableForwarding(4),
            veth(MAC_4),
            port(),
            SetUp("eth0"),
            address("10.1.0.2/16"),
        ],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_plan(case: str) -> None:
    keys, ips, routes, expected = TABLE[case]
    assert steps_of(keys, ips, routes) == expected


@pytest.mark.parametrize("case", TABLE)
def test_an_attachment_that_gets_its_addresses_later_has_the_same_steps(case: str) -> None:
    """First those that need no address, then the others; only MACs are derived from something else then."""
    keys, ips, routes, _ = TABLE[case]
    config, addresses = network(**keys), Result([], ips, routes, {})
    first = plan.wiring(config, HOST, "eth0", Result([], [], [], {}), "")
    then = plan.addressing(config, first.links, addresses)
    at_once = plan.wiring(config, HOST, "eth0", addresses, "")
    cable = next(i for i, step in enumerate(first.steps) if isinstance(step, SetUp | AttachToBridge))
    assert not any(isinstance(step, AddAddress | AddRoute) for step in first.steps)
    assert all(first.steps.index(step) > cable for step in first.steps if isinstance(step, SetUp))
    assert (then.ips, then.routes, then.dns) == (at_once.ips, at_once.routes, at_once.dns)
    kinds = [
        sorted(type(step).__name__ for step in steps if not isinstance(step, WriteAltnames))
        for steps in (first.steps + then.steps, at_once.steps)
    ]
    assert kinds[0] == kinds[1]
    unlike = (EnsureBridge, CreateVethPair, GuardMac, MasqueradePod, WriteAltnames)
    assert all(step in at_once.steps for step in first.steps + then.steps if not isinstance(step, unlike))


def test_an_mtu_that_is_too_small_for_an_address_that_a_delegate_gave() -> None:
    error = refusal(steps_of, {"mtu": 1279}, [IPV4, IPV6], [])
    assert (error.code, error.msg) == (7, "mtu: 1279 is less than 1280, the least that IPv6 needs")
    assert steps_of({"mtu": 1279}, [IPV4], [])
    assert steps_of({"mtu": 1280}, [IPV6], [])


@pytest.mark.parametrize("wanted", [False, True])
def test_whether_duplicates_are_looked_for_is_said_before_the_pods_end_is_up(wanted: bool) -> None:
    """When it is up, the kernel gives it a link-local address, whatever addresses IPAM gives it."""
    steps = steps_of({"ipam": {"type": "static"}, "enabledad": wanted}, [IPV4], [])
    assert steps.index(DetectDuplicates("eth0", wanted)) < steps.index(SetUp("eth0"))


def test_whose_pod_it_is_becomes_the_hosts_ends_alias() -> None:
    assert port(alias="shop/cart-0") in steps_of({}, [IPV4], [], "shop/cart-0")


def test_the_plan_leaves_its_arguments_as_they_were() -> None:
    ips, routes = [IPV4, IPV6], [route_to("10.9.0.0/16")]
    steps_of({"isDefaultGateway": True, "ipMasq": True}, ips, routes)
    assert (ips, routes) == ([IPV4, IPV6], [route_to("10.9.0.0/16")])


def test_addresses_are_the_third_interfaces() -> None:
    assert plan.with_gateways(network(), [IPV4, NO_GATEWAY]) == [
        ip_config("10.1.0.2/16", "10.1.0.1", 2),
        ip_config("10.1.0.2/16", "", 2),
    ]


@pytest.mark.parametrize(
    ("keys", "ips", "bridge_mac", "pod_mac"),
    [
        ({}, [IPV4], "", MAC_4),
        ({"isGateway": True}, [IPV4, IPV6], GATEWAY_MAC_4, MAC_4),
        ({"isGateway": True}, [IPV6], GATEWAY_MAC_6, MAC_6),
        ({"isGateway": True}, [], "", L2_MAC),
    ],
)
def test_the_links(keys: dict[str, Any], ips: list[IPConfig], bridge_mac: str, pod_mac: str) -> None:
    assert plan.links(network(bridge="br0", **keys), HOST, "net1", ips) == Links(
        bridge="br0", bridge_mac=bridge_mac, host=HOST, host_mac=HOST_MAC, pod="net1", pod_mac=pod_mac, mtu=0
    )


@given(st.integers(0, (1 << 32) - 1), st.integers(1, 30))
def test_a_network_without_gateway_gets_its_first_address(value: int, prefixlen: int) -> None:
    pod = netaddr.IPNetwork((value, prefixlen), version=4)
    [ip] = plan.with_gateways(network(isGateway=True), [ip_config(str(pod))])
    assert ip.gateway == netaddr.IPAddress(pod.first + 1, 4)


@pytest.mark.parametrize("owner", ["", HOST_MAC])
def test_to_unwire_a_pod(owner: str) -> None:
    """Nothing depends on what the configuration is by now."""
    steps = [UnmasqueradePod(BOTH, owner), DeleteVethPair(HOST, owner), ClearFilter(BOTH, owner)]
    assert plan.detachment(BOTH, owner) == steps


def test_to_unwire_a_pod_that_another_plugin_wired() -> None:
    assert plan.foreign_detachment("eth0", None) == [DeleteForeignVeth("eth0", None)]


def test_what_another_plugins_result_lists_on_the_host_may_be_its_pods() -> None:
    interfaces = [Interface("cni0", ""), Interface("veth1f2e", ""), Interface("eth0", "", sandbox="/run/netns/pod")]
    step = DeleteForeignVeth("eth0", ["cni0", "veth1f2e"])
    assert plan.foreign_detachment("eth0", Result(interfaces, [], [], {})) == [step]


def test_pods_of_a_bridge_that_was_deleted_become_ports_as_the_new_pod_does() -> None:
    config = network(bridge="br0", hairpinMode=True, vlan=7)
    steps = plan.wiring(config, HOST, "eth0", Result([], [], [], {}), "shop/cart-0").steps
    [plug_back_in] = [step for step in steps if isinstance(step, PlugBackIn)]
    [vlans] = [step for step in steps if isinstance(step, SetPortVlans)]
    assert plug_back_in == PlugBackIn("net", "br0", AttachToBridge(HOST, "br0", hairpin=True), vlans)
