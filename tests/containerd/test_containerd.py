"""Pod sandboxes as Kubernetes has them: made and removed by containerd, wired by the plugin."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.containerd.runtime import Containerd
from tests.harness import Outside, Plugin

NETWORK = "pods"
SUBNET = "10.8.0.0/24"
GATEWAY = "10.8.0.1"
SUBNET6 = "fd00:8::/64"
GATEWAY6 = "fd00:8::1"

Start = Callable[..., Containerd]


@pytest.fixture
def start(root: None, plugin: Plugin, containerd: Path) -> Iterator[Start]:
    """A function that starts containerd with a network of the subnets given."""
    with contextlib.ExitStack() as running:

        def start(*subnets: str) -> Containerd:
            return running.enter_context(Containerd(plugin, network(plugin, *subnets or [SUBNET]), containerd))

        yield start


def network(plugin: Plugin, *subnets: str) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": plugin.type,
                "bridge": "cni0",
                "isGateway": True,
                "isDefaultGateway": True,
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": subnet}] for subnet in subnets],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def test_a_sandbox_has_the_address_that_containerd_reports(start: Start) -> None:
    runtime = start()
    pod = runtime.run_pod()
    (address,) = pod.ips
    assert ip_address(address) in ip_network(SUBNET)
    assert pod.addresses() == [f"{address}/24"]
    assert runtime.leases() == {address: (pod.container_id, "eth0")}


def test_a_sandbox_reaches_its_gateway_and_the_outside(start: Start) -> None:
    runtime = start()
    outside = Outside(runtime.node)
    pod = runtime.run_pod()
    assert pod.ping(GATEWAY)
    assert [route["gateway"] for route in pod.routes() if route["dst"] == "default"] == [GATEWAY]
    assert pod.seen_as(outside.address) == outside.node_address


def test_sandboxes_reach_each_other(start: Start) -> None:
    runtime = start()
    first, second = runtime.run_pod(), runtime.run_pod()
    assert first.ping(second.ips[0])
    assert second.ping(first.ips[0])


def test_a_dual_stack_sandbox(start: Start) -> None:
    runtime = start(SUBNET, SUBNET6)
    outside = Outside(runtime.node)
    first, second = runtime.run_pod(), runtime.run_pod()
    address, address6 = first.ips
    assert ip_address(address) in ip_network(SUBNET)
    assert ip_address(address6) in ip_network(SUBNET6)
    assert first.addresses() == [f"{address}/24", f"{address6}/64"]
    for reachable in (GATEWAY, GATEWAY6, *second.ips):
        assert first.ping(reachable), reachable
    assert first.seen_as(outside.address) == outside.node_address
    assert first.seen_as(outside.address6) == outside.node_address6


def test_a_removed_sandbox_leaves_the_node_as_it_was(start: Start) -> None:
    runtime = start()
    # The bridge and the rules that all pods share come with the first pod and stay.
    runtime.remove_pod(runtime.run_pod().container_id)
    before = runtime.node.snapshot()
    pod = runtime.run_pod()
    assert runtime.node.snapshot() != before
    runtime.remove_pod(pod.container_id)
    assert runtime.node.snapshot() == before


def test_a_port_of_the_node_leads_to_the_sandbox(start: Start) -> None:
    runtime = start()
    outside = Outside(runtime.node)
    pod = runtime.run_pod(host_ports={8081: 8080})
    pod.serve(8080)
    assert outside.seen_as(outside.node_address, 8081) == outside.address
    runtime.remove_pod(pod.container_id)
    assert outside.seen_as(outside.node_address, 8081) is None
