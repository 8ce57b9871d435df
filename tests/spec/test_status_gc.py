"""SPEC.md, section 2: STATUS and GC."""

from __future__ import annotations

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import add_pod, assert_nothing_left, dual_stack, host_veth, network, small, veths


def test_status_is_silent_where_all_is_well(node: Node, plugin: Plugin) -> None:
    reply = plugin.status(node, dual_stack())
    assert (reply.status, reply.stdout, reply.stderr) == (0, "", "")
    add_pod(plugin, node, dual_stack())
    assert plugin.status(node, dual_stack()).result == {}


def fill(node: Node, plugin: Plugin, conf: Json) -> None:
    for _ in range(5):
        add_pod(plugin, node, conf)


def test_status_tells_a_range_that_is_full(node: Node, plugin: Plugin) -> None:
    fill(node, plugin, small())
    error = plugin.status(node, small()).error
    assert (error["code"], "no IP addresses available" in error["msg"]) == (50, True)


@pytest.mark.parametrize(
    ("command", "conf"),
    [
        ("ip link add cni0 type veth", network(4)),
        ("ip link add cni0 type bridge && ip address add 192.0.2.9/24 dev cni0", network(4, isGateway=True)),
        ("mkdir -p /var/lib/cni/networks && touch /var/lib/cni/networks/podnet", network(4)),
        ("true", network(4, ipam={"resolvConf": "/none"})),
        ("ip link add cni0 type bridge && ip link set cni0 mtu 1279", network(6, isGateway=True)),
        ("ip link add cni0.5 type bridge", network(4, isGateway=True, vlan=5)),
        ("mount -t tmpfs tmpfs /proc/sys/net/ipv6", network(6, isGateway=True)),
    ],
    ids=[
        "the bridge's name is taken",
        "it has another address",
        "no lease can be written",
        "no resolvConf",
        "no room for IPv6",
        "the VLAN's name is taken",
        "no IPv6",
    ],
)
def test_status_tells_what_every_add_would_be_refused_for(node: Node, plugin: Plugin, command: str, conf: Json) -> None:
    node.run("sh", "-c", command)
    assert plugin.status(node, conf).error["code"] in (50, 51)
    assert plugin.call(node, "ADD", conf, node.pod()).status != 0


def test_status_tells_that_rights_are_missing(node: Node, plugin: Plugin) -> None:
    for capability in ("net_admin", "sys_admin"):
        error = plugin.confined(capability).status(node, network(4)).error
        assert (error["code"], capability in error["msg"].lower()) == (101, True)


def test_no_status_is_needed_and_none_prevents(node: Node, plugin: Plugin) -> None:
    fill(node, plugin, small())
    assert plugin.status(node, small()).status != 0
    pod = node.pod()
    assert plugin.call(node, "ADD", small(), pod).error["code"] == 102
    plugin.delete(node, small(), pod)


def test_gc_removes_all_that_is_stale_and_says_nothing(node: Node, plugin: Plugin) -> None:
    conf = dual_stack(macspoofchk=True)
    kept, result = add_pod(plugin, node, conf)
    gone, _ = add_pod(plugin, node, conf)
    add_pod(plugin, node, conf)
    gone.close()
    reply = plugin.gc(node, conf, [kept])
    assert (reply.status, reply.stdout, reply.stderr) == (0, "", "")
    assert veths(node) == [host_veth(result)]
    assert {owner for owner, _ in node.leases("podnet").values()} == {kept.container_id}
    assert plugin.check(node, conf, kept, result).result == {}
    assert plugin.gc(node, conf).result == {}
    assert_nothing_left(node)


def test_gc_goes_on_past_an_error_and_reports_it(node: Node, plugin: Plugin) -> None:
    add_pod(plugin, node, dual_stack())
    node.run("sh", "-c", "cd /var/lib/cni/networks && mv podnet kept && touch podnet")
    assert plugin.gc(node, dual_stack()).error["code"] == 5
    assert veths(node) == []


@pytest.mark.parametrize("keys", [{"cni.dev/valid-attachments": None}, {"cni.dev/attachments": []}], ids=str)
def test_gc_of_the_list_as_libcni_writes_it(node: Node, plugin: Plugin, keys: Json) -> None:
    add_pod(plugin, node, dual_stack())
    assert plugin.call(node, "GC", {**dual_stack(), **keys}, ifname=None).result == {}
    assert_nothing_left(node)


def test_gc_without_a_list_removes_nothing(node: Node, plugin: Plugin) -> None:
    add_pod(plugin, node, dual_stack())
    before = node.snapshot()
    error = plugin.call(node, "GC", dual_stack(), ifname=None).error
    assert (error["code"], "nothing was removed" in error["msg"]) == (7, True)
    assert node.snapshot() == before
