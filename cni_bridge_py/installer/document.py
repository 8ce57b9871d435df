"""The network configuration to install: the present one, with only the changes that the options ask for."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netaddr import AddrFormatError, IPAddress, IPNetwork

from cni_bridge_py.config import HOST_LOCAL
from cni_bridge_py.installer import Refused
from cni_bridge_py.node.confdir import PLUGIN, Json, alone, ours, plugins

SUBNET_KEYS = ("subnet", "rangeStart", "rangeEnd", "gateway")
"""The keys of `ipam` that belong to one subnet."""

SMALLEST_MTU, LARGEST_MTU = 68, 65535
"""Bytes. The smallest is what IPv4 needs (RFC 791)."""


def read_mtu(text: str | None) -> int | None:
    """The requested MTU in bytes, or None without a request. Raises Refused if it is not an MTU."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and SMALLEST_MTU <= int(text) <= LARGEST_MTU):
        expected = f"a number of bytes, {SMALLEST_MTU} to {LARGEST_MTU}, and 1280 or more for IPv6"
        raise Refused(f"--mtu {text}: expected {expected}")
    return int(text)


def read_subnets(texts: Sequence[str]) -> list[IPNetwork]:
    """The requested subnets: at most one of each IP version. Raises Refused for anything else."""
    subnets = [_read_subnet(text) for texts_ in texts for text in texts_.split(",")]
    versions = [subnet.version for subnet in subnets]
    for version in set(versions):
        if versions.count(version) > 1:
            raise Refused(f"--subnet names two IPv{version} networks; a pod gets one address of each IP version")
    return subnets


def _read_subnet(text: str) -> IPNetwork:
    try:
        if "/" not in text:
            raise ValueError("write it with its prefix length, such as 10.22.0.0/16")
        if not text.partition("/")[2].isdigit():
            raise ValueError("write the prefix length as a number, such as 10.22.0.0/16")
        subnet = IPNetwork(text)
        if subnet.version == 6 and subnet.is_ipv4_mapped():
            raise ValueError("it is IPv4 written as IPv6; write it as IPv4")
        if subnet.ip != subnet.network:
            raise ValueError(f"it is an address within {subnet.cidr}")
        if subnet.size < 4:
            raise ValueError("it has no room for a gateway and a pod")
    except (AddrFormatError, ValueError) as error:
        raise Refused(f"--subnet {text}: {error}") from None
    return subnet


def with_subnets(document: Json, subnets: Sequence[IPNetwork]) -> Json:
    """The configuration with these subnets. An old rangeStart, rangeEnd or gateway stays if it is in the new subnet.

    Raises Refused if the addresses come from another plugin than host-local, or if `ipam.ranges` makes no sense.
    """
    changed = copy.deepcopy(document)
    part = ours(changed)
    ipam = part["ipam"] = part.get("ipam") or {"type": "host-local"}
    if not isinstance(ipam, dict) or ipam.get("type") not in HOST_LOCAL:
        told = ipam.get("type") if isinstance(ipam, dict) else ipam
        raise Refused(f"--subnet: the addresses of {document.get('name')} come from {told!r}, not from host-local")
    range_sets = ipam.get("ranges") or []
    if not _are_ranges(range_sets):
        raise Refused(
            f"--subnet: ipam.ranges of {document.get('name')} is no list of lists of ranges: take it out first"
        )
    if len(subnets) == 1 and not range_sets:
        moved = _moved(ipam, subnets[0])
    else:
        before = {_version(each): each for each in [ranges[0] for ranges in range_sets if ranges] or [dict(ipam)]}
        moved = {"ranges": [[_moved(before.get(subnet.version, {}), subnet)] for subnet in subnets]}
    for key in SUBNET_KEYS:
        ipam.pop(key, None)
    ipam.update(moved)
    return changed


def _are_ranges(told: Any) -> bool:
    return isinstance(told, list) and all(
        isinstance(ranges, list) and all(isinstance(each, dict) for each in ranges) for ranges in told
    )


def _moved(old: Json, subnet: IPNetwork) -> Json:
    kept = {key: old[key] for key in SUBNET_KEYS[1:] if _lies_in(old.get(key), subnet)}
    return {"subnet": str(subnet)} | kept


def _lies_in(address: Any, subnet: IPNetwork) -> bool:
    try:
        return IPAddress(address) in subnet
    except (AddrFormatError, ValueError, TypeError):
        return False


def _version(member: Json) -> int:
    return 6 if ":" in str(member.get("subnet", "")) else 4


def with_mtu(document: Json, mtu: int) -> Json:
    """The configuration with another MTU for the pods."""
    changed = copy.deepcopy(document)
    part = ours(changed)
    if "mtu" in part:
        part["mtu"] = mtu
        return changed
    # Before `ipam`, which is long, so that a reader of the file sees it.
    ipam = part.pop("ipam", None)
    part |= {"mtu": mtu} | ({"ipam": ipam} if ipam is not None else {})
    return changed


def as_shipped(shipped: Json, existing: Json) -> Json:
    """A shipped configuration, with the existing one's settings for our plugin and for the plugins that are in both.

    A plugin that somebody chained after ours by hand, and that is in no shipped configuration, stays at the end.
    """
    if "plugins" not in shipped:
        return alone(existing)
    known = {each.get("type"): each for each in plugins(existing)}
    part = {key: value for key, value in ours(existing).items() if key not in ("cniVersion", "name")}
    chain = [part if each["type"] == PLUGIN else known.get(each["type"], each) for each in shipped["plugins"]]
    own = [each for each in plugins(existing) if each.get("type") not in (PLUGIN, "portmap", "firewall")]
    head = {key: existing[key] for key in existing if key not in part and key not in ("plugins", "type")}
    return shipped | head | {"plugins": chain + own}


def encode(document: Json) -> bytes:
    """A configuration as the content of a file."""
    return json.dumps(document, indent=2).encode() + b"\n"


def is_unchanged(document: Json, shipped_dir: Path) -> bool:
    """Whether it is a shipped configuration, apart from subnets and MTU, which options change."""
    shipped = [json.loads(file.read_bytes()) for file in shipped_dir.glob("*.conf*")]
    return _without_options(document) in [_without_options(each) for each in shipped]


def _without_options(document: Json) -> Json:
    stripped = copy.deepcopy(document)
    try:
        part = ours(stripped)
    except KeyError:
        return stripped
    part.pop("mtu", None)
    ipam = part.get("ipam")
    if isinstance(ipam, dict):
        ipam.pop("ranges", None)
        ipam.pop("subnet", None)
    return stripped
