"""What is sent to the packet filter, without a kernel: names, what is merged, and steps that fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPNetwork, IPSet

from cni_bridge_py.addresses import parse_address
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import Message, NetlinkError, NoAnswer
from cni_bridge_py.wiring import packet_filter
from cni_bridge_py.wiring.filter_steps import ClearFilter, UnmasqueradePod, WriteAltnames
from cni_bridge_py.wiring.packet_filter import NOBODY, MasqueradeChain, chain_of
from cni_bridge_py.wiring.pod_filter import Exceptions, PodFilter
from tests.unit.support import subnets


def pod(*addresses: str, networks: tuple[str, ...] = ()) -> PodFilter:
    exceptions = Exceptions(tuple(map(IPNetwork, networks)))
    return PodFilter("veth1", "fe:00:00:00:00:01", "", tuple(map(parse_address, addresses)), exceptions)


@given(st.lists(subnets((0, 32), (0, 128)), max_size=12))
def test_networks_are_the_same_addresses_and_neither_overlap_nor_touch(networks: list[IPNetwork]) -> None:
    merged = MasqueradeChain((), Exceptions(tuple(networks))).networks
    assert IPSet([*merged[4], *merged[6]]) == IPSet([*networks, *NOBODY])
    for version in (4, 6):
        found = merged[version]
        assert all(one.last < other.first for one, other in itertools.pairwise(found))
        joined = [one.supernet(one.prefixlen - 1)[0] for one in found if one.prefixlen]
        assert len(joined) == len(set(joined)), "two halves make a whole"


def test_pods_share_a_chain_where_they_agree_in_networks_and_exceptions() -> None:
    one = chain_of(pod("10.1.0.2/16", "fd00::2/64", networks=("10.0.0.0/8",)))
    assert chain_of(pod("fd00::3/64", "10.1.0.3/16", networks=("10.0.0.0/8",))).name == one.name
    others = [
        pod("10.1.0.2/16", networks=("10.0.0.0/8",)),
        pod("10.1.0.2/15", "fd00::2/64", networks=("10.0.0.0/8",)),
        pod("10.1.0.2/16", "fd00::2/64"),
        pod("10.1.0.2/16", "fd00::2/64", networks=("10.0.0.0/8", "192.0.2.0/24")),
    ]
    assert len({one.name, *(chain_of(each).name for each in others)}) == 5


def test_a_network_of_one_address_is_no_network() -> None:
    """So a delegated IPAM that gives such addresses does not make a chain for each."""
    assert chain_of(pod("10.1.0.2/32")).name == chain_of(pod("10.1.0.3/32", "fd00::3/128")).name


def test_a_chain_has_its_name_also_where_its_exceptions_are_not_known() -> None:
    known = pod("10.1.0.2/16", networks=("10.0.0.0/8",))
    told = PodFilter("veth1", "", "", known.masqueraded, Exceptions(told=known.exceptions.digest))
    assert chain_of(told).name == chain_of(known).name
    assert chain_of(told).anchors.keys() == chain_of(known).anchors.keys()
    assert set(chain_of(told).anchors.values()).isdisjoint(chain_of(known).anchors.values())


def test_names_fit() -> None:
    """linux/netfilter/nf_tables.h: NFT_NAME_MAXLEN is 256; nft has room for 31 in a set's name of old."""
    name = chain_of(pod("10.1.0.2/16")).name
    sets = [*packet_filter.pods_sets(name).values(), *packet_filter.exceptions_sets(name).values()]
    assert all(len(each.name) < 32 for each in sets)
    assert packet_filter.is_name(name)
    assert not any(map(packet_filter.is_name, ["", "multicast", name + "0", name[:-1] + "g"]))


# Kernels that lack something


class Refusing:
    """Stands in for a socket: refuses all that it is asked."""

    def __init__(self, refusal: Exception) -> None:
        self.refusal = refusal

    def ask(self, message: Message) -> None:
        raise self.refusal

    def generation(self) -> int:
        raise self.refusal


def test_a_kernel_without_alternative_names_is_no_reason_to_fail() -> None:
    kernel = Kernel()
    kernel._host = Refusing(NetlinkError(95, ""))  # type: ignore[assignment]
    WriteAltnames(pod("10.1.0.2/16")).apply(kernel)
    kernel._host = Refusing(NetlinkError(1, ""))  # type: ignore[assignment]
    with pytest.raises(NetlinkError, match="Operation not permitted"):
        WriteAltnames(pod("10.1.0.2/16")).apply(kernel)


@pytest.mark.parametrize(
    "refusal",
    [lambda errno: NetlinkError(errno, ""), lambda errno: NoAnswer(OSError(errno, "why"))],
    ids=["NetlinkError", "NoAnswer"],
)
def test_a_kernel_without_nftables_has_nothing_to_clear(refusal: Callable[[int], Exception]) -> None:
    for errno in (22, 93, 95, 97):  # EINVAL, EPROTONOSUPPORT, EOPNOTSUPP, EAFNOSUPPORT
        kernel = Kernel()
        kernel._nftables = Refusing(refusal(errno))  # type: ignore[assignment]
        ClearFilter(pod()).apply(kernel)
    for errno in (1, 12, 105):  # EPERM, ENOMEM, ENOBUFS
        kernel = Kernel()
        kernel._nftables = Refusing(refusal(errno))  # type: ignore[assignment]
        UnmasqueradePod(pod()).apply(kernel)  # which ClearFilter does again
        with pytest.raises((NetlinkError, NoAnswer)):
            ClearFilter(pod()).apply(kernel)
