"""What users expect of a cluster's network, asked of a real one."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from functools import partial
from itertools import chain

import pytest

from cni_bridge_py.cli.kind import ClusterNode, is_ready, on_node
from tests.bundle import CHECKOUT
from tests.kind.cluster import PORT, Json, KindCluster, restarts

pytestmark = [pytest.mark.kind, pytest.mark.timeout(1800)]

MANY = 40

HOST_PORT = 18081
"""The port of a pod that stays. The lesson uses 18080."""


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
    if not cluster.name_servers():
        pytest.skip("the cluster has no DNS")
    kubernetes = json.loads(
        cluster.cluster.kubectl("--namespace=default", "get", "service", "kubernetes", "--output=json")
    )
    for name, spec in (("kubernetes.default", kubernetes["spec"]), (f"web.{cluster.namespace}", service)):
        cluster.eventually(partial(_is_resolved, cluster, client, name, spec), seconds=180)  # DNS may just be starting


def _is_resolved(cluster: KindCluster, client: str, name: str, spec: Json) -> None:
    assert cluster.resolve(client, f"{name}.svc.cluster.local") == set(spec["clusterIPs"])


def test_names_outside_of_the_cluster_are_resolved(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], near: str, far: str
) -> None:
    """The cluster's name server asks docker's, which knows containers and listens on the node's loopback."""
    if not cluster.name_servers():
        pytest.skip("the cluster has no DNS")
    for client in ("near", "far"):
        cluster.eventually(partial(_is_known_outside, cluster, client, workers[0]), seconds=180)


def _is_known_outside(cluster: KindCluster, client: str, node: ClusterNode) -> None:
    assert node.addresses[0] in cluster.resolve(client, f"{node.name}.")


def test_a_host_port(cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], far: str) -> None:
    ports = [{"containerPort": PORT, "hostPort": HOST_PORT}]
    cluster.pod("host-port", workers[0].name, "serve", container={"ports": ports})
    assert cluster.fetch("far", f"{host(workers[0].addresses[0])}:{HOST_PORT}") == "host-port"


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
    agent = cluster.agent(node)
    names = [f"many-{number}" for number in range(MANY)]
    cluster.create(*(cluster.manifest(name, node) for name in names))
    cluster.wait_ready(*names)
    addresses = [address for name in names for address in cluster.addresses(name)]
    assert len(set(addresses)) == len(addresses)
    assert set(addresses) <= cluster.leases(node)
    cluster.delete(*names)
    cluster.eventually(lambda: _holds_its_pods_alone(cluster, node), seconds=120)
    # The node's agent looked all the while. It has not restarted, so it neither hung nor exceeded its memory limit.
    after = cluster.agent(node)
    assert (after["metadata"]["name"], restarts(after)) == (agent["metadata"]["name"], restarts(agent))


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


# --- over a cluster's life ---


def assert_whole(cluster: KindCluster) -> None:
    """Every node is Ready, and has the ways to all others' pods and no more."""
    assert [node["metadata"]["name"] for node in cluster.cluster.node_objects() if not is_ready(node)] == []
    for node in cluster.nodes():
        assert cluster.routes(node.name) == cluster.wanted_routes(node.name)


def test_every_node_has_the_ways_to_all_others_pods(cluster: KindCluster) -> None:
    assert_whole(cluster)
    for node in cluster.nodes():
        wanted = len(cluster.wanted_routes(node.name))
        assert (cluster.metric(node.name, "routes_wanted"), cluster.metric(node.name, "routes_there")) == (wanted,) * 2


def test_nothing_is_wrong(cluster: KindCluster) -> None:
    assert cluster.problems() == set()
    assert {node.name: cluster.metric(node.name, "problems") for node in cluster.nodes()} == {
        node.name: 0 for node in cluster.nodes()
    }


def test_an_agent_takes_little_memory(cluster: KindCluster) -> None:
    for node in cluster.nodes():
        look = "grep VmRSS /proc/$(pgrep -f '^/agent/cni-bridge-py agent' | head -n 1)/status"
        assert int(on_node(node.name, "sh", "-c", look).split()[1]) < 60 * 1024


def test_routes_that_somebody_took_away_or_added_are_mended(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode]
) -> None:
    node, gateway = workers[0].name, workers[1].addresses[0]
    own = next(cidr for cidr in workers[0].pod_cidrs if (":" in cidr) == (":" in gateway))
    for version in ("-4", "-6"):
        on_node(node, "ip", version, "route", "flush", "protocol", "152")
    version = "-6" if ":" in own else "-4"
    on_node(node, "ip", version, "route", "add", own, "via", gateway, "metric", "7", "protocol", "152")
    cluster.eventually(lambda: assert_whole(cluster))


def test_an_agent_that_is_deleted_comes_back(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], server: str, near: str, far: str
) -> None:
    """Pods reach one another meanwhile, and afterwards."""
    name = cluster.agent(workers[0].name)["metadata"]["name"]
    cluster.cluster.kubectl("--namespace=kube-system", "delete", "pod", name, "--wait=true")
    for address in cluster.addresses("server"):
        cluster.run("far", "ping", target=address)
    cluster.eventually(lambda: _is_another_agent(cluster, workers[0].name, name))
    rollout = ("rollout", "status", "daemonset/cni-bridge-py", "--timeout=120s")
    cluster.cluster.kubectl("--namespace=kube-system", *rollout)
    cluster.eventually(lambda: assert_whole(cluster))


def _is_another_agent(cluster: KindCluster, node: str, before: str) -> None:
    assert cluster.agent(node)["metadata"]["name"] != before


def test_pods_go_on_without_the_agents(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], server: str, far: str
) -> None:
    manifest = f"--filename={CHECKOUT / 'deploy/cni-bridge-py.yaml'}"
    cluster.cluster.kubectl("delete", manifest, "--wait=true")
    try:
        for address in cluster.addresses("server"):
            assert cluster.fetch("far", f"{host(address)}:{PORT}") == "server"
        # The plugin and its configuration are still there, for new pods, too.
        cluster.pod("without-agents", workers[0].name)
    finally:
        cluster.cluster.kubectl("apply", manifest)
    rollout = ("rollout", "status", "daemonset/cni-bridge-py", "--timeout=120s")
    cluster.cluster.kubectl("--namespace=kube-system", *rollout)
    assert_whole(cluster)


def test_a_node_that_is_restarted(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], server: str, near: str, far: str
) -> None:
    """Its pods and its routes come back, and nobody has to do anything for it."""
    node = workers[1].name
    before = cluster.restarts("far")
    subprocess.run(["docker", "restart", node], check=True, capture_output=True)
    # Kubernetes takes its time to notice: what it says of node and pod may be from before.
    cluster.eventually(lambda: _has_restarted(cluster, "far", before), seconds=300)
    cluster.wait_ready("far")
    # Its agent reaches the API server through a Service address, which needs kube-proxy to be back.
    for address in cluster.addresses("server"):
        assert cluster.fetch("far", f"{host(address)}:{PORT}", seconds=180) == "server"
    for address in cluster.addresses("far"):
        cluster.eventually(partial(cluster.run, "near", "ping", target=address), seconds=180)
    cluster.eventually(lambda: _holds_its_pods_alone(cluster, node), seconds=180)
    cluster.eventually(lambda: assert_whole(cluster), seconds=180)


def _has_restarted(cluster: KindCluster, pod: str, before: int) -> None:
    assert cluster.restarts(pod) > before


def test_a_node_whose_pod_cidr_changes(
    cluster: KindCluster, workers: tuple[ClusterNode, ClusterNode], server: str, far: str
) -> None:
    """Pods of the old range are told of; without them the node goes on with the new one. The last test of all."""
    node = workers[1].name
    used = {cidr for each in cluster.nodes() for cidr in each.pod_cidrs}
    new = [_another_subnet(cidr, used) for cidr in workers[1].pod_cidrs]
    cluster.replace_node(node, new)
    cluster.eventually(lambda: _is_told(cluster, (node, "PodsOfFormerPodCIDR")), seconds=120)
    selector = f"--field-selector=spec.nodeName={node},metadata.namespace!=kube-system"
    cluster.cluster.kubectl("delete", "pods", "--all-namespaces", selector, "--force", "--grace-period=0")
    dns = ("--selector=k8s-app=kube-dns", f"--field-selector=spec.nodeName={node}", "--ignore-not-found")
    cluster.cluster.kubectl("--namespace=kube-system", "delete", "pods", *dns)
    cluster.eventually(lambda: _has_gateways_of_its_range_alone(cluster, node, new), seconds=180)
    address = cluster.pod("of-the-new-range", node)
    assert any(ipaddress.ip_address(address) in ipaddress.ip_network(cidr) for cidr in new)
    for each in cluster.addresses("server"):
        assert cluster.fetch("of-the-new-range", f"{host(each)}:{PORT}") == "server"
    cluster.eventually(lambda: assert_whole(cluster), seconds=120)
    cluster.wait_for_dns()


def _another_subnet(cidr: str, used: set[str]) -> str:
    """A podCIDR of the same size nearby that no node has."""
    net = ipaddress.ip_network(cidr)
    for distance in range(1, 200):
        other = str(ipaddress.ip_network((int(net.network_address) + distance * net.num_addresses, net.prefixlen)))
        if other not in used:
            return other
    raise AssertionError(f"no podCIDR beside {cidr} is free")


def _is_told(cluster: KindCluster, problem: tuple[str, str]) -> None:
    assert problem in cluster.problems()


def _has_gateways_of_its_range_alone(cluster: KindCluster, node: str, cidrs: list[str]) -> None:
    found = json.loads(on_node(node, "ip", "-j", "address", "show", "dev", "cni0", "scope", "global"))
    addresses = [each["local"] for link in found for each in link.get("addr_info", [])]
    nets = [ipaddress.ip_network(cidr) for cidr in cidrs]
    assert all(any(ipaddress.ip_address(address) in net for net in nets) for address in addresses)
