"""`ipam.type: dhcp`: the reference's plugin, its daemon, and a DHCP server on the bridge's network."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests import newest
from tests.harness import Json, Node, Plugin
from tests.kernel.networks import add_pod, host_veth, veths

SERVER = "192.168.1.1"
CONF: Json = {"cniVersion": "1.1.0", "name": "lan", "bridge": "br0", "ipam": {"type": "dhcp"}}
NIC_MAC = "52:54:00:12:34:56"


class Lan:
    """A network behind the bridge's own network card, with a DHCP server in it."""

    leases = "/run/dnsmasq.leases"

    def __init__(self, node: Node, running: contextlib.ExitStack) -> None:
        self.node = node
        self.log = node.directory / "dhcp.log"
        self._running = running
        self.pod = node.pod("lan")
        node.run(*f"ip link add nic0 address {NIC_MAC} type veth peer name wire0 netns lan".split())
        self.pod.run("ip", "address", "add", f"{SERVER}/24", "dev", "wire0")
        self.pod.run("ip", "link", "set", "wire0", "up")
        node.run(*f"ip link add br0 address {NIC_MAC} type bridge".split())
        node.run(*["ip", "link", "set", "nic0", "master", "br0", "up"])
        node.run(*["ip", "link", "set", "br0", "up"])
        server = "dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --port=0 --no-ping --interface=wire0 "
        server += "--bind-interfaces --dhcp-range=192.168.1.50,192.168.1.99,1h --dhcp-authoritative --pid-file= "
        server += f"--dhcp-leasefile={self.leases} --dhcp-option=3,{SERVER}"
        running.enter_context(_killed(self.pod.popen(*server.split(), stderr=subprocess.DEVNULL)))
        _await((node.root / self.leases.lstrip("/")).exists)

    def start_daemon(self, dhcp: Plugin, *options: str) -> None:
        """Start the plugin's daemon, in place of the one that may be there."""
        socket = self.node.root / "run/cni/dhcp.sock"
        socket.unlink(missing_ok=True)
        with self.log.open("w") as log:
            daemon = self.node.popen(f"{dhcp.cni_path}/dhcp", "daemon", *options, stderr=log)
        self._running.enter_context(_killed(daemon))
        _await(socket.exists)

    def held(self) -> dict[str, str]:
        """The leases as the server has them: address -> MAC."""
        lines = (self.node.root / self.leases.lstrip("/")).read_text().splitlines()
        return {line.split()[2]: line.split()[1] for line in lines}


@contextlib.contextmanager
def _killed(process: subprocess.Popen[str]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def dhcp(plugin: Plugin) -> Plugin:
    """The plugin with the newest reference's beside it."""
    found = Plugin(plugin.argv, cni_path=str(newest.reference_dir()))
    found.type = plugin.type
    return found


@pytest.fixture
def lan(node: Node, dhcp: Plugin) -> Iterator[Lan]:
    with contextlib.ExitStack() as running:
        found = Lan(node, running)
        found.start_daemon(dhcp, "--timeout=2s")
        yield found


def _await(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pod_on_the_lan(node: Node, dhcp: Plugin, lan: Lan) -> None:
    pod, result = add_pod(dhcp, node, CONF)
    [address] = [ip["address"] for ip in result["ips"]]
    assert pod.addresses() == [address]
    assert lan.held() == {address.partition("/")[0]: pod.link("eth0")["address"]}
    assert [route["gateway"] for route in pod.routes() if route["dst"] == "default"] == [SERVER]
    assert pod.ping(SERVER)
    assert result["ips"][0]["gateway"] == SERVER
    assert node.link("br0")["address"] == NIC_MAC
    assert dhcp.check(node, CONF, pod, result).result == {}
    dhcp.delete(node, {**CONF, "prevResult": result}, pod)
    dhcp.delete(node, {**CONF, "prevResult": result}, pod)
    assert set(veths(node)) == {"nic0"}


def test_the_lease_is_given_back_while_there_is_an_interface_to_do_it(node: Node, dhcp: Plugin, lan: Lan) -> None:
    """What the daemon says tells more than the server: the packet that it sends may be lost."""
    pod, result = add_pod(dhcp, node, CONF)
    dhcp.delete(node, {**CONF, "prevResult": result}, pod)
    said = lan.log.read_text()
    assert "releasing lease" in said
    assert "failed to release" not in said


def test_a_pod_that_comes_again_has_its_mac_and_another_its_own(node: Node, dhcp: Plugin, lan: Lan) -> None:
    """It comes from the attachment's name: the address is not known when the cable is made."""
    pod, _ = add_pod(dhcp, node, CONF)
    mac = pod.link("eth0")["address"]
    other, _ = add_pod(dhcp, node, CONF)
    assert other.link("eth0")["address"] != mac
    dhcp.delete(node, CONF, pod)
    dhcp.add(node, CONF, pod)
    assert pod.link("eth0")["address"] == mac


def test_without_an_answer_nothing_is_left(node: Node, dhcp: Plugin, lan: Lan) -> None:
    node.run("ip", "link", "set", "nic0", "nomaster")
    lan.start_daemon(dhcp, "--timeout=1s", "--resendmax=1s", "--resendtimeout=3s")
    error = dhcp.call(node, "ADD", CONF, node.pod()).error
    assert "plugin dhcp: error calling DHCP.Allocate" in error["msg"]
    assert set(veths(node)) == {"nic0"}


def test_without_a_daemon_nothing_is_left(node: Node, dhcp: Plugin) -> None:
    error = dhcp.call(node, "ADD", CONF, node.pod()).error
    assert "plugin dhcp: error dialing DHCP daemon" in error["msg"]
    assert veths(node) == []


def test_a_pod_whose_namespace_is_gone(node: Node, dhcp: Plugin, lan: Lan) -> None:
    pod, result = add_pod(dhcp, node, CONF)
    assert host_veth(result) in veths(node)
    pod.close()
    dhcp.delete(node, CONF, pod)
    assert set(veths(node)) == {"nic0"}
