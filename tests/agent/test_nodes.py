"""Nodes that join, leave, change and restart: the ways to their pods follow."""

from __future__ import annotations

from dataclasses import replace

from tests.agent.conftest import Agents
from tests.agent.ground import always, configuration, eventually, our_routes, routes_to, spec, subnets

ONE, TWO, THREE = (spec(number, dual_stack=True) for number in (1, 2, 3))
FAR = replace(spec(4), name="far", addresses=["10.99.0.5"])


def test_a_fresh_node_gets_all_that_it_needs(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO, THREE)
    agent = agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    eventually(lambda: subnets(node), ONE.pod_cidrs)
    found = configuration(node)
    assert found
    bridge, portmap = found["plugins"]
    ranges = ["10.244.1.0/24", "10.244.2.0/23", "fd00:10:244:1::/64", "fd00:10:244:2::/63"]
    assert bridge["nonMasqueradeCIDRs"] == ranges
    assert (bridge["mtu"], bridge["bridgeNetfilter"], portmap["type"]) == (1500, True, "portmap")
    for name in ("cni-bridge-py", "portmap"):
        node.run("test", "-x", f"/opt/cni/bin/{name}")
    eventually(lambda: agent.get("/readyz"), "ok\n")
    assert agent.get("/healthz") == "ok\n"
    assert (agent.metric("routes_wanted"), agent.metric("routes_there"), agent.metric("nodes")) == (4, 4, 3)
    assert agents.api.problems() == set()


def test_a_node_that_joins_changes_and_leaves(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.start()
    agents.know(TWO)
    eventually(lambda: our_routes(node), routes_to(TWO))
    agents.know(THREE)
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    moved = replace(THREE, addresses=["172.18.0.77", "fc00:f853:ccd:e793::77"])
    agents.know(moved)
    eventually(lambda: our_routes(node), routes_to(TWO, moved))
    other = replace(moved, pod_cidrs=["10.244.33.0/24", "fd00:10:244:33::/64"])
    agents.know(other)
    eventually(lambda: our_routes(node), routes_to(TWO, other))
    agents.api.delete(TWO.name)
    eventually(lambda: our_routes(node), routes_to(other))


def test_a_problem_that_does_not_last_is_no_event(agents: Agents) -> None:
    """For example, the controller manager gives out a podCIDR a moment after the node joins."""
    (node,) = agents.boot(replace(ONE, pod_cidrs=[]))
    agent = agents.start()
    eventually(lambda: agent.metric("problems", reason="NoPodCIDR"), 1)
    agents.know(ONE)
    eventually(lambda: agent.get("/readyz"), "ok\n")
    always(agents.api.problems, set(), seconds=6)
    assert subnets(node) == ONE.pod_cidrs


def test_a_node_whose_pod_cidr_comes_later(agents: Agents) -> None:
    (node,) = agents.boot(replace(ONE, pod_cidrs=[]))
    agent = agents.start()
    agents.know(TWO)
    eventually(lambda: our_routes(node), routes_to(TWO))
    eventually(agents.api.problems, {("worker1", "NoPodCIDR")})
    assert configuration(node) is None
    assert agent.get("/readyz") == ""
    agents.know(ONE)
    eventually(lambda: subnets(node), ONE.pod_cidrs)
    eventually(lambda: agent.metric("problems"), None)


def test_a_node_that_is_not_on_the_same_link_is_told_and_not_routed_to(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO, FAR)
    agent = agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO))
    eventually(agents.api.problems, {("worker1", "NodeNotOnLink")})
    (event,) = agents.api.events.values()
    assert "far (10.99.0.5) is not on the same link" in event["message"]
    assert agent.metric("problems", reason="NodeNotOnLink") == 1
    agents.know(replace(FAR, addresses=["172.18.0.50"]))
    eventually(lambda: our_routes(node), routes_to(TWO) | {"10.244.4.0/24": "172.18.0.50"})
    eventually(lambda: agent.metric("problems", reason="NodeNotOnLink"), None)


def test_a_node_without_an_address_of_its_pods_ip_version_is_told(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.know(replace(TWO, addresses=TWO.addresses[:1]))
    agents.start()
    eventually(lambda: our_routes(node), {"10.244.2.0/24": "172.18.0.3"})
    eventually(agents.api.problems, {("worker1", "NoNodeAddress")})


def test_pod_cidrs_that_overlap_are_told(agents: Agents) -> None:
    """A route into this node's own range would win against the bridge."""
    (node,) = agents.boot(ONE)
    agents.know(replace(TWO, pod_cidrs=["10.244.1.128/25"]), THREE, replace(THREE, name="worker4"))
    agents.start()
    eventually(lambda: our_routes(node), routes_to(THREE))
    eventually(agents.api.problems, {("worker1", "PodCIDROverlaps")})


def test_a_restarted_node_gets_its_routes_back_by_itself(agents: Agents) -> None:
    agents.boot(ONE)
    agents.know(TWO, THREE)
    agents.start()
    eventually(lambda: our_routes(agents.nodes["worker1"]), routes_to(TWO, THREE))
    # docker gives a restarted node another address, and Kubernetes hears of it later.
    restarted = replace(ONE, addresses=["172.18.0.9", "fc00:f853:ccd:e793::9"])
    agents.nodes["worker1"].close()
    agents.nodes["worker1"] = agents.ground.node(restarted)
    agents.start()
    eventually(lambda: our_routes(agents.nodes["worker1"]), routes_to(TWO, THREE))
    agents.know(restarted)
    eventually(lambda: subnets(agents.nodes["worker1"]), ONE.pod_cidrs)


def test_the_condition_that_something_set_is_taken_back(agents: Agents) -> None:
    agents.boot(ONE)
    agents.api.put(ONE.name, ONE.pod_cidrs, ONE.addresses, network_unavailable=True)
    agents.start()
    eventually(lambda: agents.api.condition("worker1", "NetworkUnavailable"), "False")
    assert agents.api.condition("worker1", "MemoryPressure") == "False"
    assert agents.api.count("patch", "nodes/status") == 1


def test_a_condition_that_nothing_set_is_left_alone(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agent = agents.start()
    eventually(lambda: agent.get("/readyz"), "ok\n")
    agents.know(TWO)
    eventually(lambda: our_routes(node), routes_to(TWO))
    assert agents.api.count("patch", "nodes/status") == 0


def test_a_cluster_of_many_pages(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.api.page = 7
    many = [spec(number) for number in range(2, 42)]
    agents.know(*many)
    agents.start()
    eventually(lambda: our_routes(node), routes_to(*many))
    assert agents.api.count("list") == 6
