"""The reference host-local and ours on one directory: no address twice, whoever gives it out and takes it back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Json, Node, Plugin, Pod, Reply
from tests.kernel.networks import (
    NAME,
    add_pod,
    addresses_of,
    assert_nothing_left,
    dual_stack,
    network,
    small,
    store_files,
    veths,
)
from tests.reference import releases

# The newest version that every release of the reference here speaks.
VERSION = "1.0.0"
NO_ADDRESS = 102
EXHAUSTED = "no IP addresses available in range set"
CONF = dual_stack(cniVersion=VERSION)


@pytest.fixture(scope="session", params=releases.RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """A release of the reference."""
    release: str = request.param
    return release


@pytest.fixture(scope="session")
def reference(release: str) -> Plugin:
    """The reference's host-local, which is called as a bridge plugin calls it."""
    return Plugin(releases.bin_dir(release) / "host-local")


@pytest.fixture(scope="session")
def reference_bridge(release: str) -> Plugin:
    """The reference's bridge, which calls the reference's host-local."""
    return releases.reference(release)


def few(**keys: Any) -> Json:
    """A network with five addresses for pods."""
    return small(cniVersion=VERSION, **keys)


def directory(node: Node) -> Path:
    """The network's lease directory."""
    return node.root / "var/lib/cni/networks" / NAME


def assert_exhausted(plugin: Plugin, reference: Plugin, node: Node, conf: Json) -> None:
    """Both say that there is no address left, and neither leaves anything."""
    before = store_files(node)
    assert plugin.call(node, "ADD", conf, node.pod()).error["code"] == NO_ADDRESS
    assert EXHAUSTED in reference.call(node, "ADD", conf, node.pod()).error["msg"]
    assert store_files(node) == before


class TestAllocating:
    """Each honours what the other gave out."""

    def test_in_turn_until_full(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        """Round-robin goes on from the other's last address, so that the order is that of one plugin alone."""
        turns = [plugin, reference, reference, plugin, reference]
        given = [addresses_of(add_pod(each, node, few())[1])[0] for each in turns]
        assert given == [f"10.22.0.{last}" for last in range(2, 7)]
        assert_exhausted(plugin, reference, node, few())

    @pytest.mark.parametrize("ours_first", [False, True])
    def test_round_robin_goes_on(self, node: Node, plugin: Plugin, reference: Plugin, ours_first: bool) -> None:
        """An address is not given again at once, though the other plugin had it and released it."""
        turns = [plugin, reference] if ours_first else [reference, plugin]
        given = []
        for turn in range(7):
            each = turns[turn % 2]
            pod, result = add_pod(each, node, few())
            given += addresses_of(result)
            each.delete(node, few(), pod)
        assert given == [f"10.22.0.{last}" for last in (2, 3, 4, 5, 6, 2, 3)]

    def test_marks_are_the_same(self, make_node: type[Node], plugin: Plugin, reference: Plugin) -> None:
        """Lease and last_reserved_ip files are the same, byte for byte."""
        found = []
        for each in (plugin, reference):
            with make_node() as node:
                add_pod(each, node, CONF, container_id="c1")
                files = [path for path in directory(node).iterdir() if path.is_file()]
                found.append({path.name: path.read_bytes() for path in files if path.name != "lock"})
        assert found[0] == found[1]
        assert set(found[0]) == {"last_reserved_ip.0", "last_reserved_ip.1", "10.22.0.2", "fd00:22::2"}

    @pytest.mark.parametrize(
        "subnet",
        ["fd00:22::/64", "2001:db8:0:0:1::/80", "fd00:0:0:22::/126", "2001:db8:0:1:0:1:1:0/112"],
    )
    def test_ipv6_file_names(self, node: Node, plugin: Plugin, reference: Plugin, subnet: str) -> None:
        """There is more than one way to write an IPv6 address; a lease under another name is no lease."""
        conf = network(cniVersion=VERSION, ipam={"ranges": [[{"subnet": subnet}]]})
        given = [addresses_of(add_pod(each, node, conf)[1])[0] for each in (plugin, reference)]
        assert given[0] != given[1]
        assert sorted(node.leases(NAME)) == sorted(given)

    def test_ranges_of_a_set(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        """Both walk from one range of a set to the next, and round."""
        ranges = [
            [
                {"subnet": "10.22.0.0/24", "rangeStart": "10.22.0.20", "rangeEnd": "10.22.0.21"},
                {
                    "subnet": "10.23.0.0/24",
                    "rangeStart": "10.23.0.10",
                    "rangeEnd": "10.23.0.11",
                    "gateway": "10.23.0.9",
                },
            ],
            [{"subnet": "fd00:22::/125", "rangeStart": "fd00:22::4"}],
        ]
        conf = network(cniVersion=VERSION, ipam={"ranges": ranges})
        results = [add_pod(each, node, conf)[1] for each in (reference, plugin, reference, plugin)]
        assert [addresses_of(result) for result in results] == [
            ["10.22.0.20", "fd00:22::4"],
            ["10.22.0.21", "fd00:22::5"],
            ["10.23.0.10", "fd00:22::6"],
            ["10.23.0.11", "fd00:22::7"],
        ]
        assert_exhausted(plugin, reference, node, conf)

    @pytest.mark.parametrize("subnet", ["10.22.0.0/30", "10.22.0.0/29", "10.22.0.128/27", "fd00:22::/126"])
    def test_addresses_of_a_subnet(self, make_node: type[Node], plugin: Plugin, reference: Plugin, subnet: str) -> None:
        """Both give out the same addresses, in the same order, with the same gateway."""
        conf = small(subnet, cniVersion=VERSION, isGateway=False)
        given = []
        for each in (plugin, reference):
            with make_node() as node:
                ips = []
                while (reply := each.call(node, "ADD", conf, node.pod())).status == 0:
                    ips += [(ip["address"], ip["gateway"]) for ip in reply.json["ips"]]
                given.append(ips)
        assert given[0] == given[1]
        assert given[0]

    def test_same_container_twice(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        """The reference sees that a container of ours has an address, and gives it no second."""
        pod, _ = add_pod(plugin, node, few())
        error = reference.call(node, "ADD", few(), pod).error
        assert "duplicate allocation is not allowed" in error["msg"]
        assert len(node.leases(NAME)) == 1


class TestReleasing:
    """Each releases what the other gave out."""

    def test_reference_releases_ours(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        """Under both of its names, so that nothing of it is left and the address is free for both."""
        pod, _ = add_pod(plugin, node, CONF)
        other, result = add_pod(plugin, node, CONF)
        reference.delete(node, CONF, pod)
        assert node.leases(NAME) == dict.fromkeys(addresses_of(result), (other.container_id, "eth0"))
        assert [path for path in store_files(node) if "10.22.0.2" in path or "fd00:22::2" in path] == []
        assert plugin.check(node, CONF, other, result).result == {}
        plugin.delete(node, CONF, pod)
        plugin.delete(node, CONF, other)
        assert_nothing_left(node)

    @pytest.mark.parametrize("with_result", [False, True])
    def test_we_release_the_references(self, node: Node, plugin: Plugin, reference: Plugin, with_result: bool) -> None:
        pod, result = add_pod(reference, node, CONF)
        other, other_result = add_pod(reference, node, CONF)
        plugin.delete(node, {**CONF, "prevResult": result} if with_result else CONF, pod)
        assert node.leases(NAME) == dict.fromkeys(addresses_of(other_result), (other.container_id, "eth0"))
        plugin.delete(node, CONF, other)
        assert_nothing_left(node)

    def test_released_addresses_are_free_for_both(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        pods = [add_pod(each, node, few())[0] for each in (plugin, reference, plugin, reference, plugin)]
        reference.delete(node, few(), pods[0])
        plugin.delete(node, few(), pods[1])
        given = [addresses_of(add_pod(each, node, few())[1])[0] for each in (reference, plugin)]
        assert given == ["10.22.0.2", "10.22.0.3"]
        assert_exhausted(plugin, reference, node, few())

    def test_another_interface_of_the_container_keeps_its_own(
        self, node: Node, plugin: Plugin, reference: Plugin
    ) -> None:
        pod, _ = add_pod(plugin, node, few())
        kept = reference.add(node, few(), pod, ifname="net1")
        plugin.delete(node, few(), pod)
        assert node.leases(NAME) == {addresses_of(kept)[0]: (pod.container_id, "net1")}
        kept = plugin.add(node, few(), pod)
        reference.delete(node, few(), pod, ifname="net1")
        assert node.leases(NAME) == {addresses_of(kept)[0]: (pod.container_id, "eth0")}

    def test_leases_of_others_are_not_reclaimed(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        """The reference's leases have no veth of ours beside them, and are alive for all we know."""
        pods = [add_pod(reference, node, few())[0] for _ in range(5)]
        assert plugin.call(node, "ADD", few(), node.pod()).error["code"] == NO_ADDRESS
        assert {holder for holder, _ in node.leases(NAME).values()} == {pod.container_id for pod in pods}


class TestInParallel:
    """Both take the same lock."""

    def test_filling_a_range(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        conf = small("10.22.0.0/27", cniVersion=VERSION)  # 29 addresses for pods
        turns = [(each, node.pod()) for _ in range(20) for each in (plugin, reference)]

        def add(turn: tuple[Plugin, Pod]) -> Reply:
            each, pod = turn
            return each.call(node, "ADD", conf, pod)

        with ThreadPoolExecutor(len(turns)) as pool:
            replies = list(pool.map(add, turns))
        given = [addresses_of(reply.json)[0] for reply in replies if reply.status == 0]
        assert sorted(given, key=lambda ip: int(ip.rpartition(".")[2])) == [f"10.22.0.{n}" for n in range(2, 31)]
        assert len([reply for reply in replies if reply.status]) == 11

        def delete(turn: tuple[Plugin, Pod]) -> None:
            each, pod = turn
            each.delete(node, conf, pod)

        with ThreadPoolExecutor(len(turns)) as pool:
            list(pool.map(delete, turns))
        assert_nothing_left(node)

    def test_coming_and_going(self, node: Node, plugin: Plugin, reference: Plugin) -> None:
        """Each takes away what the other gave while both give to others."""
        conf = small("10.22.0.0/27", cniVersion=VERSION)
        going = [(each, add_pod(each, node, conf)[0]) for _ in range(6) for each in (plugin, reference)]
        coming = [(each, node.pod()) for _ in range(6) for each in (plugin, reference)]
        other = {plugin.type: reference, reference.type: plugin}
        calls = [
            call
            for (who, pod), new in zip(going, coming, strict=True)
            for call in ((other[who.type], "DEL", pod), (new[0], "ADD", new[1]))
        ]

        def work(call: tuple[Plugin, str, Pod]) -> Reply:
            each, verb, pod = call
            return each.call(node, verb, conf, pod)

        with ThreadPoolExecutor(len(calls)) as pool:
            replies = list(pool.map(work, calls))
        assert [reply for reply in replies if reply.status] == []
        given = [ip for reply in replies[1::2] for ip in addresses_of(reply.json)]
        assert len(set(given)) == 12
        assert {ip: who for ip, (who, _) in node.leases(NAME).items()} == {
            ip: pod.container_id for ip, (_, pod) in zip(given, coming, strict=True)
        }


class TestBridge:
    """Pods that one plugin made and the other takes away, as when a node changes plugins."""

    @pytest.mark.parametrize("masquerade", [False, True])
    def test_reference_takes_our_pod_away(
        self, node: Node, plugin: Plugin, reference_bridge: Plugin, masquerade: bool
    ) -> None:
        """With ipMasq it then complains of the iptables chain that ours has not made, when all is gone already."""
        pod, _ = add_pod(plugin, node, CONF)
        other, result = add_pod(plugin, node, CONF)
        reply = reference_bridge.call(node, "DEL", {**CONF, "ipMasq": masquerade}, pod)
        assert reply.status == 0 or masquerade
        assert set(pod.links()) == {"lo"}
        assert len(veths(node)) == 1
        assert set(node.leases(NAME)) == set(addresses_of(result))
        assert plugin.check(node, CONF, other, result).result == {}

    def test_pods_of_both_reach_each_other(self, node: Node, plugin: Plugin, reference_bridge: Plugin) -> None:
        conf = {**CONF, "ipMasq": False}
        theirs, their_result = add_pod(reference_bridge, node, conf)
        ours, our_result = add_pod(plugin, node, conf)
        assert set(addresses_of(their_result)).isdisjoint(addresses_of(our_result))
        assert all(ours.ping(address) for address in addresses_of(their_result))
        assert all(theirs.ping(address) for address in addresses_of(our_result))

    def test_their_bridge_is_taken_over(self, node: Node, plugin: Plugin, reference_bridge: Plugin) -> None:
        """The gateway's MAC, which their pods remember, does not change when ours come and theirs go."""
        conf = {**CONF, "ipMasq": False}
        theirs, _ = add_pod(reference_bridge, node, conf)
        mac = node.link("cni0")["address"]
        ours = [add_pod(plugin, node, conf)[0] for _ in range(5)]
        assert node.link("cni0")["address"] == mac
        reference_bridge.delete(node, conf, theirs)
        for pod in ours:
            plugin.delete(node, conf, pod)
        assert node.link("cni0")["address"] == mac
        assert_nothing_left(node)
