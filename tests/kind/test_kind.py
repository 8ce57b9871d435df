"""What users expect of a cluster's network, asked of a real one."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from functools import partial
from itertools import chain

import pytest
from cni_bridge_py.cli.cluster import ClusterNode

from cni_bridge_py.cli.kind import is_ready, on_node
from tests.kind.cluster import PORT, Json, KindCluster
from tests.kind.conftest import install

pytestmark = [pytest.mark.kind, pytest.mark.timeout(900)]

MANY = 40


@pytest.fixture(scope="module")
def workers(cluster: KindCluster) -> tuple[ClusterNode, ClusterNode]:
    """Two nodes for pods."""
    found = cluster.workers()
    if len(found) < 2:
        pytest.skip("the cluster has no two workers")
    return found[0], found[1]


@pytest.fixture(scope="module")
def server(cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode]) -> str:
    """The address of a pod that serves, on the first worker."""
    return cluster.pod("server", workers[0].name, "serve")


@pytest.fixture(scope="module")
def near(cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode]) -> str:
    """The address of the pod `near`, on the server's node."""
    return cluster.pod("near", workers[0].name)


@pytest.fixture(scope="module")
def far(cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode]) -> str:
    """The address of the pod `far`, on another node."""
    return cluster.pod("far", workers[1].name)


@pytest.fixture(scope="module")
def service(cluster: KindCluster, server: str) -> Json:
    """A Service whose backend is the server."""
    return cluster.service("web", "server", "NodePort")


def host(address: str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def test_every_node_is_ready(cluster: KindCluster) -> None:
    assert [node["metadata"]["name"] for node in cluster.cluster.node_objects() if not is_ready(node)] == []


@pytest.mark.parametrize("client", ["near", "far"])
def test_pods_reach_each_other(cluster: KindCluster, server: str, near: str, far: str, client: str) -> None:
    for address in cluster.addresses("server"):
        assert cluster.fetch(client, f"{host(address)}:{PORT}") == "server"
        cluster.run(client, "ping", target=address)


def test_addresses_are_of_the_nodes_pod_cidr(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], near: str, far: str
) -> None:
    for name, node in zip(("near", "far"), workers, strict=True):
        cidrs = [ipaddress.ip_network(cidr) for cidr in node.pod_cidrs]
        for address in cluster.addresses(name):
            assert any(ipaddress.ip_address(address) in cidr for cidr in cidrs)


@pytest.mark.parametrize("client", ["near", "far", "server"], ids=["same node", "other node", "the backend itself"])
def test_a_service(cluster: KindCluster, service: Json, near: str, far: str, client: str) -> None:
    for address in service["clusterIPs"]:
        assert cluster.fetch(client, host(address)) == "server"


def test_a_node_port_from_the_node(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], service: Json
) -> None:
    cluster.pod("on-node", workers[0].name, hostNetwork=True)
    target = f"{host(workers[0].addresses[0])}:{service['ports'][0]['nodePort']}"
    assert cluster.fetch("on-node", target) == "server"


@pytest.mark.parametrize("client", ["near", "far"])
def test_names_of_services_are_resolved(cluster: KindCluster, service: Json, near: str, far: str, client: str) -> None:
    found = ("--namespace=kube-system", "get", "service", "kube-dns", "--ignore-not-found", "--output=name")
    if not cluster.cluster.kubectl(*found):
        pytest.skip("the cluster has no DNS")
    kubernetes = json.loads(
        cluster.cluster.kubectl("--namespace=default", "get", "service", "kubernetes", "--output=json")
    )
    for name, spec in (("kubernetes.default", kubernetes["spec"]), (f"web.{cluster.namespace}", service)):
        cluster.eventually(partial(_is_resolved, cluster, client, name, spec), seconds=180)  # DNS may just be starting


def _is_resolved(cluster: KindCluster, client: str, name: str, spec: Json) -> None:
    assert cluster.resolve(client, f"{name}.svc.cluster.local") == set(spec["clusterIPs"])


def test_a_host_port(cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], far: str) -> None:
    ports = [{"containerPort": PORT, "hostPort": 18080}]
    cluster.pod("host-port", workers[0].name, "serve", container={"ports": ports})
    assert cluster.fetch("far", f"{host(workers[0].addresses[0])}:18080") == "host-port"


def test_pods_keep_their_address_towards_pods(cluster: KindCluster, server: str, near: str, far: str) -> None:
    assert cluster.peer("far", f"{host(server)}:{PORT}") == far
    assert cluster.peer("near", f"{host(server)}:{PORT}") == near


def test_pods_have_their_nodes_address_towards_the_outside(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], near: str
) -> None:
    """A server on another node's own network is outside of the pods'."""
    cluster.pod("outside", workers[1].name, "serve", hostNetwork=True)
    target = f"{host(workers[1].addresses[0])}:{PORT}"
    assert cluster.peer("near", target) == workers[0].addresses[0]


def test_the_mtu_is_the_nodes(cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], near: str) -> None:
    look = "cat /sys/class/net/eth0/mtu"
    assert cluster.kubectl("exec", "near", "--", "sh", "-c", look) == on_node(workers[0].name, "sh", "-c", look)


def test_many_pods_at_once(cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode]) -> None:
    node = workers[1].name
    names = [f"many-{number}" for number in range(MANY)]
    cluster.create(*(cluster.manifest(name, node) for name in names))
    cluster.wait_ready(*names)
    addresses = [address for name in names for address in cluster.addresses(name)]
    assert len(set(addresses)) == len(addresses)
    assert set(addresses) <= cluster.leases(node)
    cluster.delete(*names)
    cluster.eventually(lambda: _holds_its_pods_alone(cluster, node), seconds=120)


def test_a_pod_that_is_deleted_with_force(cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode]) -> None:
    node = workers[1].name
    assert cluster.pod("forced", node) in cluster.leases(node)
    cluster.delete("forced", force=True)
    cluster.eventually(lambda: _holds_its_pods_alone(cluster, node), seconds=120)


def _holds_its_pods_alone(cluster: KindCluster, node: str) -> None:
    """Every lease and every veth of a node is one of its pods'."""
    pods = cluster.pods_on(node)
    assert cluster.leases(node) == set(chain.from_iterable(pods))
    assert len(cluster.veths(node)) == len(pods)


def test_a_node_that_is_restarted(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], server: str, near: str, far: str
) -> None:
    """Its pods come back. Its routes do so when install.sh is run again, which it may be at any time."""
    node = workers[1].name
    restarts = cluster.restarts("far")
    subprocess.run(["docker", "restart", node], check=True, capture_output=True)
    install("--no-build", "--kind", cluster.cluster.name)
    # Kubernetes takes its time to notice: what it says of node and pod may be from before.
    cluster.eventually(lambda: _has_restarted(cluster, "far", restarts), seconds=300)
    cluster.wait_ready("far")
    for address in cluster.addresses("server"):
        assert cluster.fetch("far", f"{host(address)}:{PORT}") == "server"
    for address in cluster.addresses("far"):
        cluster.run("near", "ping", target=address)
    cluster.eventually(lambda: _holds_its_pods_alone(cluster, node), seconds=180)


def _has_restarted(cluster: KindCluster, pod: str, before: int) -> None:
    assert cluster.restarts(pod) > before
