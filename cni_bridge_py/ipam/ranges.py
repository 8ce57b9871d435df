"""Range sets: which addresses may be given out, and in which order."""

from __future__ import annotations

from cni_bridge_py.addresses import IPNetwork, format_ip
from cni_bridge_py.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@record
class Range:
    """Addresses `start` to `end` (both included) of a subnet, never its gateway."""

    subnet: IPNetwork
    start: int
    end: int
    gateway: int

    @property
    def version(self) -> int:
        """The IP version."""
        return self.subnet.version

    def holds(self, version: int, value: int) -> bool:
        """Whether the address may be given out from this range."""
        return version == self.version and self.start <= value <= self.end and value != self.gateway

    def format(self, value: int) -> str:
        """Write an address of this range."""
        return format_ip(self.version, value)

    def __str__(self) -> str:
        return f"{self.format(self.start)}-{self.format(self.end)}"


RangeSet = list[Range]
"""Ranges of one IP version that together give an attachment one address."""


def overlap(one: Range, other: Range) -> bool:
    """Whether some address lies in both."""
    return one.version == other.version and one.start <= other.end and other.start <= one.end


def describe(ranges: RangeSet) -> str:
    """Write a range set for people."""
    return ", ".join(str(each) for each in ranges)


def find(ranges: RangeSet, version: int, value: int) -> Range | None:
    """The range that may give out the address, or None."""
    return next((each for each in ranges if each.holds(version, value)), None)


def size(ranges: RangeSet) -> int:
    """How many addresses the set has to give."""
    return sum(each.end - each.start + 1 - (each.start <= each.gateway <= each.end) for each in ranges)


def candidates(ranges: RangeSet, last: tuple[int, int] | None) -> Iterator[tuple[Range, int]]:
    """Every address of the set once, round-robin: those after `last` first, `last` itself at the end.

    `last` is the address given out last, as (version, value); one that is not in the set starts afresh.
    """
    position = next((i for i, each in enumerate(ranges) if last and _spans(each, *last)), None)
    if position is None or last is None:
        spans = [(each, each.start, each.end) for each in ranges]
    else:
        current = ranges[position]
        others = [(each, each.start, each.end) for each in ranges[position + 1 :] + ranges[:position]]
        spans = [(current, last[1] + 1, current.end), *others, (current, current.start, last[1])]
    for each, start, end in spans:
        for value in range(start, end + 1):
            if value != each.gateway:
                yield each, value


def _spans(each: Range, version: int, value: int) -> bool:
    return version == each.version and each.start <= value <= each.end
