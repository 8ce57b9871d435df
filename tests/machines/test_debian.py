"""A node with a container runtime and nothing else, from nothing to pods that run, and back."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests import image
from tests.containerd.runtime import SOCKET, Containerd, Sandbox, services
from tests.harness import Pod
from tests.machines.debian import Debian

OUTSIDE, MACHINE = "192.0.2.1", "192.0.2.2"

# Only what a containerd within a test needs; where it looks for plugins and configurations stays as Debian has it.
SETTINGS = f"""
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image.NAME}"
  restrict_oom_score_adj = true
  disable_apparmor = true
"""
SNAPSHOTTER = """
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
"""


class DebiansContainerd(Containerd):
    """The containerd of a Debian machine, which finds plugin and configuration where its package says."""

    bridge, network = "cni0", "podnet"

    def __init__(self, machine: Debian) -> None:
        self.node = machine
        self._numbers = itertools.count(1)
        self._bin_dir = Path("/usr/bin")
        self._log = machine.directory / "containerd.log"
        config = machine.root / "etc/containerd/config.toml"
        text = config.read_text().replace('[plugins."io.containerd.grpc.v1.cri"]\n', SETTINGS.lstrip())
        assert SETTINGS.strip() in text, text
        config.write_text(text + SNAPSHOTTER)
        channel = grpc.insecure_channel(f"unix:{machine.root / SOCKET}")
        self._runtime = services.RuntimeServiceStub(channel)
        self._images = services.ImageServiceStub(channel)

    def start(self) -> None:
        """Start it as its unit does; it runs, and has no network yet."""
        with self._log.open("a") as log:
            environment = self.node.environment() if isinstance(self.node, Debian) else None
            self._process = self.node.popen("/usr/bin/containerd", stdout=log, stderr=log, env=environment)
        self._wait("containerd to answer", self._answers)
        archive = self.node.root / "tmp/image.tar"
        image.write_archive(archive, os.uname().machine)
        self.node.run("ctr", "--namespace", "k8s.io", "images", "import", "--no-unpack", "/tmp/image.tar")
        self._wait("the image to be known", self._has_image)

    def wait_for_network(self) -> None:
        """Wait until it says that pods can be run: it notices configurations by itself."""
        self._wait("the network to be ready", self._is_ready)

    def _answers(self) -> bool:
        try:
            return bool(self.call("Version").runtime_name)
        except grpc.RpcError:
            return False

    def has_network(self) -> bool:
        """Whether it says that pods can be run."""
        return self._is_ready()


class Machine:
    """A Debian machine with containerd, and what is beyond its uplink: something that knows the machine alone."""

    def __init__(self, suite: str) -> None:
        self.debian = Debian(suite)
        for command in ("netns add outside", "link add eth0 type veth peer name eth0 netns outside"):
            self.debian.run("ip", *command.split())
        self.outside = Pod(self.debian, "/run/netns/outside")
        for machine, address in ((self.debian, MACHINE), (self.outside, OUTSIDE)):
            machine.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            machine.run("ip", "link", "set", "eth0", "up")
            machine.run("ip", "link", "set", "lo", "up")
        self.debian.run("ip", "route", "add", "default", "via", OUTSIDE)

    def reaches(self, pod: Sandbox, address: str) -> bool:
        return pod.ping(address, count=3)


@pytest.fixture(
    params=[pytest.param("bookworm", marks=pytest.mark.slow), pytest.param("trixie", marks=pytest.mark.machines)]
)
def machine(request: pytest.FixtureRequest, root: None) -> Iterator[Machine]:
    made = Machine(request.param)
    try:
        yield made
    finally:
        made.debian.close()


@pytest.mark.timeout(1500)
def test_from_nothing_to_pods_and_back(machine: Machine) -> None:
    debian = machine.debian

    # Nothing but Debian: everything that is to be installed is said first.
    debian.type("apt-get install -y containerd")
    containerd = DebiansContainerd(debian)
    containerd.start()
    assert not containerd.has_network()
    said = debian.type("sudo ./install.sh")
    assert "Building needs these Debian packages: binutils gcc libc6-dev python3 python3-venv libpython3-dev" in said
    assert "containerd: plugins in /usr/lib/cni, configurations in /etc/cni/net.d" in said
    assert "NOTE" not in said, "the plugin is the static executable"
    assert "10-bridge.conf; it needs no restart" in said
    assert "/usr/lib/cni/loopback -> cni-bridge-py" in said
    assert "WARNING" not in said
    containerd.wait_for_network()
    pods = [containerd.run_pod() for _ in range(2)]
    assert [pod.ips for pod in pods] == [["10.22.0.2"], ["10.22.0.3"]]
    assert machine.reaches(pods[0], "10.22.0.3")
    assert machine.reaches(pods[0], OUTSIDE)
    assert pods[1].addresses("lo") == ["127.0.0.1/8", "::1/128"]

    # Again, with nothing to do.
    said = debian.type("sudo ./install.sh")
    assert "Nothing to build" in said
    assert "already the version that was built" in said
    assert "10-bridge.conf: as it was" in said

    # The demo and the command for people.
    said = debian.type("sudo ./install.sh --no-build --demo && cni-bridge-py explain | head -n 3")
    assert "Nothing is left behind." in said
    assert "Nothing was installed" in said

    # Another subnet is kept by what comes later.
    containerd.remove_pod(pods.pop().container_id)
    containerd.remove_pod(pods.pop().container_id)
    debian.type("ip link del cni0")
    debian.type("sudo ./install.sh --no-build --subnet 10.98.0.0/16,fd00:98::/64")
    debian.type("sudo ./install.sh --no-build")
    pod = containerd.run_pod()
    assert pod.ips == ["10.98.0.2", "fd00:98::2"]
    assert machine.reaches(pod, OUTSIDE)

    # docker comes, whose FORWARD policy is DROP.
    debian.type("apt-get install -y iptables && iptables -P FORWARD DROP")
    assert not machine.reaches(pod, OUTSIDE)
    said = debian.type("sudo ./install.sh --no-build")
    assert "WARNING: pods reach nothing beyond this node" in said
    said = debian.type("sudo ./install.sh --no-build --conf 10-bridge-firewall.conflist", check=False)
    assert (
        "needs the plugin firewall, which is not in /usr/lib/cni: apt-get install containernetworking-plugins" in said
    )
    debian.type("apt-get install -y containernetworking-plugins")
    said = debian.type("sudo ./install.sh --no-build --conf 10-bridge-firewall.conflist")
    assert "WARNING" not in said
    _wait_for_conf(containerd, "firewall")
    let_through = containerd.run_pod()
    assert machine.reaches(let_through, OUTSIDE)
    assert machine.reaches(let_through, pod.ips[0])

    # Away with it: first what no pod needs, and then everything.
    said = debian.type("sudo ./install.sh --uninstall")
    assert "2 pods of the network podnet" in said
    assert "the bridge cni0" in said
    assert machine.reaches(let_through, pod.ips[0])
    said = debian.type("sudo ./install.sh --uninstall --purge")
    assert "2 pods of the network podnet no longer have a network" in said
    assert _left(debian) == ""
    assert "There was nothing to uninstall" in debian.type("sudo ./install.sh --uninstall")


@pytest.mark.timeout(1500)
def test_where_forward_drops_from_the_start(machine: Machine) -> None:
    debian = machine.debian
    debian.type("apt-get install -y containerd iptables containernetworking-plugins && iptables -P FORWARD DROP")
    containerd = DebiansContainerd(debian)
    containerd.start()
    said = debian.type("sudo ./install.sh")
    assert "This node drops forwarded packets" in said
    assert "10-bridge-firewall.conflist lets pods' packets through" in said
    containerd.wait_for_network()
    pods = [containerd.run_pod() for _ in range(2)]
    assert machine.reaches(pods[0], pods[1].ips[0])
    assert machine.reaches(pods[0], OUTSIDE)
    for pod in pods:
        containerd.remove_pod(pod.container_id)
    debian.type("sudo ./install.sh --uninstall --purge")
    assert _left(debian) == ""


def _wait_for_conf(containerd: Containerd, plugin: str) -> None:
    """Wait until containerd has read the configuration with that plugin: it does by itself, a little later."""
    until = time.monotonic() + 30
    while plugin not in json.dumps(dict(containerd.call("Status", verbose=True).info)):
        assert time.monotonic() < until
        time.sleep(0.1)


def _left(debian: Debian) -> str:
    """What there is of ours on the machine."""
    looked = (
        "find / -xdev -path /root -prune -o -path /tmp -prune -o -name '*cni-bridge*' -print; "
        "find /etc/cni /var/lib/cni/networks -type f; "
        "ip -o link show type bridge; ip -o link show type veth | grep -v eth0"
    )
    return debian.type(looked, check=False).replace("find: '/var/lib/cni/networks': No such file or directory\n", "")
