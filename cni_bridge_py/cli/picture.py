"""`map`: the node as a picture, the same in the terminal and as SVG."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from itertools import groupby

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from cni_bridge_py.cli.root import need_root
from cni_bridge_py.node import attachments, networks
from cni_bridge_py.node.attachments import OK, Attachment
from cni_bridge_py.node.networks import Network
from cni_bridge_py.node.state import State
from cni_bridge_py.wiring import plan

COLUMNS = 132
"""Of the picture; a terminal has its own width."""

POD_WIDTH = 30
"""Columns of a pod, its frame included: an IPv6 address, and most pods' names."""

WELL, WRONG, DIM = "green", "bold red", "bright_black"

THEME = TerminalTheme(
    (255, 255, 255),
    (36, 41, 47),
    [
        (36, 41, 47),
        (207, 34, 46),
        (26, 127, 55),
        (154, 103, 0),
        (9, 105, 218),
        (130, 80, 223),
        (27, 124, 131),
        (87, 96, 106),
    ],
    [
        (110, 119, 129),
        (207, 34, 46),
        (26, 127, 55),
        (154, 103, 0),
        (9, 105, 218),
        (130, 80, 223),
        (27, 124, 131),
        (87, 96, 106),
    ],
)
"""Background, text, then the eight colours plain and bright, for light pages."""


def run(arguments: argparse.Namespace) -> int:
    """Draw the node. Takes root; returns the exit status."""
    need_root("to look into pods")
    found = networks.configured(arguments.conf)
    state = State()
    pods = attachments.find(state, found)
    title = f"node {os.uname().nodename}"
    if not arguments.svg:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else COLUMNS)
        console.print(draw(state, found, pods, title, console.width))
        return 0
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, file=nowhere, width=COLUMNS, highlight=False)
        console.print(draw(state, found, pods, title, COLUMNS))
        console.save_svg(arguments.svg, title=title, theme=THEME, unique_id="map")
    return 0


def draw(state: State, found: list[Network], pods: list[Attachment], title: str, width: int) -> RenderableType:
    """The picture: uplinks above, below them each bridge with its networks and pods."""
    bridges = list(dict.fromkeys([*(c.bridge for c in networks.configs(found)), *(p.bridge for p in pods if p.bridge)]))
    parts = [_uplinks(state)]
    parts += [_bridge(state, found, name, [p for p in pods if p.bridge == name], width - 4) for name in bridges]
    lost = [each for each in pods if not each.bridge]
    if lost:
        parts.append(
            Panel(
                _cells(lost, width - 8), title=Text("in no bridge", style=WRONG), border_style="red", title_align="left"
            )
        )
    wrong = [each for each in pods if each.state != OK]
    verdict = Text(f"{len(pods)} attachments", style="bold")
    verdict.append(f", {len(wrong)} not ok" if wrong else ", all ok", style=WRONG if wrong else WELL)
    return Panel(Group(*parts), title=Text(title, style="bold"), subtitle=verdict, box=box.DOUBLE, width=width)


def _uplinks(state: State) -> RenderableType:
    names = list(dict.fromkeys([*state.uplinks(4), *state.uplinks(6)]))
    table = Table.grid(padding=(0, 2))
    for name in names:
        link = state.links[name]
        hops = list(dict.fromkeys([*state.next_hops(4), *state.next_hops(6)]))
        addresses = "  ".join(map(str, state.addresses(name)))
        table.add_row(
            Text(f"▲ uplink {name}", style="bold blue"),
            Text(addresses),
            Text(f"to {'  '.join(hops)}", style=DIM),
            Text(f"MTU {link.mtu}", style=DIM),
            Text("" if link.is_up else "down", style=WRONG),
        )
    if not names:
        table.add_row(Text("no default route", style="yellow"))
    return table


def _bridge(state: State, found: list[Network], name: str, pods: list[Attachment], width: int) -> RenderableType:
    link = state.links.get(name)
    configs = [config for config in networks.configs(found) if config.bridge == name]
    title = Text(f"bridge {name}", style="bold")
    faults = _faults(state, found, name, pods)
    if link:
        title.append(f"  {'  '.join(map(str, state.addresses(name)))}".rstrip(), style="blue")
        title.append(f"  MTU {link.mtu}  {link.mac}", style=DIM)
    parts: list[RenderableType] = []
    for key, group in groupby(
        sorted(pods, key=lambda p: (p.network, p.vlans)), key=lambda p: (p.network, tuple(p.vlans))
    ):
        network, vlans = key
        of_group = list(group)
        heading = Text(f"network {network}", style="bold magenta")
        config = next((each for each in configs if each.name == network), None)
        if config:
            subnets = dict.fromkeys(str(one.subnet) for ranges in networks.range_sets(config) for one in ranges)
            heading.append(f"  {'  '.join(subnets)}", style="magenta")
            if config.vlan and config.is_gateway:
                heading.append(f"  gateway {plan.gateway_interface(config)}", style=DIM)
        if vlans:
            heading.append(f"  VLAN {', '.join(map(str, vlans))}", style="cyan")
        heading.append(f"  {len(of_group)} pods", style=DIM)
        parts += [heading, _cells(of_group, width - 4)]
    if not pods:
        parts.append(Text("no pods", style=DIM))
    return Panel(
        Group(*parts),
        title=title,
        subtitle=Text(", ".join(faults), style=WRONG) if faults else None,
        title_align="left",
        subtitle_align="left",
        border_style="red" if faults else "blue",
        width=width,
    )


def _faults(state: State, found: list[Network], name: str, pods: list[Attachment]) -> list[str]:
    """What is wrong with a bridge, in a few words."""
    link = state.links.get(name)
    if not link:
        return ["there is no such bridge"] if pods else []
    faults = [] if link.kind == "bridge" else ["not a bridge"]
    faults += [] if link.is_up else ["down"]
    for config in networks.configs(found):
        if config.bridge == name and pods:
            there = state.addresses(plan.gateway_interface(config))
            faults += [f"lacks {each}" for each in networks.gateways(config) if each not in there]
    return faults


def _cells(pods: list[Attachment], width: int) -> RenderableType:
    """The pods side by side, as many as fit."""
    across = max(1, width // (POD_WIDTH + 1))
    grid = Table.grid(padding=(0, 1, 0, 0))
    for _ in range(across):
        grid.add_column(width=POD_WIDTH)
    cells = [_cell(each) for each in pods]
    for start in range(0, len(cells), across):
        grid.add_row(*cells[start : start + across])
    return grid


def _cell(pod: Attachment) -> RenderableType:
    namespace, _, name = pod.pod.rpartition("/")
    lines = [Text(line, style=style, no_wrap=True, overflow="ellipsis") for line, style in _lines(pod, name)]
    return Panel(
        Group(*lines),
        title=Text(namespace or "no name", style=DIM),
        title_align="left",
        border_style="green" if pod.state == OK else "red",
        padding=(0, 1),
        width=POD_WIDTH,
    )


def _lines(pod: Attachment, name: str) -> Iterator[tuple[str, str]]:
    yield name or pod.container_id[:12] or "unknown", "bold"
    yield from ((text, "") for text in [str(ip) for ip in pod.ips] or ["no address"])
    if pod.state != OK:
        yield pod.state, WRONG
