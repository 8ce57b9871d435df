"""What else is on a host: what is somebody else's stays, what is ours is mended."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agent.conftest import Agents
from tests.agent.ground import CONFLIST, AgentProcess, configuration, eventually, our_routes, routes_to, spec, subnets
from tests.harness import Json, Node, Plugin, Pod

ONE, TWO, THREE = (spec(number, dual_stack=True) for number in (1, 2, 3))
CHANGED = replace(ONE, pod_cidrs=["10.244.9.0/24", "fd00:10:244:9::/64"])


def ready(agent: AgentProcess) -> None:
    eventually(lambda: agent.get("/readyz"), "ok\n")


def stir(node: Node) -> None:
    """Have the kernel tell of something, so that the agent looks now and not in a minute."""
    node.run(*["ip", "link", "add", "stir", "type", "veth", "peer", "name", "stirred"])
    node.run(*["ip", "link", "delete", "stir"])


def add(node: Node, plugin: Plugin) -> Pod:
    """A pod, by the configuration that the agent wrote."""
    pod = node.pod()
    plugin.add(node, section(node), pod)
    return pod


def section(node: Node) -> Json:
    found = configuration(node)
    assert found
    section: Json = found["plugins"][0]
    return section | {key: found[key] for key in ("cniVersion", "name")}


# --- routes ---


def test_routes_that_somebody_takes_away_come_back(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO, THREE)
    agent = agents.start()
    ready(agent)
    for version in ("-4", "-6"):
        node.run("ip", version, "route", "flush", "protocol", "152")
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    # A link that goes down takes all IPv4 routes along.
    node.run(*["ip", "link", "set", "eth0", "down"])
    node.run(*["ip", "link", "set", "eth0", "up"])
    node.run(*["ip", "address", "replace", "fc00:f853:ccd:e793::2/64", "dev", "eth0", "nodad"])
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    assert (agent.metric("mends_total", what="AddRoute") or 0) >= 6


def test_routes_of_ours_that_are_not_wanted_go(agents: Agents) -> None:
    """Such as one to this node's own pods, which would win against the bridge's; and whatever tables they are in."""
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    for route in (
        "10.244.1.0/25 via 172.18.0.9",
        "10.244.2.0/24 via 172.18.0.9",
        "10.77.0.0/16 via 172.18.0.9 table 100",
        "10.78.0.0/16 dev eth0",
        "fd00:10:244:7::/64 via fc00:f853:ccd:e793::9",
        "fd00:10:244:8::/64 via fc00:f853:ccd:e793::9 metric 50",
    ):
        node.run("ip", "-6" if "::" in route else "-4", "route", "add", *route.split(), "protocol", "152")
    assert len(our_routes(node)) == 6
    agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO))


def test_routes_of_others_stay(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO, THREE)
    others = ["10.244.2.0/24 via 172.18.0.9", "10.50.0.0/16 via 172.18.0.9", "10.244.3.0/24 via 172.18.0.4"]
    for route in others:
        node.run("ip", "route", "add", *route.split(), "protocol", "static")
    before = node.run("ip", "route", "show", "protocol", "static").stdout
    agent = agents.start()
    # One is in the way, one is no business of ours, one is the way already.
    eventually(agents.api.problems, {("worker1", "RouteTaken")})
    assert agent.metric("problems", reason="RouteTaken") == 1
    v6 = {dst: via for dst, via in routes_to(TWO, THREE).items() if ":" in dst}
    eventually(lambda: our_routes(node), v6)
    assert node.run("ip", "route", "show", "protocol", "static").stdout == before
    agents.api.delete("worker2")
    agents.api.delete("worker3")
    eventually(lambda: our_routes(node), {})
    assert node.run("ip", "route", "show", "protocol", "static").stdout == before


@pytest.mark.parametrize(
    "way", ["nexthop via 172.18.0.8 nexthop via 172.18.0.9", "via inet6 fc00:f853:ccd:e793::9 dev eth0"]
)
def test_a_node_behind_routers_is_told_and_not_tried(agents: Agents, way: str) -> None:
    (node,) = agents.boot(ONE)
    node.run("ip", "route", "add", "10.99.0.0/24", *way.split())
    agents.api.put("far", ["10.244.9.0/24"], ["10.99.0.5"])
    agent = agents.start()
    eventually(agents.api.problems, {("worker1", "NodeNotOnLink")})
    assert agent.metric("failures_total") is None
    assert our_routes(node) == {}


def test_nothing_goes_for_a_list_without_this_node(agents: Agents) -> None:
    """It may be another cluster's, or an empty one; and this node's pods are still there."""
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    agent = agents.start()
    ready(agent)
    agents.api.delete("worker1")
    agents.api.delete("worker2")
    agents.know(THREE)
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    agents.know(ONE)
    eventually(lambda: our_routes(node), routes_to(THREE))


# --- the configuration and the plugins ---


def test_a_configuration_that_is_damaged_is_mended(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agent = agents.start()
    ready(agent)
    right = configuration(node)
    for damage in ("", "{", json.dumps({**(right or {}), "name": "other"}), "[]"):
        (node.root / CONFLIST).write_text(damage)
        stir(node)
        eventually(lambda: (node.root / CONFLIST).read_text().strip() not in ("", "{", "[]"))
        eventually(lambda: configuration(node), right)
    (node.root / CONFLIST).unlink()
    stir(node)
    eventually(lambda: configuration(node), right)


def test_the_mtu_is_the_uplinks(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    node.run(*["ip", "link", "set", "eth0", "mtu", "1400"])
    agents.start()
    eventually(lambda: (configuration(node) or {"plugins": [{"mtu": 0}]})["plugins"][0]["mtu"], 1400)
    node.run(*["ip", "link", "set", "eth0", "mtu", "1450"])
    eventually(lambda: section(node)["mtu"], 1450)


def test_another_configuration_that_comes_first_is_told(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    node.write("/etc/cni/net.d/05-other.conf", "{}")
    agents.start()
    eventually(agents.api.problems, {("worker1", "OtherConfiguration")})
    assert (node.root / "etc/cni/net.d/05-other.conf").read_text() == "{}"


def test_plugins_of_others_stay_and_an_older_one_of_ours_is_replaced(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    node.write("/opt/cni/bin/portmap", "another's")
    node.write("/opt/cni/bin/cni-bridge-py", "an older one")
    ready(agents.start())
    assert (node.root / "opt/cni/bin/portmap").read_text() == "another's"
    ours = (agents.plugins / "cni-bridge-py").read_bytes()
    assert (node.root / "opt/cni/bin/cni-bridge-py").read_bytes() == ours


def test_a_node_without_portmap_gets_a_chain_without_it(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.plugins = node.directory / "nothing"
    agent = agents.start()
    eventually(lambda: agent.metric("problems", reason="NoPortmap"), 1)
    eventually(lambda: len((configuration(node) or {"plugins": []})["plugins"]), 1)
    node.write("/opt/cni/bin/portmap", "")
    stir(node)
    eventually(lambda: len((configuration(node) or {"plugins": []})["plugins"]), 2)


# --- a podCIDR that changes ---


def test_the_old_gateway_goes_with_a_pod_cidr_that_no_pod_has(agents: Agents, plugin: Plugin) -> None:
    (node,) = agents.boot(ONE)
    ready(agents.start())
    pod = add(node, plugin)
    plugin.delete(node, section(node), pod)
    node.run(*["ip", "address", "add", "10.60.0.1/24", "dev", "cni0"])  # an operator's
    agents.ground.join(CHANGED)
    eventually(lambda: subnets(node), CHANGED.pod_cidrs)
    old = {"10.244.1.1/24", "fd00:10:244:1::1/64"}
    eventually(lambda: old & set(node.addresses("cni0")), set())
    assert "10.60.0.1/24" in node.addresses("cni0")
    eventually(lambda: "formerSubnets" in section(node), False)
    node.run(*["ip", "address", "del", "10.60.0.1/24", "dev", "cni0"])
    pod = add(node, plugin)
    assert pod.addresses() == ["10.244.9.2/24", "fd00:10:244:9::2/64"]
    assert pod.ping("172.18.0.1", count=3)


def test_pods_of_a_former_pod_cidr_are_told_and_keep_their_gateway(agents: Agents, plugin: Plugin) -> None:
    (node,) = agents.boot(ONE)
    agent = agents.start()
    ready(agent)
    old = section(node)
    pod = add(node, plugin)
    gateways = node.addresses("cni0")
    agents.ground.join(CHANGED)
    eventually(lambda: subnets(node), CHANGED.pod_cidrs)
    eventually(lambda: ("worker1", "PodsOfFormerPodCIDR") in agents.api.problems())
    assert node.addresses("cni0") == gateways
    assert pod.ping("10.244.1.1")
    # What is left of it is known also to an agent that starts anew.
    agent.kill()
    agent = agents.start()
    eventually(lambda: agent.metric("problems", reason="PodsOfFormerPodCIDR"), 1)
    plugin.delete(node, old, pod)
    eventually(lambda: set(gateways) & set(node.addresses("cni0")), set())
    eventually(lambda: agent.metric("problems", reason="PodsOfFormerPodCIDR"), None)
    assert add(node, plugin).addresses() == ["10.244.9.2/24", "fd00:10:244:9::2/64"]


# --- what pods share ---


@pytest.mark.parametrize(
    "damage",
    [
        "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0; ip link add stir type veth",
        "nft flush ruleset",
        "ip link set cni0 down",
        "ip address flush dev cni0 scope global",
    ],
)
def test_what_pods_share_is_mended(agents: Agents, plugin: Plugin, damage: str) -> None:
    one, _ = agents.boot(ONE, TWO)
    first, second = agents.start("worker1"), agents.start("worker2")
    ready(first)
    ready(second)
    here, there = add(one, plugin), add(agents.nodes["worker2"], plugin)
    for address in there.addresses():
        assert here.ping(address, count=5)
    outside = agents.ground.outside.serve()
    assert here.seen_as("172.18.0.1") == "172.18.0.2"
    one.run("sh", "-c", damage)
    eventually(lambda: all(there.ping(address) for address in here.addresses()))
    eventually(lambda: here.seen_as("172.18.0.1"), "172.18.0.2")
    outside.kill()
    outside.wait()
    assert (first.metric("mends_total", what="Mend") or 0) >= 1


def test_pods_that_come_and_go_meanwhile_are_no_fault(agents: Agents, plugin: Plugin) -> None:
    (node,) = agents.boot(ONE)
    agent = agents.start()
    ready(agent)
    network = section(node)

    def come_and_go(pod: Pod) -> None:
        for _ in range(6):
            plugin.add(node, network, pod)
            plugin.delete(node, network, pod)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, [node.pod() for _ in range(16)]))
    stir(node)
    eventually(lambda: node.leases("cluster"), {})
    assert "WARNING" not in agent.log
    assert agents.api.problems() == set()
    assert agent.metric("problems") is None
    assert agent.metric("failures_total") is None


def test_metrics_tell_addresses_and_attachments(agents: Agents, plugin: Plugin) -> None:
    (node,) = agents.boot(ONE)
    agent = agents.start()
    ready(agent)
    assert agent.metric("addresses_free", range="10.244.1.0/24") == 253
    add(node, plugin)
    pod = add(node, plugin)
    eventually(lambda: agent.metric("attachments"), 2)
    assert agent.metric("addresses_used", range="10.244.1.0/24") == 2
    assert agent.metric("addresses_free", range="10.244.1.0/24") == 251
    assert agent.metric("addresses_used", range="fd00:10:244:1::/64") == 2
    plugin.delete(node, section(node), pod)
    eventually(lambda: agent.metric("attachments"), 1)
    assert agent.metric("addresses_used", range="10.244.1.0/24") == 1


def test_pods_that_are_there_are_not_masqueraded_towards_nodes_that_join(agents: Agents, plugin: Plugin) -> None:
    (one,) = agents.boot(ONE)
    agent = agents.start()
    ready(agent)
    pod = add(one, plugin)
    agents.boot(THREE)
    second = agents.start("worker3")
    ready(second)
    far = add(agents.nodes["worker3"], plugin)
    eventually(lambda: section(one)["nonMasqueradeCIDRs"][0:2], ["10.244.1.0/24", "10.244.3.0/24"])
    with far.serve() as server:
        eventually(lambda: pod.seen_as(far.addresses()[0].partition("/")[0]), "10.244.1.2")
        assert pod.seen_as(far.addresses()[1].partition("/")[0]) == "fd00:10:244:1::2"
        server.kill()
    # What is put back after a flush is what there was before it.
    one.run("nft", "flush", "ruleset")
    eventually(lambda: "10.244.3.0/24" in one.run("nft", "list", "ruleset").stdout)
    # Nothing is left of the exceptions that no pod has any more.
    assert one.run("nft", "list", "ruleset").stdout.count("chain masquerade-") == 1
    assert "10.244.3.0" in str(one.ip_json("link", "show", "master", "cni0"))


@pytest.mark.skipif(
    not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists(),
    reason="this kernel has no br_netfilter (modprobe br_netfilter)",
)
def test_a_table_of_network_policies_sees_all_that_goes_to_a_pod(agents: Agents, plugin: Plugin) -> None:
    """Also what a pod of the same node sends. The table is somebody else's, and stays as it is."""
    one, two = agents.boot(ONE, TWO)
    for name in ("worker1", "worker2"):
        ready(agents.start(name))
    server, near, far = add(one, plugin), add(one, plugin), add(two, plugin)
    addresses = [address.partition("/")[0] for address in server.addresses()]
    for address in addresses:
        assert near.ping(address, count=5)
        assert far.ping(address, count=5)
    table = "add table inet kube-network-policies; add chain inet kube-network-policies postrouting "
    table += "{ type filter hook postrouting priority 95; };"
    for address in addresses:
        family = "ip6" if ":" in address else "ip"
        table += f"add rule inet kube-network-policies postrouting {family} daddr {address} drop;"
    one.run("nft", table)
    before = one.run("nft", "list", "table", "inet", "kube-network-policies").stdout
    for address in addresses:
        assert not near.ping(address)
        assert not far.ping(address)
    stir(one)
    one.run("nft", "delete", "table", "inet", "cni-bridge-py")
    eventually(lambda: "masquerade" in one.run("nft", "list", "ruleset").stdout)
    assert one.run("nft", "list", "table", "inet", "kube-network-policies").stdout == before
