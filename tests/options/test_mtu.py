"""mtu, and what the result of CNI 1.1.0 says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import BRIDGE, add_pod, dual_stack, host_veth, network

NOT_AS_EXPECTED = 105


def mtus(result: Json) -> list[Any]:
    """The MTUs in a result, interface by interface."""
    return [interface.get("mtu") for interface in result["interfaces"]]


@pytest.mark.parametrize("mtu", [1280, 1400, 9000])
def test_both_ends_and_the_bridge_have_it(node: Node, plugin: Plugin, mtu: int) -> None:
    conf = dual_stack(mtu=mtu)
    pod, result = add_pod(plugin, node, conf)
    assert pod.link("eth0")["mtu"] == mtu
    assert [node.link(name)["mtu"] for name in (host_veth(result), BRIDGE)] == [mtu, mtu]
    assert mtus(result) == [mtu] * 3
    assert plugin.check(node, conf, pod, result).result == {}


def test_zero_is_none(node: Node, plugin: Plugin) -> None:
    _, result = add_pod(plugin, node, network(4, mtu=0))
    assert mtus(result) == [1500] * 3


def test_older_results_have_none(node: Node, plugin: Plugin) -> None:
    _, result = add_pod(plugin, node, network(4, mtu=1400, cniVersion="1.0.0"))
    assert mtus(result) == [None] * 3


def test_another_mtu_is_no_fault(node: Node, plugin: Plugin) -> None:
    """A plugin later in the chain may have set it (tuning), and need not say so in the result."""
    conf = network(4, mtu=1400)
    pod, result = add_pod(plugin, node, conf)
    pod.run("ip", "link", "set", "eth0", "mtu", "1300")
    assert plugin.check(node, conf, pod, result).result == {}


def test_check_notices_a_bridge_that_takes_less(node: Node, plugin: Plugin) -> None:
    """The kernel gives a bridge the least MTU of its ports."""
    conf = network(4, mtu=1500)
    pod, result = add_pod(plugin, node, conf)
    add_pod(plugin, node, network(4, mtu=1400))
    assert "bridge cni0 has MTU 1400" in plugin.check(node, conf, pod, result).error["msg"]


def test_what_others_say_of_an_interface_is_no_fault(node: Node, plugin: Plugin) -> None:
    """Fields that are not ours to make come with the result of a plugin later in the chain."""
    pod, result = add_pod(plugin, node, network(4))
    result["interfaces"][2] |= {"socketPath": "/run/vhost.sock", "pciID": "0000:00:1f.6"}
    assert plugin.check(node, network(4), pod, result).result == {}


@pytest.mark.parametrize("backend", ["iptables", "nftables", ""])
def test_either_backend_ends_in_our_table(node: Node, plugin: Plugin, backend: str) -> None:
    pod, result = add_pod(plugin, node, dual_stack(ipMasqBackend=backend))
    assert node.run("nft", "list", "tables").stdout == "table inet cni-bridge-py\n"
    assert plugin.check(node, dual_stack(ipMasqBackend=backend), pod, result).result == {}


def test_unknown_backend(node: Node, plugin: Plugin) -> None:
    error = plugin.call(node, "ADD", dual_stack(ipMasqBackend="ebtables"), node.pod()).error
    assert (error["code"], error["msg"]) == (
        7,
        'ipMasqBackend: unknown ipmasq backend "ebtables", expected iptables or nftables',
    )
