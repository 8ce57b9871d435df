"""Containers run by podman with its CNI backend, wired by the plugin."""

from __future__ import annotations

import json
import os
from ipaddress import ip_address, ip_network

import pytest

from tests import image
from tests.harness import Json, Node, Outside, Plugin, Pod

NETWORK = "pods"
SUBNET = "10.8.0.0/24"
GATEWAY = "10.8.0.1"

CONTAINERS_CONF = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
"""

# The driver that works on any file system.
STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
"""


class Podman:
    """podman in a node, with an image and a network of its own."""

    def __init__(self, node: Node, plugin: Plugin) -> None:
        self.node = node
        plugin.install(node)
        node.write("/etc/cni/net.d/10-test.conflist", json.dumps(network(plugin)))
        node.write("/etc/containers/containers.conf", CONTAINERS_CONF)
        node.write("/etc/containers/storage.conf", STORAGE_CONF)
        if "cni support is not enabled" in node.run("podman", "info", check=False).stderr:
            pytest.skip("this podman is built without CNI, as version 5 usually is")
        archive = node.directory / "image.tar"
        image.write_archive(archive, os.uname().machine)
        self("load", "--input", str(archive))

    def __call__(self, *args: str) -> str:
        """Run a podman command; what it prints."""
        return self.node.run("podman", *args).stdout.strip()

    def run(self, *args: str) -> str:
        """`podman run` on our network with the arguments given; what it prints."""
        return self("run", f"--cgroup-parent=/{self.node.cgroup}", f"--network={NETWORK}", *args)

    def inspect(self, container: str) -> Json:
        """What `podman inspect` says of a container's network."""
        settings: Json = json.loads(self("inspect", container))[0]["NetworkSettings"]
        return settings

    def pod(self, container: str) -> Pod:
        """A running container's network namespace."""
        return Pod(self.node, self.inspect(container)["SandboxKey"], container)

    def address(self, container: str) -> str:
        """The address that podman reports for a container."""
        address: str = self.inspect(container)["Networks"][NETWORK]["IPAddress"]
        return address


def network(plugin: Plugin) -> Json:
    return {
        "cniVersion": "0.4.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": plugin.type,
                "bridge": "cni0",
                "isGateway": True,
                "isDefaultGateway": True,
                "ipMasq": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": SUBNET}]]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


@pytest.fixture
def podman(node: Node, plugin: Plugin) -> Podman:
    """podman in a node of its own; its containers go when the test ends."""
    return Podman(node, plugin)


def test_a_container_has_the_address_that_podman_reports(podman: Podman) -> None:
    container = podman.run("--detach", image.NAME)
    address = podman.address(container)
    assert ip_address(address) in ip_network(SUBNET)
    assert podman.pod(container).addresses() == [f"{address}/24"]
    assert podman.node.leases(NETWORK) == {address: (container, "eth0")}


def test_a_container_reaches_its_gateway_its_neighbour_and_the_outside(podman: Podman) -> None:
    outside = Outside(podman.node)
    container = podman.run("--detach", image.NAME)
    neighbour = podman.run("--detach", image.NAME)
    pod = podman.pod(container)
    assert pod.ping(GATEWAY)
    assert pod.ping(podman.address(neighbour))
    assert pod.seen_as(outside.address) == outside.node_address


def test_a_container_that_ends_leaves_the_node_as_it_was(podman: Podman) -> None:
    # The bridge and the rules that all containers share come with the first one and stay.
    podman.run("--rm", image.NAME, "busybox", "true")
    before = podman.node.snapshot()
    shown = podman.run("--rm", image.NAME, "busybox", "ip", "-4", "address", "show", "eth0")
    assert "inet 10.8.0." in shown
    assert podman.node.snapshot() == before


def test_a_removed_container_leaves_no_lease_or_link(podman: Podman) -> None:
    container = podman.run("--detach", image.NAME)
    assert len(podman.node.leases(NETWORK)) == 1
    podman("rm", "--force", "--time=0", container)
    assert podman.node.leases(NETWORK) == {}
    assert [link for link in podman.node.links().values() if "master" in link] == []


def test_a_container_is_wired_anew_when_it_starts_again(podman: Podman) -> None:
    container = podman.run("--detach", image.NAME)
    podman("stop", "--time=0", container)
    assert podman.node.leases(NETWORK) == {}
    podman("start", container)
    assert podman.node.leases(NETWORK) == {podman.address(container): (container, "eth0")}
    assert podman.pod(container).ping(GATEWAY)


def test_a_published_port_leads_to_the_container(podman: Podman) -> None:
    outside = Outside(podman.node)
    container = podman.run("--detach", "--publish=8081:8080", image.NAME)
    podman.pod(container).serve(8080)
    assert outside.seen_as(outside.node_address, 8081) == outside.address
    podman("rm", "--force", "--time=0", container)
    assert outside.seen_as(outside.node_address, 8081) is None
