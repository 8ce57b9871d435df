"""What was measured, and what it comes to: samples, medians, quartiles and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

OURS = "ours"


class Sample(NamedTuple):
    """One measurement of one contestant."""

    case: str
    """The circumstances: "ipMasq", "100 pods"."""
    what: str
    """What was measured: "ADD"."""
    unit: str
    """ms, ms CPU, MB, or nothing for what is counted."""
    who: str
    value: float


class Figure(NamedTuple):
    """What the samples of one contestant come to."""

    median: float
    low: float
    """The lower quartile."""
    high: float
    """The upper quartile."""
    samples: int


class Row(NamedTuple):
    """The contestants' figures of one thing, the one to compare first."""

    section: str
    case: str
    what: str
    unit: str
    figures: dict[str, Figure]

    @property
    def others(self) -> list[str]:
        """Whom the first contestant is compared with."""
        return list(self.figures)[1:]

    def ratio(self, other: str) -> float | None:
        """The first contestant's median as a part of the other's; None where that is nothing."""
        first, *_ = self.figures.values()
        return first.median / self.figures[other].median if self.figures[other].median else None


def figure(values: Sequence[float]) -> Figure:
    """Median and quartiles of at least one value."""
    if len(values) == 1:
        return Figure(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Figure(median, low, high, len(values))


def rows(section: str, samples: Iterable[Sample]) -> list[Row]:
    """The rows of a section, in the order in which their first samples came."""
    values: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for case, what, unit, who, value in samples:
        values.setdefault((case, what, unit), {}).setdefault(who, []).append(value)
    return [Row(section, *key, {who: figure(each) for who, each in of_row.items()}) for key, of_row in values.items()]


def as_json(row: Row) -> dict[str, Any]:
    """A row for whoever works on with the figures."""
    return {
        **{key: getattr(row, key) for key in ("section", "case", "what", "unit")},
        "figures": {who: figure._asdict() for who, figure in row.figures.items()},
        "ratios": {other: row.ratio(other) for other in row.others},
    }
