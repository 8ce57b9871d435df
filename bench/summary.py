"""The few rows that README shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bench.figures import OURS, Row
from bench.table import RATIO, Table, number, ratio


class Line(NamedTuple):
    """A row to show, by the words for it; `unit` is a row's."""

    words: str
    section: str
    case: str
    what: str
    unit: str = "ms"

    @property
    def label(self) -> str:
        """The words, with the unit."""
        return f"{self.words} ({self.unit})" if self.unit else self.words

    def find(self, rows: Iterable[Row]) -> Row | None:
        """The row, where it was measured."""
        return next((row for row in rows if row[:4] == self[1:]), None)


AGAINST_OTHERS = (
    Line("VERSION", "verbs", "any", "VERSION"),
    Line("ADD", "verbs", "ipMasq", "ADD"),
    Line("ADD without ipMasq", "verbs", "no ipMasq", "ADD"),
    Line("ADD, 250 pods on the node", "growth", "250 pods", "ADD"),
    Line("CHECK", "verbs", "ipMasq", "CHECK"),
    Line("DEL", "verbs", "ipMasq", "DEL"),
    Line("DEL without ipMasq", "verbs", "no ipMasq", "DEL"),
    Line("100 ADDs at once, all done", "burst", "100 ADDs at once", "all of them"),
    Line("IPAM alone, no leases", "ipam", "0 leases", "ADD, IPAM alone"),
    Line("IPAM alone, 60,000 leases", "ipam", "60,000 leases", "ADD, IPAM alone"),
    Line("IPAM alone, one address left", "ipam", "one address left", "ADD, IPAM alone"),
    Line("system calls of an ADD", "footprint", "ADD", "system calls", ""),
    Line("peak memory of an ADD", "footprint", "ADD", "peak memory", "MB"),
    Line("size on disk", "footprint", "", "on disk", "MB"),
)
"""What fits into README with all else that it says; bench/README.md has the rest."""

CHARTED = (
    *AGAINST_OTHERS,
    Line("ADD, dual stack", "verbs", "dual stack", "ADD"),
    Line("DEL, 250 pods on the node", "growth", "250 pods", "DEL"),
    Line("100 DELs at once, all done", "burst", "100 DELs at once", "all of them"),
    Line("RunPodSandbox of containerd", "sandbox", "", "RunPodSandbox"),
    Line("StopPodSandbox of containerd", "sandbox", "", "StopPodSandbox"),
)
"""What the chart has a bar for, where it is a time."""

AGAINST_ITSELF = (
    Line("ADD with 250 pods on the node, against 1 pod", "growth", "250 pods", "ADD beside them"),
    Line("ADD with 60,000 leases, against none", "ipam", "60,000 leases", "ADD of a pod"),
    Line("ADD with one address left, against all", "ipam", "one address left", "ADD of a pod"),
)


def against_others(rows: Sequence[Row], others: Sequence[str]) -> Table:
    """Our medians, those of others, and the ratios."""
    header = ["", OURS]
    for other in others:
        header += [other, RATIO]
    return Table(header, list(_lines_against_others(rows, others)), labels=1)


def against_itself(rows: Sequence[Row]) -> Table:
    """How little ours changes with what is on the node."""
    header = ["", OURS, "against", RATIO]
    return Table(header, list(_lines_against_itself(rows)), labels=1)


def _lines_against_others(rows: Sequence[Row], others: Sequence[str]) -> Iterator[list[str]]:
    for line in AGAINST_OTHERS:
        row = line.find(rows)
        if not row:
            continue
        cells = [line.label, number(row.figures[OURS].median)]
        for other in others:
            there = other in row.figures
            cells += [number(row.figures[other].median), ratio(row, other)] if there else ["", ""]
        yield cells


def _lines_against_itself(rows: Sequence[Row]) -> Iterator[list[str]]:
    for line in AGAINST_ITSELF:
        if row := line.find(rows):
            other = row.others[0]
            yield [line.label, *(number(row.figures[who].median) for who in (OURS, other)), ratio(row, other)]
