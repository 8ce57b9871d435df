"""SPEC.md, section 5: results and errors."""

from __future__ import annotations

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import add_pod, dual_stack, network

ROUTE = {
    "dst": "198.51.100.0/24",
    "gw": "10.22.0.9",
    "mtu": 1400,
    "advmss": 1300,
    "priority": 50,
    "table": 100,
    "scope": 0,
}


def test_a_result_lists_what_was_made(node: Node, plugin: Plugin) -> None:
    conf = dual_stack(ipam={"routes": [ROUTE]}, mtu=1400, dns={"nameservers": ["10.22.0.1"]})
    pod, result = add_pod(plugin, node, conf)
    assert result["cniVersion"] == "1.1.0"
    on_host, in_pod = node.links(), pod.links()
    for interface in result["interfaces"]:
        link = (in_pod if "sandbox" in interface else on_host)[interface["name"]]
        assert (interface["mac"], interface["mtu"]) == (link["address"], link["mtu"])
    assert [each.get("sandbox") for each in result["interfaces"]] == [None, None, pod.path]
    assert [ip["interface"] for ip in result["ips"]] == [2, 2]
    assert sorted(ip["address"] for ip in result["ips"]) == sorted(pod.addresses())
    assert [ip["gateway"] for ip in result["ips"]] == ["10.22.0.1", "fd00:22::1"]
    assert result["routes"][0] == ROUTE
    assert result["dns"] == {"nameservers": ["10.22.0.1"]}


@pytest.mark.parametrize(
    ("route", "line"),
    [
        ({"dst": "198.51.100.0/24", "gw": "0.0.0.0"}, "198.51.100.0/24 dev eth0"),
        ({"dst": "198.51.100.0/24", "scope": 253}, "198.51.100.0/24 dev eth0 scope link"),
        ({"dst": "2001:db8:9::/64", "gw": "::"}, "2001:db8:9::/64 dev eth0 metric 1024 pref medium"),
    ],
)
def test_a_route_on_link_has_no_gateway(node: Node, plugin: Plugin, route: Json, line: str) -> None:
    conf = dual_stack(ipam={"routes": [route]})
    pod, result = add_pod(plugin, node, conf)
    shown = pod.run("ip", "-6" if ":" in route["dst"] else "-4", "route", "show", route["dst"]).stdout
    assert " ".join(shown.split()) == line
    assert route in result["routes"]
    assert plugin.check(node, conf, pod, result).result == {}
    pod.run("ip", "route", "replace", route["dst"], "via", "fd00:22::1" if ":" in route["dst"] else "10.22.0.1")
    pod.run("ip", "route", "del", route["dst"], "scope", "link", check=False)
    assert f"{route['dst']} on its link" in plugin.check(node, conf, pod, result).error["msg"]


@pytest.mark.parametrize("on_link", [{"gw": "0.0.0.0"}, {"scope": 253}], ids=str)
def test_a_gateway_outside_the_subnet_is_reached_over_a_route_on_link(
    node: Node, plugin: Plugin, on_link: Json
) -> None:
    routes = [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "169.254.1.1/32", **on_link}]
    conf = network(4, ipam={"routes": routes})
    pod, result = add_pod(plugin, node, conf)
    node.run(*["ip", "address", "add", "169.254.1.1/32", "dev", "cni0"])
    node.run("ip", "route", "add", "10.22.0.0/24", "dev", "cni0")
    assert [route["gateway"] for route in pod.routes() if route["dst"] == "default"] == ["169.254.1.1"]
    assert pod.ping("169.254.1.1")
    assert result["routes"] == routes
    assert plugin.check(node, conf, pod, result).result == {}


def test_an_error_says_what_and_in_which_version(node: Node, plugin: Plugin) -> None:
    error = plugin.call(node, "ADD", network(4, cniVersion="0.4.0", bridge="a/b"), node.pod()).error
    assert set(error) <= {"cniVersion", "code", "msg", "details"}
    assert (error["cniVersion"], error["code"]) == ("0.4.0", 7)


@pytest.mark.parametrize(
    ("conf", "env", "code", "named"),
    [
        (network(4, cniVersion="9.9.9"), {}, 1, "incompatible CNI versions"),
        (network(4), {"CNI_IFNAME": None, "CNI_NETNS": None}, 4, "[CNI_NETNS,CNI_IFNAME]"),
        ("{", {}, 6, "standard input"),
        ({"cniVersion": "1.1.0", "name": "net", "plugins": [network(4)], "type": ""}, {}, 7, "configuration list"),
        (network(4, ipam={"subnet": "usePodCidr"}), {}, 7, "'usePodCidr' is not a network in CIDR notation"),
    ],
    ids=["1", "4", "6", "7, a list", "7"],
)
def test_codes_are_the_specifications(
    node: Node, plugin: Plugin, conf: Json | str, env: dict[str, str | None], code: int, named: str
) -> None:
    error = plugin.call(node, "ADD", conf, node.pod(), env=env).error
    assert (error["code"], named in error["msg"]) == (code, True), error


def test_our_own_codes_are_beyond_99(node: Node, plugin: Plugin) -> None:
    pod, _ = add_pod(plugin, node, network(4))
    assert plugin.call(node, "ADD", network(4), pod).error["code"] == 103
