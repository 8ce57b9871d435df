"""macspoofchk: a pod sends from its own MAC address or not at all."""

from __future__ import annotations

import pytest

from tests.harness import Node, Plugin, Pod
from tests.kernel.networks import GATEWAY, add_pod, addresses_of, bare, dual_stack, guarded, host_veth, network
from tests.options.traffic import reaches

CONF = dual_stack(macspoofchk=True)
TABLE = "bridge cni-bridge-py"
OTHER_MAC = "02:00:00:00:be:ef"
GATEWAYS = [bare(gateway) for gateway in GATEWAY.values()]


def guards(node: Node) -> str:
    """The table that guards pods, as nft prints it; nothing where there is none."""
    return node.run("nft", "list", "table", *TABLE.split(), check=False).stdout


def change_mac(pod: Pod, mac: str) -> None:
    """Give the pod's interface another MAC, as a program with NET_ADMIN in it can."""
    pod.run("ip", "link", "set", "eth0", "address", mac)
    pod.run("ip", "route", "replace", "default", "via", GATEWAYS[0])


@pytest.mark.parametrize("mac", ["", "02:11:22:33:44:55"])
def test_pod_with_another_mac_is_cut_off(node: Node, plugin: Plugin, mac: str) -> None:
    conf = {**CONF, "runtimeConfig": {"mac": mac}} if mac else CONF
    pod, result = add_pod(plugin, node, conf)
    neighbour, other = add_pod(plugin, node, CONF)
    assert reaches(pod, *GATEWAYS, *addresses_of(other)) == [True] * 4
    change_mac(pod, OTHER_MAC)
    assert reaches(pod, *GATEWAYS, *addresses_of(other)) == [False] * 4
    assert reaches(neighbour, *GATEWAYS) == [True] * 2
    change_mac(pod, result["interfaces"][2]["mac"])
    assert reaches(pod, *GATEWAYS, *addresses_of(other)) == [True] * 4


def test_pod_cannot_take_its_neighbours_mac(node: Node, plugin: Plugin) -> None:
    pod, _ = add_pod(plugin, node, CONF)
    neighbour, other = add_pod(plugin, node, CONF)
    change_mac(pod, other["interfaces"][2]["mac"])
    assert reaches(pod, *GATEWAYS) == [False] * 2
    assert reaches(neighbour, *GATEWAYS) == [True] * 2


def test_others_may_change_theirs(node: Node, plugin: Plugin) -> None:
    add_pod(plugin, node, CONF)
    pod, _ = add_pod(plugin, node, dual_stack())
    change_mac(pod, OTHER_MAC)
    assert reaches(pod, *GATEWAYS) == [True] * 2


def test_delete_removes_its_guard_alone(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, CONF)
    neighbour, other = add_pod(plugin, node, CONF)
    assert host_veth(result) in guards(node)
    plugin.delete(node, CONF, pod)
    assert host_veth(result) not in guards(node)
    assert list(guarded(node)) == [host_veth(other)]
    assert plugin.check(node, CONF, neighbour, other).result == {}


def test_delete_when_the_namespace_is_gone(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, CONF)
    pod.close()
    plugin.delete(node, CONF, pod)
    assert host_veth(result) not in guards(node)


def test_gc_removes_the_guard(node: Node, plugin: Plugin) -> None:
    _, result = add_pod(plugin, node, CONF)
    valid, kept = add_pod(plugin, node, CONF)
    assert plugin.gc(node, CONF, [valid]).result == {}
    assert host_veth(result) not in guards(node)
    assert list(guarded(node)) == [host_veth(kept)]


def test_gc_removes_the_guard_of_a_veth_that_is_gone(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, CONF)
    pod.run("ip", "link", "delete", "eth0")
    assert plugin.gc(node, CONF).result == {}
    assert host_veth(result) not in guards(node)


def test_failed_add_leaves_no_guard(node: Node, plugin: Plugin) -> None:
    conf = network(4, macspoofchk=True, ipam={"routes": [{"dst": "10.5.0.0/16", "gw": "10.99.0.1"}]})
    assert "10.5.0.0/16" in plugin.call(node, "ADD", conf, node.pod()).error["msg"]
    assert "veth" not in guards(node)


@pytest.mark.parametrize(
    "damage",
    [
        f"delete table {TABLE}",
        f"flush set {TABLE} attachments",
        f"flush set {TABLE} macs",
        f"delete element {TABLE} attachments {{ VETH }}",
        f"flush chain {TABLE} macspoofchk",
        "flush ruleset",
    ],
)
def test_check_notices(node: Node, plugin: Plugin, damage: str) -> None:
    pod, result = add_pod(plugin, node, CONF)
    assert plugin.check(node, CONF, pod, result).result == {}
    node.run("nft", damage.replace("VETH", host_veth(result)))
    assert plugin.check(node, CONF, pod, result).error["code"] == 105


def test_delete_works_without_the_table(node: Node, plugin: Plugin) -> None:
    pod, _ = add_pod(plugin, node, CONF)
    node.run("nft", "flush", "ruleset")
    plugin.delete(node, CONF, pod)


def test_others_bridge_tables_are_left_alone(node: Node, plugin: Plugin) -> None:
    node.run("nft", "add table bridge theirs; add chain bridge theirs macspoofchk")
    before = node.run("nft", "list", "table", "bridge", "theirs").stdout
    pod, _ = add_pod(plugin, node, CONF)
    plugin.delete(node, CONF, pod)
    assert node.run("nft", "list", "table", "bridge", "theirs").stdout == before
