"""Our address arithmetic against netaddr's."""

from __future__ import annotations

import netaddr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_bridge_py.addresses import parse_address, parse_ip

IPV4_MAPPED = netaddr.IPNetwork("::ffff:0:0/96")


def ip_addresses() -> st.SearchStrategy[netaddr.IPAddress]:
    ipv4 = st.integers(0, (1 << 32) - 1).map(lambda value: netaddr.IPAddress(value, 4))
    ipv6 = st.integers(0, (1 << 128) - 1).map(lambda value: netaddr.IPAddress(value, 6))
    sparse = st.sets(st.integers(0, 127), max_size=3).map(lambda bits: sum(1 << bit for bit in bits))
    zeros = sparse.map(lambda value: netaddr.IPAddress(value, 6))
    return (ipv4 | ipv6 | zeros).filter(lambda ip: ip not in IPV4_MAPPED)


@given(ip_addresses())
def test_an_address_is_read_as_it_is_written(ip: netaddr.IPAddress) -> None:
    assert parse_ip(str(ip)) == ip


@given(ip_addresses(), st.sampled_from([netaddr.ipv6_compact, netaddr.ipv6_full, netaddr.ipv6_verbose]))
def test_every_way_to_write_an_address_is_read(ip: netaddr.IPAddress, dialect: type) -> None:
    text = ip.format(dialect) if ip.version == 6 else str(ip)
    assert parse_ip(text) == ip
    assert parse_ip(text.upper()) == ip


@given(st.text("0123456789abcdefx.:/% ", max_size=20))
def test_what_netaddr_refuses_is_refused(text: str) -> None:
    if netaddr.valid_ipv4(text, netaddr.INET_PTON) or netaddr.valid_ipv6(text):
        parse_ip(text)
        return
    with pytest.raises(ValueError, match=r"is not an IP address") as caught:
        parse_ip(text)
    assert str(caught.value) == f"{text!r} is not an IP address"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0",
        "10.0.0.0.0",
        "10.0.0.256",
        "10.0.0.-1",
        "010.0.0.1",
        "0x0a.0.0.1",
        " 10.0.0.1",
        "10.0.0.1 ",
        "10.0.0.1\n",
        "10.0.0.1\0",
        "10.0.0.1/24",
        "\u0661\u0660.0.0.1",
        "fd00:::1",
        "fd00::1%eth0",
        "[fd00::1]",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "fd00::12345",
        ":",
        "fd00::1\ud800",
        "localhost",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IP address"):
        parse_ip(text)


@pytest.mark.parametrize("text", ["::ffff:10.1.2.3", "::ffff:a01:203", "::FFFF:10.1.2.3"])
def test_an_ipv4_mapped_address_is_ipv4(text: str) -> None:
    assert parse_ip(text) == parse_ip("10.1.2.3")


@given(ip_addresses(), st.data())
def test_a_network_is_what_netaddr_makes_of_it(ip: netaddr.IPAddress, data: st.DataObject) -> None:
    prefixlen = data.draw(st.integers(0, 32 if ip.version == 4 else 128))
    text = f"{ip}/{prefixlen}"
    ours, theirs = parse_address(text), netaddr.IPNetwork(text)
    assert str(ours) == text
    assert ours.cidr == theirs.cidr
    assert (ours.ip, ours.first, ours.last, ours.prefixlen) == (ip, theirs.first, theirs.last, prefixlen)


def test_two_addresses_of_one_network_are_two() -> None:
    one, other = parse_address("10.22.0.5/16"), parse_address("10.22.0.6/16")
    assert one != other
    assert len({one, other, parse_address("10.22.0.5/16"), parse_address("10.22.0.5/24")}) == 3
    assert one.cidr == other.cidr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/24",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/8 ",
        "10.0.0.0/8/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/٨",
        "10.0.0.0/²",
        "10/8",
        "fd00::/129",
        "fd00::/",
        "::ffff:10.0.0.0/104",
        "fd00::/64%eth0",
        "10.0.0.0/99999999999999999999",
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not (an IP address|a network in CIDR notation)"):
        parse_address(text)
