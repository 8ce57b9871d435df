"""Which addresses are given out, and in which order."""

from __future__ import annotations

from itertools import islice

import netaddr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_bridge_py.addresses import parse_ip
from cni_bridge_py.ipam.ranges import RangeSet, candidates, describe, find, overlap
from tests.unit.support import range_sets, subnets

SMALL = subnets((25, 30), (121, 126))

POOLS: dict[str, list[dict[str, str]]] = {
    "a /30": [{"subnet": "10.1.0.0/30"}],
    "a range": [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.5", "rangeEnd": "10.1.0.8"}],
    "a gateway amid": [
        {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.5", "rangeEnd": "10.1.0.8", "gateway": "10.1.0.6"}
    ],
    "the whole subnet": [{"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.0", "rangeEnd": "10.1.0.7"}],
    "three ranges": [
        {"subnet": "10.3.0.0/30"},
        {"subnet": "10.1.0.0/29", "gateway": "10.1.0.6"},
        {"subnet": "10.2.0.0/24", "rangeEnd": "10.2.0.3"},
    ],
    "two ranges of one subnet": [
        {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.12"},
        {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.2", "rangeEnd": "10.1.0.3"},
    ],
    "IPv6": [{"subnet": "fd00::/125", "gateway": "fd00::3"}],
}

GIVEN_OUT = {
    "a /30": "10.1.0.2",
    "a range": "10.1.0.5 10.1.0.6 10.1.0.7 10.1.0.8",
    "a gateway amid": "10.1.0.5 10.1.0.7 10.1.0.8",
    "the whole subnet": "10.1.0.2 10.1.0.3 10.1.0.4 10.1.0.5 10.1.0.6",
    "three ranges": "10.3.0.2 10.1.0.1 10.1.0.2 10.1.0.3 10.1.0.4 10.1.0.5 10.2.0.2 10.2.0.3",
    "two ranges of one subnet": "10.1.0.10 10.1.0.11 10.1.0.12 10.1.0.2 10.1.0.3",
    "IPv6": "fd00::1 fd00::2 fd00::4 fd00::5 fd00::6 fd00::7",
}


def addresses(ranges: RangeSet, last: str = "") -> list[str]:
    return [str(each.address(value)) for each, value in candidates(ranges, parse_ip(last) if last else None)]


@pytest.mark.parametrize("pool", POOLS)
def test_gives_out_in_order(pool: str) -> None:
    [ranges] = range_sets(POOLS[pool])
    assert addresses(ranges) == GIVEN_OUT[pool].split()


@pytest.mark.parametrize("pool", POOLS)
def test_goes_on_after_the_last_one_and_round(pool: str) -> None:
    [ranges] = range_sets(POOLS[pool])
    in_order = GIVEN_OUT[pool].split()
    for position, last in enumerate(in_order, 1):
        assert addresses(ranges, last) == in_order[position:] + in_order[:position]


@pytest.mark.parametrize("last", ["10.1.0.4", "10.1.0.9", "10.1.1.0", "192.0.2.1", "fd00::5", "::"])
def test_starts_afresh_after_an_address_that_is_not_in_the_set(last: str) -> None:
    [ranges] = range_sets(POOLS["a range"])
    assert addresses(ranges, last) == GIVEN_OUT["a range"].split()


def test_goes_on_after_the_gateway() -> None:
    [ranges] = range_sets(POOLS["a gateway amid"])
    assert addresses(ranges, "10.1.0.6") == ["10.1.0.7", "10.1.0.8", "10.1.0.5"]


@given(subnet=SMALL, data=st.data())
def test_gives_out_every_address_but_the_networks_own_once(subnet: netaddr.IPNetwork, data: st.DataObject) -> None:
    inside = st.integers(subnet.first, subnet.last)
    gateway = data.draw(inside)
    start, end = sorted([data.draw(inside), data.draw(inside)])
    not_for_pods = {gateway, subnet.first} | ({subnet.last} if subnet.version == 4 else set())
    allocatable = set(range(start, end + 1)) - not_for_pods
    if not allocatable:
        return

    def text(value: int) -> str:
        return str(netaddr.IPAddress(value, subnet.version))

    conf = {"subnet": str(subnet), "gateway": text(gateway), "rangeStart": text(start), "rangeEnd": text(end)}
    [ranges] = range_sets([conf])
    last = data.draw(inside)
    values = [value for _, value in candidates(ranges, netaddr.IPAddress(last, subnet.version))]
    assert sorted(values) == sorted(allocatable)
    if start <= last <= end:
        assert values == sorted(v for v in allocatable if v > last) + sorted(v for v in allocatable if v <= last)
    for value in range(subnet.first, subnet.last + 1):
        assert (find(ranges, netaddr.IPAddress(value, subnet.version)) is not None) == (value in allocatable)
    other = netaddr.IPAddress(start & 0xFFFFFFFF, 4 if subnet.version == 6 else 6)
    assert find(ranges, other) is None


@pytest.mark.parametrize(
    ("subnet", "first"),
    [
        ("10.0.0.0/8", ["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        ("64.0.0.0/3", ["64.0.0.2", "64.0.0.3", "64.0.0.4"]),
        ("fd00:0:0:1::/64", ["fd00:0:0:1::2", "fd00:0:0:1::3", "fd00:0:0:1::4"]),
        ("fd00::/8", ["fd00::2", "fd00::3", "fd00::4"]),
    ],
)
def test_the_size_of_a_subnet_does_not_matter(subnet: str, first: list[str]) -> None:
    # Were they all listed somewhere, this would never end.
    [ranges] = range_sets([{"subnet": subnet}])
    found = [str(each.address(value)) for each, value in islice(candidates(ranges, None), 3)]
    assert found == first
    last = parse_ip(first[-1]) + (1 << 20)
    assert next(candidates(ranges, last))[1] == int(last) + 1


@given(SMALL, SMALL, st.data())
def test_overlap_is_a_common_address(one: netaddr.IPNetwork, other: netaddr.IPNetwork, data: st.DataObject) -> None:
    if data.draw(st.booleans()):  # far apart as they are drawn, most pairs would not overlap
        other = netaddr.IPNetwork(
            (one.first, other.prefixlen if one.version == other.version else 30 if one.version == 4 else 126),
            version=one.version,
        ).cidr
    sets = [range_sets([{"subnet": str(each)}])[0][0] for each in (one, other)]
    common = one.version == other.version and (one in other or other in one)
    assert overlap(*sets) == common
    assert overlap(*reversed(sets)) == common


def test_a_set_is_described_by_its_ranges() -> None:
    [ranges] = range_sets(POOLS["three ranges"])
    assert describe(ranges) == "10.3.0.1-10.3.0.2, 10.1.0.1-10.1.0.6, 10.2.0.1-10.2.0.3"
