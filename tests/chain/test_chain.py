"""First in a list, before the reference's portmap, bandwidth, firewall and tuning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import SERVER_PORT, Json, Node, Outside, Plugin, Pod, Reply
from tests.kernel.networks import addresses_of, assert_nothing_left, dual_stack, host_veth, veths
from tests.reference import releases

PORTMAP: Json = {
    "type": "portmap",
    "runtimeConfig": {"portMappings": [{"hostPort": 8081, "containerPort": SERVER_PORT, "protocol": "tcp"}]},
}
BANDWIDTH: Json = {"type": "bandwidth", "ingressRate": 10**9, "ingressBurst": 10**9}
FIREWALL: Json = {"type": "firewall", "backend": "iptables"}
TUNING: Json = {"type": "tuning", "mac": "02:00:00:00:00:07", "mtu": 1300, "sysctl": {"net.core.somaxconn": "500"}}
CHAINS = {
    "portmap": [PORTMAP],
    "bandwidth": [BANDWIDTH],
    "firewall": [FIREWALL],
    "tuning": [TUNING],
    "all": [PORTMAP, BANDWIDTH, FIREWALL, TUNING],
}


@pytest.fixture(params=releases.RELEASES)
def bin_dir(request: pytest.FixtureRequest) -> Path:
    """Where a release of the reference is."""
    return releases.bin_dir(request.param)


class Chain:
    """A configuration list, run as libcni does."""

    def __init__(self, node: Node, plugin: Plugin, bin_dir: Path, entries: list[Json]) -> None:
        self.node = node
        conf = dual_stack(cniVersion="1.0.0", hairpinMode=True)
        name = {key: conf[key] for key in ("cniVersion", "name")}
        self.plugins = [(plugin, conf)]
        self.plugins += [(Plugin(bin_dir / entry["type"]), {**entry, **name}) for entry in entries]

    def add(self, pod: Pod) -> Json:
        result: Json = {}
        for plugin, conf in self.plugins:
            result = plugin.add(self.node, {**conf, **({"prevResult": result} if result else {})}, pod)
        return result

    def check(self, pod: Pod, result: Json) -> list[Reply]:
        return [plugin.check(self.node, conf, pod, result) for plugin, conf in self.plugins]

    def delete(self, pod: Pod, result: Json) -> None:
        for plugin, conf in reversed(self.plugins):
            plugin.delete(self.node, {**conf, "prevResult": result}, pod)


def mentioned(node: Node, words: list[str]) -> list[str]:
    """Which of the words some rule of the node's packet filter has."""
    rules = node.run("nft", "list", "ruleset").stdout
    return [word for word in words if word in rules]


@pytest.mark.parametrize("name", CHAINS)
def test_a_pod_lives_through_a_chain(name: str, node: Node, plugin: Plugin, bin_dir: Path) -> None:
    chain = Chain(node, plugin, bin_dir, CHAINS[name])
    links = {*node.links(), "cni0"}
    pod = node.pod()
    result = chain.add(pod)
    assert host_veth(result | {"interfaces": result["interfaces"][:3]}) in veths(node)
    assert pod.ping("10.22.0.1")
    for (plugin_, _), reply in zip(chain.plugins, chain.check(pod, result), strict=True):
        # 1.1.1 looks for IPv6 rules with an IPv4 address in them.
        if plugin_.type != "portmap" or bin_dir != releases.bin_dir(releases.DEBIAN):
            assert reply.result == {}
    if PORTMAP in CHAINS[name] or FIREWALL in CHAINS[name]:
        assert mentioned(node, addresses_of(result))
    chain.delete(pod, result)
    chain.delete(pod, result)
    assert_nothing_left(node)
    assert set(node.links()) == links
    assert not mentioned(node, [pod.container_id, *addresses_of(result)])


def test_what_tuning_changes_is_no_fault(node: Node, plugin: Plugin, bin_dir: Path) -> None:
    chain = Chain(node, plugin, bin_dir, [TUNING])
    pod = node.pod()
    result = chain.add(pod)
    assert (pod.link("eth0")["address"], pod.link("eth0")["mtu"]) == (TUNING["mac"], TUNING["mtu"])
    ours, tuning = chain.check(pod, result)
    assert (ours.result, tuning.result) == ({}, {})
    pod.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:08")
    assert "has MAC 02:00:00:00:00:08, not 02:00:00:00:00:07" in chain.check(pod, result)[0].error["msg"]


def test_bandwidth_finds_the_host_veth(node: Node, plugin: Plugin, bin_dir: Path) -> None:
    chain = Chain(node, plugin, bin_dir, [BANDWIDTH])
    pod = node.pod()
    result = chain.add(pod)
    veth = host_veth(result | {"interfaces": result["interfaces"][:3]})
    assert "tbf" in node.run("tc", "qdisc", "show", "dev", veth).stdout


def test_a_host_port_reaches_the_pod(node: Node, plugin: Plugin, bin_dir: Path) -> None:
    outside = Outside(node)
    chain = Chain(node, plugin, bin_dir, [PORTMAP])
    pod, neighbour = node.pod(), node.pod()
    result = chain.add(pod)
    plugin.add(node, chain.plugins[0][1], neighbour)
    pod.serve()
    assert outside.seen_as(Outside.node_address, 8081) == Outside.address
    assert outside.seen_as(Outside.node_address6, 8081) == Outside.address6
    assert node.seen_as(Outside.node_address, 8081)
    assert node.seen_as("127.0.0.1", 8081)
    assert neighbour.seen_as(Outside.node_address, 8081)
    assert pod.seen_as(Outside.node_address, 8081), "a pod reaches its own port through hairpinMode"
    chain.delete(pod, result)
    assert outside.seen_as(Outside.node_address, 8081) is None
