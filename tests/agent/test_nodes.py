"""Nodes that join, leave, change and restart."""

from __future__ import annotations

import pytest

from tests.agent.conftest import Agents
from tests.agent.ground import configuration, eventually, our_routes, routes_to, spec, subnets

ONE, TWO, THREE = (spec(number, dual_stack=True) for number in (1, 2, 3))


def test_a_fresh_node_gets_all_that_it_needs(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.api.put_all({each.name: (each.pod_cidrs, each.addresses) for each in (TWO, THREE)})
    agent = agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    eventually(lambda: subnets(node), ONE.pod_cidrs)
    bridge, portmap = configuration(node)["plugins"]
    assert bridge["nonMasqueradeCIDRs"] == [
        "10.244.1.0/24", "10.244.2.0/23", "fd00:10:244:1::/64", "fd00:10:244:2::/63",
    ]
    assert (bridge["mtu"], bridge["bridgeNetfilter"], portmap["type"]) == (1500, True, "portmap")
    assert node.run("test", "-x", "/opt/cni/bin/cni-bridge-py", "-a", "-x", "/opt/cni/bin/portmap").returncode == 0
    eventually(lambda: agent.get("/readyz"), "ok\n")
    assert (agent.metric("routes_wanted"), agent.metric("routes_there")) == (4, 4)
