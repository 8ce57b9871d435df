"""`list`: a table of the attachments."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cni_bridge_py.cli.root import need_root
from cni_bridge_py.node import attachments, networks
from cni_bridge_py.node.attachments import OK, Attachment
from cni_bridge_py.node.state import State

NOT_A_TERMINAL = 500
"""Columns of a table that another program reads, which cuts no line."""


def run(arguments: argparse.Namespace) -> int:
    """Print the attachments. Takes root; returns the exit status."""
    need_root("to look into pods")
    if arguments.json:
        print(json.dumps([as_json(each) for each in _wanted(arguments)], indent=2))
        return 0
    console = Console(highlight=False, width=None if sys.stdout.isatty() else NOT_A_TERMINAL)
    if not arguments.watch:
        console.print(_table(_wanted(arguments), arguments.wide))
        return 0
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_table(_wanted(arguments), arguments.wide), refresh=True)
            time.sleep(arguments.watch)


def _wanted(arguments: argparse.Namespace) -> list[Attachment]:
    found = attachments.find(State(), networks.configured(arguments.conf))
    return [
        each
        for each in found
        if arguments.network in (None, each.network) and (arguments.pod is None or arguments.pod in each.pod)
    ]


def as_json(each: Attachment) -> dict[str, Any]:
    """An attachment for programs."""
    namespace, _, name = each.pod.rpartition("/")
    traffic = each.traffic
    return {
        "namespace": namespace,
        "pod": name,
        "containerID": each.container_id,
        "network": each.network,
        "ifname": each.ifname,
        "addresses": [str(address) for address in each.addresses],
        "mac": each.mac,
        "mtu": each.mtu,
        "hostVeth": each.host,
        "bridge": each.bridge,
        "vlans": each.vlans,
        "traffic": {
            "sentBytes": traffic.sent_bytes,
            "sentPackets": traffic.sent_packets,
            "receivedBytes": traffic.received_bytes,
            "receivedPackets": traffic.received_packets,
        }
        if traffic
        else None,
        "leases": [str(lease.path) for lease in each.leases],
        "plugin": "cni-bridge-py" if each.is_ours else "",
        "state": each.state,
    }


def _table(found: list[Attachment], wide: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    columns = ["POD", "ADDRESSES", "NETWORK", "BRIDGE", "HOST VETH"]
    columns += ["CONTAINER ID", "INTERFACE", "MAC", "MTU", "VLANS"] if wide else []
    for name in columns:
        table.add_column(name, overflow="fold")
    for name in ("SENT", "RECEIVED"):
        table.add_column(name, justify="right")
    table.add_column("STATE", overflow="fold")
    for each in found:
        row = [each.pod or "-", ", ".join(map(str, each.addresses)) or "-", each.network, each.bridge or "-"]
        row.append(each.host or "-")
        if wide:
            row += [each.container_id or "-", each.ifname, each.mac or "-", str(each.mtu or "-")]
            row.append(", ".join(map(str, each.vlans)) or "-")
        row += [size(each.traffic.sent_bytes), size(each.traffic.received_bytes)] if each.traffic else ["-", "-"]
        table.add_row(*row, Text(each.state, style="green" if each.state == OK else "red"))
    return table


def size(count: float) -> str:
    """Bytes for people: `1.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
