"""mtu, and what the result of CNI 1.1.0 says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import BRIDGE, add_pod, addresses_of, dual_stack, host_veth, network

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


def check_of(plugin: Plugin, node: Node, conf: Json, pod: Pod, result: Json) -> Json:
    """What CHECK and STATUS have to say, which must be nothing."""
    assert plugin.status(node, {**conf, "cniVersion": "1.1.0"}).result == {}
    return plugin.check(node, conf, pod, result).result


def test_bridge_has_its_lowest_ports(node: Node, plugin: Plugin) -> None:
    """Which is the kernel's to see to, and no pod's fault."""
    wide, narrow = network(4, mtu=1500), network(4, mtu=1400)
    attached = [(conf, *add_pod(plugin, node, conf)) for conf in (wide, narrow, wide)]
    assert node.link(BRIDGE)["mtu"] == 1400
    assert [pod.link("eth0")["mtu"] for _, pod, _ in attached] == [1500, 1400, 1500]
    for conf, pod, result in attached:
        assert check_of(plugin, node, conf, pod, result) == {}


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
@pytest.mark.parametrize(("before", "after"), [(1400, 1450), (1450, 1400), (0, 1400), (1400, 0)])
def test_configuration_was_changed(node: Node, plugin: Plugin, version: str, before: int, after: int) -> None:
    """Pods keep what they were made with."""
    old, new = (network(4, mtu=mtu, cniVersion=version) for mtu in (before, after))
    pod, result = add_pod(plugin, node, old)
    assert check_of(plugin, node, new, pod, result) == {}
    second, second_result = add_pod(plugin, node, new)
    assert second.link("eth0")["mtu"] == (after or 1500)
    for each, its_result in ((pod, result), (second, second_result)):
        assert check_of(plugin, node, new, each, its_result) == {}
    assert second.ping(addresses_of(result)[0])


@pytest.mark.parametrize("mtu", [1300, 9000])
def test_bridge_made_by_hand_has_another(node: Node, plugin: Plugin, mtu: int) -> None:
    """What somebody has set stays, and pods have what the configuration says."""
    node.run(*f"ip link add {BRIDGE} type bridge".split())
    node.run(*f"ip link set {BRIDGE} mtu {mtu} up".split())
    conf = dual_stack(mtu=4000)
    pod, result = add_pod(plugin, node, conf)
    assert (node.link(BRIDGE)["mtu"], pod.link("eth0")["mtu"]) == (mtu, 4000)
    assert mtus(result) == [mtu, 4000, 4000]
    assert check_of(plugin, node, conf, pod, result) == {}


def test_what_others_say_of_an_interface_is_no_fault(node: Node, plugin: Plugin) -> None:
    """Fields that are not ours to make come with the result of a plugin later in the chain."""
    pod, result = add_pod(plugin, node, network(4))
    result["interfaces"][2] |= {"socketPath": "/run/vhost.sock", "pciID": "0000:00:1f.6"}
    assert plugin.check(node, network(4), pod, result).result == {}


@pytest.mark.parametrize("backend", ["iptables", "nftables", None])
def test_either_backend_ends_in_our_table(node: Node, plugin: Plugin, backend: str | None) -> None:
    pod, result = add_pod(plugin, node, dual_stack(ipMasqBackend=backend))
    assert node.run("nft", "list", "tables").stdout == "table inet cni-bridge-py\n"
    assert plugin.check(node, dual_stack(ipMasqBackend=backend), pod, result).result == {}


def test_unknown_backend(node: Node, plugin: Plugin) -> None:
    error = plugin.call(node, "ADD", dual_stack(ipMasqBackend="ebtables"), node.pod()).error
    assert (error["code"], error["msg"]) == (
        7,
        'ipMasqBackend: unknown ipmasq backend "ebtables", expected iptables or nftables',
    )
