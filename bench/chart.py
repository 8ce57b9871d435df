"""The chart in README: plain bars in SVG, in colours that can be seen on white and on black."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from bench.figures import OURS, Row
from bench.summary import CHARTED
from bench.table import number

TEXT, OTHER, BETTER, WORSE = "#768390", "#768390", "#2f9e63", "#d9822b"

WIDTH = 800
LEFT = 215
"""Where bars begin; their labels end before."""
ROOM = 400
"""The longest bar's length."""
LINE = 22
"""The height of a line."""
LONGEST = 2.5
"""The ratio at which bars are cut off; the number beside tells the truth."""


def chart(rows: Sequence[Row], other: str) -> str:
    """Ratios of ours to the other's, and what more pods on the node do to an ADD of both."""
    ratios = list(_ratios(rows, other))
    growth = list(_growth(rows, other))
    top = 2 * LINE
    below = top + len(ratios) * LINE
    unit = ROOM / LONGEST
    parts = [
        text(LEFT, LINE, f"time of ours / time of {other}", "start", bold=True),
        *(bar(top + i * LINE, *each) for i, each in enumerate(ratios)),
        line(LEFT + unit, top - 4, below),
        text(LEFT + unit, top - 6, f"1 = {other}", "middle"),
        text(LEFT, below + 2 * LINE, "ADD in ms, by the pods that are on the node", "start", bold=True),
        *(bar(below + 3 * LINE - 10 + i * LINE, *each) for i, each in enumerate(growth)),
    ]
    height = below + (3 + len(growth)) * LINE
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    style = 'font-family="system-ui, sans-serif" font-size="13"'
    return "\n".join([f"{head} {style}>", *parts, "</svg>", ""])


def bar(top: float, label: str, length: float, colour: str, value: str) -> str:
    """A bar (length: a part of the longest) with a label before it, and a value behind the longest bar's end."""
    width = max(length * ROOM, 1)
    rectangle = f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{LINE - 6}" rx="2" fill="{colour}"/>'
    middle = top + LINE - 10
    return f"{text(LEFT - 8, middle, label, 'end')}\n{rectangle}\n{text(LEFT + ROOM + 8, middle, value, 'start')}"


def text(x: float, y: float, content: str, anchor: str, bold: bool = False) -> str:
    """A line of text."""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y}" fill="{TEXT}" text-anchor="{anchor}"{weight}>{escape(content)}</text>'


def line(x: float, top: float, bottom: float) -> str:
    """A dashed line from top to bottom."""
    return f'<path d="M{x:.1f} {top}V{bottom}" stroke="{TEXT}" stroke-dasharray="3 3"/>'


def _ratios(rows: Sequence[Row], other: str) -> Iterator[tuple[str, float, str, str]]:
    for each in CHARTED:
        row = each.find(rows) if each.unit == "ms" else None
        if row and other in row.figures and (ratio := row.ratio(other)):
            ours, others = (number(row.figures[who].median) for who in (OURS, other))
            colour = BETTER if ratio <= 1 else WORSE
            yield each.words, min(ratio / LONGEST, 1), colour, f"{ratio:.2f} ({ours} / {others} ms)"


def _growth(rows: Sequence[Row], other: str) -> Iterator[tuple[str, float, str, str]]:
    found = [row for row in rows if row[0] == "growth" and row[2:4] == ("ADD", "ms") and other in row.figures]
    longest = max((figure.median for row in found for figure in row.figures.values()), default=1)
    for row in found:
        for who, colour in ((OURS, BETTER), (other, OTHER)):
            median = row.figures[who].median
            yield f"{row.case}, {who}", median / longest, colour, number(median)
