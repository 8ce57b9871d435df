"""A node changes plugins while its pods live: each takes over what the other made."""

from __future__ import annotations

import pytest

from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import NAME, add_pod, addresses_of, dual_stack, host_veth, network, store_files, veths

VERSION = "1.0.0"
"""The newest that Debian's plugins speak."""

NETWORKS = {
    "IPv4": network(4, cniVersion=VERSION, isDefaultGateway=True, ipMasq=True),
    "IPv6": network(6, cniVersion=VERSION, isDefaultGateway=True, ipMasq=True),
    "dual stack": dual_stack(cniVersion=VERSION, hairpinMode=True),
    "no gateway": network(4, 6, cniVersion=VERSION),
    "no ipam": {"cniVersion": VERSION, "name": NAME, "bridge": "cni0"},
}

networks = pytest.mark.parametrize("conf", NETWORKS.values(), ids=NETWORKS.keys())


def assert_gone(node: Node, pod: Pod) -> None:
    """Nothing is left of a pod: no veth at either end, no lease."""
    assert veths(node) == []
    assert list(pod.links()) == ["lo"]
    assert node.leases(NAME) == {}


class TestMadeByReference:
    """Pods that the reference wired, and our plugin is to look after."""

    @networks
    def test_checked(self, node: Node, plugin: Plugin, reference: Plugin, conf: Json) -> None:
        pod, result = add_pod(reference, node, conf)
        assert plugin.check(node, conf, pod, result).result == {}

    @pytest.mark.parametrize(
        "damage", ["ip address flush dev eth0", "ip route flush table main", "ip link set eth0 down"]
    )
    def test_damage_is_noticed(self, node: Node, plugin: Plugin, reference: Plugin, damage: str) -> None:
        conf = NETWORKS["IPv4"]
        pod, result = add_pod(reference, node, conf)
        pod.run(*damage.split())
        assert "eth0" in (msg := plugin.check(node, conf, pod, result).error["msg"]) or "route" in msg

    def test_host_veth_off_the_bridge_is_noticed(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        conf = NETWORKS["IPv4"]
        pod, result = add_pod(reference, node, conf)
        node.run("ip", "link", "set", host_veth(result), "nomaster")
        assert host_veth(result) in plugin.check(node, conf, pod, result).error["msg"]

    def test_lost_lease_is_noticed(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        conf = NETWORKS["IPv4"]
        pod, result = add_pod(reference, node, conf)
        (address,) = addresses_of(result)
        (node.root / "var/lib/cni/networks" / NAME / address).unlink()
        assert address in plugin.check(node, conf, pod, result).error["msg"]

    @networks
    @pytest.mark.parametrize("with_result", [True, False])
    def test_deleted(self, node: Node, plugin: Plugin, reference: Plugin, conf: Json, with_result: bool) -> None:
        pod, result = add_pod(reference, node, conf)
        plugin.delete(node, {**conf, "prevResult": result} if with_result else conf, pod)
        assert_gone(node, pod)

    def test_deleted_when_the_namespace_is_gone(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        conf = NETWORKS["dual stack"]
        pod, _ = add_pod(reference, node, conf)
        pod.close()
        plugin.delete(node, conf, pod)
        assert store_files(node) == []

    def test_neighbours_stay(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        conf = NETWORKS["dual stack"]
        going, _ = add_pod(reference, node, conf)
        staying = {each: add_pod(each, node, conf) for each in (reference, plugin)}
        plugin.delete(node, conf, going)
        for each, (pod, result) in staying.items():
            assert each.check(node, conf, pod, result).result == {}
        (one, _), (_, other) = staying.values()
        assert all(one.ping(address) for address in addresses_of(other))

    def test_they_reach_ours(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        conf = NETWORKS["dual stack"]
        theirs, their_result = add_pod(reference, node, conf)
        ours, our_result = add_pod(plugin, node, conf)
        assert all(theirs.ping(address) for address in addresses_of(our_result))
        assert all(ours.ping(address) for address in addresses_of(their_result))


class TestMadeByUs:
    """Pods that our plugin wired, on a node that goes back to the reference."""

    @networks
    def test_removed(self, node: Node, plugin: Plugin, reference: Plugin, conf: Json) -> None:
        """With ipMasq, its first DEL misses the chain that it would have made, when all else is done."""
        pod, result = add_pod(plugin, node, conf)
        conf = {**conf, "prevResult": result}
        first = reference.call(node, "DEL", conf, pod)
        assert first.status == 0 or (conf["ipMasq"] and "tables -t nat -D" in first.error["msg"])
        assert_gone(node, pod)
        reference.delete(node, conf, pod)

    @networks
    def test_removed_without_namespace(self, node: Node, plugin: Plugin, reference: Plugin, conf: Json) -> None:
        """The kernel takes the veth with the namespace, the reference takes the lease."""
        pod, _ = add_pod(plugin, node, conf)
        pod.close()
        reference.delete(node, conf, pod)
        assert node.leases(NAME) == {}

    def test_checked_by_reference(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        conf = NETWORKS["dual stack"]
        pod, result = add_pod(plugin, node, conf)
        assert reference.check(node, conf, pod, result).result == {}

    def test_address_is_free_again(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        conf = network(ipam={"ranges": [[{"subnet": "10.22.0.0/30"}]]}, cniVersion=VERSION)
        pod, result = add_pod(plugin, node, conf)
        reference.delete(node, conf, pod)
        _, again = add_pod(plugin, node, conf)
        assert addresses_of(again) == addresses_of(result)


class TestPathUsedAgain:
    """A late DEL of a container whose namespace's path is another's by now."""

    @pytest.mark.parametrize("first", ["ours", "reference"])
    @pytest.mark.parametrize("second", ["ours", "reference"])
    def test_late_delete_spares_the_other(
        self, node: Node, plugin: Plugin, reference: Plugin, first: str, second: str
    ) -> None:
        by = {"ours": plugin, "reference": reference}
        conf = NETWORKS["dual stack"]
        old, before = add_pod(by[first], node, conf)
        old.close()
        new = node.pod(old.name)
        result = by[second].add(node, conf, new)
        plugin.delete(node, {**conf, "prevResult": before}, new, container_id=old.container_id)
        assert by[second].check(node, conf, new, result).result == {}
        assert sorted(addresses_of(result)) == sorted(node.leases(NAME))
