"""Range sets: which addresses may be given out, and in which order."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import filterfalse
from operator import methodcaller

from netaddr import IPAddress, IPNetwork

from cni_bridge_py.addresses import IPVersion


@dataclass(frozen=True)
class Range:
    """The addresses `start` to `end` (both included) of a subnet, without the gateway; all three are integers."""

    subnet: IPNetwork
    start: int
    end: int
    gateway: int

    @property
    def version(self) -> IPVersion:
        """The IP version."""
        return self.subnet.version

    def holds(self, ip: IPAddress) -> bool:
        """Whether the address may be given out from this range."""
        return self.spans(ip) and int(ip) != self.gateway

    def spans(self, ip: IPAddress) -> bool:
        """Whether the address lies in this range, the gateway's included."""
        return ip.version == self.version and self.start <= int(ip) <= self.end

    def address(self, value: int) -> IPAddress:
        """An address of this range from its integer."""
        return IPAddress(value, self.subnet.version)

    def __str__(self) -> str:
        return f"{self.address(self.start)}-{self.address(self.end)}"


RangeSet = list[Range]
"""Ranges of one IP version that together give an attachment one address."""


def overlap(one: Range, other: Range) -> bool:
    """Whether the two share an address."""
    return one.version == other.version and one.start <= other.end and other.start <= one.end


def describe(ranges: RangeSet) -> str:
    """Write a range set for people."""
    return ", ".join(str(each) for each in ranges)


def find(ranges: RangeSet, ip: IPAddress) -> Range | None:
    """The range that may give out the address, or None."""
    return next((each for each in ranges if each.holds(ip)), None)


def size(ranges: RangeSet) -> int:
    """How many addresses the set can give out."""
    return sum(each.end - each.start + 1 - (each.start <= each.gateway <= each.end) for each in ranges)


def candidates(ranges: RangeSet, last: IPAddress | None) -> Iterator[tuple[Range, int]]:
    """Every address of the set once, round-robin: those after `last` first, `last` itself at the end.

    `last` is the address given out last. If it is not in the set, the order starts from the beginning.
    """
    return ((each, value) for each, values in _runs(ranges, last) for value in values)


def free(ranges: RangeSet, last: IPAddress | None, taken: Container[bytes]) -> Iterator[tuple[Range, int]]:
    """The candidates that are not in `taken`, which holds addresses in network byte order."""
    # map() and filterfalse() find the last free address of 65,534 in 6 ms; a loop takes 40 ms.
    for each, values in _runs(ranges, last):
        packed = map(methodcaller("to_bytes", len(each.subnet.ip.packed), "big"), values)
        for address in filterfalse(taken.__contains__, packed):
            yield each, int.from_bytes(address, "big")


def _runs(ranges: RangeSet, last: IPAddress | None) -> Iterator[tuple[Range, Iterable[int]]]:
    """The candidates as runs of integers, each with its range."""
    position = next((i for i, each in enumerate(ranges) if last and each.spans(last)), None)
    if position is None or last is None:
        spans = [(each, each.start, each.end) for each in ranges]
    else:
        current = ranges[position]
        others = [(each, each.start, each.end) for each in ranges[position + 1 :] + ranges[:position]]
        spans = [(current, int(last) + 1, current.end), *others, (current, current.start, int(last))]
    for each, start, end in spans:
        if start <= each.gateway <= end:
            yield each, range(start, each.gateway)
            yield each, range(each.gateway + 1, end + 1)
        else:
            yield each, range(start, end + 1)
