"""What the packet filter does for a pod, as it is written on its host veth and read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPNetwork
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from cni_bridge_py.addresses import InterfaceAddress, parse_address
from cni_bridge_py.kernel.rtnetlink import Link
from cni_bridge_py.wiring.pod_filter import MOST_EXCEPTIONS, Exceptions, PodFilter, altnames, read_altnames
from tests.unit.decoding import answer
from tests.unit.support import subnets

HOST, OWNER, MAC = "veth0123456789a", "fe:00:00:00:00:01", "0a:58:0a:01:00:02"
ALTIFNAMSIZ = 128
"""linux/if.h: an alternative name's room, its terminating NUL included."""


def link(name: str, mac: str, *names: str) -> Link:
    properties = {"attrs": [("IFLA_ALT_IFNAME", each) for each in names]}
    attributes: list[Any] = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_PROP_LIST", properties)]
    return Link(answer(ifinfmsg, attributes, index=7))


def exceptions(*networks: str) -> Exceptions:
    return Exceptions(tuple(map(IPNetwork, networks)))


@st.composite
def addresses(draw: st.DrawFn) -> InterfaceAddress:
    network = draw(subnets((8, 32), (16, 128)))
    return InterfaceAddress((draw(st.integers(network.first, network.last)), network.prefixlen), network.version)


@st.composite
def pods(draw: st.DrawFn, most: int = MOST_EXCEPTIONS) -> PodFilter:
    masqueraded = tuple(draw(st.lists(addresses(), max_size=4, unique=True)))
    networks = tuple(draw(st.lists(subnets((0, 32), (0, 128)), max_size=most, unique=True))) if masqueraded else ()
    return PodFilter(HOST, OWNER, draw(st.sampled_from(["", MAC])), masqueraded, Exceptions(networks))


@given(pods())
def test_what_is_written_is_read_back(pod: PodFilter) -> None:
    names = altnames(pod)
    assert all(len(name.encode()) < ALTIFNAMSIZ for name in names)
    assert all("/" not in name and not set(name) & set(" %:") - {":"} for name in names)
    assert len(names) == len(set(names)), "the kernel takes none twice"
    assert read_altnames([link(HOST, OWNER, *names)], Exceptions()) == ([pod] if names else [])


def test_it_can_be_read_by_people() -> None:
    pod = PodFilter(
        HOST, OWNER, MAC, (parse_address("10.1.0.2/16"), parse_address("fd00::2/64")), exceptions("10.0.0.0/8")
    )
    assert altnames(pod) == [
        f"{HOST}.mac.{MAC}",
        f"{HOST}.masquerade.10.1.0.2-16",
        f"{HOST}.masquerade.fd00::2-64",
        f"{HOST}.exceptions.{pod.exceptions.digest}",
        f"{HOST}.exception.10.0.0.0-8",
    ]


def test_exceptions_without_masquerade_are_none() -> None:
    assert altnames(PodFilter(HOST, OWNER, "", (), exceptions("10.0.0.0/8"))) == []


MANY = Exceptions(tuple(IPNetwork(f"10.{n}.0.0/16") for n in range(MOST_EXCEPTIONS + 1)))


def test_many_exceptions_are_written_as_a_digest() -> None:
    pod = PodFilter(HOST, OWNER, "", (parse_address("10.1.0.2/16"),), MANY)
    names = altnames(pod)
    assert len(names) == 2
    links = [link(HOST, OWNER, *names)]
    assert read_altnames(links, MANY) == [pod]
    [unknown] = read_altnames(links, exceptions("10.0.0.0/8"))
    assert unknown.exceptions == Exceptions(told=MANY.digest)
    assert unknown.exceptions.digest == MANY.digest


def test_what_one_pod_tells_is_known_of_the_others() -> None:
    """The kernel may have refused some of the names."""
    pod = PodFilter(HOST, OWNER, "", (parse_address("10.1.0.2/16"),), exceptions("10.0.0.0/8", "fd00::/8"))
    names = altnames(pod)
    other = [name.replace(HOST, "veth2") for name in names if ".exception." not in name]
    found = read_altnames([link("veth2", OWNER, *other), link(HOST, OWNER, *names)], Exceptions())
    assert [each.exceptions for each in found] == [pod.exceptions] * 2


@pytest.mark.parametrize(
    "name",
    [
        "enp1s0",
        f"{HOST}",
        f"{HOST}.",
        f"{HOST}.colour.red",
        f"veth2.mac.{MAC}",
        f"{HOST}.masquerade.ten",
        f"{HOST}.masquerade.",
        f"{HOST}.exception.10.0.0.0",
    ],
)
def test_names_that_somebody_else_gave(name: str) -> None:
    """A link that was renamed is nobody's host veth any more."""
    assert [pod for pod in read_altnames([link(HOST, OWNER, name)], Exceptions()) if pod.mac or pod.masqueraded] == []


@given(st.lists(subnets((0, 32), (0, 128)), min_size=1, max_size=5, unique=True), st.randoms())
def test_a_digest_does_not_depend_on_their_order(networks: list[IPNetwork], random: Any) -> None:
    shuffled = list(networks)
    random.shuffle(shuffled)
    found = Exceptions(tuple(networks)).digest
    assert found == Exceptions(tuple(shuffled)).digest
    assert found != Exceptions(tuple(networks[1:])).digest
    assert len(found) == 12
