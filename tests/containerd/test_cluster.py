"""Pods of two nodes, configured as `install.sh --kind` does it: who reaches whom, and seen by which address."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.containerd.cluster import OUTSIDE, Cluster, Worker
from tests.containerd.runtime import Sandbox
from tests.harness import Plugin

RunPod = Callable[..., Sandbox]


@pytest.fixture(scope="module", params=["ipv4", "dual-stack"])
def cluster(request: pytest.FixtureRequest, root: None, plugin: Plugin, containerd: Path) -> Iterator[Cluster]:
    """Two nodes for all tests of this file; `run_pod` sees to it that one leaves nothing to the next."""
    with Cluster(plugin, containerd, dual_stack=request.param == "dual-stack") as cluster:
        yield cluster


@pytest.fixture
def run_pod(cluster: Cluster) -> Iterator[RunPod]:
    """A function that runs a pod with a server in it; pods go when the test ends, without a trace."""
    with contextlib.ExitStack() as running:

        def run(worker: Worker, **kwargs: dict[int, int]) -> Sandbox:
            pod = worker.run_pod(**kwargs)
            running.callback(worker.remove_pod, pod.container_id)
            server = running.enter_context(pod.serve())
            running.callback(server.kill)
            return pod

        yield run
    for worker in cluster.workers:
        assert worker.pods() == []
        assert worker.leases() == {}
        assert worker.veths() == []


def test_pods_have_addresses_of_their_nodes_pod_cidrs(cluster: Cluster, run_pod: RunPod) -> None:
    for worker in cluster.workers:
        pod = run_pod(worker)
        assert len(pod.ips) == len(worker.spec.pod_cidrs)
        for address, cidr in zip(pod.ips, worker.spec.pod_cidrs, strict=True):
            assert ip_address(address) in ip_network(cidr)
        assert [address.partition("/")[0] for address in pod.addresses()] == pod.ips
        assert worker.leases() == dict.fromkeys(pod.ips, (pod.container_id, "eth0"))


def test_pods_of_one_node_reach_each_other(cluster: Cluster, run_pod: RunPod) -> None:
    here, _ = cluster.workers
    one, other = run_pod(here), run_pod(here)
    assert_reach(one, other)
    assert_reach(other, one)


def test_pods_of_two_nodes_reach_each_other(cluster: Cluster, run_pod: RunPod) -> None:
    here, there = cluster.workers
    one, other = run_pod(here), run_pod(there)
    assert_reach(one, other)
    assert_reach(other, one)


def assert_reach(client: Sandbox, server: Sandbox) -> None:
    """The client reaches each of the server's addresses, and the server sees the client's own."""
    for own, address in zip(client.ips, server.ips, strict=True):
        assert client.ping(address, count=3)
        for protocol in ("tcp", "udp"):
            assert client.seen_as(address, protocol=protocol) == own


def test_the_outside_sees_a_pods_node(cluster: Cluster, run_pod: RunPod) -> None:
    for worker in cluster.workers:
        pod = run_pod(worker)
        for node_address, outside in zip(worker.spec.addresses, OUTSIDE, strict=False):
            assert pod.seen_as(outside) == node_address


def test_nodes_and_pods_reach_each_other(cluster: Cluster, run_pod: RunPod) -> None:
    # As the kubelet's probes do, and pods that talk to the API server.
    here, there = cluster.workers
    pod = run_pod(here)
    for address, gateway, other in zip(pod.ips, here.gateways, there.spec.addresses, strict=True):
        assert here.node.seen_as(address) == gateway
        assert there.node.seen_as(address) == other
        assert pod.ping(gateway, count=3)
        assert pod.ping(other, count=3)


@pytest.mark.parametrize("where", [0, 1], ids=["same-node", "other-node"])
def test_a_container_fetches_a_page_from_another_pods(cluster: Cluster, run_pod: RunPod, where: int) -> None:
    server, client = run_pod(cluster.workers[0]), run_pod(cluster.workers[where])
    page = "busybox mkdir /www && echo hello > /www/index.html && exec busybox httpd -f -p 80 -h /www"
    server.start_container("busybox", "sh", "-c", page)
    fetcher = client.start_container("busybox", "sleep", "infinity")
    for address in server.ips:
        host = f"[{address}]" if ":" in address else address
        # Not `wget -T`, which crashes in Debian's static busybox. The server takes a moment to be there.
        get = f"busybox timeout 2 busybox wget -q -O - http://{host}/"
        fetch = f"for i in 1 2 3 4 5; do {get} && exit; sleep 1; done; exit 1"
        assert fetcher.exec("busybox", "sh", "-c", fetch) == (0, "hello\n")


def test_a_host_port_leads_to_its_pod_from_everywhere(cluster: Cluster, run_pod: RunPod) -> None:
    here, there = cluster.workers
    pod = run_pod(here, host_ports={8081: 8080})
    neighbour, distant = run_pod(here), run_pod(there)
    for address, node_address, outside in zip(here.spec.addresses, there.spec.addresses, OUTSIDE, strict=False):
        assert there.node.seen_as(address, 8081) == node_address
        assert distant.seen_as(address, 8081) == node_address
        assert cluster.outside.seen_as(address, 8081) == outside
        assert here.node.seen_as(address, 8081)
        assert neighbour.seen_as(address, 8081)
        assert pod.seen_as(address, 8081)


def test_a_host_port_closes_with_its_pod(cluster: Cluster) -> None:
    here, there = cluster.workers
    pod = here.run_pod(host_ports={8081: 8080})
    with pod.serve() as server:
        address = here.spec.addresses[0]
        assert there.node.seen_as(address, 8081)
        here.remove_pod(pod.container_id)
        assert there.node.seen_as(address, 8081) is None
        server.kill()


def test_packets_larger_than_the_mtu_arrive(cluster: Cluster, run_pod: RunPod) -> None:
    # Where bridged packets pass the packet filter, fragments are put together there and taken apart again.
    here, there = cluster.workers
    pod, neighbour, distant = run_pod(here), run_pod(here), run_pod(there)
    for address in (*neighbour.ips, *distant.ips):
        assert pod.run("busybox", "ping", "-c", "1", "-W", "2", "-s", "4000", address)


@pytest.mark.parametrize("mtu", [1500, 1400])
def test_a_pod_has_the_mtu_of_its_node(root: None, plugin: Plugin, containerd: Path, mtu: int) -> None:
    with Cluster(plugin, containerd, mtu=mtu) as cluster:
        pod = cluster.workers[0].run_pod()
        assert pod.link("eth0")["mtu"] == mtu


def test_a_nodes_first_pod_is_reached_from_another_node_at_once(root: None, plugin: Plugin, containerd: Path) -> None:
    with Cluster(plugin, containerd, dual_stack=True) as cluster:
        here, there = cluster.workers
        client = there.run_pod()
        pod = here.run_pod()
        # A tentative link-local address of the bridge may not ask for the pod's MAC.
        assert here.node.ip_json("-6", "address", "show", "dev", here.bridge, "tentative") == []
        for address in pod.ips:
            assert client.ping(address)
