"""vlan, vlanTrunk, preserveDefaultVlan: pods in VLANs, by the bridge's VLAN filtering."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import BRIDGE, NAME, add_pod, host_veth, network, veths
from tests.options.traffic import reaches

KERNEL_REFUSED = 100
TRUNK = [{"id": 42}, {"minID": 100, "maxID": 103}, {"id": 42, "minID": 200, "maxID": 200}]
TRUNK_IDS = [42, 100, 101, 102, 103, 200]


def in_vlan(vlan: int, subnet: str, name: str = NAME, **keys: Any) -> Json:
    """A network in a VLAN, with a gateway in a subnet of its own."""
    return network(4, name=name, vlan=vlan, isDefaultGateway=True, ipam={"ranges": [[{"subnet": subnet}]]}, **keys)


RED = in_vlan(100, "10.22.100.0/24", "red")
BLUE = in_vlan(200, "10.22.200.0/24", "blue")


def vlans(node: Node, port: str) -> dict[int, list[str]]:
    """The VLANs of a bridge port with their flags, as `bridge vlan` says them."""
    (entry,) = json.loads(node.run("bridge", "-j", "vlan", "show", "dev", port).stdout)
    return {vlan["vlan"]: vlan.get("flags", []) for vlan in entry["vlans"]}


@pytest.mark.parametrize("keys", [{"vlan": 100}, {"vlanTrunk": TRUNK}, {"vlan": 100, "preserveDefaultVlan": False}])
def test_kernel_without_vlan_filtering(node: Node, plugin: Plugin, keys: Json) -> None:
    """It is said what is missing, and nothing is left, not even a bridge without VLANs."""
    if node.run("ip", "link", "add", "probe", "type", "bridge", "vlan_filtering", "1", check=False).returncode == 0:
        pytest.skip("this kernel has CONFIG_BRIDGE_VLAN_FILTERING")
    before = node.snapshot()
    error = plugin.call(node, "ADD", network(4, **keys), pod := node.pod()).error
    assert error["code"] == KERNEL_REFUSED
    assert "CONFIG_BRIDGE_VLAN_FILTERING" in error["msg"]
    assert list(pod.links()) == ["lo"]
    pod.close()
    assert node.snapshot() == before


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"vlan": 4095}, "vlan"),
        ({"vlan": -1}, "vlan"),
        ({"vlan": "100"}, "vlan"),
        ({"vlan": 100, "vlanTrunk": [{"id": 1}]}, "vlanTrunk"),
        ({"vlanTrunk": [{"id": 0}]}, "vlanTrunk[0].id"),
        ({"vlanTrunk": [{"id": 1}, {"id": 4095}]}, "vlanTrunk[1].id"),
        ({"vlanTrunk": [{"minID": 5}]}, "vlanTrunk[0].maxID"),
        ({"vlanTrunk": [{"maxID": 5}]}, "vlanTrunk[0].minID"),
        ({"vlanTrunk": [{"minID": 6, "maxID": 5}]}, "vlanTrunk[0].maxID"),
    ],
)
def test_malformed(node: Node, plugin: Plugin, keys: Json, named: str) -> None:
    error = plugin.call(node, "ADD", network(4, **keys), node.pod()).error
    assert error["code"] == 7
    assert named in error["msg"]
    assert BRIDGE not in node.links()


def test_no_vlan_is_vlan_zero(node: Node, plugin: Plugin) -> None:
    """The reference's defaults may be written out, and need nothing of the kernel."""
    conf = network(4, vlan=0, vlanTrunk=[], preserveDefaultVlan=True)
    pod, result = add_pod(plugin, node, conf)
    assert plugin.check(node, conf, pod, result).result == {}


class TestWithVlanFiltering:
    """On a kernel that has it."""

    def test_pods_of_one_vlan_reach_each_other_alone(self, vlan_node: Node, plugin: Plugin) -> None:
        """Also pods that give themselves addresses of one subnet."""
        pods = [add_pod(plugin, vlan_node, conf)[0] for conf in (RED, RED, BLUE)]
        for last, pod in enumerate(pods, 1):
            pod.run("ip", "address", "add", f"10.9.0.{last}/24", "dev", "eth0")
        assert reaches(pods[0], "10.9.0.2", "10.9.0.3") == [True, False]

    def test_gateway_is_in_the_vlan(self, vlan_node: Node, plugin: Plugin) -> None:
        (red, result), (blue, _) = (add_pod(plugin, vlan_node, conf) for conf in (RED, BLUE))
        assert vlan_node.addresses(f"{BRIDGE}.100") == ["10.22.100.1/24"]
        assert vlan_node.addresses(f"{BRIDGE}.200") == ["10.22.200.1/24"]
        assert vlan_node.addresses(BRIDGE) == []
        assert f"{BRIDGE}.100" in [interface["name"] for interface in result["interfaces"]]
        assert red.ping("10.22.100.1")
        assert blue.ping("10.22.200.1")

    def test_gateway_stays_for_the_next_pod(self, vlan_node: Node, plugin: Plugin) -> None:
        pod, _ = add_pod(plugin, vlan_node, RED)
        links = vlan_node.links()
        plugin.delete(vlan_node, RED, pod)
        again, result = add_pod(plugin, vlan_node, RED)
        assert again.ping("10.22.100.1")
        assert plugin.check(vlan_node, RED, again, result).result == {}
        assert len(vlan_node.links()) == len(links)

    def test_gc_leaves_the_gateway(self, vlan_node: Node, plugin: Plugin) -> None:
        pod, _ = add_pod(plugin, vlan_node, RED)
        assert plugin.gc(vlan_node, RED, [pod]).result == {}
        assert pod.ping("10.22.100.1")

    @pytest.mark.parametrize("preserve", [True, False])
    def test_access_port(self, vlan_node: Node, plugin: Plugin, preserve: bool) -> None:
        conf = {**RED, "preserveDefaultVlan": preserve}
        _, result = add_pod(plugin, vlan_node, conf)
        found = vlans(vlan_node, host_veth_of(result))
        assert found[100] == ["PVID", "Egress Untagged"]
        assert (1 in found) is preserve

    @pytest.mark.parametrize("preserve", [True, False])
    def test_trunk_port(self, vlan_node: Node, plugin: Plugin, preserve: bool) -> None:
        conf = network(4, vlanTrunk=TRUNK, preserveDefaultVlan=preserve)
        pod, result = add_pod(plugin, vlan_node, conf)
        found = vlans(vlan_node, host_veth(result))
        assert sorted(found) == ([1] if preserve else []) + TRUNK_IDS
        assert all(found[vlan] == [] for vlan in TRUNK_IDS)
        assert plugin.check(vlan_node, conf, pod, result).result == {}

    def test_check_notices(self, vlan_node: Node, plugin: Plugin) -> None:
        pod, result = add_pod(plugin, vlan_node, RED)
        assert plugin.check(vlan_node, RED, pod, result).result == {}
        vlan_node.run(*f"bridge vlan delete vid 100 dev {host_veth_of(result)}".split())
        assert "VLAN 100" in plugin.check(vlan_node, RED, pod, result).error["msg"]

    def test_delete_leaves_no_veth_of_a_pod(self, vlan_node: Node, plugin: Plugin) -> None:
        pod, result = add_pod(plugin, vlan_node, RED)
        plugin.delete(vlan_node, RED, pod)
        assert host_veth_of(result) not in veths(vlan_node)


def host_veth_of(result: Json) -> str:
    """The host veth's name in a result that lists a gateway interface, too: the second."""
    return str(result["interfaces"][1]["name"])
