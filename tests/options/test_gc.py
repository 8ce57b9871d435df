"""GC: what attachments left that the runtime knows no more."""

from __future__ import annotations

import pytest

from tests.harness import REFERENCE_BIN_DIR, Json, Node, Plugin
from tests.kernel.networks import (
    add_pod,
    addresses_of,
    assert_nothing_left,
    dual_stack,
    host_veth,
    network,
    small,
    veths,
)


def test_only_what_is_listed_stays(node: Node, plugin: Plugin) -> None:
    kept, result = add_pod(plugin, node, dual_stack())
    for _ in range(3):
        add_pod(plugin, node, dual_stack())
    assert plugin.gc(node, dual_stack(), [kept]).result == {}
    assert veths(node) == [host_veth(result)]
    assert sorted(node.leases("podnet")) == sorted(addresses_of(result))
    assert plugin.check(node, dual_stack(), kept, result).result == {}
    assert plugin.gc(node, dual_stack()).result == {}
    assert_nothing_left(node)


def test_leases_whose_veth_is_gone(node: Node, plugin: Plugin) -> None:
    pod, _ = add_pod(plugin, node, dual_stack())
    pod.run("ip", "link", "delete", "eth0")
    assert plugin.gc(node, dual_stack()).result == {}
    assert_nothing_left(node)


def test_another_networks_and_foreign_things_stay(node: Node, plugin: Plugin) -> None:
    """On the same bridge, with names that look alike."""
    other = dual_stack(name="other", ipam={"ranges": [[{"subnet": "10.30.0.0/24"}]]}, forceAddress=True)
    neighbour, result = add_pod(plugin, node, other)
    node.run(*["ip", "link", "add", "veth0123456789a", "type", "veth", "peer", "name", "stranger"])
    node.run("ip", "link", "set", "veth0123456789a", "master", "cni0")
    add_pod(plugin, node, network(4))
    assert plugin.gc(node, network(4)).result == {}
    assert set(veths(node)) == {host_veth(result), "veth0123456789a", "stranger"}
    assert node.leases("podnet") == {}
    assert list(node.leases("other")) == addresses_of(result)
    assert plugin.check(node, other, neighbour, result).result == {}


def test_layer_2_networks_have_veths_alone(node: Node, plugin: Plugin) -> None:
    conf = network() | {"ipam": {}}
    kept, result = add_pod(plugin, node, conf)
    add_pod(plugin, node, conf)
    assert plugin.gc(node, conf, [kept]).result == {}
    assert veths(node) == [host_veth(result)]


def test_it_goes_on_past_errors(node: Node, plugin: Plugin) -> None:
    conf = dual_stack()
    add_pod(plugin, node, conf)
    node.run("sh", "-c", "cd /var/lib/cni/networks && mv podnet kept && touch podnet")
    error = plugin.gc(node, conf).error
    assert error["code"] == 5
    assert "/var/lib/cni/networks/podnet" in error["msg"]
    assert veths(node) == []


def test_all_errors_are_told(node: Node, plugin: Plugin) -> None:
    conf = dual_stack()
    hosts = [host_veth(result) for _, result in (add_pod(plugin, node, conf) for _ in range(2))]
    node.run("sh", "-c", "cd /var/lib/cni/networks && mv podnet kept && touch podnet")
    error = plugin.confined("net_admin").gc(node, conf).error
    assert error["code"] == 101, "the first one's"
    assert [each for each in (*hosts, "/var/lib/cni/networks/podnet") if each not in error["msg"]] == []


def test_a_veth_that_stays_keeps_its_addresses(node: Node, plugin: Plugin) -> None:
    conf = dual_stack()
    _, result = add_pod(plugin, node, conf)
    gone, _ = add_pod(plugin, node, conf)
    gone.run("ip", "link", "delete", "eth0")
    assert host_veth(result) in plugin.confined("net_admin").gc(node, conf).error["msg"]
    assert sorted(node.leases("podnet")) == sorted(addresses_of(result))
    assert plugin.gc(node, conf).result == {}
    assert_nothing_left(node)


def test_what_the_reference_leaked_goes_and_what_it_holds_stays(node: Node, plugin: Plugin) -> None:
    """Its leases say whose they are. Where the runtime forgot to delete pods, they fill a range for ever."""
    reference = Plugin(REFERENCE_BIN_DIR / "bridge")
    conf = small()
    kept, _ = add_pod(reference, node, {**conf, "cniVersion": "1.0.0"})
    leaked = [add_pod(reference, node, {**conf, "cniVersion": "1.0.0"})[0] for _ in range(4)]
    for pod in leaked:
        pod.close()
    assert plugin.call(node, "ADD", conf, node.pod()).error["code"] == 102
    assert plugin.gc(node, conf, [kept]).result == {}
    assert list(node.leases("podnet").values()) == [(kept.container_id, "eth0")]
    add_pod(plugin, node, conf)


@pytest.mark.parametrize("keys", [{"cni.dev/valid-attachments": None}, {"cni.dev/attachments": None}], ids=str)
def test_null_is_an_empty_list(node: Node, plugin: Plugin, keys: Json) -> None:
    add_pod(plugin, node, dual_stack())
    assert plugin.call(node, "GC", {**dual_stack(), **keys}, ifname=None).result == {}
    assert_nothing_left(node)


def test_the_older_key(node: Node, plugin: Plugin) -> None:
    kept, result = add_pod(plugin, node, dual_stack())
    add_pod(plugin, node, dual_stack())
    listed = [{"containerID": kept.container_id, "ifname": "eth0"}]
    assert plugin.call(node, "GC", {**dual_stack(), "cni.dev/attachments": listed}, ifname=None).result == {}
    assert veths(node) == [host_veth(result)]
    assert sorted(node.leases("podnet")) == sorted(addresses_of(result))


def test_without_a_list_nothing_is_removed(node: Node, plugin: Plugin) -> None:
    _, result = add_pod(plugin, node, dual_stack())
    error = plugin.call(node, "GC", dual_stack(), ifname=None).error
    assert error["code"] == 7
    assert error["msg"].startswith("cni.dev/valid-attachments: nothing was removed: ")
    assert veths(node) == [host_veth(result)]
