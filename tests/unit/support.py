"""Helpers of the unit tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import netaddr
import pytest
from hypothesis import strategies as st

from cni_bridge_py.addresses import parse_address, parse_ip
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.cni.result import IPConfig, Route
from cni_bridge_py.config import NetworkConfig, read_config
from cni_bridge_py.ipam.host_local import IpamConfig
from cni_bridge_py.ipam.ranges import RangeSet
from cni_bridge_py.wiring.pod_steps import AddRoute

CHECKOUT = Path(__file__).resolve().parents[2]


def refusal(function: Callable[..., object], *args: object) -> CniError:
    """The CniError that the call raises, which it must."""
    with pytest.raises(CniError) as caught:
        function(*args)
    return caught.value


def network(**keys: Any) -> NetworkConfig:
    """The configuration of a network with these keys; of version 1.1.0 unless they say otherwise."""
    return read_config({"cniVersion": "1.1.0", "name": "net", **keys})


def host_local(**keys: Any) -> IpamConfig:
    """The configuration of host-local with these keys."""
    ipam = network(ipam={"type": "host-local", **keys}).ipam
    assert ipam
    return ipam


def range_sets(*sets: list[dict[str, str]]) -> list[RangeSet]:
    """The range sets of a configuration whose `ranges` are these."""
    return host_local(ranges=list(sets)).range_sets


def ip_config(address: str, gateway: str = "", interface: int | None = None) -> IPConfig:
    """An address of a result."""
    return IPConfig(parse_address(address), parse_ip(gateway) if gateway else None, interface)


def route_to(dst: str, gw: str = "", *numbers: int, **named: int) -> Route:
    """A route of a result."""
    return Route(parse_address(dst).cidr, parse_ip(gw) if gw else None, *numbers, **named)


def add_route(pod: str, route: Route, gw: str) -> AddRoute:
    """The step that gives the pod a route."""
    return AddRoute(pod, route, parse_ip(gw) if gw else None)


@st.composite
def subnets(draw: st.DrawFn, ipv4: tuple[int, int], ipv6: tuple[int, int]) -> netaddr.IPNetwork:
    """Networks of either IP version, with prefixes between the two lengths (both included)."""
    version: Literal[4, 6] = draw(st.sampled_from([4, 6]))
    prefixlen = draw(st.integers(*(ipv4 if version == 4 else ipv6)))
    # Where nothing is that no pod may have (cni_bridge_py.config.UNUSABLE).
    lowest, highest = ("128.0.0.0", "223.255.255.255") if version == 4 else ("2000::", "fdff:ffff::")
    value = draw(st.integers(int(netaddr.IPAddress(lowest)), int(netaddr.IPAddress(highest))))
    return netaddr.IPNetwork((value, prefixlen), version=version).cidr
