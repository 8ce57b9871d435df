"""What only containerd 2.x does: it asks the plugin for its STATUS, and brings up a pod's lo itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from tests import newest
from tests.containerd.runtime import Containerd
from tests.harness import Json, Plugin

Start = Callable[..., Containerd]

SUBNET = "10.8.0.0/29"
SIZE = 5
"""Its addresses, without those of the network, of broadcasts and of the gateway."""


@pytest.fixture
def start(root: None, plugin: Plugin) -> Iterator[Start]:
    """A function that starts the newest containerd with a small network."""
    with contextlib.ExitStack() as running:

        def start(**kwargs: Any) -> Containerd:
            return running.enter_context(Containerd(plugin, network(plugin), newest.containerd_dir(), **kwargs))

        yield start


def network(plugin: Plugin) -> Json:
    """A network of CNI 1.1.0, the first version with a STATUS."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": SUBNET}]]}
    keys = {"bridge": "cni0", "isDefaultGateway": True, "ipMasq": True}
    return {"cniVersion": "1.1.0", "name": "pods", "plugins": [{"type": plugin.type, **keys, "ipam": ipam}]}


def why_not_ready(runtime: Containerd) -> str | None:
    """What the kubelet is told when it asks, every few seconds, and has its node NotReady for; None if all is well."""
    conditions = {each.type: each for each in runtime.call("Status").status.conditions}
    network = conditions["NetworkReady"]
    return None if network.status else network.message


def test_a_node_is_ready_while_pods_come_and_go(start: Start) -> None:
    runtime = start()
    assert why_not_ready(runtime) is None
    pods = [runtime.run_pod() for _ in range(SIZE - 1)]
    assert why_not_ready(runtime) is None
    for pod in pods:
        runtime.remove_pod(pod.container_id)
        assert why_not_ready(runtime) is None
    runtime.restart()
    assert why_not_ready(runtime) is None


def test_a_full_range_is_told_until_a_pod_goes(start: Start) -> None:
    runtime = start()
    pods = [runtime.run_pod() for _ in range(SIZE)]
    assert "no IP addresses available in range set: 10.8.0.1-10.8.0.6" in (why_not_ready(runtime) or "")
    with pytest.raises(grpc.RpcError, match="no IP addresses available in range set"):
        runtime.run_pod()
    runtime.remove_pod(pods[0].container_id)
    assert why_not_ready(runtime) is None
    assert runtime.run_pod().ips == pods[0].ips


def test_what_is_in_the_bridges_place_is_told_until_it_is_gone(start: Start) -> None:
    runtime = start()
    runtime.node.run("ip", "link", "add", "cni0", "type", "veth", "peer", "name", "other")
    assert '"cni0" already exists but is not a bridge' in (why_not_ready(runtime) or "")
    runtime.node.run("ip", "link", "delete", "cni0")
    assert why_not_ready(runtime) is None
    assert runtime.run_pod().ping("10.8.0.1")


def test_asking_changes_nothing(start: Start) -> None:
    runtime = start()
    runtime.run_pod()
    before = runtime.node.snapshot()
    assert [why_not_ready(runtime) for _ in range(3)] == [None] * 3
    assert runtime.node.snapshot() == before


def test_a_pods_lo_is_up_without_a_plugin_for_it(start: Start) -> None:
    runtime = start(settings="use_internal_loopback = true\n")
    runtime.node.run("rm", "/opt/cni/bin/loopback")
    pod = runtime.run_pod()
    assert pod.ping("127.0.0.1")
    assert pod.ping("10.8.0.1")
    runtime.remove_pod(pod.container_id)
    assert runtime.leases() == {}


def test_the_result_that_containerd_keeps(start: Start) -> None:
    """It takes a result of 1.1.0 whole."""
    runtime = start()
    pod = runtime.run_pod()
    info = runtime.call("PodSandboxStatus", pod_sandbox_id=pod.container_id, verbose=True).info["info"]
    eth0 = json.loads(info)["cniResult"]["Interfaces"]["eth0"]
    assert eth0["Mac"] == pod.link("eth0")["address"]
    assert [(each["IP"], each["Gateway"]) for each in eth0["IPConfigs"]] == [(pod.ips[0], "10.8.0.1")]
