"""`demo`: a node and two pods, wired by the installed plugin, looked at from outside, and gone again.

The node is this process in a network namespace of its own, the pods are child processes in theirs: when this process
ends, however it ends, the kernel takes all of it away.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from typing import Any

import netaddr
from pyroute2 import IPRoute
from rich.console import Console
from rich.table import Table

from cni_bridge_py.cni.errors import NOT_PERMITTED, CniError
from cni_bridge_py.kernel.netns import CLONE_NEWNET, Inside, NetNS

SUBNET = netaddr.IPNetwork("10.22.0.0/16")
ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY = 8, 0


class Pod:
    """A child process in a network namespace of its own, which lives as long as this process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.container_id = f"demo-{name}"
        ready, tell = os.pipe()
        wait, self._alive = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._alive)
            _unshare_network()
            os.write(tell, b".")
            os.read(wait, 1)  # until the parent's end is closed
            os._exit(0)
        os.close(tell)
        os.close(wait)
        if not os.read(ready, 1):
            raise CniError(NOT_PERMITTED, "cannot make network namespaces here")
        self.netns = f"/proc/{self._pid}/ns/net"

    def ping(self, address: str) -> float:
        """Milliseconds until `address` answered an ICMP echo request. Raises TimeoutError."""
        with NetNS(self.netns) as netns, Inside(netns):
            icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        return _ping(icmp, address)


def _unshare_network() -> None:
    # os.unshare() comes with Python 3.12
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def _ping(icmp: socket.socket, address: str) -> float:
    with icmp:
        icmp.settimeout(2)
        request = struct.pack(">BBHHH", ICMP_ECHO_REQUEST, 0, 0, os.getpid() & 0xFFFF, 1)
        checksum = -sum(struct.unpack(">4H", request)) % 0xFFFF  # RFC 1071
        started = time.monotonic()
        icmp.sendto(request[:2] + struct.pack(">H", checksum) + request[4:], (address, 0))
        while True:
            packet, (sender, _) = icmp.recvfrom(1500)
            header = (packet[0] & 15) * 4
            if sender == address and packet[header] == ICMP_ECHO_REPLY:
                return (time.monotonic() - started) * 1000


def run(executable: str | None) -> int:
    """Show the plugin at work, `executable` or this program itself. Needs root; returns the exit status."""
    if os.geteuid() != 0:
        raise CniError(NOT_PERMITTED, "the demo makes network namespaces", "run it with sudo")
    show = Console(highlight=False)
    show.print("[bold]A node and two pods[/], each a network namespace that only this process sees.")
    plugin = _plugin(executable)
    pods = [Pod("red"), Pod("blue")]
    _unshare_network()
    with tempfile.TemporaryDirectory(prefix="cni-bridge-py-demo-") as data_dir:
        config = _config(data_dir)
        for pod in pods:
            result = _call(plugin, "ADD", pod, config)
            show.print(f"[green]ADD[/]    {pod.name}: {result['ips'][0]['address']}")
            _call(plugin, "CHECK", pod, config | {"prevResult": result})
            show.print(f"[green]CHECK[/]  {pod.name}: as it should be")
        show.print(_table(pods))
        for target in (_address(pods[1]), str(SUBNET[1])):
            show.print(f"[green]ping[/]   red to {target}: {pods[0].ping(target):.2f} ms")
        for pod in pods:
            _call(plugin, "DEL", pod, config)
            show.print(f"[green]DEL[/]    {pod.name}")
        left = [name for name in _links() if name.startswith("veth")] + _leases(data_dir)
    show.print(f"[red]left behind: {left}[/]" if left else "Nothing is left behind.")
    return 1 if left else 0


def _config(data_dir: str) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "demo",
        "type": "cni-bridge-py",
        "bridge": "cni0",
        "isDefaultGateway": True,
        "ipMasq": True,
        "ipam": {"type": "host-local", "subnet": str(SUBNET), "dataDir": data_dir},
    }


def _plugin(executable: str | None) -> list[str]:
    if executable:
        return [executable]
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "cni_bridge_py"]


def _call(plugin: list[str], verb: str, pod: Pod, config: dict[str, Any]) -> dict[str, Any]:
    """Run the plugin as a container runtime would."""
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": pod.netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": os.path.dirname(plugin[0]),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(plugin, input=json.dumps(config), env=environment, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    if done.returncode != 0:
        raise CniError(answer.get("code", 999), f"{verb} {pod.name}: {answer.get('msg', done.stderr)}")
    return answer


def _table(pods: list[Pod]) -> Table:
    """What was made, as the kernel tells it."""
    table = Table("pod", "address", "MAC", "veth", "bridge")
    links = _links()
    for pod in pods:
        with NetNS(pod.netns) as netns, Inside(netns), IPRoute() as inside:
            eth0 = inside.get_links(ifname="eth0")[0]
        host = next(link for link in links.values() if link["index"] == eth0.get("link"))
        bridge = next(link for link in links.values() if link["index"] == host.get("master"))
        table.add_row(pod.name, _address(pod), eth0.get("address"), host.get("ifname"), bridge.get("ifname"))
    return table


def _address(pod: Pod) -> str:
    with NetNS(pod.netns) as netns, Inside(netns), IPRoute() as inside:
        (address,) = inside.get_addr(label="eth0")
    return str(address.get("address"))


def _links() -> dict[str, Any]:
    with IPRoute() as node:
        return {link.get("ifname"): link for link in node.get_links()}


def _leases(data_dir: str) -> list[str]:
    return [name for name in os.listdir(f"{data_dir}/demo") if netaddr.valid_ipv4(name)]
