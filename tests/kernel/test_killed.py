"""What the killed and the dead held is taken back, and nothing else. tests/faults kills at every system call."""

from __future__ import annotations

import random

import pytest

from tests.faults import strace
from tests.faults.strace import Moment
from tests.harness import KILLED, Json, Node, Plugin, Pod
from tests.kernel.networks import (
    NAME,
    add_pod,
    addresses_of,
    assert_nothing_left,
    dual_stack,
    host_veth,
    small,
    store_files,
    veths,
)

NO_ADDRESS = 102


def add_killed(node: Node, plugin: Plugin, moment: Moment, conf: Json, pod: Pod) -> None:
    """An ADD that is killed on its way into a system call."""
    strace.killed(node, plugin, moment, lambda dying: dying.call(node, "ADD", conf, pod))


def test_add_killed_and_node_rebooted(node: Node, plugin: Plugin) -> None:
    """Nobody calls DEL for what was before the reboot, and the leases are still there."""
    conf = small(ipMasq=True)
    for occurrence in range(5, 17, 3):
        pod = node.pod()
        add_killed(node, plugin, Moment("sendto", occurrence), conf, pod)
        pod.close()
    for link in (*veths(node), "cni0"):
        node.run("ip", "link", "delete", link, check=False)  # a veth goes with its pod, sooner or later
    node.run("nft", "flush", "ruleset")

    pods = [add_pod(plugin, node, conf)[0] for _ in range(5)]  # all that a /29 has
    assert plugin.call(node, "ADD", conf, node.pod()).error["code"] == NO_ADDRESS
    for pod in pods:
        plugin.delete(node, conf, pod)
    assert_nothing_left(node)


class TestReclaiming:
    """An exhausted range takes back what the dead hold, and only that."""

    def test_leases_without_veth(self, node: Node, plugin: Plugin) -> None:
        conf = small()
        attached = [add_pod(plugin, node, conf) for _ in range(5)]
        for _, result in attached[1:3]:
            node.run("ip", "link", "delete", host_veth(result))

        reclaimed = [add_pod(plugin, node, conf) for _ in range(2)]
        assert sorted(addresses_of(r)[0] for _, r in reclaimed) == [addresses_of(r)[0] for _, r in attached[1:3]]
        assert plugin.call(node, "ADD", conf, node.pod()).error["code"] == NO_ADDRESS
        for pod, result in (attached[0], *attached[3:], *reclaimed):
            assert plugin.check(node, conf, pod, result).result == {}

    def test_pods_whose_namespaces_went(self, node: Node, plugin: Plugin) -> None:
        """The runtime crashed: containers are gone, DEL was never called."""
        conf = small()
        for _ in range(5):
            pod, result = add_pod(plugin, node, conf)
            pod.close()
            node.run("ip", "link", "delete", host_veth(result), check=False)  # the kernel is not always that quick
        add_pod(plugin, node, conf)

    def test_delete_of_a_pod_whose_lease_another_has_now(self, node: Node, plugin: Plugin) -> None:
        conf = small("10.22.0.0/30")
        dead, result = add_pod(plugin, node, conf)
        node.run("ip", "link", "delete", host_veth(result))
        pod, result = add_pod(plugin, node, conf)
        plugin.delete(node, conf, dead)
        assert plugin.check(node, conf, pod, result).result == {}
        assert node.leases(NAME) == {"10.22.0.2": (pod.container_id, "eth0")}

    def test_leases_of_others_stay(self, node: Node, plugin: Plugin) -> None:
        """Another plugin's pods have veths of other names; who knows whether they live."""
        conf = small()
        add_pod(plugin, node, conf)
        directory = node.root / "var/lib/cni/networks" / NAME
        for last in range(3, 7):
            (directory / f"10.22.0.{last}").write_bytes(f"other{last}\r\neth0".encode())
        assert plugin.call(node, "ADD", conf, node.pod()).error["code"] == NO_ADDRESS
        assert len(node.leases(NAME)) == 5

    def test_killed_between_writing_and_linking(self, node: Node, plugin: Plugin) -> None:
        """The address was not claimed yet; another has it now, and keeps it."""
        conf = small("10.22.0.0/30")
        pod, other = node.pod(), node.pod()
        add_killed(node, plugin, Moment("link", 1), conf, pod)
        result = plugin.add(node, conf, other)
        plugin.delete(node, conf, pod)
        assert plugin.check(node, conf, other, result).result == {}
        assert plugin.call(node, "ADD", conf, pod).error["code"] == NO_ADDRESS
        plugin.delete(node, conf, other)
        assert_nothing_left(node)


@pytest.mark.slow
def test_killed_at_random(node: Node, plugin: Plugin) -> None:
    """ADDs and DELs cut short after anything up to the time they take; all pods heal in the end."""
    chance = random.Random(20)
    conf = dual_stack(ipam={"ranges": [[{"subnet": "10.22.0.0/27"}], [{"subnet": "fd00:22::/64"}]]})
    pods = [node.pod() for _ in range(20)]
    for _ in range(10):
        for pod in pods:
            verb = chance.choice(["ADD", "DEL"])
            reply = plugin.killed_after(chance.uniform(0.01, 0.08)).call(node, verb, conf, pod)
            assert reply.status in (*KILLED, 0, 1), reply
            if reply.status == 1:
                assert "already has eth0" in reply.error["msg"]
    for pod in pods:
        plugin.delete(node, conf, pod)
    assert_nothing_left(node)
    results = [plugin.add(node, conf, pod) for pod in pods]
    assert len({address for result in results for address in addresses_of(result)}) == 2 * len(pods)
    assert len(store_files(node)) == 5 * len(pods)  # per pod: two leases, their index entries, its directory
