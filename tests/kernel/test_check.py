"""CHECK: passes on what ADD made, and names the first thing that is no longer so."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import BRIDGE, NAME, TABLE, add_pod, dual_stack, host_veth, network

NOT_AS_EXPECTED = 105
INVALID_CONFIG = 7
INVALID_ENVIRONMENT = 4
INCOMPATIBLE_VERSION = 1

CONF = dual_stack(hairpinMode=True, nonMasqueradeCIDRs=["10.0.0.0/8"], ipam={"routes": [{"dst": "198.51.100.0/24"}]})
LEASES = f"/var/lib/cni/networks/{NAME}"
CHAIN = f"{TABLE} postrouting"
OWN = "$(nft list chains inet | grep -o 'masquerade-[0-9a-f]*')"
"""The chain of the network."""


class Attached(NamedTuple):
    """A pod that has everything; `VETH` in a command is the host's end."""

    node: Node
    pod: Pod
    result: Json

    def on_host(self, command: str) -> None:
        """Run a shell command in the node."""
        self.node.run("sh", "-ec", command.replace("VETH", host_veth(self.result)))

    def in_pod(self, command: str) -> None:
        """Run a shell command in the pod."""
        self.pod.run("sh", "-ec", command)

    def complaint(self, plugin: Plugin) -> str:
        """What CHECK has to say, which must be that things are not as expected, and nothing else may change."""
        before = self.node.snapshot()
        error = plugin.check(self.node, CONF, self.pod, self.result).error
        assert error["code"] == NOT_AS_EXPECTED
        assert self.node.snapshot() == before
        return str(error["msg"]).replace(host_veth(self.result), "VETH")


@pytest.fixture
def attached(node: Node, plugin: Plugin) -> Attached:
    return Attached(node, *add_pod(plugin, node, CONF))


def test_nothing_has_changed(attached: Attached, plugin: Plugin) -> None:
    assert plugin.check(attached.node, CONF, attached.pod, attached.result).result == {}


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("ip link del eth0", ["eth0"]),
        ("ip link set eth0 down; ip link set eth0 name eth7 up", ["eth0", "no interface"]),
        ("ip link del eth0; ip link add eth0 type bridge", ["eth0"]),
        ("ip link set eth0 down", ["eth0", "down"]),
        ("ip link set eth0 address 02:00:00:00:00:07", ["eth0", "02:00:00:00:00:07", "0a:58:0a:16:00:02"]),
        ("ip address del 10.22.0.2/24 dev eth0", ["eth0", "10.22.0.2/24"]),
        ("ip address del fd00:22::2/64 dev eth0", ["eth0", "fd00:22::2/64"]),
        ("ip address del 10.22.0.2/24 dev eth0; ip address add 10.22.0.2/16 dev eth0", ["10.22.0.2/24"]),
        ("ip route del default", ["0.0.0.0/0", "10.22.0.1"]),
        ("ip -6 route del default", ["::/0", "fd00:22::1"]),
        ("ip route replace default via 10.22.0.9", ["0.0.0.0/0", "10.22.0.1"]),
        ("ip route replace default dev eth0", ["0.0.0.0/0", "10.22.0.1"]),
        ("ip route del 198.51.100.0/24", ["198.51.100.0/24"]),
    ],
)
def test_changed_in_the_pod(attached: Attached, plugin: Plugin, command: str, named: list[str]) -> None:
    attached.in_pod(command)
    complaint = attached.complaint(plugin)
    assert all(word in complaint for word in named), complaint


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("ip link add br9 type bridge; ip link set VETH master br9", ["VETH", BRIDGE]),
        ("ip link set VETH nomaster", ["VETH", BRIDGE]),
        ("ip link set VETH down", ["VETH", "down"]),
        ("ip link set VETH down; ip link set VETH name other up", ["VETH"]),
        ("ip link del VETH", ["eth0"]),
        ("bridge link set dev VETH hairpin off", ["VETH", "hairpin"]),
        (f"ip link del {BRIDGE}", [BRIDGE]),
        (f"ip link set {BRIDGE} down", [BRIDGE, "down"]),
        (f"ip link set {BRIDGE} address 02:00:00:00:00:07", [BRIDGE, "02:00:00:00:00:07", "0a:58:0a:16:00:01"]),
        (f"ip address del 10.22.0.1/24 dev {BRIDGE}", [BRIDGE, "10.22.0.1/24"]),
        (f"ip address del fd00:22::1/64 dev {BRIDGE}", [BRIDGE, "fd00:22::1/64"]),
        ("sysctl -qw net.ipv4.ip_forward=0", ["net/ipv4/ip_forward"]),
        ("sysctl -qw net.ipv6.conf.all.forwarding=0", ["net/ipv6/conf/all/forwarding"]),
        (f"rm {LEASES}/10.22.0.2", [f"{LEASES}/10.22.0.2", "missing"]),
        (f"rm {LEASES}/fd00:22::2", [f"{LEASES}/fd00:22::2", "missing"]),
        (f"rm {LEASES}/10.22.0.2; printf 'other\\r\\neth0' > {LEASES}/10.22.0.2", [f"{LEASES}/10.22.0.2", "other"]),
        (f"rm -r {LEASES}", [LEASES]),
        (f"nft delete table {TABLE}", [CHAIN]),
        (f"nft flush chain {CHAIN}; nft delete chain {CHAIN}", [CHAIN]),
        (f"nft flush chain {CHAIN}", [CHAIN]),
        (f"nft flush chain {TABLE} {OWN}", ["masquerade-"]),
        (f"nft flush set {TABLE} attachments", ["attachments", "VETH"]),
        (f"nft delete element {TABLE} pods4-$(echo {OWN} | cut -d- -f2) '{{ 10.22.0.2 }}'", ["pods4-", "10.22.0.2"]),
        (f"nft flush set {TABLE} pods6-$(echo {OWN} | cut -d- -f2)", ["pods6-", "fd00:22::2"]),
        (f"nft flush set {TABLE} exceptions4-$(echo {OWN} | cut -d- -f2)", ["exceptions4-"]),
    ],
)
def test_changed_on_the_host(attached: Attached, plugin: Plugin, command: str, named: list[str]) -> None:
    attached.on_host(command)
    complaint = attached.complaint(plugin)
    assert all(word in complaint for word in named), complaint


def test_any_masquerade_rule_deleted(attached: Attached, plugin: Plugin) -> None:
    """Two of multicast and two that lead to the network's chain; its own, two for exceptions, and the masquerade."""
    chains = ["postrouting", attached.node.run("sh", "-c", f"echo {OWN}").stdout.strip()]
    for chain, position in [(chains[0], n) for n in range(4)] + [(chains[1], n) for n in range(3)]:
        listed = attached.node.run("nft", "-a", "list", "chain", *TABLE.split(), chain).stdout
        handles = [line.rpartition(" ")[2] for line in listed.splitlines() if " comment " in line]
        attached.node.run("nft", "delete", "rule", *TABLE.split(), chain, "handle", handles[position])
        assert chain in attached.complaint(plugin)
        other, _ = add_pod(plugin, attached.node, CONF)  # the next ADD mends it
        assert plugin.check(attached.node, CONF, attached.pod, attached.result).result == {}, (chain, position)
        plugin.delete(attached.node, CONF, other)


def test_foreign_masquerade_rule_in_our_chain(attached: Attached, plugin: Plugin) -> None:
    attached.node.run("nft", "insert", "rule", *CHAIN.split(), "accept")
    assert CHAIN in attached.complaint(plugin)


def test_the_first_thing_is_named(attached: Attached, plugin: Plugin) -> None:
    """Where the bridge is gone, everything else is wrong as well; an operator wants to know of the bridge."""
    attached.on_host(f"ip link del {BRIDGE}; rm -r {LEASES}; nft delete table {TABLE}")
    assert f"no interface {BRIDGE}" in attached.complaint(plugin)


def test_another_network_namespace(attached: Attached, plugin: Plugin) -> None:
    other = attached.node.pod()
    reply = plugin.check(attached.node, CONF, attached.pod, attached.result, netns=other.path)
    assert reply.error["code"] == NOT_AS_EXPECTED
    assert other.path in reply.error["msg"]
    assert attached.pod.path in reply.error["msg"]


def test_network_namespace_is_gone(attached: Attached, plugin: Plugin) -> None:
    attached.pod.close()
    error = plugin.check(attached.node, CONF, attached.pod, attached.result).error
    assert error["code"] == INVALID_ENVIRONMENT
    assert attached.pod.path in error["msg"]


def test_pod_is_gone_and_another_has_its_path(attached: Attached, plugin: Plugin) -> None:
    attached.pod.close()
    attached.node.pod(attached.pod.name)
    error = plugin.check(attached.node, CONF, attached.pod, attached.result).error
    assert error["code"] == NOT_AS_EXPECTED
    assert "eth0" in error["msg"]


def test_another_container(attached: Attached, plugin: Plugin) -> None:
    reply = plugin.check(attached.node, CONF, attached.pod, attached.result, container_id="other")
    assert reply.error["code"] == NOT_AS_EXPECTED


def test_another_interface(attached: Attached, plugin: Plugin) -> None:
    reply = plugin.check(attached.node, CONF, attached.pod, attached.result, ifname="net1")
    assert reply.error["code"] == NOT_AS_EXPECTED
    assert "net1" in reply.error["msg"]


def test_never_added(node: Node, plugin: Plugin, attached: Attached) -> None:
    error = plugin.check(node, CONF, node.pod(), attached.result).error
    assert error["code"] == NOT_AS_EXPECTED


def test_without_prev_result(attached: Attached, plugin: Plugin) -> None:
    error = plugin.call(attached.node, "CHECK", CONF, attached.pod).error
    assert error["code"] == INVALID_CONFIG
    assert "prevResult" in error["msg"]


@pytest.fixture(scope="module")
def steady(module_node: Node, plugin: Plugin) -> tuple[Pod, Json]:
    """A pod that the tests below only look at."""
    return add_pod(plugin, module_node, CONF)


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_result_of_every_version(module_node: Node, plugin: Plugin, version: str) -> None:
    conf = dual_stack(cniVersion=version, name=f"v{version}", bridge=f"br{version}")
    pod, result = add_pod(plugin, module_node, conf)
    assert result["cniVersion"] == version
    assert plugin.check(module_node, conf, pod, result).result == {}
    pod.run("ip", "address", "del", "10.22.0.2/24", "dev", "eth0")
    assert "10.22.0.2/24" in plugin.check(module_node, conf, pod, result).error["msg"]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1"])
def test_versions_without_check(module_node: Node, plugin: Plugin, steady: tuple[Pod, Json], version: str) -> None:
    error = plugin.check(module_node, {**CONF, "cniVersion": version}, *steady).error
    assert error["code"] == INCOMPATIBLE_VERSION
    assert version in error["msg"]


def test_plugin_later_in_the_chain_changed_the_mac(node: Node, plugin: Plugin) -> None:
    """prevResult says what is right, not what ADD once made."""
    pod, result = add_pod(plugin, node, CONF)
    pod.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:07")
    result["interfaces"][2]["mac"] = "02:00:00:00:00:07"
    assert plugin.check(node, CONF, pod, result).result == {}


def test_plugin_later_in_the_chain_added_things(node: Node, plugin: Plugin) -> None:
    """Interfaces and addresses of others are theirs to check."""
    pod, result = add_pod(plugin, node, CONF)
    result["interfaces"].append({"name": "tun0", "mac": "02:00:00:00:00:08", "sandbox": pod.path})
    result["ips"].append({"address": "203.0.113.7/32", "interface": 3})
    assert plugin.check(node, CONF, pod, result).result == {}


@pytest.mark.parametrize("version", [4, 6])
def test_two_default_routes(node: Node, plugin: Plugin, version: int) -> None:
    """A pod with two interfaces has both; the kernel keeps IPv6's as one route with two next hops."""
    subnet = {4: "10.33.0.0/24", 6: "fd00:33::/64"}[version]
    first = network(version, isDefaultGateway=True)
    second = network(name="second", bridge="br2", isDefaultGateway=True, ipam={"ranges": [[{"subnet": subnet}]]})
    pod, result = add_pod(plugin, node, first)
    second_result = plugin.add(node, second, pod, ifname="net1")
    assert plugin.check(node, first, pod, result).result == {}
    assert plugin.check(node, second, pod, second_result, ifname="net1").result == {}


def test_default_route_twice(node: Node, plugin: Plugin) -> None:
    """Both isDefaultGateway and a route of the configuration ask for it."""
    conf = dual_stack(ipam={"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]})
    pod, result = add_pod(plugin, node, conf)
    for version in (4, 6):
        assert [route["dst"] for route in pod.routes(version)].count("default") == 1
    assert plugin.check(node, conf, pod, result).result == {}


ROUTE = {
    4: {"dst": "198.51.100.0/24", "gw": "10.22.0.9", "priority": 50, "table": 100, "mtu": 1400, "advmss": 1300},
    6: {"dst": "2001:db8:9::/64", "gw": "fd00:22::9", "priority": 50, "table": 100, "mtu": 1400, "advmss": 1300},
}
ROUTE[4]["scope"] = 200  # IPv6 has none


@pytest.mark.parametrize(
    ("version", "field", "value"),
    [
        *[(version, "priority", 51) for version in (4, 6)],
        *[(version, "table", 101) for version in (4, 6)],
        *[(version, "mtu", 1399) for version in (4, 6)],
        *[(version, "advmss", 1299) for version in (4, 6)],
        (4, "dst", "198.51.100.0/25"),
        (6, "dst", "2001:db8:9::/65"),
        (4, "gw", "10.22.0.8"),
        (6, "gw", "fd00:22::8"),
        (4, "scope", 0),
    ],
)
def test_route_that_differs_in_one_field(node: Node, plugin: Plugin, version: int, field: str, value: Any) -> None:
    route = ROUTE[version]
    conf = dual_stack(ipam={"routes": [route]})
    pod, result = add_pod(plugin, node, conf)
    pod.run(*ip_route("delete", version, route))
    pod.run(*ip_route("add", version, {**route, field: value}))
    error = plugin.check(node, conf, pod, result).error
    assert (error["code"], f"{route['dst']} via {route['gw']}" in error["msg"]) == (NOT_AS_EXPECTED, True), error
    pod.run(*ip_route("delete", version, {**route, field: value}))
    pod.run(*ip_route("add", version, route))
    assert plugin.check(node, conf, pod, result).result == {}


def ip_route(verb: str, version: int, route: Json) -> list[str]:
    """The ip(8) command that adds or deletes a route of a configuration."""
    words = {"gw": "via", "priority": "metric"}
    fields = [f"{words.get(key, key)} {value}" for key, value in route.items() if key != "dst"]
    return f"ip -{version} route {verb} {route['dst']} dev eth0 {' '.join(fields)}".split()


def test_layer_two_only(node: Node, plugin: Plugin) -> None:
    """Without gateway and masquerade there is nothing to see of either."""
    conf = network(4)
    pod, result = add_pod(plugin, node, conf)
    assert plugin.check(node, conf, pod, result).result == {}


def test_other_pods_do_not_matter(attached: Attached, plugin: Plugin) -> None:
    other, _ = add_pod(plugin, attached.node, CONF)
    other.run("ip", "link", "del", "eth0")
    assert plugin.check(attached.node, CONF, attached.pod, attached.result).result == {}
