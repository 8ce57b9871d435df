"""Services, by the rules that kube-proxy makes of them: from wherever, to a backend wherever.

The nodes' global sysctls net.bridge.bridge-nf-call-iptables and -ip6tables are off: what lets the backend's neighbours
have their answers is the configuration's `bridgeNetfilter`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.containerd.cluster import Cluster
from tests.containerd.runtime import Sandbox
from tests.containerd.services import NODE_PORT, PORT, PROTOCOLS, Service
from tests.harness import Machine, Plugin

BRIDGE_NETFILTER = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")

needs_bridge_netfilter = pytest.mark.skipif(
    not Path("/proc/sys", BRIDGE_NETFILTER[0].replace(".", "/")).exists(),
    reason="this kernel has no br_netfilter (modprobe br_netfilter)",
)


@dataclass
class Scene:
    """A Service in a cluster."""

    cluster: Cluster
    service: Service
    backend: Sandbox
    neighbour: Sandbox
    """A pod on the backend's node."""
    distant: Sandbox
    """A pod on the other node."""

    def seen_as(self, client: Machine) -> list[str | None]:
        """By which addresses the backend sees a client of the Service: each IP version, TCP and UDP."""
        asked = [(address, PORT, protocol) for address in self.service.cluster_ips for protocol in PROTOCOLS]
        with ThreadPoolExecutor(len(asked)) as pool:
            return list(pool.map(lambda each: client.seen_as(*each), asked))


def each_protocol(addresses: list[str]) -> list[str]:
    """The addresses as `Scene.seen_as` should tell them."""
    return [address for address in addresses for _ in PROTOCOLS]


@contextlib.contextmanager
def served(cluster: Cluster, mode: str) -> Iterator[Scene]:
    """Run a Service's backend and clients, and write its rules as kube-proxy in `mode` does."""
    here, there = cluster.workers
    backend, neighbour, distant = here.run_pod(), here.run_pod(), there.run_pod()
    service = Service(backend.ips, cluster.cidrs)
    for worker in cluster.workers:
        service.write(mode, worker.node, worker.spec.addresses)
        assert set(worker.node.run("sysctl", "-ne", *BRIDGE_NETFILTER).stdout.split()) <= {"0"}
    with backend.serve() as server:
        yield Scene(cluster, service, backend, neighbour, distant)
        server.kill()


@pytest.fixture(
    scope="module",
    params=[("nftables", "ipv4"), ("nftables", "dual-stack"), ("iptables", "dual-stack")],
    ids=lambda param: "-".join(param),
)
def scene(request: pytest.FixtureRequest, root: None, plugin: Plugin, containerd: Path) -> Iterator[Scene]:
    """A Service, made once for the tests of this file, which only ask."""
    mode, stack = request.param
    with Cluster(plugin, containerd, dual_stack=stack == "dual-stack") as cluster, served(cluster, mode) as scene:
        yield scene


@needs_bridge_netfilter
def test_from_a_pod_on_the_backends_node(scene: Scene) -> None:
    assert scene.seen_as(scene.neighbour) == each_protocol(scene.neighbour.ips)


def test_from_a_pod_on_another_node(scene: Scene) -> None:
    assert scene.seen_as(scene.distant) == each_protocol(scene.distant.ips)


def test_from_the_backend_itself(scene: Scene) -> None:
    # Nobody answers to his own address: kube-proxy masquerades it.
    here, _ = scene.cluster.workers
    assert scene.seen_as(scene.backend) == each_protocol(here.gateways)


def test_from_a_process_of_the_node(scene: Scene) -> None:
    here, there = scene.cluster.workers
    assert scene.seen_as(here.node) == each_protocol(here.gateways)
    assert scene.seen_as(there.node) == each_protocol(there.spec.addresses)


def test_a_node_port_of_either_node_from_everywhere(scene: Scene) -> None:
    here, there = scene.cluster.workers
    clients = [here.node, there.node, scene.cluster.outside, scene.backend, scene.neighbour, scene.distant]
    for client in clients:
        # Through the backend's node it comes from that one's bridge, else from the node it came through.
        for address, gateway in zip(here.spec.addresses, here.gateways, strict=True):
            assert client.seen_as(address, NODE_PORT) == gateway
        for address in there.spec.addresses:
            assert client.seen_as(address, NODE_PORT) == address


@needs_bridge_netfilter
@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_without_bridge_netfilter_only_the_backends_neighbours_are_left_out(
    root: None, plugin: Plugin, containerd: Path, mode: str
) -> None:
    with (
        Cluster(plugin, containerd, dual_stack=True, without=["bridgeNetfilter"]) as cluster,
        served(cluster, mode) as scene,
    ):
        assert scene.seen_as(scene.neighbour) == [None] * 4
        assert scene.seen_as(scene.distant) == each_protocol(scene.distant.ips)
        # The neighbour does reach the backend, by its own address.
        assert [scene.neighbour.seen_as(address) for address in scene.backend.ips] == scene.neighbour.ips
