"""What a runtime asks for in one attachment: a MAC and addresses, from three places."""

from __future__ import annotations

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import add_pod, addresses_of, assert_nothing_left, dual_stack, network

ARGS, CNI_ARGS, RUNTIME = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"


@pytest.mark.parametrize(
    ("args", "keys", "mac"),
    [
        (f"IgnoreUnknown=1;MAC={ARGS}", {}, ARGS),
        (f"MAC={ARGS}", {"args": {"cni": {"mac": CNI_ARGS}}}, CNI_ARGS),
        (f"MAC={ARGS}", {"args": {"cni": {"mac": CNI_ARGS}}, "runtimeConfig": {"mac": RUNTIME}}, RUNTIME),
        (None, {"runtimeConfig": {"mac": RUNTIME.upper().replace(":", "-")}}, RUNTIME),
    ],
    ids=["CNI_ARGS", "args.cni first", "runtimeConfig first", "written otherwise"],
)
def test_the_mac_is_the_one_asked_for(node: Node, plugin: Plugin, args: str | None, keys: Json, mac: str) -> None:
    conf = dual_stack(**keys)
    pod, result = add_pod(plugin, node, conf, args=args)
    assert pod.link("eth0")["address"] == result["interfaces"][2]["mac"] == mac
    assert plugin.check(node, conf, pod, result, args=args).result == {}


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("MAC=ten", 4, "CNI_ARGS.MAC: 'ten' is not a MAC address"),
        ("MAC=01:00:00:00:00:01", 4, "multicast"),
        ("IP=10.22.0", 4, "CNI_ARGS.IP[0]: '10.22.0' is not an IP address"),
        ("COLOUR=red", 4, "COLOUR"),
    ],
)
def test_what_cannot_be_is_refused(node: Node, plugin: Plugin, args: str, code: int, message: str) -> None:
    before = node.snapshot()
    error = plugin.call(node, "ADD", dual_stack(), node.pod("pod"), args=args).error
    node.run("ip", "netns", "delete", "pod")
    assert (error["code"], message in error["msg"]) == (code, True), error
    assert node.snapshot() == before


def test_other_keys_pass_with_ignore_unknown(node: Node, plugin: Plugin) -> None:
    add_pod(plugin, node, dual_stack(), args="IgnoreUnknown=true;COLOUR=red")


@pytest.mark.parametrize(
    ("args", "keys"),
    [
        ("IP=10.22.0.77,fd00:22::77", {}),
        ("IP=10.22.0.66", {"args": {"cni": {"ips": ["fd00:22::77", "10.22.0.77"]}}}),
        ("IP=x", {"args": {"cni": {"ips": ["x"]}}, "runtimeConfig": {"ips": ["fd00:22::77/64", "10.22.0.77"]}}),
        (None, {"runtimeConfig": {"ips": ["fd00:22::77", "10.22.0.77/24"]}}),
    ],
    ids=["CNI_ARGS", "CNI_ARGS and args.cni", "args.cni and runtimeConfig", "runtimeConfig"],
)
def test_the_addresses_are_those_asked_for(node: Node, plugin: Plugin, args: str | None, keys: Json) -> None:
    pod, result = add_pod(plugin, node, dual_stack(**keys), args=args)
    assert addresses_of(result) == ["10.22.0.77", "fd00:22::77"]
    assert sorted(pod.addresses()) == ["10.22.0.77/24", "fd00:22::77/64"]
    assert sorted(node.leases("podnet")) == ["10.22.0.77", "fd00:22::77"]


def test_where_nothing_is_asked_the_next_one_is_given(node: Node, plugin: Plugin) -> None:
    _, result = add_pod(plugin, node, dual_stack(), args="IP=fd00:22::77")
    assert addresses_of(result) == ["10.22.0.2", "fd00:22::77"]


def test_an_address_that_is_taken_is_named_with_its_holder(node: Node, plugin: Plugin) -> None:
    holder, _ = add_pod(plugin, node, dual_stack(), args="IP=10.22.0.77")
    error = plugin.call(node, "ADD", dual_stack(), node.pod(), args="IP=10.22.0.77").error
    assert error["code"] == 102
    assert (
        f"not available in range set 10.22.0.1-10.22.0.254: it is taken by "
        f"container {holder.container_id}, interface eth0" in error["msg"]
    )
    assert len(node.leases("podnet")) == 2


@pytest.mark.parametrize("address", ["10.99.0.1", "10.22.0.1", "10.22.0.255", "fd99::1"])
def test_an_address_that_no_range_gives_is_named(node: Node, plugin: Plugin, address: str) -> None:
    error = plugin.call(node, "ADD", dual_stack(), node.pod(), args=f"IP={address}").error
    assert error["code"] == 102
    assert f"failed to allocate all requested IPs: {address}" in error["msg"]
    assert_nothing_left(node)


def test_the_runtimes_ranges_come_first(node: Node, plugin: Plugin) -> None:
    conf = network(4, runtimeConfig={"ipRanges": [[{"subnet": "10.30.0.0/24", "rangeStart": "10.30.0.50"}]]})
    _, result = add_pod(plugin, node, conf)
    assert addresses_of(result) == ["10.30.0.50", "10.22.0.2"]
