"""CONVENTIONS.md: capabilities, args and CNI_ARGS."""

from __future__ import annotations

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import add_pod, addresses_of, network

MAC = "02:aa:bb:cc:dd:02"


def ips(*addresses: str) -> Json:
    return {"ips": list(addresses)}


def test_ranges_of_the_runtime(node: Node, plugin: Plugin) -> None:
    ranges = [
        [{"subnet": "10.33.0.0/24", "rangeStart": "10.33.0.9", "rangeEnd": "10.33.0.99", "gateway": "10.33.0.254"}]
    ]
    _, result = add_pod(plugin, node, network(4, runtimeConfig={"ipRanges": ranges}))
    assert result["ips"][0] == {"interface": 2, "address": "10.33.0.9/24", "gateway": "10.33.0.254"}


@pytest.mark.parametrize("address", ["10.22.0.77", "10.22.0.77/24"])
def test_addresses_of_the_runtime(node: Node, plugin: Plugin, address: str) -> None:
    _, result = add_pod(plugin, node, network(4, runtimeConfig=ips(address)))
    assert addresses_of(result) == ["10.22.0.77"]


@pytest.mark.parametrize("mac", [MAC, MAC.upper(), "02-aa-bb-cc-dd-02", "02aa.bbcc.dd02"])
def test_a_mac_of_the_runtime(node: Node, plugin: Plugin, mac: str) -> None:
    pod, result = add_pod(plugin, node, network(4, runtimeConfig={"mac": mac}))
    assert pod.link("eth0")["address"] == result["interfaces"][2]["mac"] == MAC
    assert plugin.check(node, network(4), pod, result).result == {}


def test_addresses_of_args(node: Node, plugin: Plugin) -> None:
    _, result = add_pod(plugin, node, network(4, args={"cni": ips("10.22.0.66/24")}))
    assert addresses_of(result) == ["10.22.0.66"]


def test_an_address_of_cni_args(node: Node, plugin: Plugin) -> None:
    _, result = add_pod(plugin, node, network(4), args="IP=10.22.0.55/24")
    assert addresses_of(result) == ["10.22.0.55"]


@pytest.mark.parametrize(
    ("keys", "address"),
    [
        ({"args": {"cni": ips("10.22.0.66")}}, "10.22.0.66"),
        ({"runtimeConfig": ips("10.22.0.77")}, "10.22.0.77"),
        ({"args": {"cni": ips("10.22.0.66")}, "runtimeConfig": ips("10.22.0.77")}, "10.22.0.77"),
    ],
)
def test_the_newer_way_to_ask_counts_and_the_older_is_ignored(
    node: Node, plugin: Plugin, keys: Json, address: str
) -> None:
    _, result = add_pod(plugin, node, network(4, **keys), args="IP=10.22.0.55")
    assert addresses_of(result) == [address]
    assert list(node.leases("podnet")) == [address]
    _, result = add_pod(plugin, node, network(4, **keys, name="other"), args="IP=nonsense")
    assert addresses_of(result) == [address]


def test_args_that_are_not_known_are_ignored(node: Node, plugin: Plugin) -> None:
    labels = [{"key": "app", "value": "myapp"}]
    add_pod(plugin, node, network(4, args={"cni": {"labels": labels}, "other": 5}, runtimeConfig={"portMappings": []}))


@pytest.mark.parametrize(
    "keys",
    [
        {"runtimeConfig": ips("10.22.0")},
        {"runtimeConfig": {"ipRanges": [[{"subnet": "x"}]]}},
        {"runtimeConfig": {"mac": "00:00:00:00:00:00"}},
        {"args": {"cni": {"mac": "x"}}},
    ],
    ids=str,
)
def test_what_is_asked_for_and_malformed_is_an_error(node: Node, plugin: Plugin, keys: Json) -> None:
    error = plugin.call(node, "ADD", network(4, **keys), node.pod()).error
    assert (error["code"], error["msg"].split(".")[0] in keys) == (7, True)


def test_an_address_that_cannot_be_given_is_an_error(node: Node, plugin: Plugin) -> None:
    error = plugin.call(node, "ADD", network(4, runtimeConfig=ips("10.99.0.1")), node.pod()).error
    assert (error["code"], "failed to allocate all requested IPs: 10.99.0.1" in error["msg"]) == (102, True)
