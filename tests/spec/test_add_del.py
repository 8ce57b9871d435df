"""SPEC.md, section 2: ADD and DEL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import add_pod, addresses_of, assert_nothing_left, dual_stack, network, store_files, veths

EARLIER: Json = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "wan0", "mac": "02:00:00:00:00:01", "mtu": 1400},
        {"name": "net1", "sandbox": "/run/netns/x"},
    ],
    "ips": [{"address": "192.168.7.7/24", "gateway": "192.168.7.1", "interface": 1}, {"address": "192.168.8.8/24"}],
    "routes": [{"dst": "192.168.0.0/16", "gw": "192.168.7.1", "priority": 5}],
    "dns": {"nameservers": ["9.9.9.9"], "domain": "one.test"},
}


def test_add_makes_the_interface_that_is_asked_for(node: Node, plugin: Plugin) -> None:
    pod = node.pod()
    plugin.add(node, network(4), pod, ifname="net7")
    assert pod.link("net7")["linkinfo"]["info_kind"] == "veth"
    assert pod.addresses("net7") == ["10.22.0.2/24"]


def test_add_answers_with_a_result_on_standard_output(node: Node, plugin: Plugin) -> None:
    reply = plugin.call(node, "ADD", network(4), node.pod())
    assert set(reply.result) == {"cniVersion", "interfaces", "ips"}
    assert reply.stderr == ""


def test_what_was_there_before_is_passed_on(node: Node, plugin: Plugin) -> None:
    conf = dual_stack(dns={"nameservers": ["10.22.0.1"], "search": ["two.test"]})
    pod = node.pod()
    result = plugin.add(node, {**conf, "prevResult": EARLIER}, pod)
    assert result["interfaces"][:2] == EARLIER["interfaces"]
    assert result["ips"][:2] == EARLIER["ips"]
    assert result["routes"][:1] == EARLIER["routes"]
    assert result["dns"] == {"nameservers": ["9.9.9.9", "10.22.0.1"], "domain": "one.test", "search": ["two.test"]}
    assert [each["name"] for each in result["interfaces"][2:]] == ["cni0", *veths(node), "eth0"]
    for ip in result["ips"][2:]:
        assert result["interfaces"][ip["interface"]]["sandbox"] == pod.path
        assert ip["address"] in pod.addresses()


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_not_the_first_of_a_chain_is_checked_and_deleted_as_any(node: Node, plugin: Plugin, version: str) -> None:
    conf = dual_stack(cniVersion=version)
    pod = node.pod()
    result = plugin.add(node, {**conf, "prevResult": EARLIER}, pod)
    if version not in ("0.3.0", "0.3.1"):
        assert plugin.check(node, conf, pod, result).result == {}
        pod.run("ip", "route", "del", "default")
        assert "0.0.0.0/0" in plugin.check(node, conf, pod, result).error["msg"]
    plugin.delete(node, {**conf, "prevResult": result}, pod)
    assert_nothing_left(node)


def test_an_interface_of_that_name_is_an_error(node: Node, plugin: Plugin) -> None:
    pod = node.pod()
    pod.run("ip", "link", "add", "eth0", "type", "bridge")
    error = plugin.call(node, "ADD", network(4), pod).error
    assert (error["code"], "interface eth0 already exists" in error["msg"]) == (103, True)
    assert pod.link("eth0")["linkinfo"]["info_kind"] == "bridge"
    assert_nothing_left(node)


def test_a_second_add_is_refused_and_another_interface_is_not(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, network(4))
    assert plugin.call(node, "ADD", network(4), pod).error["code"] == 103
    assert plugin.check(node, network(4), pod, result).result == {}
    plugin.add(node, network(4), pod, ifname="net1")
    assert pod.addresses("net1") == ["10.22.0.3/24"]


def test_del_takes_the_interface_away(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, dual_stack())
    plugin.delete(node, {**dual_stack(), "prevResult": result}, pod)
    assert set(pod.links()) == {"lo"}
    assert_nothing_left(node)


def test_del_needs_no_prev_result(node: Node, plugin: Plugin) -> None:
    absent: list[Json] = [{}, {"prevResult": None}, {"prevResult": {}}]
    for keys in absent:
        pod, _ = add_pod(plugin, node, dual_stack())
        plugin.delete(node, {**dual_stack(), **keys}, pod)
        assert_nothing_left(node)


def test_del_succeeds_whatever_is_missing(node: Node, plugin: Plugin) -> None:
    for command in ("ip link del eth0", "ip -n POD link del eth0", "rm -r /var/lib/cni/networks", "ip link del cni0"):
        pod, result = add_pod(plugin, node, dual_stack())
        where = pod if command == "ip link del eth0" else node
        where.run(*command.replace("POD", pod.name).split())
        plugin.delete(node, {**dual_stack(), "prevResult": result}, pod)
        assert_nothing_left(node)


@pytest.mark.parametrize("netns", ["gone", "empty", "absent"])
def test_del_releases_where_the_namespace_is_gone(node: Node, plugin: Plugin, netns: str) -> None:
    pod, result = add_pod(plugin, node, dual_stack())
    pod.close()
    env = {"gone": pod.path, "empty": "", "absent": None}
    plugin.delete(node, {**dual_stack(), "prevResult": result}, pod, env={"CNI_NETNS": env[netns]})
    assert_nothing_left(node)


def test_del_may_come_any_number_of_times(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, dual_stack())
    for _ in range(3):
        plugin.delete(node, {**dual_stack(), "prevResult": result}, pod)
    plugin.delete(node, dual_stack(), node.pod())
    assert_nothing_left(node)


def test_del_follows_an_add_that_failed(node: Node, plugin: Plugin) -> None:
    conf = dual_stack(ipam={"routes": [{"dst": "198.51.100.0/24", "gw": "203.0.113.1"}]})
    pod = node.pod()
    error = plugin.call(node, "ADD", conf, pod).error
    assert "198.51.100.0/24 via 203.0.113.1" in error["msg"]
    plugin.delete(node, conf, pod)
    assert_nothing_left(node)


def test_many_at_once_get_what_is_theirs(node: Node, plugin: Plugin) -> None:
    pods = [node.pod() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda pod: plugin.add(node, dual_stack(), pod), pods))
    addresses = [address for result in results for address in addresses_of(result)]
    assert len(set(addresses)) == 16
    assert sorted(node.leases("podnet")) == sorted(addresses)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda pod: plugin.delete(node, dual_stack(), pod), pods))
    assert store_files(node) == []
