"""Names and MAC addresses: what they are for good, and that they are what the kernel takes."""

from __future__ import annotations

import string

import netaddr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_bridge_py.addresses import parse_address
from cni_bridge_py.cni.request import why_not_ifname
from cni_bridge_py.wiring import names
from cni_bridge_py.wiring.names import address_mac, host_veth, host_veth_mac, is_host_veth, pod_mac
from tests.unit.support import ip_config

CONTAINER_IDS = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=70)
IFNAMES = st.text(string.ascii_letters + string.digits, min_size=1, max_size=15)
ADDRESSES = st.builds(
    lambda value, length: f"{netaddr.IPAddress(value, 4)}/{length}", st.integers(0, (1 << 32) - 1), st.integers(0, 32)
) | st.builds(
    lambda value, length: f"{netaddr.IPAddress(value, 6)}/{length}",
    st.integers(1 << 64, (1 << 128) - 1),
    st.integers(0, 128),
)


# A node that is upgraded has pods that were wired before: these must never change.


@pytest.mark.parametrize(
    ("container_id", "ifname", "name"),
    [("c1", "eth0", "veth4935c4fb63a"), ("3f" * 32, "net1", "veth5da827de20e")],
)
def test_the_host_veths_name_stays_what_it_is(container_id: str, ifname: str, name: str) -> None:
    assert host_veth(container_id, ifname) == name


def test_the_host_veths_mac_stays_what_it_is() -> None:
    assert host_veth_mac("net", "veth4935c4fb63a") == "fe:ff:65:93:39:f3"


@pytest.mark.parametrize(
    ("address", "mac"),
    [
        ("10.22.0.5/16", "0a:58:0a:16:00:05"),
        ("10.22.0.5/24", "0a:58:0a:16:00:05"),
        ("255.1.2.3/32", "0a:58:ff:01:02:03"),
        ("fd00::2/64", "0a:58:4a:68:8a:e4"),
        ("FD00:0::2/80", "0a:58:4a:68:8a:e4"),
    ],
)
def test_the_mac_of_an_address_stays_what_it_is(address: str, mac: str) -> None:
    assert address_mac(parse_address(address).ip) == mac


@pytest.mark.parametrize(
    ("addresses", "mac"),
    [
        (["10.22.0.5/16"], "0a:58:0a:16:00:05"),
        (["10.22.0.5/16", "10.23.0.5/16"], "0a:58:0a:16:00:05"),
        pytest.param(["fd00::2/64", "10.22.0.5/16"], "0a:58:0a:16:00:05", id="IPv4 goes before IPv6"),
        (["fd00::2/64", "fd01::2/64"], "0a:58:4a:68:8a:e4"),
        pytest.param([], "0a:58:74:f1:3c:03", id="no address: the host veth's name tells"),
    ],
)
def test_the_pods_mac_goes_with_its_address(addresses: list[str], mac: str) -> None:
    assert pod_mac("veth4935c4fb63a", [ip_config(each) for each in addresses]) == mac


@given(CONTAINER_IDS, IFNAMES)
def test_the_host_veths_name_is_one_for_the_kernel(container_id: str, ifname: str) -> None:
    name = host_veth(container_id, ifname)
    assert len(name.encode()) <= 15
    assert why_not_ifname(name) == ""
    assert host_veth(container_id, ifname) == name


def test_the_host_veths_mac_tells_whose_network_it_is_of() -> None:
    assert host_veth_mac("net", "veth1") != host_veth_mac("other", "veth1")
    assert host_veth_mac("net", "veth1") != host_veth_mac("net", "veth2")


@pytest.mark.parametrize("mac", ["fe:ff:65:93:39:f3", "02:65:93:39:f3:f9"])
def test_a_host_veth_is_known_by_its_mac(mac: str) -> None:
    """The second is a former version's."""
    assert is_host_veth("net", "veth4935c4fb63a", mac)
    assert not is_host_veth("other", "veth4935c4fb63a", mac)
    assert not is_host_veth("net", "veth4935c4fb63b", mac)


@given(CONTAINER_IDS, IFNAMES, st.binary(min_size=6, max_size=6))
def test_a_bridge_prefers_any_network_cards_mac(container_id: str, ifname: str, card: bytes) -> None:
    """Also one that a hypervisor made up."""
    mac = bytes.fromhex(host_veth_mac("net", host_veth(container_id, ifname)).replace(":", ""))
    unicast = bytes([card[0] & 0xFE]) + card[1:]
    assert mac > unicast or unicast[:2] == b"\xfe\xff"


@given(st.lists(st.tuples(CONTAINER_IDS, IFNAMES), unique=True))
def test_every_attachment_has_a_host_veth_of_its_own(attachments: list[tuple[str, str]]) -> None:
    assert len({host_veth(*each) for each in attachments}) == len(attachments)


def test_container_id_and_interface_do_not_run_together() -> None:
    assert host_veth("c1", "1eth0") != host_veth("c11", "eth0")


def assert_unicast_and_local(mac: str) -> None:
    first = netaddr.EUI(mac).words[0]
    assert len(mac) == 17
    assert mac == mac.lower()
    assert not first & 0x01, "multicast"
    assert first & 0x02, "a vendor's"


@given(CONTAINER_IDS, IFNAMES, st.lists(ADDRESSES, max_size=3))
def test_macs_are_unicast_and_locally_administered(container_id: str, ifname: str, addresses: list[str]) -> None:
    host = host_veth(container_id, ifname)
    assert_unicast_and_local(host_veth_mac("net", host))
    assert_unicast_and_local(pod_mac(host, [ip_config(each) for each in addresses]))
    for each in addresses:
        assert_unicast_and_local(address_mac(parse_address(each).ip))


@given(st.lists(st.integers(0, (1 << 32) - 1), unique=True))
def test_every_ipv4_address_has_a_mac_of_its_own(values: list[int]) -> None:
    assert len({address_mac(netaddr.IPAddress(value, 4)) for value in values}) == len(values)


def test_attachments_hold_leases_that_name_them_in_whatever_way() -> None:
    valid = names.Attachments([("c1", "eth0"), ("c2", "net1")])
    assert valid.hold("c1", "eth0")
    assert valid.hold("c1", ""), "a lease of before 2018"
    assert valid.hold(host_veth("c2", "net1"), ""), "one that was written anew"
    assert not valid.hold("c2", "eth0")
    assert not valid.hold("c3", "")
    assert not valid.hold(host_veth("c2", "eth0"), "")
