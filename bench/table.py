"""Tables of figures, for terminals and for Markdown."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table as RichTable

from bench.figures import Figure, Row

RATIO = "ratio"
"""The head of what ours is divided by the column before it."""


class Table(NamedTuple):
    """Cells of text. The first `labels` columns say what a row is about."""

    header: Sequence[str]
    body: Sequence[Sequence[str]]
    labels: int


def number(value: float) -> str:
    """Three digits that matter, or a whole number."""
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def spread(figure: Figure) -> str:
    """The median, and the quartiles where they differ."""
    if figure.low == figure.high:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.low)}..{number(figure.high)})"


def tables(rows: Iterable[Row]) -> Iterator[Table]:
    """The rows of a section: a table for each set of contestants."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.figures), []).append(row)
    for (first, *others), group in groups.items():
        header = ["", "", "", first]
        for other in others:
            header += [other, RATIO]
        yield Table(header, list(_without_repeats(map(_cells, group))), labels=3)


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, figures to the right."""
    rule = ["---"] * table.labels + ["---:"] * (len(table.header) - table.labels)
    return "".join(f"| {' | '.join(line)} |\n" for line in (table.header, rule, *table.body))


def on_terminal(table: Table) -> RichTable:
    """The table for rich to print."""
    drawn = RichTable(box=box.SIMPLE_HEAD)
    for index, name in enumerate(table.header):
        style = "bold" if name == RATIO else None
        drawn.add_column(name, justify="left" if index < table.labels else "right", style=style)
    for line in table.body:
        drawn.add_row(*line)
    return drawn


def ratio(row: Row, other: str) -> str:
    """How many times the other's the first contestant's is, or nothing where the other's is zero."""
    value = row.ratio(other)
    return "" if value is None else f"{value:.2f}"


def _cells(row: Row) -> list[str]:
    first, *others = row.figures
    cells = [row.case, row.what, row.unit, spread(row.figures[first])]
    for other in others:
        cells += [spread(row.figures[other]), ratio(row, other)]
    return cells


def _without_repeats(lines: Iterable[list[str]]) -> Iterator[list[str]]:
    """The lines with what and case named once only."""
    above: list[str] = []
    for line in lines:
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(above[:2], line, strict=False)))
        above = line
        yield [""] * same + line[same:]
