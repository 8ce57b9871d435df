"""portIsolation: pods reach the node and the world, but not one another."""

from __future__ import annotations

import pytest

from tests.harness import Node, Outside, Plugin
from tests.kernel.networks import GATEWAY, add_pod, addresses_of, bare, dual_stack, host_veth
from tests.options.traffic import reaches

CONF = dual_stack(portIsolation=True)

SERVICE = """
table ip service {{
    chain prerouting {{
        type nat hook prerouting priority -100;
        ip daddr 10.96.0.1 dnat to {address};
    }}
    chain postrouting {{
        type nat hook postrouting priority 90;
        ct status dnat masquerade;
    }}
}}
"""
"""Packets to a Service's address go to its one pod, by way of the node."""


def test_isolated_pods(node: Node, plugin: Plugin) -> None:
    Outside(node)
    (one, first), (two, second) = (add_pod(plugin, node, CONF) for _ in range(2))
    open_pod, third = add_pod(plugin, node, dual_stack())
    gateways = [bare(gateway) for gateway in GATEWAY.values()]
    for pod, other in ((one, second), (two, first)):
        assert reaches(pod, *addresses_of(other)) == [False, False]
        assert reaches(pod, *gateways) == [True, True]
        assert [pod.seen_as(address) for address in (Outside.address, Outside.address6)] == [
            Outside.node_address,
            Outside.node_address6,
        ]
        assert reaches(pod, *addresses_of(third)) == [True, True], "only isolated ones are apart"
    assert reaches(open_pod, *addresses_of(first)) == [True, True]


@pytest.mark.parametrize(("key", "setting"), [("portIsolation", "isolated"), ("hairpinMode", "hairpin")])
def test_bridge_port(node: Node, plugin: Plugin, key: str, setting: str) -> None:
    """The option is a setting of the pod's bridge port, and CHECK looks at it."""
    for value in (False, True):
        conf = dual_stack(**{key: value})
        pod, result = add_pod(plugin, node, conf)
        assert node.link(host_veth(result))["linkinfo"]["info_slave_data"][setting] is value
        assert plugin.check(node, conf, pod, result).result == {}
    node.run("bridge", "link", "set", "dev", host_veth(result), setting, "off")
    assert host_veth(result) in plugin.check(node, conf, pod, result).error["msg"]


@pytest.mark.parametrize("hairpin", [True, False])
def test_hairpin(node: Node, plugin: Plugin, hairpin: bool) -> None:
    """With hairpinMode a pod reaches itself by way of the node, as through a Service; without, it does not."""
    pod, result = add_pod(plugin, node, dual_stack(hairpinMode=hairpin))
    pod.serve()
    node.run("nft", "-f", "-", input=SERVICE.format(address=addresses_of(result)[0]))
    assert pod.seen_as("10.96.0.1") == (bare(GATEWAY[4]) if hairpin else None)


def test_promiscuous_bridge(node: Node, plugin: Plugin) -> None:
    conf = dual_stack(promiscMode=True, hairpinMode=False)
    pod, result = add_pod(plugin, node, conf)
    assert node.link("cni0")["promiscuity"] > 0
    assert "PROMISC" in node.link("cni0")["flags"]
    assert plugin.check(node, conf, pod, result).result == {}
    node.run("ip", "link", "set", "cni0", "promisc", "off")
    assert "cni0" in plugin.check(node, conf, pod, result).error["msg"]
