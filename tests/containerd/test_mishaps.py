"""What a cluster's nodes live through: rushes, killed daemons, namespaces that vanish, reboots."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.agent.ground import eventually
from tests.containerd.cluster import OUTSIDE, Cluster, Worker
from tests.containerd.runtime import Sandbox
from tests.harness import Plugin

MakeCluster = Callable[..., Cluster]

CNI_FILES = ("etc/cni", "var/lib/cni")
"""What the plugin and its configuration have on the disk."""

CONTAINERD_FILES = "var/lib/containerd"

SMALL_PREFIX = 28
SMALL_SIZE = 13
"""A podCIDR of 16 addresses, without those of the network, of broadcasts and of the gateway."""


@pytest.fixture
def make_cluster(root: None, plugin: Plugin, containerd: Path) -> Iterator[MakeCluster]:
    """A function that starts clusters; they go when the test ends."""
    with contextlib.ExitStack() as running:

        def make(**kwargs: Any) -> Cluster:
            return running.enter_context(Cluster(plugin, containerd, **kwargs))

        yield make


def run_pods(worker: Worker, count: int) -> list[Sandbox]:
    """Run sandboxes at once."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: worker.run_pod(), range(count)))


def remove_pods(worker: Worker, pods: list[Sandbox]) -> None:
    """Remove sandboxes at once."""
    with ThreadPoolExecutor(len(pods)) as pool:
        list(pool.map(worker.remove_pod, [pod.container_id for pod in pods]))


def assert_nothing_left(worker: Worker) -> None:
    """No sandbox, and nothing that one had."""
    assert worker.pods() == []
    assert worker.leases() == {}
    assert worker.veths() == []


def test_forty_sandboxes_come_and_go_at_once(make_cluster: MakeCluster) -> None:
    here, there = make_cluster(dual_stack=True).workers
    distant = there.run_pod()
    # The bridge and the rules that all pods share come with the first pod and stay.
    here.remove_pod(here.run_pod().container_id)
    before = here.node.snapshot()

    pods = run_pods(here, 40)
    given = [address for pod in pods for address in pod.ips]
    assert len(set(given)) == len(given) == 2 * 40
    assert here.leases() == {address: (pod.container_id, "eth0") for pod in pods for address in pod.ips}
    assert len(here.veths()) == 40
    for pod in pods:
        assert [address.partition("/")[0] for address in pod.addresses()] == pod.ips
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(distant.ping, given))

    remove_pods(here, pods)
    assert_nothing_left(here)
    # The agent, which mends all the while, may have to take back what it mended for a pod that just went.
    eventually(here.node.snapshot, before)
    assert "WARNING" not in here.agent.log


def test_sandboxes_outlive_a_killed_containerd(make_cluster: MakeCluster) -> None:
    here, there = make_cluster(dual_stack=True).workers
    distant = there.run_pod()
    pods = run_pods(here, 3)
    here.restart()
    assert set(here.pods()) == {pod.container_id for pod in pods}
    new = here.run_pod()
    assert not set(new.ips) & {address for pod in pods for address in pod.ips}
    for pod in (*pods, new):
        for address, other in zip(pod.ips, distant.ips, strict=True):
            assert distant.ping(address, count=3)
            assert pod.ping(other, count=3)
    remove_pods(here, [*pods, new])
    assert_nothing_left(here)


def test_sandboxes_whose_network_namespaces_are_gone_are_removed(make_cluster: MakeCluster) -> None:
    here, _ = make_cluster(dual_stack=True).workers
    unmounted, removed = run_pods(here, 2)
    unmounted.node.run("umount", unmounted.path)
    removed.close()
    remove_pods(here, [unmounted, removed])
    assert_nothing_left(here)


def test_addresses_of_pods_that_a_reboot_ended_are_given_again(make_cluster: MakeCluster) -> None:
    here, there = make_cluster(dual_stack=True, pod_prefix=SMALL_PREFIX).workers
    distant = there.run_pod()
    before = run_pods(here, SMALL_SIZE)
    assert_full(here)

    here.reboot(*CNI_FILES)
    assert here.veths() == []

    after = run_pods(here, SMALL_SIZE)
    assert {pod.ips[0] for pod in after} == {pod.ips[0] for pod in before}
    assert here.leases() == {address: (pod.container_id, "eth0") for pod in after for address in pod.ips}
    assert_full(here)
    assert_connected(after[0], distant)

    remove_pods(here, after)
    assert_nothing_left(here)


def assert_full(worker: Worker) -> None:
    """The next sandbox gets no address, for that reason, and the attempt leaves nothing."""
    leases, veths = worker.leases(), worker.veths()
    with pytest.raises(grpc.RpcError, match="no IP addresses available in range set"):
        worker.run_pod()
    assert worker.leases() == leases
    assert worker.veths() == veths


def assert_connected(pod: Sandbox, distant: Sandbox) -> None:
    """A pod reaches a pod of another node and the outside, with each of its addresses."""
    for address, other, outside in zip(pod.ips, distant.ips, OUTSIDE, strict=True):
        assert pod.ping(other, count=3)
        assert distant.ping(address, count=3)
        assert pod.seen_as(outside)


def test_sandboxes_that_a_reboot_ended_are_removed(make_cluster: MakeCluster) -> None:
    # containerd remembers them, and the kubelet has it remove them.
    here, there = make_cluster(dual_stack=True).workers
    distant = there.run_pod()
    ended = [pod.container_id for pod in run_pods(here, 3)]

    here.reboot(*CNI_FILES, CONTAINERD_FILES)
    assert sorted(here.pods()) == sorted(ended)
    new = here.run_pod()
    for sandbox_id in ended:
        here.remove_pod(sandbox_id)
    assert here.leases() == dict.fromkeys(new.ips, (new.container_id, "eth0"))
    assert_connected(new, distant)
    here.remove_pod(new.container_id)
    assert_nothing_left(here)
