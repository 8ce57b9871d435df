"""The daemons that break nodes, running in one: firewalld, ufw, systemd-networkd, NetworkManager."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.node.conftest import Patient, need

pytestmark = pytest.mark.slow

WITHOUT_UDEV = ("unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro /sys; exec "$@"', "sh")
"""What waits for udev does not where /sys is read-only, as it is in containers."""

WIRED = """
[Match]
Type=ether

[Network]
LinkLocalAddressing=no
Address=192.168.77.2/24
"""
"""A file as many machines have it, of which systemd-networkd thinks that it is about pods' links, too."""

PROFILE = """
[connection]
id=wired
type=ethernet

[ipv4]
method=manual
address1=192.168.77.2/24

[ipv6]
method=ignore
"""


@contextmanager
def running(patient: Patient, *argv: str, until: str) -> Iterator[None]:
    """A daemon on the node, from when a shell command succeeds."""
    daemon = patient.node.popen(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: patient.node.run("sh", "-c", until, check=False).returncode == 0)
        yield
    finally:
        daemon.kill()
        daemon.wait()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextmanager
def bus(patient: Patient) -> Iterator[None]:
    """The system's message bus."""
    need("dbus-daemon")
    patient.sh("mkdir -p /run/dbus")
    argv = ("dbus-daemon", "--system", "--nofork", "--nopidfile")
    with running(patient, *argv, until="test -S /run/dbus/system_bus_socket"):
        yield


def networkd(patient: Patient) -> tuple[str, ...]:
    patient.sh("mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp")
    patient.sh("chown -R systemd-network /run/systemd/netif")
    return (*WITHOUT_UDEV, "/lib/systemd/systemd-networkd")


def test_ufw_drops_what_is_forwarded(patient: Patient) -> None:
    need("ufw")
    patient.sh("ufw --force enable")
    assert not patient.is_well()
    examined = patient.doctor()
    assert "policy drop" in examined.told("filter")
    assert "ufw route allow in on cni0" in examined.commands
    patient.cure(examined.commands)
    assert patient.doctor().wrong == []
    assert patient.is_well()


def test_firewalld_rejects_what_is_forwarded(patient: Patient) -> None:
    need("firewalld")
    with bus(patient), running(patient, "firewalld", "--nofork", "--nopid", until="firewall-cmd --state"):
        assert not patient.is_well()
        examined = patient.doctor()
        assert "firewalld" in examined.told("filter")
        patient.cure(examined.commands)
        assert patient.doctor().wrong == []
        assert patient.is_well()


def test_systemd_networkd_takes_pods_links(patient: Patient) -> None:
    need("/lib/systemd/systemd-networkd")
    patient.node.write("/etc/systemd/network/20-wired.network", WIRED)
    with bus(patient):
        unplugged = "! ip -br link show master cni0 | grep -q veth"
        with running(patient, *networkd(patient), until=unplugged):
            examined = patient.doctor()
            assert "20-wired.network" in examined.told("networkd")
            assert "unplugged" in examined.told("plugged")
            assert not patient.is_well()
            patient.cure(examined.commands)
            assert patient.doctor().wrong == []
        with running(patient, *networkd(patient), until="networkctl list --no-pager | grep -q veth.*unmanaged"):
            assert patient.is_well()


def test_network_manager_takes_pods_links(patient: Patient) -> None:
    need("NetworkManager")
    patient.node.write("/etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=keyfile\n")
    profile = "/etc/NetworkManager/system-connections/wired.nmconnection"
    patient.node.write(profile, PROFILE)
    patient.sh(f"chmod 600 {profile}; mkdir -p /var/lib/NetworkManager /run/NetworkManager")
    manager = (*WITHOUT_UDEV, "NetworkManager", "--no-daemon")
    with bus(patient), running(patient, *manager, until="nmcli device | grep -q veth"):
        veth = next(name for name in patient.node.links() if name.startswith("veth"))
        patient.sh(f"nmcli --wait 20 connection up wired ifname {veth}")
        eventually(lambda: "master" not in patient.node.link(veth))
        examined = patient.doctor()
        assert "NetworkManager may manage" in examined.told("networkmanager")
        assert "unplugged" in examined.told("plugged")
        assert not patient.is_well()
        patient.cure(examined.commands)
        assert patient.doctor().wrong == []
        eventually(patient.is_well)
