"""`demo`: wires two pods on a private node, shows the result, and removes it.

The node is this process in a network namespace of its own; the pods are child processes in theirs. When this process
ends, for whatever reason, the kernel removes everything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import netaddr
from pyroute2 import IPRoute
from rich.table import Table

from cni_bridge_py.cli.root import need_root
from cni_bridge_py.cli.streams import Console
from cni_bridge_py.cni.errors import INTERNAL, CniError
from cni_bridge_py.kernel.netns import Inside, NetNS
from cni_bridge_py.node.confdir import PLUGIN
from cni_bridge_py.node.pods import Pod, unshare_network

SUBNET = netaddr.IPNetwork("10.22.0.0/16")


def run(executable: str | None) -> int:
    """Show the plugin at work: `executable`, or else this program. Needs root; returns the exit status."""
    need_root("the demo", "CAP_SYS_ADMIN")
    show = Console()
    plugin = _plugin(executable)
    pods = [Pod("red", "demo-red"), Pod("blue", "demo-blue")]
    unshare_network()
    show.print("[bold]A node and two pods[/], each a network namespace that only this process sees.")
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
        "type": PLUGIN,
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
    try:
        answer: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        if done.returncode == 0 and (verb != "ADD" or answer["ips"]):
            return answer
        said = str(answer["msg"])
    except (ValueError, LookupError, TypeError):
        said = " ".join((done.stderr or done.stdout).split())[:200] or f"exit status {done.returncode}"
        said = f"{plugin[0]} does not answer as a CNI plugin does: {said}"
    raise CniError(INTERNAL, f"{verb} {pod.name}: {said}")


def _table(pods: list[Pod]) -> Table:
    """What was made, as the kernel reports it."""
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
