"""Options that change one thing each."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import BRIDGE, add_pod, dual_stack, host_veth, masqueraded, network, veths

RESOLV_CONF = """\
# a comment
nameserver 10.96.0.10
nameserver fd00:96::a
domain cluster.local
search a.example b.example
options ndots:5 rotate
"""
FROM_FILE = {
    "nameservers": ["10.96.0.10", "fd00:96::a"],
    "domain": "cluster.local",
    "search": ["a.example", "b.example"],
    "options": ["ndots:5", "rotate"],
}


def test_disable_container_interface(node: Node, plugin: Plugin) -> None:
    conf = network(disableContainerInterface=True) | {"ipam": {}}
    pod, result = add_pod(plugin, node, conf)
    assert "UP" not in pod.link("eth0")["flags"]
    assert plugin.check(node, conf, pod, result).result == {}
    # When somebody sets it up, the bridge gets a carrier, and with it a link-local address, as any other bridge has.
    pod.run("ip", "link", "set", "eth0", "up")
    while not node.ip_json("-6", "address", "show", "dev", BRIDGE):
        time.sleep(0.1)
    error = plugin.call(node, "ADD", network(4, disableContainerInterface=True), node.pod()).error
    assert (error["code"], error["msg"]) == (
        7,
        "disableContainerInterface: cannot use IPAM when DisableContainerInterface flag is set",
    )


@pytest.mark.parametrize("ipam", [{}, None, {"type": ""}], ids=str)
def test_layer_2_alone(node: Node, plugin: Plugin, ipam: Json | None) -> None:
    conf = network(isGateway=True, ipMasq=True) | {"ipam": ipam}
    (one, result), (two, _) = (add_pod(plugin, node, conf) for _ in range(2))
    assert result.get("ips") is None
    assert one.addresses() == []
    for pod, address in ((one, "10.1.1.1/24"), (two, "10.1.1.2/24")):
        pod.run("ip", "address", "add", address, "dev", "eth0")
    assert one.ping("10.1.1.2")
    assert plugin.check(node, conf, one, result).result == {}
    plugin.delete(node, conf, one)
    plugin.delete(node, conf, two)
    assert veths(node) == []


def test_dns_of_the_configuration_goes_over_ipams(node: Node, plugin: Plugin) -> None:
    node.write("/etc/resolv.pods", RESOLV_CONF)
    with_file = {"resolvConf": "/etc/resolv.pods"}
    _, result = add_pod(plugin, node, network(4, ipam=with_file))
    assert result["dns"] == FROM_FILE
    dns = {"nameservers": ["10.1.1.1"], "search": ["example"]}
    _, result = add_pod(plugin, node, network(4, ipam=with_file, dns=dns))
    assert result["dns"] == dns


def test_resolv_conf_that_is_not_there(node: Node, plugin: Plugin) -> None:
    error = plugin.call(node, "ADD", network(4, ipam={"resolvConf": "/etc/none"}), node.pod()).error
    assert (error["code"], "ipam.resolvConf: /etc/none" in error["msg"]) == (5, True)
    assert veths(node) == []


@pytest.mark.parametrize(
    ("route", "options"),
    [
        ({"dst": "10.96.0.0/12", "mtu": 1300}, "mtu 1300"),
        ({"dst": "10.96.0.0/12", "advmss": 1260}, "advmss 1260"),
        ({"dst": "10.96.0.0/12", "priority": 77}, "metric 77"),
        ({"dst": "10.96.0.0/12", "table": 1000}, "table 1000"),
        ({"dst": "fd00:96::/64", "mtu": 1300, "priority": 9}, "mtu 1300 metric 9"),
    ],
    ids=str,
)
def test_route_fields_are_applied_returned_and_checked(node: Node, plugin: Plugin, route: Json, options: str) -> None:
    conf = dual_stack(ipam={"routes": [route]})
    pod, result = add_pod(plugin, node, conf)
    assert route in result["routes"]
    version = "-6" if ":" in route["dst"] else "-4"
    (line,) = pod.run("ip", version, "route", "show", "table", "all", route["dst"]).stdout.splitlines()
    words = options.split()
    for key, value in zip(words[::2], words[1::2], strict=True):
        assert f"{key} {value}" in line
    assert plugin.check(node, conf, pod, result).result == {}

    wrong = [each | {"mtu": 1234} if each == route else each for each in result["routes"]]
    error = plugin.check(node, conf, pod, result | {"routes": wrong}).error
    assert (error["code"], route["dst"] in error["msg"]) == (105, True)


def test_scope_is_applied_and_checked(node: Node, plugin: Plugin) -> None:
    conf = network(4, ipam={"routes": [{"dst": "10.96.0.0/12", "scope": 200}]})  # site
    pod, result = add_pod(plugin, node, conf)
    assert "scope site" in pod.run("ip", "route", "show", "10.96.0.0/12").stdout
    assert plugin.check(node, conf, pod, result).result == {}


def test_fields_of_1_1_0_are_obeyed_before(node: Node, plugin: Plugin) -> None:
    """As the reference does: a route that asks for a table or an MTU is not made without."""
    conf = network(4, cniVersion="1.0.0", isGateway=True, ipam={"routes": [{"dst": "10.96.0.0/12", "mtu": 1300}]})
    pod, result = add_pod(plugin, node, conf)
    assert result["routes"] == [{"dst": "10.96.0.0/12", "mtu": 1300}]
    assert "mtu 1300" in pod.run("ip", "route", "show", "10.96.0.0/12").stdout


def test_keys_are_found_whatever_their_case(node: Node, plugin: Plugin) -> None:
    """As Go's decoder does, by which the reference plugins read the same file."""
    conf = network(4, BRIDGE="br7", isgateway=True, IPMASQ=True, Mtu=1400)
    del conf["bridge"]
    pod, _ = add_pod(plugin, node, conf)
    assert node.link("br7")["mtu"] == pod.link("eth0")["mtu"] == 1400
    assert node.addresses("br7") == ["10.22.0.1/24"]
    assert list(masqueraded(node)) == ["10.22.0.2"]


def test_the_hosts_own_namespace_takes_an_override(node: Node, plugin: Plugin) -> None:
    call: dict[str, Any] = {"container_id": "own", "netns": "/proc/self/ns/net", "ifname": "pod0"}
    assert plugin.call(node, "ADD", network(4), **call).error["code"] == 4
    override = {"CNI_NETNS_OVERRIDE": "1"}
    result = plugin.call(node, "ADD", network(4), env=override, **call).result
    assert node.addresses("pod0") == ["10.22.0.2/24"]
    checked = network(4) | {"prevResult": result}
    assert plugin.call(node, "CHECK", checked, env=override, **call).result == {}
    assert plugin.call(node, "DEL", network(4), env=override, **call).result == {}
    assert veths(node) == []


class TestBridgeNetfilter:
    """A Service whose backend is on the client's own bridge."""

    CONF = dual_stack(bridgeNetfilter=True)
    SERVICE = """
        table ip service {
            chain prerouting { type nat hook prerouting priority -100; ip daddr 10.96.0.1 dnat to ADDRESS; }
        }"""

    @pytest.fixture
    def strict(self, node: Node) -> Node:
        """A node whose administrator has not switched all bridges to the packet filter."""
        if node.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", check=False).returncode:
            pytest.skip("the kernel has no br_netfilter")
        return node

    def ask(self, node: Node, plugin: Plugin, conf: Json) -> str | None:
        (client, _), (backend, result) = (add_pod(plugin, node, conf) for _ in range(2))
        address = result["ips"][0]["address"].partition("/")[0]
        node.run("nft", "-f", "-", input=self.SERVICE.replace("ADDRESS", address))
        backend.serve()
        return client.seen_as("10.96.0.1")

    def test_it_answers(self, strict: Node, plugin: Plugin) -> None:
        assert self.ask(strict, plugin, self.CONF) == "10.22.0.2"

    def test_it_would_not_without(self, strict: Node, plugin: Plugin) -> None:
        assert self.ask(strict, plugin, dual_stack()) is None

    def test_check_sees_it_switched_off(self, strict: Node, plugin: Plugin) -> None:
        pod, result = add_pod(plugin, strict, self.CONF)
        assert plugin.check(strict, self.CONF, pod, result).result == {}
        strict.run(*["ip", "link", "set", "cni0", "type", "bridge", "nf_call_iptables", "0"])
        error = plugin.check(strict, self.CONF, pod, result).error
        assert (error["code"], "bypasses the packet filter" in error["msg"]) == (105, True)
        add_pod(plugin, strict, self.CONF)  # mends it
        assert plugin.check(strict, self.CONF, pod, result).result == {}


def test_two_interfaces_of_one_pod(node: Node, plugin: Plugin) -> None:
    pod = node.pod()
    first = plugin.add(node, dual_stack(), pod)
    other = dual_stack(name="other", bridge="cni1", ipam={"ranges": [[{"subnet": "10.30.0.0/24"}]]})
    second = plugin.add(node, other, pod, ifname="net1")
    assert host_veth(first) != host_veth(second)
    assert isinstance(pod, Pod)
    plugin.delete(node, other, pod, ifname="net1")
    assert veths(node) == [host_veth(first)]
    assert plugin.check(node, dual_stack(), pod, first).result == {}
