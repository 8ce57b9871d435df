"""What the agent decides: pure functions, asked for all clusters and all hosts that hypothesis thinks of."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from netaddr import IPAddress, IPNetwork

from cni_bridge_py import cli
from cni_bridge_py.addresses import parse_address
from cni_bridge_py.agent.kubernetes import NodeObject, decode, node
from cni_bridge_py.agent.model import (
    BRIDGE,
    MAIN_TABLE,
    PRIORITY,
    PROTOCOL,
    AddRoute,
    Change,
    DeleteRoute,
    Found,
    FoundRoute,
    Link,
    Node,
    RemoveGateway,
    Route,
    WriteConfiguration,
)
from cni_bridge_py.agent.reconcile import changes, gateway, subnets, wanted

ME = "node-0"
LINKS = {4: IPNetwork("172.18.0.0/16"), 6: IPNetwork("fc00:f853:ccd:e793::/64")}
ELSEWHERE = {4: IPAddress("10.99.0.5"), 6: IPAddress("2001:db8::5")}

numbers = st.integers(0, 20)


def pod_cidr(version: int, number: int) -> IPNetwork:
    return IPNetwork(f"10.244.{number}.0/24" if version == 4 else f"fd00:10:244:{number}::/64")


def address(version: int, number: int) -> IPAddress:
    return IPAddress(LINKS[version][number + 2])


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, Node]:
    """Nodes; this one is mostly among them, with podCIDRs, and all are mostly on the same link."""
    found = {}
    for number in draw(st.sets(st.integers(0, 8))) | draw(st.sampled_from([set(), {0}, {0}, {0}])):
        versions = draw(st.sampled_from([(), (4,), (4, 6), (6,)]))
        cidrs = [pod_cidr(version, draw(st.sampled_from([number, number, number, 3]))) for version in versions]
        ways = [
            draw(st.sampled_from([address(version, number)] * 3 + [ELSEWHERE[version]]))
            for version in draw(st.sampled_from([versions, versions, (4,)]))
        ]
        name = f"node-{number}"
        found[name] = Node(name, tuple(cidrs), tuple(ways))
    return found


@st.composite
def routes(draw: st.DrawFn) -> FoundRoute:
    version = draw(st.sampled_from([4, 6]))
    dst = pod_cidr(version, draw(numbers))
    via = draw(st.sampled_from([None, address(version, draw(numbers))]))
    protocol = draw(st.sampled_from([PROTOCOL, PROTOCOL, 3]))
    table = draw(st.sampled_from([MAIN_TABLE, MAIN_TABLE, 100])) if protocol == PROTOCOL else MAIN_TABLE
    return FoundRoute(dst, via, "eth0" if via else BRIDGE, protocol, table, PRIORITY[version])


UPLINK = tuple(FoundRoute(net, None, "eth0", 2, MAIN_TABLE, 0 if net.version == 4 else 256) for net in LINKS.values())


@st.composite
def hosts(draw: st.DrawFn) -> Found:
    """A host with an uplink, whatever routes, and a bridge with gateways of whatever podCIDRs it had."""
    found = draw(st.lists(routes(), max_size=8, unique_by=lambda each: (each.dst, each.table, each.priority)))
    gateways = draw(st.sets(numbers, max_size=3))
    bridge = Link(BRIDGE, 1500, tuple(gateway(pod_cidr(version, each)) for each in gateways for version in (4, 6)))
    uplink = Link("eth0", 1450, (parse_address("172.18.0.2/16"), parse_address("fc00:f853:ccd:e793::2/64")))
    pods = tuple(IPAddress(pod_cidr(4, each).first + 5, 4) for each in draw(st.sets(numbers, max_size=3)))
    plugins = draw(st.sampled_from([frozenset({"portmap"}), frozenset[str]()]))
    return Found((uplink, bridge), (*UPLINK, *found), plugins, None, draw(st.sampled_from(["", "05-x.conf"])), pods)


def after(found: Found, todo: list[Change]) -> Found:
    """The host after the changes, as the kernel and the disk would have it."""
    for change in todo:
        match change:
            case AddRoute(route):
                new = FoundRoute(route.dst, route.via, "eth0", PROTOCOL, MAIN_TABLE, PRIORITY[route.dst.version])
                taken = {(each.dst, each.table, each.priority) for each in found.routes}
                assert (new.dst, new.table, new.priority) not in taken, "the kernel would say EEXIST"
                found = replace(found, routes=(*found.routes, new))
            case DeleteRoute(route):
                assert route in found.routes
                found = replace(found, routes=tuple(each for each in found.routes if each != route))
            case RemoveGateway(address):
                links = [
                    replace(link, addresses=tuple(each for each in link.addresses if each != address))
                    for link in found.links
                ]
                found = replace(found, links=tuple(links))
            case WriteConfiguration(content):
                found = replace(found, configuration=content)
    return found


def settle(nodes: dict[str, Node], found: Found) -> tuple[Found, list[Change]]:
    """The host when there is nothing left to do, and all that was done."""
    done: list[Change] = []
    for _ in range(5):
        todo = changes(wanted(ME, nodes, found), found)
        if not todo:
            return found, done
        found, done = after(found, todo), done + todo
    raise AssertionError(f"there is always something to do: {todo}")


def ours(found: Found) -> list[FoundRoute]:
    return [each for each in found.routes if each.protocol == PROTOCOL]


@given(clusters(), hosts())
def test_it_comes_to_an_end_with_what_is_wanted(nodes: dict[str, Node], found: Found) -> None:
    settled, _ = settle(nodes, found)
    aim = wanted(ME, nodes, settled)
    there = {Route(each.dst, each.via) for each in ours(settled) if each.table == MAIN_TABLE and each.via}
    assert set(aim.routes) <= there
    if ME in nodes:
        assert len(ours(settled)) == len(aim.routes), "the rest of our protocol goes"
        assert settled.configuration == (aim.configuration if nodes[ME].pod_cidrs else None)


@given(clusters(), hosts())
def test_what_is_somebody_elses_stays(nodes: dict[str, Node], found: Found) -> None:
    settled, done = settle(nodes, found)
    others = [each for each in found.routes if each.protocol != PROTOCOL]
    assert [each for each in settled.routes if each.protocol != PROTOCOL] == others
    # Without a configuration that says so, no address of the bridge is a former gateway of ours.
    assert not any(isinstance(each, RemoveGateway) for each in done)


@given(clusters(), hosts())
def test_no_route_leads_into_the_void_or_into_this_nodes_own_pods(nodes: dict[str, Node], found: Found) -> None:
    own = nodes[ME].pod_cidrs if ME in nodes else ()
    for route, name in wanted(ME, nodes, found).routes.items():
        assert name != ME
        assert route.dst in nodes[name].pod_cidrs
        assert route.via in nodes[name].addresses
        assert route.via in LINKS[route.dst.version]
        assert not any(route.dst in each or each in route.dst for each in own)


@given(clusters(), hosts())
def test_every_pod_cidr_has_a_way_or_a_problem_says_why_not(nodes: dict[str, Node], found: Found) -> None:
    aim = wanted(ME, nodes, found)
    routed = {route.dst for route in aim.routes}
    told = {problem.about for problem in aim.problems}
    there = {(each.dst, each.via) for each in found.routes if each.protocol != PROTOCOL}
    for name, other in nodes.items():
        for cidr in other.pod_cidrs if name != ME else ():
            already = any((cidr, each) in there for each in other.addresses)
            assert cidr in routed or name in told or already


@given(clusters(), hosts())
def test_a_list_without_this_node_takes_nothing_away(nodes: dict[str, Node], found: Found) -> None:
    others = {name: each for name, each in nodes.items() if name != ME}
    aim = wanted(ME, others, found)
    ways = {route.dst for route in aim.routes}
    for change in changes(aim, found):
        assert isinstance(change, AddRoute) or (isinstance(change, DeleteRoute) and change.route.dst in ways)


@given(clusters(), hosts())
def test_the_configuration_is_written_last(nodes: dict[str, Node], found: Found) -> None:
    todo = changes(wanted(ME, nodes, found), found)
    assert not any(isinstance(each, WriteConfiguration) for each in todo[:-1])


@settings(max_examples=200)
@given(clusters(), hosts(), st.sets(numbers, max_size=4), st.integers(0, 12))
def test_killed_between_two_changes_it_ends_the_same(
    nodes: dict[str, Node], found: Found, before: set[int], done: int
) -> None:
    """Also where this node's podCIDR just changed, and what it was before is known by the configuration alone."""
    former = {**nodes, ME: Node(ME, tuple(pod_cidr(4, each) for each in sorted(before)), (address(4, 0),))}
    if before:
        found, _ = settle(former, found)
    straight, _ = settle(nodes, found)
    killed = after(found, changes(wanted(ME, nodes, found), found)[:done])
    resumed, _ = settle(nodes, killed)
    assert resumed.configuration == straight.configuration
    assert set(resumed.routes) == set(straight.routes)
    assert resumed.links == straight.links


@given(hosts(), numbers, numbers)
def test_a_former_gateway_goes_when_no_pod_needs_it(found: Found, before: int, now: int) -> None:
    def me(number: int) -> dict[str, Node]:
        return {ME: Node(ME, (pod_cidr(4, number),), (address(4, 0),))}

    found, _ = settle(me(before), found)
    old = gateway(pod_cidr(4, before))
    (bridge,) = (link for link in found.links if link.name == BRIDGE)
    settled, done = settle(me(now), found)
    in_use = any(pod in pod_cidr(4, before) for pod in found.pods)
    goes = before != now and old in bridge.addresses and not in_use
    assert [each.address for each in done if isinstance(each, RemoveGateway)] == ([old] if goes else [])
    told = {problem.reason for problem in wanted(ME, me(now), settled).problems}
    assert ("PodsOfFormerPodCIDR" in told) == (before != now and in_use)
    remembered = set(subnets(settled.configuration)) - {pod_cidr(4, now)}
    assert remembered == ({pod_cidr(4, before)} if before != now and in_use else set())


def test_a_node_of_an_old_api_server_has_one_pod_cidr() -> None:
    item = decode('{"metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.2.3/24"}}', NodeObject)
    assert node(item) == Node("n", (IPNetwork("10.1.2.0/24"),))


def test_what_is_no_address_is_left_out() -> None:
    item = decode(
        '{"metadata": {"name": "n"}, "spec": {"podCIDRs": ["nonsense", "10.1.0.0/24"]}, "status": {"addresses": ['
        '{"type": "InternalIP", "address": "nonsense"}, {"type": "ExternalIP", "address": "192.0.2.1"}]}}',
        NodeObject,
    )
    assert node(item) == Node("n", (IPNetwork("10.1.0.0/24"),))


def test_conditions() -> None:
    def unavailable(status: str) -> bool:
        conditions = f'[{{"type": "NetworkUnavailable", "status": "{status}"}}]'
        return node(
            decode(f'{{"metadata": {{"name": "n"}}, "status": {{"conditions": {conditions}}}}}', NodeObject)
        ).network_unavailable

    assert [unavailable(status) for status in ("True", "False", "Unknown")] == [True, False, True]


def test_another_programs_configuration_is_none_of_ours() -> None:
    nothing: list[Mapping[str, Any] | None] = [None, {}, {"plugins": []}, {"plugins": [3]}]
    for other in (*nothing, {"plugins": [{"ipam": {"ranges": [[{"subnet": "x"}]]}}]}):
        assert subnets(other) == []


def test_where_its_libraries_are_missing_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("lightkube", "cni_bridge_py.agent"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightkube", None)
    monkeypatch.setattr(sys, "argv", ["cni-bridge-py", "agent", "--node-name=worker"])
    assert cli.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("cni-bridge-py agent: ")
    assert said.count("\n") == 1
