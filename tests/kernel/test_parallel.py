"""Many calls at once: kubelet starts pods in parallel."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from tests.harness import Json, Node, Plugin, Pod, Reply
from tests.kernel.networks import (
    BRIDGE,
    GATEWAY,
    NAME,
    addresses_of,
    assert_nothing_left,
    dual_stack,
    masqueraded,
    network,
    small,
    store_files,
    veths,
)
from tests.kernel.pausing import paused

NO_ADDRESS = 102
BRIDGE_IN_USE = 104

T = TypeVar("T")
R = TypeVar("R")


def at_once(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Do the work for all the items, all at the same time."""
    todo = list(items)
    with ThreadPoolExecutor(len(todo)) as pool:
        return list(pool.map(work, todo))


def test_fifty_at_once(node: Node, plugin: Plugin) -> None:
    """On a fresh node: bridge, gateway, forwarding and masquerade are raced for."""
    conf = dual_stack()
    pods = [node.pod() for _ in range(50)]
    results = at_once(lambda pod: plugin.add(node, conf, pod), pods)
    assert sorted({ip.rpartition(".")[2] for r in results for ip in addresses_of(r) if "." in ip}, key=int) == [
        str(last) for last in range(2, 52)
    ]
    assert len({ip for result in results for ip in addresses_of(result)}) == 100
    assert len({result["interfaces"][0]["mac"] for result in results}) == 1
    assert sorted(node.addresses(BRIDGE)) == sorted(GATEWAY.values())
    assert sorted(masqueraded(node)) == sorted(ip for result in results for ip in addresses_of(result))
    ports = [name for name, link in node.links().items() if link.get("master") == BRIDGE]
    assert len(ports) == 50
    replies = at_once(lambda each: plugin.check(node, conf, *each), zip(pods, results, strict=True))
    assert [reply for reply in replies if reply.status] == []
    assert pods[0].ping(addresses_of(results[-1])[0])

    at_once(lambda pod: plugin.delete(node, conf, pod), pods)
    assert_nothing_left(node)


def test_adds_and_deletes_mixed(node: Node, plugin: Plugin) -> None:
    """Twenty pods come while twenty go, through a range that is full when both are here."""
    conf = dual_stack(
        ipam={"ranges": [[{"subnet": "10.22.0.0/24", "rangeEnd": "10.22.0.41"}], [{"subnet": "fd00:22::/64"}]]}
    )
    going, coming = ([node.pod() for _ in range(20)] for _ in range(2))
    at_once(lambda pod: plugin.add(node, conf, pod), going)

    def work(turn: tuple[str, Pod]) -> Reply:
        verb, pod = turn
        return plugin.call(node, verb, conf, pod)

    turns = [turn for pair in zip(going, coming, strict=True) for turn in zip(("DEL", "ADD"), pair, strict=True)]
    replies = at_once(work, turns)
    assert [reply for reply in replies if reply.status] == []
    results = [reply.json for reply in replies[1::2]]
    assert len({ip for result in results for ip in addresses_of(result)}) == 40
    assert {holder for holder, _ in node.leases(NAME).values()} == {pod.container_id for pod in coming}
    assert len(veths(node)) == 20
    for pod, result in zip(coming, results, strict=True):
        assert plugin.check(node, conf, pod, result).result == {}


def test_range_filled(node: Node, plugin: Plugin) -> None:
    """A /28 has 13 addresses for pods: 13 of 30 get one, the others are told and leave nothing."""
    conf = small("10.22.0.0/28", ipMasq=True)
    pods = [node.pod() for _ in range(30)]
    replies = at_once(lambda pod: plugin.call(node, "ADD", conf, pod), pods)
    served = [addresses_of(reply.json)[0] for reply in replies if reply.status == 0]
    assert sorted(served, key=lambda ip: int(ip.rpartition(".")[2])) == [f"10.22.0.{last}" for last in range(2, 15)]
    assert {reply.error["code"] for reply in replies if reply.status} == {NO_ADDRESS}
    assert len(veths(node)) == 13
    assert len(store_files(node)) == 3 * 13  # a lease, its index entry, and the directory of that
    for pod, reply in zip(pods, replies, strict=True):
        assert set(pod.links()) == ({"lo"} if reply.status else {"lo", "eth0"})


def test_same_attachment_at_once(node: Node, plugin: Plugin) -> None:
    """Eight ADDs for one container: one is the first, the others find that out."""
    conf, pod = dual_stack(), node.pod()
    replies = at_once(lambda _: plugin.call(node, "ADD", conf, pod), range(8))
    (winner,) = [reply for reply in replies if reply.status == 0]
    assert {reply.error["code"] for reply in replies if reply.status} == {103}
    assert plugin.check(node, conf, pod, winner.json).result == {}
    assert sorted(node.leases(NAME)) == sorted(addresses_of(winner.json))


def test_same_attachment_deleted_at_once(node: Node, plugin: Plugin) -> None:
    conf, pod = dual_stack(), node.pod()
    plugin.add(node, conf, pod)
    at_once(lambda _: plugin.delete(node, conf, pod), range(8))
    assert_nothing_left(node)


def test_delete_while_an_add_is_under_way(node: Node, plugin: Plugin) -> None:
    """A runtime that was restarted may not know of its ADD: no pod may stay attached without holding its address."""
    conf, pod = small(), node.pod()
    # The first message asks whether the host's end is there, the second is sent when the address is claimed.
    delay = "inject=sendto:delay_enter=2000000:when=2"
    strace = ("strace", "--follow-forks", "-qqq", "-o", "/dev/null", "-e", "trace=sendto", "-e", delay)
    slow = plugin.under(*strace)
    with ThreadPoolExecutor() as pool:
        adding = pool.submit(slow.call, node, "ADD", conf, pod)
        while not node.leases(NAME):
            assert not adding.done()
        plugin.delete(node, conf, pod)
    assert bool(veths(node)) == bool(node.leases(NAME)), adding.result()


def test_networks_at_once(node: Node, plugin: Plugin) -> None:
    """Networks have a lock each, so that what they share is raced for in earnest: bridge, table, forwarding."""

    def conf(number: int) -> Json:
        subnet = "10.22.0.0/16"
        ranges = [[{"subnet": subnet, "rangeStart": f"10.22.{number}.2", "rangeEnd": f"10.22.{number}.99"}]]
        return network(name=f"net{number}", isDefaultGateway=True, ipMasq=True, ipam={"ranges": ranges})

    confs = [conf(number) for number in range(1, 9)] * 3
    pods = [node.pod() for _ in confs]
    results = at_once(lambda each: plugin.add(node, *each), zip(confs, pods, strict=True))
    assert len({result["interfaces"][0]["mac"] for result in results}) == 1
    assert node.addresses(BRIDGE) == ["10.22.0.1/16"]
    replies = at_once(lambda each: plugin.check(node, *each), zip(confs, pods, results, strict=True))
    assert [reply for reply in replies if reply.status] == []
    assert len({ip for result in results for ip in addresses_of(result)}) == 24
    assert sorted(masqueraded(node)) == sorted(ip for result in results for ip in addresses_of(result))


def test_overtaken_at_any_point(make_node: type[Node], plugin: Plugin) -> None:
    """Whatever an ADD is about to make or has just made, another network's makes its own of it in between."""

    def conf(name: str, last: int) -> Json:
        subnets = {4: "10.22.0.0/24", 6: "fd00:22::/64"}
        prefix = {4: "10.22.0.", 6: "fd00:22::"}
        ranges = [
            [{"subnet": subnets[v], "rangeStart": f"{prefix[v]}{last}", "rangeEnd": f"{prefix[v]}{last}"}]
            for v in (4, 6)
        ]
        return dual_stack(name=name, ipam={"ranges": ranges})

    one, two = conf("one", 10), conf("two", 20)
    for node, pod in overtaken(make_node, plugin, one, two):
        assert set(masqueraded(node)) == {"10.22.0.10", "fd00:22::10", "10.22.0.20", "fd00:22::20"}
        assert pod.ping("10.22.0.20")


def test_layer_two_overtaken_at_any_point(make_node: type[Node], plugin: Plugin) -> None:
    """Without gateway, nothing tells the bridge's MAC; whoever makes it does, and it stays."""
    one, two = ({"cniVersion": "1.1.0", "name": name, "bridge": BRIDGE} for name in ("one", "two"))
    for _ in overtaken(make_node, plugin, one, two):
        pass


def overtaken(make_node: type[Node], plugin: Plugin, one: Json, two: Json) -> Iterator[tuple[Node, Pod]]:
    """An ADD to network `one` that stops at each of its messages to the kernel, while one to `two` is made.

    Both are well afterwards. Yields the node, and the pod that had to wait.
    """
    for occurrence in itertools.count(1):
        with make_node() as node:
            first, second = node.pod(), node.pod()
            with paused(plugin, node, one, first, occurrence) as adding:
                done = adding.done()
                second_result = plugin.add(node, two, second)
            result = adding.result().result
            for each in ((one, first, result), (two, second, second_result)):
                assert plugin.check(node, *each).result == {}
            assert result["interfaces"][0] == second_result["interfaces"][0]
            yield node, first
        if done:
            assert occurrence > 10, "an ADD has more to say to the kernel than that"
            return


def own_gateway(number: int, **keys: object) -> Json:
    """One of several networks of one bridge that all want it for their own gateway."""
    ranges = [[{"subnet": f"10.{number}.0.0/24"}]]
    return network(name=f"net{number}", isGateway=True, ipam={"ranges": ranges}, **keys)


def test_two_gateways_for_one_bridge_at_any_point(make_node: type[Node], plugin: Plugin) -> None:
    """Wherever an ADD has come to when the other's begins, the bridge has one gateway, and one of them is refused."""
    one, two = own_gateway(1), own_gateway(2)
    for occurrence in itertools.count(1):
        with make_node() as node:
            first, second = node.pod(), node.pod()
            with paused(plugin, node, one, first, occurrence) as adding:
                done = adding.done()
                replies = [plugin.call(node, "ADD", two, second)]
            replies.append(adding.result())
            (served,) = [reply.json for reply in replies if reply.status == 0]
            (refused,) = [reply.error for reply in replies if reply.status]
            assert refused["code"] == BRIDGE_IN_USE
            assert node.addresses(BRIDGE) == [f"{served['ips'][0]['gateway']}/24"]
            assert len(veths(node)) == 1
        if done:
            assert occurrence > 10, "an ADD has more to say to the kernel than that"
            return


@pytest.mark.parametrize("force", [False, True])
def test_gateways_for_one_bridge_at_once(node: Node, plugin: Plugin, force: bool) -> None:
    confs = [own_gateway(number, forceAddress=force) for number in range(1, 13)]
    pods = [node.pod() for _ in confs]
    replies = at_once(lambda each: plugin.call(node, "ADD", *each), zip(confs, pods, strict=True))
    served = [f"{reply.json['ips'][0]['gateway']}/24" for reply in replies if reply.status == 0]
    assert len(served) == (12 if force else 1)
    (address,) = node.addresses(BRIDGE)
    assert address in served
    assert {reply.error["code"] for reply in replies if reply.status} <= {BRIDGE_IN_USE}


def test_layer_two_networks_at_once(node: Node, plugin: Plugin) -> None:
    """Without gateway, nothing tells the bridge's MAC; it must be the same for all nevertheless."""
    confs = [{"cniVersion": "1.1.0", "name": f"net{number}", "bridge": BRIDGE} for number in range(12)]
    pods = [node.pod() for _ in confs]
    results = at_once(lambda each: plugin.add(node, *each), zip(confs, pods, strict=True))
    mac = node.link(BRIDGE)["address"]
    replies = at_once(lambda each: plugin.check(node, *each), zip(confs, pods, results, strict=True))
    assert [reply.json for reply in replies if reply.status] == []
    assert {result["interfaces"][0]["mac"] for result in results} == {mac}
