"""A node that has its default route from a router's advertisements keeps it when pods make it a router itself."""

from __future__ import annotations

import sys
import time

import pytest

from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import BRIDGE, add_pod, dual_stack, network, sysctl

ADVERTISE = """
import socket, struct
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router:
    router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    router.sendto(advertisement, ("ff02::1", 0, 0, socket.if_nametoindex("wire")))
"""
"""RFC 4861, section 4.2: a router for half an hour."""


class Router(Pod):
    """The far end of a network card of the node's, which advertises itself."""

    def __init__(self, node: Node) -> None:
        node.run("ip", "netns", "add", "router")
        super().__init__(node, "/run/netns/router")
        node.run(*["ip", "link", "add", "card", "type", "veth", "peer", "name", "wire", "netns", "router"])
        self.run("sysctl", "-qw", "net.ipv6.conf.wire.accept_dad=0")
        self.run("ip", "link", "set", "wire", "up")
        node.run("ip", "link", "set", "card", "up")

    def advertise(self, interface: str) -> None:
        """Give the node its default route over an interface."""
        for _ in range(100):  # the router's own address, by which it speaks, takes its time
            self.run(sys.executable, "-c", ADVERTISE, check=False)
            if learned(self.node) == [interface]:
                return
            time.sleep(0.1)
        raise AssertionError(f"no default route over {interface}")


def learned(node: Node) -> list[str]:
    """The interfaces of the default routes that came with an advertisement."""
    routes = [route for route in node.routes(6) if route["dst"] == "default"]
    return [route["dev"] for route in routes if route["protocol"] == "ra"]


@pytest.fixture
def router(node: Node) -> Router:
    return Router(node)


def test_default_route_stays(node: Node, plugin: Plugin, router: Router) -> None:
    router.advertise("card")
    for _ in range(2):
        add_pod(plugin, node, dual_stack())
        assert learned(node) == ["card"]
    assert sysctl(node, "net.ipv6.conf.all.forwarding") == "1"
    node.run(*["ip", "-6", "route", "del", "default"])
    router.advertise("card")  # is heard from now on, too


def test_router_that_speaks_later_is_heard(node: Node, plugin: Plugin, router: Router) -> None:
    add_pod(plugin, node, dual_stack())
    router.advertise("card")


@pytest.mark.parametrize("accept_ra", [0, 2])
def test_what_an_operator_has_decided_stays(node: Node, plugin: Plugin, router: Router, accept_ra: int) -> None:
    node.run("sysctl", "-qw", f"net.ipv6.conf.card.accept_ra={accept_ra}")
    add_pod(plugin, node, dual_stack())
    assert sysctl(node, "net.ipv6.conf.card.accept_ra") == str(accept_ra)


def test_interfaces_to_come_are_not_made_to_listen(node: Node, plugin: Plugin, router: Router) -> None:
    """They may be pods', of other plugins."""
    add_pod(plugin, node, dual_stack())
    for scope in ("all", "default"):
        assert sysctl(node, f"net.ipv6.conf.{scope}.accept_ra") == "1"


@pytest.mark.parametrize("forwarding", [1, 2])
def test_node_that_is_a_router_stays_what_it_is(node: Node, plugin: Plugin, router: Router, forwarding: int) -> None:
    node.run("sysctl", "-qw", f"net.ipv6.conf.all.forwarding={forwarding}")
    pod, result = add_pod(plugin, node, dual_stack())
    assert sysctl(node, "net.ipv6.conf.card.accept_ra") == "1"
    assert sysctl(node, "net.ipv6.conf.all.forwarding") == str(forwarding)
    assert plugin.check(node, dual_stack(), pod, result).result == {}


def test_ipv4_alone_makes_no_ipv6_router(node: Node, plugin: Plugin, router: Router) -> None:
    add_pod(plugin, node, network(4, isGateway=True))
    assert sysctl(node, "net.ipv6.conf.card.accept_ra") == "1"
    assert sysctl(node, "net.ipv6.conf.all.forwarding") == "0"


@pytest.mark.parametrize("conf", [dual_stack(), network(4)], ids=["gateway", "no gateway"])
def test_bridge_over_which_the_node_has_its_route(node: Node, plugin: Plugin, router: Router, conf: Json) -> None:
    """A bridge with the node's card in it."""
    node.run(*f"ip link add {BRIDGE} up type bridge".split())
    node.run("ip", "link", "set", "card", "master", BRIDGE)
    router.advertise(BRIDGE)
    for _ in range(2):
        add_pod(plugin, node, conf)
        assert learned(node) == [BRIDGE]
    node.run(*["ip", "-6", "route", "del", "default"])
    router.advertise(BRIDGE)


@pytest.mark.parametrize("prepare", ["true", f"ip link add {BRIDGE} up type bridge"], ids=["ours", "made by hand"])
def test_pod_is_no_router_of_the_nodes(node: Node, plugin: Plugin, prepare: str) -> None:
    node.run("sh", "-c", prepare)
    add_pod(plugin, node, dual_stack())
    assert sysctl(node, f"net.ipv6.conf.{BRIDGE}.accept_ra") == "0"
