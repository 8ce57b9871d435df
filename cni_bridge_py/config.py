"""The network configuration: which keys there are, what they default to, and what is refused.

The meaning of every key is the reference plugins' (`bridge` and `host-local`); `nonMasqueradeCIDRs` is ours.
A key that is not known is ignored, as the specification asks; `null` is the same as leaving a key out.
"""

from __future__ import annotations

from cni_bridge_py.addresses import IPNetwork, parse_ip, parse_network
from cni_bridge_py.cni.errors import INVALID_CONFIG, CniError
from cni_bridge_py.cni.request import why_not_identifier, why_not_ifname
from cni_bridge_py.cni.result import Result, Route, decode, speaks
from cni_bridge_py.ipam.ranges import Range, RangeSet, overlap
from cni_bridge_py.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

DEFAULT_BRIDGE = "cni0"
DEFAULT_DATA_DIR = "/var/lib/cni/networks"
NAME_MAX = 180
"""The name is part of a file name and of an nftables rule's comment, which have room for 255 bytes."""

LARGEST_MTU = 65535
LARGEST_U32 = (1 << 32) - 1


@record
class IpamConfig:
    """`ipam`: where addresses come from. All but `type` are host-local's."""

    type: str
    range_sets: list[RangeSet]
    routes: list[Route]
    data_dir: str
    resolv_conf: str


@record
class NetworkConfig:
    """One network's configuration, validated."""

    cni_version: str
    name: str
    bridge: str
    is_gateway: bool
    is_default_gateway: bool
    force_address: bool
    ip_masq: bool
    non_masquerade_cidrs: list[IPNetwork]
    mtu: int
    hairpin_mode: bool
    promisc_mode: bool
    dns: dict[str, Any]
    ipam: IpamConfig | None
    prev_result: Result | None


def read_config(raw: dict[str, Any]) -> NetworkConfig:
    """Validate a network configuration whose `cniVersion` was agreed already.

    Raises CniError 7 that names the first key at fault, by its path, and what was expected.
    """
    top = Section(raw, "")
    version = top.string("cniVersion") or "0.1.0"
    is_default_gateway = top.boolean("isDefaultGateway")
    config = NetworkConfig(
        cni_version=version,
        name=_name(top),
        bridge=top.interface("bridge", DEFAULT_BRIDGE),
        is_gateway=top.boolean("isGateway") or is_default_gateway,
        is_default_gateway=is_default_gateway,
        force_address=top.boolean("forceAddress"),
        ip_masq=top.boolean("ipMasq"),
        non_masquerade_cidrs=top.networks("nonMasqueradeCIDRs"),
        mtu=top.integer("mtu", 0, LARGEST_MTU) or 0,
        hairpin_mode=top.boolean("hairpinMode"),
        promisc_mode=top.boolean("promiscMode"),
        dns=_dns(top.section("dns")),
        ipam=_ipam(top.section("ipam"), version),
        prev_result=_prev_result(top),
    )
    if config.hairpin_mode and config.promisc_mode:
        raise top.invalid("hairpinMode", "cannot be set together with promiscMode")
    return config


class Section:
    """A JSON object of the configuration; every value is taken by key and checked, and errors name its path."""

    def __init__(self, members: dict[str, Any], path: str) -> None:
        self.members = members
        self.path = path

    def invalid(self, key: str, reason: str) -> CniError:
        """The error that says what is wrong with `key`."""
        return CniError(INVALID_CONFIG, f"{self._path(key)}: {reason}")

    def value(self, key: str, kind: type, expected: str) -> Any:
        """The value of `key`, or None where it is absent or null."""
        value = self.members.get(key)
        # In Python a boolean is an integer, in a configuration it is not.
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        raise self.invalid(key, f"expected {expected}, got {value!r}")

    def string(self, key: str) -> str:
        """A string; empty where absent."""
        return self.value(key, str, "a string") or ""

    def boolean(self, key: str) -> bool:
        """true or false; false where absent."""
        return self.value(key, bool, "true or false") or False

    def integer(self, key: str, lowest: int, highest: int) -> int | None:
        """An integer within bounds, both included."""
        value: int | None = self.value(key, int, "an integer")
        if value is not None and not lowest <= value <= highest:
            raise self.invalid(key, f"expected {lowest} to {highest}, got {value}")
        return value

    def strings(self, key: str) -> list[str]:
        """A list of strings; empty where absent."""
        values = self.value(key, list, "a list of strings") or []
        for position, value in enumerate(values):
            if not isinstance(value, str):
                raise self.invalid(f"{key}[{position}]", f"expected a string, got {value!r}")
        return list(values)

    def section(self, key: str) -> Section | None:
        """An object, or None where absent."""
        members = self.value(key, dict, "an object")
        return None if members is None else Section(members, self._path(key))

    def sections(self, key: str) -> Iterator[Section]:
        """The objects of a list."""
        return self._objects(key, self.value(key, list, "a list of objects") or [])

    def _objects(self, key: str, values: list[Any]) -> Iterator[Section]:
        for position, value in enumerate(values):
            if not isinstance(value, dict):
                raise self.invalid(f"{key}[{position}]", f"expected an object, got {value!r}")
            yield Section(value, self._path(f"{key}[{position}]"))

    def lists_of_sections(self, key: str) -> Iterator[list[Section]]:
        """The lists of objects in a list of lists."""
        for position, value in enumerate(self.value(key, list, "a list of lists") or []):
            if not isinstance(value, list):
                raise self.invalid(f"{key}[{position}]", f"expected a list, got {value!r}")
            yield list(self._objects(f"{key}[{position}]", value))

    def interface(self, key: str, default: str) -> str:
        """An interface name."""
        name = default if self.members.get(key) is None else self.string(key)
        if reason := why_not_ifname(name):
            raise self.invalid(key, f"{name!r} {reason}")
        return name

    def address(self, key: str) -> tuple[int, int] | None:
        """An IP address as (version, value), or None where absent or empty."""
        text = self.string(key)
        try:
            return parse_ip(text) if text else None
        except ValueError as error:
            raise self.invalid(key, str(error)) from None

    def network(self, key: str) -> IPNetwork:
        """A network in CIDR notation, required."""
        return self._network(key, self.string(key))

    def networks(self, key: str) -> list[IPNetwork]:
        """A list of networks in CIDR notation."""
        texts = self.strings(key)
        return [self._network(f"{key}[{position}]", text).cidr for position, text in enumerate(texts)]

    def _network(self, key: str, text: str) -> IPNetwork:
        try:
            return parse_network(text)
        except ValueError as error:
            raise self.invalid(key, str(error)) from None

    def _path(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _name(top: Section) -> str:
    name = top.string("name")
    if reason := why_not_identifier(name):
        raise top.invalid("name", f"{name!r} {reason}")
    if len(name) > NAME_MAX:
        raise top.invalid("name", f"must have at most {NAME_MAX} characters")
    return name


def _dns(dns: Section | None) -> dict[str, Any]:
    if dns is None:
        return {}
    lists = {key: dns.strings(key) for key in ("nameservers", "search", "options")}
    values = {"nameservers": lists["nameservers"], "domain": dns.string("domain"), **lists}
    return {key: value for key, value in values.items() if value}


def _prev_result(top: Section) -> Result | None:
    section = top.section("prevResult")
    if section is None:
        return None
    try:
        return decode(section.members)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise top.invalid("prevResult", f"is no result: {type(error).__name__} {error}") from None


def _ipam(ipam: Section | None, version: str) -> IpamConfig | None:
    kind = ipam.string("type") if ipam else ""
    if not ipam or not kind:
        return None
    if kind != "host-local":
        raise ipam.invalid("type", f"{kind!r} is not host-local")
    return IpamConfig(
        type=kind,
        range_sets=_range_sets(ipam, version),
        routes=[_route(route, version) for route in ipam.sections("routes")],
        data_dir=_absolute_path(ipam, "dataDir") or DEFAULT_DATA_DIR,
        resolv_conf=_absolute_path(ipam, "resolvConf"),
    )


def _absolute_path(section: Section, key: str) -> str:
    path = section.string(key)
    if path and (not path.startswith("/") or "\0" in path):
        raise section.invalid(key, f"expected an absolute path, got {path!r}")
    return path


def _route(route: Section, version: str) -> Route:
    dst = route.network("dst")
    gw = route.address("gw")
    if gw and gw[0] != dst.version:
        raise route.invalid("gw", f"{route.string('gw')} is not of the same IP version as {dst}")
    plain = Route(str(dst.cidr), route.string("gw"))
    if not speaks(version, "1.1.0"):
        return plain
    return Route(
        plain.dst,
        plain.gw,
        mtu=route.integer("mtu", 0, LARGEST_U32) or 0,
        advmss=route.integer("advmss", 0, LARGEST_U32) or 0,
        priority=route.integer("priority", 0, LARGEST_U32) or 0,
        table=route.integer("table", 0, LARGEST_U32),
        scope=route.integer("scope", 0, 255),
    )


def _range_sets(ipam: Section, version: str) -> list[RangeSet]:
    # A range written straight into `ipam` (the oldest form) is the first set.
    sets = [[ipam]] if ipam.string("subnet") else []
    sets += ipam.lists_of_sections("ranges")
    if not sets:
        raise ipam.invalid("subnet", "expected a network in CIDR notation (or ranges)")
    range_sets = [_range_set(ipam, position, each) for position, each in enumerate(sets)]
    _refuse_overlaps(ipam, range_sets)
    for family in (4, 6):
        if not speaks(version, "0.3.0") and sum(each[0].version == family for each in range_sets) > 1:
            reason = f"CNI version {version} cannot hold two IPv{family} addresses"
            raise ipam.invalid("ranges", reason)
    return range_sets


def _range_set(ipam: Section, position: int, sections: list[Section]) -> RangeSet:
    ranges = [_range(section) for section in sections]
    if not ranges:
        raise ipam.invalid(f"ranges[{position}]", "expected at least one range")
    for other in ranges[1:]:
        if other.version != ranges[0].version:
            reason = f"{other.subnet} is not of the same IP version as {ranges[0].subnet}"
            raise ipam.invalid(f"ranges[{position}]", reason)
    return ranges


def _range(section: Section) -> Range:
    subnet = section.network("subnet")
    if subnet != subnet.cidr:
        raise section.invalid("subnet", f"{subnet} has host bits set; the network is {subnet.cidr}")
    if subnet.last - subnet.first < 3:
        raise section.invalid("subnet", f"{subnet} is too small to allocate from")
    lowest, highest = subnet.first + 1, subnet.last - (subnet.version == 4)
    gateway = _within(section, "gateway", subnet, lowest)
    start = _within(section, "rangeStart", subnet, lowest)
    end = _within(section, "rangeEnd", subnet, highest)
    if start > end:
        reason = f"{section.string('rangeEnd')} is before rangeStart {section.string('rangeStart')}"
        raise section.invalid("rangeEnd", reason)
    return Range(subnet, max(start, lowest), min(end, highest), gateway)


def _within(section: Section, key: str, subnet: IPNetwork, default: int) -> int:
    address = section.address(key)
    if address is None:
        return default
    if not subnet.contains(*address):
        raise section.invalid(key, f"{section.string(key)} is outside {subnet}")
    return address[1]


def _refuse_overlaps(ipam: Section, range_sets: list[RangeSet]) -> None:
    ranges = [(position, each) for position, ranges in enumerate(range_sets) for each in ranges]
    for index, (position, one) in enumerate(ranges):
        for _, other in ranges[:index]:
            if overlap(one, other):
                reason = f"{one} overlaps {other}"
                raise ipam.invalid(f"ranges[{position}]", reason)
