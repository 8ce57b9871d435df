"""SPEC.md, section 2: CHECK."""

from __future__ import annotations

import pytest

from tests.harness import REFERENCE_BIN_DIR, Node, Plugin
from tests.kernel.networks import add_pod, dual_stack, host_veth, network

NOT_AS_EXPECTED = 105


def test_the_result_says_what_is_expected(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, dual_stack())
    pod.run(*["ip", "address", "add", "10.22.0.99/24", "dev", "eth0"])
    moved = {**result, "ips": [{**result["ips"][0], "address": "10.22.0.99/24"}]}
    assert plugin.check(node, dual_stack(), pod, result).result == {}
    assert plugin.check(node, dual_stack(), pod, moved).error["code"] == NOT_AS_EXPECTED, "it has no such lease"
    assert plugin.call(node, "CHECK", dual_stack(), pod).error["code"] == 7


def test_what_a_later_plugin_changed_is_no_fault(node: Node, plugin: Plugin) -> None:
    conf = dual_stack(mtu=1400)
    pod, result = add_pod(plugin, node, conf)
    pod.run(*["ip", "link", "set", "eth0", "address", "02:aa:00:00:00:07", "mtu", "1300"])
    pod.run(*["ip", "route", "add", "203.0.113.0/24", "via", "10.22.0.1"])
    result["interfaces"][2]["mac"] = "02:AA:00:00:00:07"
    result["interfaces"].append({"name": "ifb0", "mac": "02:00:00:00:00:09"})
    result["interfaces"].append({"name": "tun0", "sandbox": pod.path})
    result["ips"] += [{"address": "203.0.113.7/32", "interface": 4}, {"address": "203.0.113.8/32"}]
    result["routes"].append({"dst": "198.51.100.0/24", "gw": "203.0.113.1"})
    assert plugin.check(node, conf, pod, result).result == {}


def test_what_another_plugin_has_in_another_sandbox_is_not_the_pods(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, dual_stack())
    other = {"name": "eth0", "mac": "02:00:00:00:00:09", "sandbox": "/run/vm"}
    ips = [{**ip, "interface": 3} for ip in result["ips"]]
    listed = {**result, "interfaces": [other, *result["interfaces"]], "ips": ips}
    assert plugin.check(node, dual_stack(), pod, listed).result == {}
    pod.run(*["ip", "address", "del", "10.22.0.2/24", "dev", "eth0"])
    assert "10.22.0.2/24" in plugin.check(node, dual_stack(), pod, listed).error["msg"]
    alone = {**result, "interfaces": [*result["interfaces"][:2], other]}
    error = plugin.check(node, dual_stack(), pod, alone).error
    assert f"Sandbox in prevResult /run/vm doesn't match configured netns: {pod.path}" in error["msg"]


def test_addresses_of_no_interface_are_the_pods_where_it_has_no_others(node: Node, plugin: Plugin) -> None:
    """Results before 0.3.0 have no interfaces. libcni converts them to the configuration's version."""
    conf = network(4)
    pod, result = add_pod(plugin, node, conf)
    listed = {**result, "ips": [{"address": ip["address"]} for ip in result["ips"]]}
    bare = {"cniVersion": "1.1.0", "ips": listed["ips"]}
    assert plugin.check(node, conf, pod, listed).result == {}
    assert plugin.check(node, conf, pod, bare).result == {}
    pod.run(*["ip", "address", "del", "10.22.0.2/24", "dev", "eth0"])
    for each in (listed, bare):
        assert "10.22.0.2/24" in plugin.check(node, conf, pod, each).error["msg"]
    pod.run(*["ip", "link", "del", "eth0"])
    assert "there is no interface eth0" in plugin.check(node, conf, pod, bare).error["msg"]


def test_a_result_without_addresses_needs_a_lease_all_the_same(node: Node, plugin: Plugin) -> None:
    conf = network(4)
    pod, result = add_pod(plugin, node, conf)
    listed = {**result, "ips": []}
    assert plugin.check(node, conf, pod, listed).result == {}
    node.run("sh", "-c", "rm -r /var/lib/cni/networks/podnet/10.22.0.2 /var/lib/cni/networks/podnet/.attachments/*")
    error = plugin.check(node, conf, pod, listed).error
    said = f"Failed to find address added by container {pod.container_id}"
    assert (error["code"], said in error["msg"]) == (NOT_AS_EXPECTED, True), error


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("ip link del eth0", "eth0"),
        ("ip link set eth0 down", "eth0"),
        ("ip address del 10.22.0.2/24 dev eth0", "10.22.0.2/24"),
        ("ip route del default", "0.0.0.0/0 via 10.22.0.1"),
        ("ip -6 route del default", "::/0 via fd00:22::1"),
    ],
)
def test_an_interface_address_or_route_that_is_gone_is_an_error(
    node: Node, plugin: Plugin, command: str, named: str
) -> None:
    pod, result = add_pod(plugin, node, dual_stack())
    pod.run(*command.split())
    error = plugin.check(node, dual_stack(), pod, result).error
    assert (error["code"], named in error["msg"]) == (NOT_AS_EXPECTED, True), error


def test_the_pods_interface_is_the_other_end_of_our_veth(node: Node, plugin: Plugin) -> None:
    """Another cable with the same MAC, name and address is not the one that is plugged into the bridge."""
    pod, result = add_pod(plugin, node, network(4))
    mac = pod.link("eth0")["address"]
    pod.run(*["ip", "link", "set", "eth0", "down"])
    pod.run(*["ip", "link", "set", "eth0", "name", "old0"])
    node.run(*f"ip link add other0 type veth peer name eth0 address {mac} netns {pod.name}".split())
    node.run(*["ip", "link", "set", "other0", "master", "cni0", "up"])
    pod.run(*["ip", "address", "add", "10.22.0.2/24", "dev", "eth0"])
    pod.run(*["ip", "link", "set", "eth0", "up"])
    error = plugin.check(node, network(4), pod, result).error
    assert error["msg"] == f"eth0 in the pod is not the other end of {host_veth(result)}"


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("nft delete table inet cni-bridge-py", "nftables"),
        ("rm /var/lib/cni/networks/podnet/10.22.0.2", "10.22.0.2"),
        ("sysctl -qw net.ipv4.ip_forward=0", "ip_forward"),
    ],
)
def test_what_no_result_lists_is_looked_at_too(node: Node, plugin: Plugin, command: str, named: str) -> None:
    pod, result = add_pod(plugin, node, dual_stack())
    node.run(*command.split())
    error = plugin.check(node, dual_stack(), pod, result).error
    assert (error["code"], named in error["msg"]) == (NOT_AS_EXPECTED, True), error


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("ip link set cni0 down", "cni0"),
        ("ip link set VETH nomaster", "VETH"),
        ("ip link set VETH down", "VETH"),
        ("ip address flush dev cni0 scope global", "10.22.0.1/24"),
    ],
)
def test_a_pod_that_nobody_can_reach_is_an_error(node: Node, plugin: Plugin, command: str, named: str) -> None:
    pod, result = add_pod(plugin, node, dual_stack())
    node.run(*command.replace("VETH", host_veth(result)).split())
    error = plugin.check(node, dual_stack(), pod, result).error
    assert (error["code"], named.replace("VETH", host_veth(result)) in error["msg"]) == (NOT_AS_EXPECTED, True), error


def test_right_after_add_all_is_well(node: Node, plugin: Plugin) -> None:
    for _ in range(5):
        pod, result = add_pod(plugin, node, dual_stack(hairpinMode=True, macspoofchk=True))
        reply = plugin.check(node, dual_stack(hairpinMode=True, macspoofchk=True), pod, result)
        assert (reply.result, reply.stdout, reply.stderr) == ({}, "", "")


@pytest.mark.parametrize("keys", [{}, {"macspoofchk": True}, {"hairpinMode": True}], ids=str)
def test_a_pod_that_the_reference_made_passes(node: Node, plugin: Plugin, keys: dict[str, bool]) -> None:
    conf = dual_stack(cniVersion="1.0.0", **keys)
    pod, result = add_pod(Plugin(REFERENCE_BIN_DIR / "bridge"), node, conf)
    assert plugin.check(node, conf, pod, result).result == {}
    pod.run("ip", "route", "del", "default")
    assert "0.0.0.0/0" in plugin.check(node, conf, pod, result).error["msg"]
