"""enabledad: the kernel sees that nobody else on the link has the pod's IPv6 address."""

from __future__ import annotations

import pytest

from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import NAME, SUBNET, add_pod, dual_stack, network, store_files, sysctl, veths

NOT_AS_EXPECTED = 105
CONF = dual_stack(enabledad=True)


def ipv6(pod: Pod) -> Json:
    """The pod's global IPv6 address, as `ip address` says it."""
    (link,) = pod.ip_json("-6", "address", "show", "dev", "eth0")
    (address,) = (each for each in link["addr_info"] if each["scope"] == "global")
    assert isinstance(address, dict)
    return address


def link_local(pod: Pod) -> Json:
    """The pod's link-local address. The kernel makes it a moment after the link is up."""
    pod.run("sh", "-ec", "until ip -6 address show dev eth0 scope link | grep -q inet6; do sleep 0.01; done")
    (link,) = pod.ip_json("-6", "address", "show", "dev", "eth0")
    (address,) = (each for each in link["addr_info"] if each["scope"] == "link")
    assert isinstance(address, dict)
    return address


def squatter(plugin: Plugin, node: Node, address: str) -> Pod:
    """A pod on the same bridge that has taken an address for itself."""
    pod, _ = add_pod(plugin, node, {"cniVersion": "1.1.0", "name": "others", "bridge": "cni0"})
    pod.run("ip", "address", "add", address, "dev", "eth0", "nodad")
    return pod


def test_address_is_usable_when_add_returns(node: Node, plugin: Plugin) -> None:
    for _ in range(2):
        pod, result = add_pod(plugin, node, CONF)
        address = ipv6(pod)
        assert "tentative" not in address
        assert "nodad" not in address
        assert pod.ping("fd00:22::1")
        assert plugin.check(node, CONF, pod, result).result == {}


def test_duplicate_address_fails_and_leaves_no_trace(node: Node, plugin: Plugin) -> None:
    squatter(plugin, node, "fd00:22::2/64")
    before = [veths(node), store_files(node)]
    pod = node.pod()
    error = plugin.call(node, "ADD", CONF, pod).error
    assert "fd00:22::2" in error["msg"]
    assert list(pod.links()) == ["lo"]
    assert [veths(node), store_files(node)] == before


def test_next_pod_gets_another_address(node: Node, plugin: Plugin) -> None:
    squatter(plugin, node, "fd00:22::2/64")
    plugin.call(node, "ADD", CONF, node.pod())
    add_pod(plugin, node, CONF)
    assert "fd00:22::3" in node.leases(NAME)


def test_without_it_a_duplicate_is_not_looked_for(node: Node, plugin: Plugin) -> None:
    squatter(plugin, node, "fd00:22::2/64")
    pod, _ = add_pod(plugin, node, dual_stack())
    assert ipv6(pod)["nodad"] is True


def test_ipv4_alone_has_nothing_to_wait_for(node: Node, plugin: Plugin) -> None:
    conf = network(4, enabledad=True)
    pod, result = add_pod(plugin, node, conf)
    assert plugin.check(node, conf, pod, result).result == {}


def test_check_notices_a_duplicate(node: Node, plugin: Plugin) -> None:
    """Somebody else took the address while the pod did not have it."""
    pod, result = add_pod(plugin, node, CONF)
    pod.run("ip", "address", "delete", "fd00:22::2/64", "dev", "eth0")
    squatter(plugin, node, "fd00:22::2/64")
    pod.run("ip", "address", "add", "fd00:22::2/64", "dev", "eth0")
    pod.run("sh", "-ec", "until ip address show dev eth0 | grep -q dadfailed; do sleep 0.1; done")
    error = plugin.check(node, CONF, pod, result).error
    assert error["code"] == NOT_AS_EXPECTED
    assert "fd00:22::2" in error["msg"]


STATIC: Json = {"type": "static", "addresses": [{"address": "10.22.0.77/24"}]}


@pytest.mark.parametrize(
    "conf",
    [
        network(4),
        network(6),
        dual_stack(runtimeConfig={"mac": "02:11:22:33:44:55"}),
        network(cniVersion="1.0.0") | {"ipam": STATIC},
    ],
    ids=["IPv4", "IPv6", "dual stack with a MAC", "static"],
)
def test_without_it_the_link_local_address_is_usable_at_once(node: Node, plugin: Plugin, conf: Json) -> None:
    """The pod sends neighbour discovery, multicast and router solicitations from it."""
    pod, _ = add_pod(plugin, node, conf)
    assert "tentative" not in link_local(pod)
    assert sysctl(pod, "net.ipv6.conf.eth0.accept_dad") == "0"


def test_it_counts_whatever_the_namespace_has_by_default(node: Node, plugin: Plugin) -> None:
    squatter(plugin, node, "fd00:22::2/64")
    pod = node.pod()
    pod.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
    assert "DAD failed" in plugin.call(node, "ADD", CONF, pod).error["msg"]
    add_pod(plugin, node, CONF | {"ipam": {"type": "host-local", "subnet": SUBNET[4]}})


def test_a_pod_of_layer_2_keeps_what_its_namespace_has(node: Node, plugin: Plugin) -> None:
    pod, _ = add_pod(plugin, node, {"cniVersion": "1.1.0", "name": "others", "bridge": "cni0"})
    assert sysctl(pod, "net.ipv6.conf.eth0.accept_dad") == "1"
