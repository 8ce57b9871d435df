"""Who reaches whom, and as whom: pods, their node, and the world outside of it."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from tests.harness import SERVER_PORT, Json, Node, Outside, Plugin, Pod
from tests.kernel.networks import GATEWAY, add_pod, addresses_of, bare, dual_stack, network

PROTOCOLS = ["tcp", "udp"]
VERSIONS = [4, 6]
OUTSIDE = {4: Outside.address, 6: Outside.address6}
NODE = {4: Outside.node_address, 6: Outside.node_address6}

# Sends one broadcast frame of a protocol nobody speaks, and says whether it comes back in within a second.
ECHOED = """
import socket, time

PROTOCOL = 0x88B5  # IEEE 802: local experimental
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(PROTOCOL)) as link:
    link.bind(("eth0", PROTOCOL))
    link.send(b"\\xff" * 6 + link.getsockname()[4] + PROTOCOL.to_bytes(2, "big") + bytes(46))
    end = time.monotonic() + 1
    while (left := end - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            _, (_, _, kind, _, _) = link.recvfrom(64)
        except TimeoutError:
            break
        if kind == socket.PACKET_BROADCAST:
            print("echoed")
            break
"""

# Sends 8900 bytes that may not be fragmented, and fails unless the server answers.
LARGE = """
import socket, sys

address, port = sys.argv[1:]
family, level = (socket.AF_INET6, socket.IPPROTO_IPV6) if ":" in address else (socket.AF_INET, socket.IPPROTO_IP)
option = 23 if ":" in address else 10  # IPV6_MTU_DISCOVER, IP_MTU_DISCOVER
with socket.socket(family, socket.SOCK_DGRAM) as client:
    client.settimeout(3)
    client.setsockopt(level, option, 2)  # IP_PMTUDISC_DO
    client.connect((address, int(port)))
    client.send(bytes(8900))
    client.recv(64)
"""


class Site(NamedTuple):
    """A node with an uplink, and two pods of a network that has everything; the second pod serves."""

    node: Node
    outside: Outside
    pod: Pod
    addresses: dict[int, str]
    server: Pod
    server_addresses: dict[int, str]


def by_version(result: Json) -> dict[int, str]:
    """A result's addresses."""
    return {6 if ":" in address else 4: address for address in addresses_of(result)}


@pytest.fixture(scope="module")
def site(module_node: Node, plugin: Plugin) -> Site:
    outside = Outside(module_node)
    module_node.serve()
    pod, result = add_pod(plugin, module_node, dual_stack())
    server, server_result = add_pod(plugin, module_node, dual_stack())
    server.serve()
    return Site(module_node, outside, pod, by_version(result), server, by_version(server_result))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("version", VERSIONS)
class TestOneNetwork:
    """A network with gateway and masquerade."""

    def test_pod_reaches_pod_as_itself(self, site: Site, version: int, protocol: str) -> None:
        seen = site.pod.seen_as(site.server_addresses[version], protocol=protocol)
        assert seen == site.addresses[version]

    def test_pod_reaches_the_gateway_as_itself(self, site: Site, version: int, protocol: str) -> None:
        assert site.pod.seen_as(bare(GATEWAY[version]), protocol=protocol) == site.addresses[version]

    def test_pod_reaches_the_outside_as_the_node(self, site: Site, version: int, protocol: str) -> None:
        assert site.pod.seen_as(OUTSIDE[version], protocol=protocol) == NODE[version]

    def test_node_reaches_pod(self, site: Site, version: int, protocol: str) -> None:
        assert site.node.seen_as(site.server_addresses[version], protocol=protocol) == bare(GATEWAY[version])

    def test_outside_reaches_pod(self, site: Site, version: int, protocol: str) -> None:
        assert site.outside.seen_as(site.server_addresses[version], protocol=protocol) == OUTSIDE[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_ping(site: Site, version: int) -> None:
    for target in (site.server_addresses[version], bare(GATEWAY[version]), OUTSIDE[version]):
        assert site.pod.ping(target)


def test_without_masquerade_the_outside_sees_the_pod(node: Node, plugin: Plugin) -> None:
    Outside(node)
    pod, result = add_pod(plugin, node, dual_stack(ipMasq=False))
    for version, address in by_version(result).items():
        assert pod.seen_as(OUTSIDE[version]) == address


def test_without_a_default_route_there_is_no_way_out(node: Node, plugin: Plugin) -> None:
    Outside(node)
    pod, _ = add_pod(plugin, node, network(4, 6, isGateway=True, ipMasq=True))
    for version in VERSIONS:
        assert pod.ping(GATEWAY[version])
        assert pod.run("busybox", "ping", "-c1", "-W1", OUTSIDE[version], check=False).returncode != 0


def test_routes_of_the_configuration_lead_out(node: Node, plugin: Plugin) -> None:
    """The masquerade does not hang on isGateway or a default route, and a route without gw takes the network's."""
    Outside(node)
    routes = [{"dst": "192.0.2.0/24"}, {"dst": "2001:db8::/64", "gw": "fd00:22::1"}]
    pod, result = add_pod(plugin, node, network(4, 6, isGateway=True, ipMasq=True, ipam={"routes": routes}))
    assert result["routes"] == routes
    for version in VERSIONS:
        assert pod.seen_as(OUTSIDE[version]) == NODE[version]


def test_exceptions_from_the_masquerade(node: Node, plugin: Plugin) -> None:
    """Whoever is in nonMasqueradeCIDRs sees the pod's address, everybody else the node's."""
    outside = Outside(node)
    others = {4: "198.51.100.7", 6: "2001:db8:7::7"}
    for other in others.values():
        outside.run("ip", "address", "add", other, "dev", "lo")
    pod, result = add_pod(plugin, node, dual_stack(nonMasqueradeCIDRs=["192.0.2.0/24", "2001:db8::/64"]))
    for version, address in by_version(result).items():
        assert pod.seen_as(OUTSIDE[version]) == address
        assert pod.seen_as(others[version]) == NODE[version]


@pytest.mark.parametrize("excepted", [False, True])
def test_two_networks(node: Node, plugin: Plugin, excepted: bool) -> None:
    """Pods of two networks reach each other through the node; each is masqueraded on leaving its own network."""
    cluster = ["10.0.0.0/8", "fd00::/16"] if excepted else []
    second = dual_stack(
        name="second",
        bridge="br2",
        nonMasqueradeCIDRs=cluster,
        ipam={"ranges": [[{"subnet": "10.33.0.0/24"}], [{"subnet": "fd00:33::/64"}]]},
    )
    one, first_result = add_pod(plugin, node, dual_stack(nonMasqueradeCIDRs=cluster))
    two, second_result = add_pod(plugin, node, second)
    two.serve()
    gateways = {4: "10.33.0.1", 6: "fd00:33::1"}
    for version, address in by_version(second_result).items():
        expected = by_version(first_result)[version] if excepted else gateways[version]
        assert one.seen_as(address) == expected


def test_two_networks_on_one_bridge(node: Node, plugin: Plugin) -> None:
    """They are one link, so that their pods reach each other without the node."""
    halves = [{"rangeStart": "10.22.0.2", "rangeEnd": "10.22.0.99"}, {"rangeStart": "10.22.0.100"}]
    ranges = [{"subnet": "10.22.0.0/24", **half} for half in halves]
    one, result = add_pod(plugin, node, network(name="one", ipam={"ranges": [ranges[:1]]}))
    two, _ = add_pod(plugin, node, network(name="two", ipam={"ranges": [ranges[1:]]}))
    two.serve()
    assert one.seen_as("10.22.0.100") == addresses_of(result)[0] == "10.22.0.2"


def test_two_interfaces_in_one_pod(node: Node, plugin: Plugin) -> None:
    second = network(name="second", bridge="br2", isGateway=True, ipam={"ranges": [[{"subnet": "10.33.0.0/24"}]]})
    pod, _ = add_pod(plugin, node, dual_stack())
    plugin.add(node, second, pod, ifname="net1")
    other, result = add_pod(plugin, node, second)
    other.serve()
    assert pod.seen_as(addresses_of(result)[0]) == "10.33.0.2"
    plugin.delete(node, second, pod, ifname="net1")
    assert set(pod.links()) == {"lo", "eth0"}
    assert pod.ping(bare(GATEWAY[4]))


def redirect(node: Node, port: int, target: str) -> None:
    """What portmap does for a hostPort: the node's port leads to the pod, which sees the gateway if it is itself."""
    node.run(
        "nft",
        "--file",
        "-",
        input=f"""
        table ip test {{
            chain in {{
                type nat hook prerouting priority dstnat
                ip daddr {Outside.node_address} tcp dport {port} dnat to {target}:{SERVER_PORT}
            }}
            chain back {{
                type nat hook postrouting priority srcnat
                ip saddr {target} ip daddr {target} masquerade
            }}
        }}""",
    )


def test_pod_reaches_itself_through_the_node(node: Node, plugin: Plugin) -> None:
    outside = Outside(node)
    pod, result = add_pod(plugin, node, dual_stack(hairpinMode=True))
    pod.serve()
    redirect(node, 80, by_version(result)[4])
    assert pod.seen_as(Outside.node_address, 80) == bare(GATEWAY[4])
    assert outside.seen_as(Outside.node_address, 80) == Outside.address


@pytest.mark.parametrize("hairpin", [False, True])
def test_bridge_sends_back_to_the_port_it_came_from(node: Node, plugin: Plugin, hairpin: bool) -> None:
    """That is all that hairpin mode is."""
    pod, _ = add_pod(plugin, node, network(4, hairpinMode=hairpin))
    assert (pod.run(sys.executable, "-c", ECHOED).stdout == "echoed\n") is hairpin


def test_promiscuous_bridge(node: Node, plugin: Plugin) -> None:
    add_pod(plugin, node, dual_stack(promiscMode=True))
    assert "PROMISC" in node.link("cni0")["flags"]


def test_large_packets_pass(node: Node, plugin: Plugin) -> None:
    """With jumbo frames on every link, a packet over 1500 bytes passes whole."""
    pod, _ = add_pod(plugin, node, dual_stack(mtu=9000))
    server, result = add_pod(plugin, node, dual_stack(mtu=9000))
    server.serve()
    node.serve()
    for target in (*addresses_of(result), *map(bare, GATEWAY.values())):
        pod.run(sys.executable, "-c", LARGE, target, str(SERVER_PORT))


def test_addresses_given_again_are_reached_at_once(node: Node, plugin: Plugin) -> None:
    """A pod that gets a former pod's address is reached by neighbours that remember the former one's MAC."""
    only = [[{"subnet": "10.22.0.0/24", "rangeStart": "10.22.0.9", "rangeEnd": "10.22.0.9"}]]
    observer, _ = add_pod(plugin, node, network(4, isGateway=True, ipam={"ranges": [[{"subnet": "10.22.0.0/29"}]]}))
    conf = network(4, name="one", isGateway=False, ipam={"ranges": only})
    observer.run("ip", "route", "add", "10.22.0.9", "dev", "eth0")

    def neighbour() -> str:
        (entry,) = observer.ip_json("neighbour", "show", "10.22.0.9")
        return str(entry["lladdr"])

    def attach() -> Pod:
        pod, _ = add_pod(plugin, node, conf)
        pod.run("ip", "route", "add", "10.22.0.0/29", "dev", "eth0")
        return pod

    former = attach()
    assert observer.ping("10.22.0.9")
    remembered = neighbour()
    plugin.delete(node, conf, former)
    # What it remembers must be true of the new one: it may ask nobody.
    observer.run("ip", "neighbour", "replace", "10.22.0.9", "lladdr", remembered, "dev", "eth0", "nud", "permanent")
    attach()
    assert observer.ping("10.22.0.9")


@pytest.mark.parametrize("version", VERSIONS)
def test_pods_without_gateway_still_reach_each_other(node: Node, plugin: Plugin, version: int) -> None:
    conf = network(version)
    pod, _ = add_pod(plugin, node, conf)
    _, result = add_pod(plugin, node, conf)
    assert pod.ping(addresses_of(result)[0])
    assert node.run("busybox", "ping", "-c1", "-W1", bare(GATEWAY[version]), check=False).returncode != 0
