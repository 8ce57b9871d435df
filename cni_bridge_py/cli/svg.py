"""The node as an SVG picture: uplinks at the top; each bridge is a spine from which pods hang by their cables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import drawsvg

from cni_bridge_py.cli.scene import BridgeScene, Scene, Uplink
from cni_bridge_py.node.attachments import OK, Attachment

WIDTH, MARGIN = 1256, 20
CARD_WIDTH, LINE, GAP = 184, 16, 12
SPINE = 24
"""Pixels from a bridge's left edge to its spine, and from there to the first pod."""

SANS = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, DejaVu Sans Mono, monospace"
INK, PALE, BLUE, GREEN, RED, VIOLET = "#24292f", "#6e7781", "#0969da", "#1a7f37", "#cf222e", "#8250df"
BACKGROUND, BLUE_TINT, RED_TINT, WHITE = "#f6f8fa", "#ddf4ff", "#ffebe9", "#ffffff"

GLYPH = 0.62
"""The width of a monospaced letter, relative to its height; other fonts are narrower."""

BOLD_GLYPH = 0.68
"""The same for bold letters."""

NAME_LETTERS = 23

BETWEEN = " · "


@dataclass
class Pen:
    """A drawing that grows from top to bottom. What is drawn is kept until the height is known."""

    y: float = MARGIN

    def __post_init__(self) -> None:
        self.drawn: list[Any] = []

    def text(self, text: str, x: float, y: float, size: float = 12, fill: str = INK, **how: Any) -> float:
        """Write a text; return about where it ends."""
        family = how.pop("font_family", SANS)
        self.drawn.append(drawsvg.Text(text, size, x, y, fill=fill, font_family=family, **how))
        return x + len(text) * size * (BOLD_GLYPH if "font_weight" in how else GLYPH)

    def box(self, x: float, y: float, width: float, height: float, **how: Any) -> None:
        """Draw a rectangle with round corners."""
        self.drawn.append(drawsvg.Rectangle(x, y, width, height, rx=6, **how))

    def line(self, x: float, y: float, to_x: float, to_y: float, stroke: str, behind: bool = False, **how: Any) -> None:
        """Draw a line, perhaps `behind` what is already drawn."""
        line = drawsvg.Line(x, y, to_x, to_y, stroke=stroke, stroke_width=2, **how)
        self.drawn.insert(0 if behind else len(self.drawn), line)

    def cable(self, x: float, y: float, to_y: float, well: bool) -> None:
        """Draw a pod's cable, dashed if something is wrong with it."""
        dashes = {} if well else {"stroke_dasharray": "3 3"}
        color = GREEN if well else RED
        self.drawn.append(drawsvg.Line(x, y, x, to_y, stroke=color, stroke_width=2, **dashes))


def picture(scene: Scene) -> str:
    """The picture, as SVG."""
    pen = Pen()
    pen.text(scene.title, MARGIN, pen.y + 18, 20, font_weight="bold")
    pen.text(scene.verdict, WIDTH - MARGIN, pen.y + 16, 14, RED if scene.wrong else GREEN, text_anchor="end")
    pen.y += 40
    uplinks_end = _uplinks(pen, scene.uplinks)
    cable_x = MARGIN + SPINE
    for bridge in scene.bridges:
        if scene.uplinks:
            pen.line(cable_x, uplinks_end, cable_x, pen.y, BLUE, behind=True)
        _bridge(pen, bridge)
    if scene.lost:
        _heading(pen, "in no bridge", "", RED)
        _pods(pen, scene.lost, plugged=False)
    height = pen.y + MARGIN
    drawing = drawsvg.Drawing(WIDTH, height, id_prefix="map")
    drawing.append(drawsvg.Rectangle(0, 0, WIDTH, height, fill=WHITE))
    drawing.extend(pen.drawn)
    svg = drawing.as_svg()
    return str(svg) + "\n"


def _uplinks(pen: Pen, uplinks: list[Uplink]) -> float:
    if not uplinks:
        pen.text("no default route", MARGIN, pen.y + 14, 13, RED)
    for uplink in uplinks:
        color = RED if uplink.fault else BLUE
        pen.box(MARGIN, pen.y, WIDTH - 2 * MARGIN, 34, fill=BLUE_TINT, stroke=color)
        x = pen.text(f"uplink {uplink.name}", MARGIN + 14, pen.y + 22, 14, color, font_weight="bold")
        x = pen.text(BETWEEN.join(uplink.addresses), x + 8, pen.y + 22, 13, font_family=MONO)
        x = pen.text(f"to {BETWEEN.join(uplink.next_hops)}", x + 20, pen.y + 22, 13, PALE, font_family=MONO)
        pen.text(uplink.fault or f"MTU {uplink.mtu}", WIDTH - MARGIN - 14, pen.y + 22, 13, PALE, text_anchor="end")
        pen.y += 42
    end = pen.y - 8
    pen.y += 16
    return end


def _bridge(pen: Pen, bridge: BridgeScene) -> None:
    color = RED if bridge.faults else BLUE
    tint = RED_TINT if bridge.faults else BLUE_TINT
    pen.box(MARGIN, pen.y, WIDTH - 2 * MARGIN, 34, fill=tint, stroke=color)
    x = pen.text(f"bridge {bridge.name}", MARGIN + 14, pen.y + 22, 14, color, font_weight="bold")
    pen.text(BETWEEN.join(bridge.addresses), x + 8, pen.y + 22, 13, font_family=MONO)
    told = ", ".join(bridge.faults) or bridge.details
    pen.text(told, WIDTH - MARGIN - 14, pen.y + 22, 13, RED if bridge.faults else PALE, text_anchor="end")
    pen.y += 34
    for group in bridge.groups:
        start = pen.y
        pen.y += 8
        _heading(pen, f"network {group.network}", group.details, VIOLET)
        last = _pods(pen, group.pods, plugged=True)
        pen.line(MARGIN + SPINE, start, MARGIN + SPINE, last, color)
    if not bridge.groups:
        pen.text("no pods", MARGIN + 14, pen.y + 20, 12, PALE)
        pen.y += 24
    pen.y += 12


def _heading(pen: Pen, name: str, details: str, color: str) -> None:
    x = pen.text(name, MARGIN + SPINE + 12, pen.y + 14, 13, color, font_weight="bold")
    pen.text(details, x + 6, pen.y + 14, 12, PALE)
    pen.y += 24


def _pods(pen: Pen, pods: list[Attachment], plugged: bool) -> float:
    """Draw pods in rows, each row hanging from a line of its own; return where the last of these lines is."""
    left = MARGIN + 2 * SPINE
    across = int((WIDTH - MARGIN - left + GAP) // (CARD_WIDTH + GAP))
    row_line = pen.y
    for start in range(0, len(pods), across):
        row = pods[start : start + across]
        row_line, top = pen.y, pen.y + 12
        height = max(_height(each) for each in row)
        if plugged:
            pen.line(MARGIN + SPINE, row_line, left + (len(row) - 1) * (CARD_WIDTH + GAP) + 20, row_line, BLUE)
        for column, each in enumerate(row):
            x = left + column * (CARD_WIDTH + GAP)
            if plugged:
                pen.cable(x + 20, row_line, top, each.state == OK)
            _card(pen, each, x, top, height)
        pen.y = top + height + GAP
    return row_line


def _height(pod: Attachment) -> float:
    return 40 + LINE * (max(1, len(pod.ips)) + (pod.state != OK))


def _card(pen: Pen, pod: Attachment, x: float, y: float, height: float) -> None:
    well = pod.state == OK
    pen.box(x, y, CARD_WIDTH, height, fill=BACKGROUND if well else RED_TINT, stroke=GREEN if well else RED)
    namespace, _, name = pod.pod.rpartition("/")
    pen.text(namespace or "no name", x + 10, y + 15, 10, PALE)
    shown = _shortened(name or pod.container_id or "unknown")
    pen.text(shown, x + 10, y + 30, _fitting(12, shown, BOLD_GLYPH), font_weight="bold")
    lines: Iterable[tuple[str, str]] = [(str(ip), INK) for ip in pod.ips] or [("no address", PALE)]
    for number, (text, color) in enumerate([*lines, *([] if well else [(pod.state, RED)])]):
        pen.text(text, x + 10, y + 46 + number * LINE, _fitting(11.5, text, GLYPH), color, font_family=MONO)


def _fitting(size: float, text: str, glyph: float) -> float:
    """The given font size, or a smaller one in which the text fits a card."""
    return round(min(size, (CARD_WIDTH - 20) / (len(text) * glyph)), 1)


def _shortened(name: str) -> str:
    """A name, without its middle if it is long: pods of one deployment differ at the end."""
    if len(name) <= NAME_LETTERS:
        return name
    return f"{name[: NAME_LETTERS // 2]}…{name[-(NAME_LETTERS // 2) :]}"
