"""`list`: a table of the attachments."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rich.live import Live
from rich.text import Text

from cni_bridge_py.cli.root import need_root
from cni_bridge_py.cli.streams import Console
from cni_bridge_py.node import attachments, networks
from cni_bridge_py.node.attachments import OK, Attachment
from cni_bridge_py.node.confdir import PLUGIN
from cni_bridge_py.node.state import State


def run(arguments: argparse.Namespace) -> int:
    """Print the attachments. Needs root; returns the exit status."""
    need_root("looking into pods", "CAP_NET_ADMIN")
    if arguments.json:
        print(json.dumps([as_json(each) for each in _wanted(arguments)], indent=2))
        return 0
    console = Console()
    if not (arguments.watch and console.is_terminal):
        console.print(_shown(arguments), soft_wrap=True)
        while arguments.watch:  # a pipe gets one table after another
            time.sleep(arguments.watch)
            console.print(_shown(arguments), soft_wrap=True)
        return 0
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_shown(arguments), refresh=True)
            time.sleep(arguments.watch)


def _shown(arguments: argparse.Namespace) -> Text:
    found = _wanted(arguments)
    if found:
        return _table(found, arguments.wide)
    chosen = arguments.network is not None or arguments.pod is not None
    return Text("no attachment is so (`list` alone shows all)" if chosen else "no attachments: no pod of ours is here")


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
        "plugin": PLUGIN if each.is_ours else "",
        "state": each.state,
    }


def _table(found: list[Attachment], wide: bool) -> Text:
    """The attachments in columns. rich's own table would take 1 s for 250 rows."""
    columns = ["POD", "ADDRESSES", "NETWORK", "BRIDGE", "HOST VETH"]
    columns += ["CONTAINER ID", "INTERFACE", "MAC", "MTU", "VLANS"] if wide else []
    rows = [[*columns, "SENT", "RECEIVED"], *(_row(each, wide) for each in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = Text()
    for row, state in zip(rows, ["STATE", *(each.state for each in found)], strict=True):
        style = "bold" if state == "STATE" else "green" if state == OK else "red"
        cells = [
            cell.rjust(width) if title in ("SENT", "RECEIVED") else cell.ljust(width)
            for title, cell, width in zip(rows[0], row, widths, strict=True)
        ]
        table.append("  ".join(cells) + "  ", style="bold" if state == "STATE" else "").append(
            f"{state}\n", style=style
        )
    table.rstrip()
    return table


def _row(each: Attachment, wide: bool) -> list[str]:
    row = [each.pod, ", ".join(map(str, each.addresses)), each.network, each.bridge, each.host]
    if wide:
        row += [each.container_id, each.ifname, each.mac, str(each.mtu or ""), ", ".join(map(str, each.vlans))]
    row += [size(each.traffic.sent_bytes), size(each.traffic.received_bytes)] if each.traffic else ["", ""]
    return [cell or "-" for cell in row]


def size(count: float) -> str:
    """Bytes for people: `1.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
