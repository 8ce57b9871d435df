"""`map`: the node as a picture, in the terminal or as SVG."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cni_bridge_py.cli.root import need_root
from cni_bridge_py.cli.scene import BridgeScene, Scene, Uplink, scene
from cni_bridge_py.cli.streams import Console
from cni_bridge_py.node import attachments, networks
from cni_bridge_py.node.attachments import OK, Attachment
from cni_bridge_py.node.state import State

COLUMNS = 132
"""The width if the output is not a terminal."""

POD_WIDTH = 30
"""The width of a pod with its frame: enough for an IPv6 address, and for most pods' names."""

WELL, WRONG, DIM = "green", "bold red", "bright_black"


def run(arguments: argparse.Namespace) -> int:
    """Draw the node. Needs root; returns the exit status."""
    need_root("looking into pods", "CAP_NET_ADMIN")
    found, state = networks.configured(arguments.conf), State()
    drawn = scene(state, found, attachments.find(state, found), f"node {os.uname().nodename}")
    if arguments.svg:
        from cni_bridge_py.cli import svg

        if arguments.svg == "-":
            sys.stdout.write(svg.picture(drawn))
        else:
            Path(arguments.svg).write_text(svg.picture(drawn), encoding="utf-8")
        return 0
    console = Console(width=None if sys.stdout.isatty() else COLUMNS)
    console.print(_node(drawn, console.width))
    return 0


def _node(drawn: Scene, width: int) -> RenderableType:
    """The picture: uplinks above, below them each bridge with its networks and pods."""
    parts = [_uplinks(drawn.uplinks), *(_bridge(each, width - 4) for each in drawn.bridges)]
    if drawn.lost:
        title = Text("in no bridge", style=WRONG)
        parts.append(Panel(_pods(drawn.lost, width - 8), title=title, border_style="red", title_align="left"))
    verdict = Text(drawn.verdict, style=WRONG if drawn.wrong else WELL)
    return Panel(Group(*parts), title=Text(drawn.title, style="bold"), subtitle=verdict, box=box.DOUBLE, width=width)


def _uplinks(uplinks: list[Uplink]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for each in uplinks:
        table.add_row(
            Text(f"▲ uplink {each.name}", style="bold blue"),
            "  ".join(each.addresses),
            Text(f"to {'  '.join(each.next_hops)}", style=DIM),
            Text(f"MTU {each.mtu}", style=DIM),
            Text(each.fault, style=WRONG),
        )
    return table if uplinks else Text("no default route", style="yellow")


def _bridge(bridge: BridgeScene, width: int) -> RenderableType:
    title = Text(f"bridge {bridge.name}", style="bold")
    title.append(f"  {'  '.join(bridge.addresses)}".rstrip(), style="blue")
    title.append(f"  {bridge.details}", style=DIM)
    parts: list[RenderableType] = []
    for group in bridge.groups:
        heading = Text(f"network {group.network}", style="bold magenta")
        parts += [heading.append(f"  {group.details}", style="magenta"), _pods(group.pods, width - 4)]
    return Panel(
        Group(*parts) if parts else Text("no pods", style=DIM),
        title=title,
        subtitle=Text(", ".join(bridge.faults), style=WRONG) if bridge.faults else None,
        title_align="left",
        subtitle_align="left",
        border_style="red" if bridge.faults else "blue",
        width=width,
    )


def _pods(pods: list[Attachment], width: int) -> RenderableType:
    """The pods side by side, as many as fit."""
    across = max(1, width // (POD_WIDTH + 1))
    grid = Table.grid(padding=(0, 1, 0, 0))
    for _ in range(across):
        grid.add_column(width=POD_WIDTH)
    cells = [_pod(each) for each in pods]
    for start in range(0, len(cells), across):
        grid.add_row(*cells[start : start + across])
    return grid


def _pod(pod: Attachment) -> RenderableType:
    namespace, _, name = pod.pod.rpartition("/")
    well = pod.state == OK
    lines = [(name or pod.container_id[:12] or "unknown", "bold")]
    lines += [(text, "") for text in [str(ip) for ip in pod.ips] or ["no address"]]
    lines += [] if well else [(pod.state, WRONG)]
    return Panel(
        Group(*(Text(text, style=style, no_wrap=True, overflow="ellipsis") for text, style in lines)),
        title=Text(namespace or "no name", style=DIM),
        title_align="left",
        border_style="green" if well else "red",
        padding=(0, 1),
        width=POD_WIDTH,
    )
