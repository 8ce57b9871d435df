"""vlan, vlanTrunk, preserveDefaultVlan: pods in VLANs, by the bridge's VLAN filtering."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import Json, Node, Plugin, filters_vlans
from tests.kernel.networks import BRIDGE, NAME, add_pod, host_veth, network, veths
from tests.options.traffic import reaches

KERNEL_REFUSED = 100
BRIDGE_IN_USE = 104
NOT_AS_EXPECTED = 105
TRUNK = [{"id": 42}, {"minID": 100, "maxID": 103}, {"id": 42, "minID": 200, "maxID": 200}]
TRUNK_IDS = [42, 100, 101, 102, 103, 200]


def in_vlan(vlan: int, subnet: str, name: str = NAME, **keys: Any) -> Json:
    """A network in a VLAN, with a gateway in a subnet of its own."""
    return network(4, name=name, vlan=vlan, isDefaultGateway=True, ipam={"ranges": [[{"subnet": subnet}]]}, **keys)


RED = in_vlan(100, "10.22.100.0/24", "red")
BLUE = in_vlan(200, "10.22.200.0/24", "blue")


def vlans(node: Node, port: str) -> dict[int, list[str]]:
    """The VLANs of a bridge port with their flags, as `bridge vlan` says them."""
    entries = json.loads(node.run("bridge", "-j", "vlan", "show", "dev", port).stdout)
    return {
        vlan: each.get("flags", [])
        for entry in entries
        for each in entry["vlans"]
        for vlan in range(each["vlan"], each.get("vlanEnd", each["vlan"]) + 1)
    }


@pytest.mark.parametrize("keys", [{"vlan": 100}, {"vlanTrunk": TRUNK}, {"vlan": 100, "vlanTrunk": TRUNK}])
@pytest.mark.skipif(filters_vlans(), reason="this kernel has CONFIG_BRIDGE_VLAN_FILTERING")
def test_kernel_without_vlan_filtering(node: Node, plugin: Plugin, keys: Json) -> None:
    """It is said what is missing, and nothing is left, not even a bridge without VLANs."""
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
        ({"vlanTrunk": [{}]}, "vlanTrunk[0].id"),
        ({"vlan": 100, "vlanTrunk": [{"id": 1}, {}]}, "vlanTrunk[1].id"),
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


@pytest.mark.vlan_filtering
class TestWithVlanFiltering:
    """On a kernel that has it."""

    def test_pods_of_one_vlan_reach_each_other_alone(self, node: Node, plugin: Plugin) -> None:
        """Also pods that give themselves addresses of one subnet."""
        pods = [add_pod(plugin, node, conf)[0] for conf in (RED, RED, BLUE)]
        for last, pod in enumerate(pods, 1):
            pod.run("ip", "address", "add", f"10.9.0.{last}/24", "dev", "eth0")
        assert reaches(pods[0], "10.9.0.2", "10.9.0.3") == [True, False]

    def test_pods_in_a_vlan_do_not_hear_those_in_none(self, node: Node, plugin: Plugin) -> None:
        """Those are in the bridge's default VLAN, which a port in another leaves unless it is told to stay."""
        stays = in_vlan(200, "10.22.200.0/24", "blue", preserveDefaultVlan=True)
        plain = network(4, name="plain")
        ports = {}
        for conf in (RED, stays, plain):
            pod, result = add_pod(plugin, node, conf)
            ports[conf["name"]] = vlans(node, host_veth_of(result))
            assert plugin.check(node, conf, pod, result).result == {}
        access = ["PVID", "Egress Untagged"]
        assert ports == {
            "red": {100: access},
            "blue": {1: ["Egress Untagged"], 200: access},
            "plain": {1: access},
        }

    def test_gateway_is_in_the_vlan(self, node: Node, plugin: Plugin) -> None:
        (red, result), (blue, _) = (add_pod(plugin, node, conf) for conf in (RED, BLUE))
        assert node.addresses(f"{BRIDGE}.100") == ["10.22.100.1/24"]
        assert node.addresses(f"{BRIDGE}.200") == ["10.22.200.1/24"]
        assert node.addresses(BRIDGE) == []
        assert result["interfaces"][3]["name"] == f"{BRIDGE}.100"
        assert result["interfaces"][3]["mac"] == "0a:58:0a:16:64:01", "the same after a reboot"
        assert red.ping("10.22.100.1")
        assert blue.ping("10.22.200.1")
        assert vlans(node, gateway_port(node, 100)) == {100: ["PVID", "Egress Untagged"]}

    def test_gateway_of_ipv6(self, node: Node, plugin: Plugin) -> None:
        conf = in_vlan(100, "fd00:100::/64")
        pod, result = add_pod(plugin, node, conf)
        assert pod.ping("fd00:100::1")
        node.run("ip", "link", "set", f"{BRIDGE}.100", "down")
        node.run("ip", "link", "set", f"{BRIDGE}.100", "up")
        assert pod.ping("fd00:100::1", count=5)
        accept_ra = f"/proc/sys/net/ipv6/conf/{BRIDGE}.100/accept_ra"
        assert node.run("cat", accept_ra).stdout == "0\n", "a pod could become the node's router"
        assert plugin.check(node, conf, pod, result).result == {}

    def test_gateway_stays_for_the_next_pod(self, node: Node, plugin: Plugin) -> None:
        pod, _ = add_pod(plugin, node, RED)
        links = node.links()
        plugin.delete(node, RED, pod)
        again, result = add_pod(plugin, node, RED)
        assert again.ping("10.22.100.1")
        assert plugin.check(node, RED, again, result).result == {}
        assert len(node.links()) == len(links)

    @pytest.mark.parametrize(
        "damage",
        [
            "ip link set PORT nomaster",
            "ip link set PORT down",
            f"ip link set {BRIDGE}.100 down",
            "bridge vlan delete vid 100 dev PORT",
            "bridge vlan add vid 100 dev PORT",
            "bridge vlan delete vid 100 dev PORT; bridge vlan add vid 1 dev PORT pvid untagged",
            f"ip link delete {BRIDGE}.100",
        ],
    )
    def test_next_pod_mends_the_gateway(self, node: Node, plugin: Plugin, damage: str) -> None:
        pod, result = add_pod(plugin, node, RED)
        node.run("sh", "-ec", damage.replace("PORT", gateway_port(node, 100)))
        assert plugin.check(node, RED, pod, result).status == 1
        add_pod(plugin, node, RED)
        assert plugin.check(node, RED, pod, result).result == {}
        assert pod.ping("10.22.100.1")

    def test_bridge_that_was_deleted(self, node: Node, plugin: Plugin) -> None:
        """Each network's next ADD gives the present pods their VLAN and its gateway again."""
        pods = [(conf, *add_pod(plugin, node, conf)) for conf in (RED, BLUE)]
        ports = {host_veth_of(result): vlans(node, host_veth_of(result)) for _, _, result in pods}
        node.run("ip", "link", "delete", BRIDGE)
        for conf in (BLUE, RED):
            add_pod(plugin, node, conf)
        assert {port: vlans(node, port) for port in ports} == ports
        for (_, pod, _), gateway in zip(pods, ("10.22.100.1", "10.22.200.1"), strict=True):
            assert pod.ping(gateway, count=3)

    def test_gateways_name_is_taken(self, node: Node, plugin: Plugin) -> None:
        """As by an interface for the VLAN that an operator has made by hand."""
        node.run(*f"ip link add {BRIDGE} up type bridge".split())
        node.run(*f"ip link add {BRIDGE}.100 type bridge".split())
        error = plugin.call(node, "ADD", RED, node.pod()).error
        assert (error["code"], f"{BRIDGE}.100 already exists" in error["msg"]) == (BRIDGE_IN_USE, True)

    def test_gc_leaves_the_gateway(self, node: Node, plugin: Plugin) -> None:
        pod, _ = add_pod(plugin, node, RED)
        assert plugin.gc(node, RED, [pod]).result == {}
        assert pod.ping("10.22.100.1")

    def test_gateway_follows_the_pods_mtu(self, node: Node, plugin: Plugin) -> None:
        """What is longer than its MTU it would drop in silence."""
        for mtu, gateways in ((1400, 1400), (2000, 2000), (1400, 2000)):
            pod, _ = add_pod(plugin, node, {**RED, "mtu": mtu})
            assert pod.link("eth0")["mtu"] == mtu
            for name in (f"{BRIDGE}.100", gateway_port(node, 100)):
                assert node.link(name)["mtu"] == gateways
            pod.run(*f"busybox ping -c 1 -W 2 -s {mtu - 28} 10.22.100.1".split())

    def test_a_cards_mac_stays_the_bridges(self, node: Node, plugin: Plugin) -> None:
        """The gateway's own port is one, too."""
        node.run(*["ip", "link", "add", "card", "address", "fe:54:00:12:34:56", "type", "veth", "peer", "name", "wire"])
        node.run(*f"ip link add {BRIDGE} up type bridge".split())
        node.run("ip", "link", "set", "card", "master", BRIDGE)
        for conf in (RED, BLUE, RED):
            add_pod(plugin, node, conf)
            assert node.link(BRIDGE)["address"] == "fe:54:00:12:34:56"

    @pytest.mark.parametrize("preserve", [True, False])
    @pytest.mark.parametrize(
        ("vlan", "native", "tagged"), [(0, 1, TRUNK_IDS), (7, 7, TRUNK_IDS), (101, 101, [42, 100, 102, 103, 200])]
    )
    def test_trunk_port(
        self, node: Node, plugin: Plugin, preserve: bool, vlan: int, native: int, tagged: list[int]
    ) -> None:
        """`vlan` is the native one; without it, that is VLAN 1."""
        conf = network(4, vlan=vlan, vlanTrunk=TRUNK, preserveDefaultVlan=preserve)
        pod, result = add_pod(plugin, node, conf)
        found = vlans(node, host_veth(result))
        default = {1: ["Egress Untagged"]} if preserve and native != 1 else {}
        assert found == default | {native: ["PVID", "Egress Untagged"]} | {each: [] for each in tagged}
        assert plugin.check(node, conf, pod, result).result == {}

    def test_trunk_of_all_vlans(self, node: Node, plugin: Plugin) -> None:
        conf = network(4, vlanTrunk=[{"minID": 1, "maxID": 4094}])
        pod, result = add_pod(plugin, node, conf)
        found = vlans(node, host_veth(result))
        assert sorted(found) == list(range(1, 4095))
        assert [vlan for vlan, flags in found.items() if flags] == [1]
        assert plugin.check(node, conf, pod, result).result == {}

    def test_trunk_and_access_port_understand_each_other(self, node: Node, plugin: Plugin) -> None:
        """A pod with a trunk has VLAN 100 tagged, its native one untagged, and no others."""
        trunk, _ = add_pod(plugin, node, network(4, vlan=200, vlanTrunk=[{"id": 100}]))
        red, blue = (add_pod(plugin, node, conf)[0] for conf in (RED, BLUE))
        plain, _ = add_pod(plugin, node, network(4, name="plain"))
        trunk.run(*["ip", "link", "add", "tagged", "link", "eth0", "type", "vlan", "id", "100"])
        trunk.run(*["ip", "link", "set", "tagged", "up"])
        for last, pod in enumerate((red, blue, plain), 1):
            pod.run("ip", "address", "add", f"10.9.{last}.2/24", "dev", "eth0")
        for last, dev in ((1, "tagged"), (2, "eth0"), (3, "eth0")):
            trunk.run("ip", "address", "add", f"10.9.{last}.1/24", "dev", dev)
        assert reaches(trunk, "10.9.1.2", "10.9.2.2", "10.9.3.2") == [True, True, False]

    @pytest.mark.parametrize("default", [20, 0])
    @pytest.mark.parametrize("keys", [{"vlan": 100}, {"vlanTrunk": [{"id": 100}]}], ids=["vlan", "trunk"])
    def test_bridge_with_another_default_vlan(self, node: Node, plugin: Plugin, keys: Json, default: int) -> None:
        node.run(*f"ip link add {BRIDGE} up type bridge vlan_filtering 1 vlan_default_pvid {default}".split())
        pod, result = add_pod(plugin, node, network(4, **keys))
        assert sorted(vlans(node, host_veth(result))) == ([100] if "vlan" in keys else [1, 100])
        assert plugin.check(node, network(4, **keys), pod, result).result == {}

    def test_bridge_that_filtered_no_vlans(self, node: Node, plugin: Plugin) -> None:
        """It does so from the first pod in a VLAN on; those before are in its default one."""
        before, _ = add_pod(plugin, node, network(4, isGateway=True))
        add_pod(plugin, node, RED)
        assert before.ping("10.22.0.1")

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ("bridge vlan delete vid 100 dev PORT", "is not in VLAN 100"),
            ("bridge vlan add vid 100 dev PORT", "is not in VLAN 100 untagged"),
            ("bridge vlan add vid 100 dev PORT untagged", "is not in VLAN 100 untagged"),
            ("bridge vlan delete vid 7 dev PORT", "is not in VLAN 7"),
            ("bridge vlan add vid 7 dev PORT untagged", "is not in VLAN 7 tagged"),
            ("bridge vlan add vid 8 dev PORT", "is in VLAN 8, too"),
            ("bridge vlan add vid 1 dev PORT untagged", "is in VLAN 1, too"),
            (f"ip link set {BRIDGE} type bridge vlan_filtering 0", "does not filter VLANs"),
        ],
    )
    def test_check_notices(self, node: Node, plugin: Plugin, change: str, named: str) -> None:
        conf = {**RED, "vlanTrunk": [{"id": 7}]}
        pod, result = add_pod(plugin, node, conf)
        assert plugin.check(node, conf, pod, result).result == {}
        node.run(*change.replace("PORT", host_veth_of(result)).split())
        error = plugin.check(node, conf, pod, result).error
        assert (error["code"], named in error["msg"]) == (NOT_AS_EXPECTED, True), error

    def test_delete_leaves_no_veth_of_a_pod(self, node: Node, plugin: Plugin) -> None:
        pod, result = add_pod(plugin, node, RED)
        plugin.delete(node, RED, pod)
        assert host_veth_of(result) not in veths(node)


def host_veth_of(result: Json) -> str:
    """The host veth's name in a result that lists a gateway interface, too: the second."""
    return str(result["interfaces"][1]["name"])


def gateway_port(node: Node, vlan: int) -> str:
    """The port by which a VLAN's gateway is in the bridge."""
    return str(node.link(f"{BRIDGE}.{vlan}")["link"])
