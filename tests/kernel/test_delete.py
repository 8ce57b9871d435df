"""DEL works, whatever is gone already."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import (
    BRIDGE,
    NAME,
    TABLE,
    add_pod,
    assert_nothing_left,
    dual_stack,
    host_veth,
    network,
    veths,
)

CONF = dual_stack()
LEASES = f"/var/lib/cni/networks/{NAME}"


def assert_deleted(plugin: Plugin, node: Node, pod: Pod, conf: Json = CONF, **kwargs: Any) -> None:
    """DEL works, and then works again."""
    for _ in range(2):
        plugin.delete(node, conf, pod, **kwargs)
        assert_nothing_left(node)


@pytest.mark.parametrize("with_result", [False, True])
def test_pod_is_there(node: Node, plugin: Plugin, with_result: bool) -> None:
    pod, result = add_pod(plugin, node, CONF)
    assert_deleted(plugin, node, pod, {**CONF, "prevResult": result} if with_result else CONF)
    assert set(pod.links()) == {"lo"}


def test_namespace_is_gone(node: Node, plugin: Plugin) -> None:
    pod, _ = add_pod(plugin, node, CONF)
    pod.close()
    assert_deleted(plugin, node, pod)


@pytest.mark.parametrize("netns", ["", "/run/netns/nowhere", "/etc/passwd", "/proc/self/ns/net", "/proc/self/ns/mnt"])
def test_namespace_is_not_told_or_wrong(node: Node, plugin: Plugin, netns: str) -> None:
    pod, _ = add_pod(plugin, node, CONF)
    assert_deleted(plugin, node, pod, netns=netns)
    assert set(pod.links()) == {"lo"}


def test_namespace_is_not_in_the_environment(node: Node, plugin: Plugin) -> None:
    pod, _ = add_pod(plugin, node, CONF)
    assert_deleted(plugin, node, pod, env={"CNI_NETNS": None})


@pytest.mark.parametrize(
    "damage",
    [
        "ip link delete VETH",
        "ip link set VETH nomaster",
        f"ip link delete {BRIDGE}",
        f"nft delete table {TABLE}",
        f"rm {LEASES}/10.22.0.2",
        f"rm {LEASES}/10.22.0.2 {LEASES}/fd00:22::2",
        f"rm -r {LEASES}/.attachments",
        f"rm -r {LEASES}/lock {LEASES}/last_reserved_ip.*",
        f"rm -r {LEASES}",
        "rm -r /var/lib/cni",
        f"ip link delete {BRIDGE}; ip link delete VETH; rm -r {LEASES}; nft flush ruleset",
    ],
)
def test_something_is_gone(node: Node, plugin: Plugin, damage: str) -> None:
    pod, result = add_pod(plugin, node, CONF)
    node.run("sh", "-ec", damage.replace("VETH", host_veth(result)))
    assert_deleted(plugin, node, pod)
    add_pod(plugin, node, CONF)


def test_index_is_incomplete(node: Node, plugin: Plugin) -> None:
    """As when the reference is killed in the midst of a release: it takes the index's name of a lease first."""
    pod, result = add_pod(plugin, node, CONF)
    node.run("sh", "-ec", f"rm {LEASES}/.attachments/*/10.22.0.2@*")
    assert_deleted(plugin, node, pod, {**CONF, "prevResult": result})


def test_never_added(node: Node, plugin: Plugin) -> None:
    before = node.snapshot()
    assert_deleted(plugin, node, node.pod())
    assert node.snapshot()["links"] == before["links"]
    assert node.run("nft", "list", "ruleset").stdout == ""


def test_add_failed(node: Node, plugin: Plugin) -> None:
    pod = node.pod()
    conf = dual_stack(ipam={"routes": [{"dst": "198.51.100.0/24", "gw": "203.0.113.1"}]})
    assert plugin.call(node, "ADD", conf, pod).status == 1
    assert_deleted(plugin, node, pod, conf)


@pytest.mark.parametrize(
    "ipam",
    [{"type": "host-local", "dataDir": "/run/\0"}, {"type": "\0"}, {"type": "\ud800"}, {"type": "../x"}],
    ids=ascii,
)
def test_add_failed_because_of_a_name_that_no_file_can_have(node: Node, plugin: Plugin, ipam: Json) -> None:
    pod, conf = node.pod(), {**CONF, "ipam": ipam}
    assert plugin.call(node, "ADD", conf, pod).error["code"] == 7
    assert_deleted(plugin, node, pod, conf)


def test_add_failed_because_another_holds_the_interface(node: Node, plugin: Plugin) -> None:
    """The runtime calls DEL after it; the one that was first keeps its interface."""
    pod, result = add_pod(plugin, node, CONF)
    assert plugin.call(node, "ADD", CONF, pod, container_id="other").status == 1
    plugin.delete(node, CONF, pod, container_id="other")
    assert plugin.check(node, CONF, pod, result).result == {}


def test_path_of_the_namespace_is_used_again(node: Node, plugin: Plugin) -> None:
    """A late DEL of the former pod leaves the one that is there now."""
    former, _ = add_pod(plugin, node, CONF)
    former.close()
    pod = node.pod(former.name)
    result = plugin.add(node, CONF, pod)
    plugin.delete(node, CONF, former)
    assert plugin.check(node, CONF, pod, result).result == {}
    plugin.delete(node, CONF, pod)
    assert_nothing_left(node)


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_interface_that_no_plugin_made(node: Node, plugin: Plugin, verb: str) -> None:
    """A runtime may share one namespace for other things; what is no veth was not made by a bridge plugin."""
    pod = node.pod()
    pod.run("ip", "link", "add", "eth0", "type", "bridge")
    assert plugin.call(node, verb, CONF, pod).status == (1 if verb == "ADD" else 0)
    assert set(pod.links()) == {"lo", "eth0"}


def test_others_are_left_alone(node: Node, plugin: Plugin) -> None:
    """Another container's, another interface's of the same container, and another network's."""
    second = dual_stack(
        name="second", bridge="br2", ipam={"ranges": [[{"subnet": "10.33.0.0/24"}], [{"subnet": "fd00:33::/64"}]]}
    )
    pod, _ = add_pod(plugin, node, CONF)
    others = [
        (CONF, *add_pod(plugin, node, CONF), "eth0"),
        (CONF, pod, plugin.add(node, CONF, pod, ifname="net1"), "net1"),
        (second, *add_pod(plugin, node, second), "eth0"),
    ]
    plugin.delete(node, CONF, pod)
    for conf, other, result, ifname in others:
        assert plugin.check(node, conf, other, result, ifname=ifname).result == {}
    assert len(veths(node)) == 3


def test_lease_of_before_2018(node: Node, plugin: Plugin) -> None:
    """host-local once wrote no interface name."""
    pod, _ = add_pod(plugin, node, CONF)
    lease = node.root / LEASES.lstrip("/") / "10.22.0.77"
    lease.write_bytes(pod.container_id.encode())
    plugin.delete(node, CONF, pod)
    plugin.delete(node, CONF, pod)
    assert not lease.exists()


def test_configuration_has_changed(node: Node, plugin: Plugin) -> None:
    """The network has another bridge, other addresses and no masquerade by now."""
    pod, _ = add_pod(plugin, node, CONF)
    conf = network(bridge="br2", ipam={"ranges": [[{"subnet": "10.44.0.0/24"}]]})
    assert_deleted(plugin, node, pod, conf)


def test_without_ipam(node: Node, plugin: Plugin) -> None:
    conf = {"cniVersion": "1.1.0", "name": "layer2", "bridge": BRIDGE}
    pod, result = add_pod(plugin, node, conf)
    assert "ips" not in result
    assert plugin.check(node, conf, pod, result).result == {}
    plugin.delete(node, conf, pod)
    plugin.delete(node, conf, pod)
    assert veths(node) == []
    assert not (node.root / "var/lib/cni/networks").exists()
