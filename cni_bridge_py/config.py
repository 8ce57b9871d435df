"""The network configuration: its keys, their defaults, and what is refused.

Keys mean what they mean to the reference plugins (`bridge` and `host-local`). Only `nonMasqueradeCIDRs` and
`bridgeNetfilter` are ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from netaddr import IPAddress, IPNetwork

from cni_bridge_py.addresses import IPV6_MIN_MTU
from cni_bridge_py.addresses import overlap as networks_overlap
from cni_bridge_py.cni import strictjson
from cni_bridge_py.cni.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, CniError
from cni_bridge_py.cni.request import why_not_identifier, why_not_ifname
from cni_bridge_py.cni.result import OLDEST, Result, Route, decode, speaks
from cni_bridge_py.ipam.host_local import IpamConfig
from cni_bridge_py.ipam.ranges import Range, RangeSet, overlap, size
from cni_bridge_py.section import Section

DEFAULT_BRIDGE = "cni0"
DEFAULT_DATA_DIR = "/var/lib/cni/networks"
NAME_MAX = 255
"""The network's name is also the name of a directory (limits.h)."""

HOST_LOCAL = ("host-local", "host-local-py")
"""The values of `ipam.type` that mean our own address store; any other is a program to run."""

VALID_ATTACHMENTS = ("cni.dev/valid-attachments", "cni.dev/attachments")
"""The keys of GC's valid attachments. The second is the specification's first name, which libcni wrote before 1.2.3."""

MAC = re.compile(r"[0-9a-f]{2}(?P<mark>[:-])(?:[0-9a-f]{2}(?P=mark)){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}")
"""The forms of six octets that Go's net.ParseMAC accepts: with colons, with hyphens, and three numbers with dots."""

MASQUERADE_BACKENDS = ("iptables", "nftables")
"""The values of `ipMasqBackend`. With either of them, the rules are in our own nftables table."""

UNUSABLE = (
    (IPNetwork("0.0.0.0/8"), "which stands for this host (RFC 1122)"),
    (IPNetwork("127.0.0.0/8"), "the loopback addresses"),
    (IPNetwork("224.0.0.0/4"), "the multicast addresses"),
    (IPNetwork("::/127"), "no address and the loopback address"),
    (IPNetwork("fe80::/10"), "the link-local addresses"),
    (IPNetwork("ff00::/8"), "the multicast addresses"),
)
"""Networks whose addresses no pod can use, and what they are for."""

LARGEST_MTU = 65535
LARGEST_VLAN = 4094
LARGEST_U32 = (1 << 32) - 1


@dataclass(frozen=True)
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
    bridge_netfilter: bool
    port_isolation: bool
    mac_spoof_check: bool
    enable_dad: bool
    disable_container_interface: bool
    vlan: int
    vlan_trunk: list[int]
    preserve_default_vlan: bool
    mac: str
    dns: dict[str, Any] | None
    ipam: IpamConfig | None
    prev_result: Result | None


def read_config(raw: dict[str, Any], args: Mapping[str, str] | None = None) -> NetworkConfig:
    """Validate a network configuration whose `cniVersion` has been checked; `args` is CNI_ARGS.

    Raises CniError 7, which names the first wrong key by its path, and what was expected.
    """
    top = Section(raw, "")
    asked = Asked(top, args or {})
    version = top.string("cniVersion") or OLDEST
    is_default_gateway = top.boolean("isDefaultGateway")
    config = NetworkConfig(
        cni_version=version,
        name=network_name(top),
        bridge=top.interface("bridge", DEFAULT_BRIDGE),
        is_gateway=top.boolean("isGateway") or is_default_gateway,
        is_default_gateway=is_default_gateway,
        force_address=top.boolean("forceAddress"),
        ip_masq=top.boolean("ipMasq"),
        non_masquerade_cidrs=top.networks("nonMasqueradeCIDRs"),
        mtu=top.integer("mtu", 0, LARGEST_MTU) or 0,
        hairpin_mode=top.boolean("hairpinMode"),
        promisc_mode=top.boolean("promiscMode"),
        bridge_netfilter=top.boolean("bridgeNetfilter"),
        port_isolation=top.boolean("portIsolation"),
        mac_spoof_check=top.boolean("macspoofchk"),
        enable_dad=top.boolean("enabledad"),
        disable_container_interface=top.boolean("disableContainerInterface"),
        vlan=_vlan(top),
        vlan_trunk=_vlan_trunk(top),
        preserve_default_vlan=top.boolean("preserveDefaultVlan"),
        mac=_mac(asked),
        dns=_dns(top.section("dns")),
        ipam=_ipam(top.section("ipam"), asked, version),
        prev_result=prev_result(top),
    )
    _refuse_contradictions(top, config)
    return config


def read_config_for_delete(raw: dict[str, Any], args: Mapping[str, str]) -> NetworkConfig:
    """Read a configuration for DEL, and leave out what is wrong: a runtime also calls DEL after an ADD that refused it.

    Raises CniError 7 only if the network's name is wrong, because nothing can be found without it.
    """
    try:
        return read_config(raw, args)
    except CniError:
        top = Section(raw, "")
        guarded = strictjson.find(raw, "macspoofchk") is True
        config = read_config({"name": network_name(top), "macspoofchk": guarded})
        ipam = strictjson.find(raw, "ipam")
        members = ipam if isinstance(ipam, dict) else {}
        kind, data_dir = strictjson.find(members, "type"), strictjson.find(members, "dataDir")
        if not isinstance(kind, str) or not _is_file_name(kind):
            return config
        path = data_dir if isinstance(data_dir, str) and _is_path(data_dir) else DEFAULT_DATA_DIR
        return replace(config, ipam=IpamConfig(kind, [], [], path, "", []))


def read_ipam_config(raw: dict[str, Any], args: Mapping[str, str]) -> tuple[str, IpamConfig, Result | None]:
    """Validate what an IPAM plugin needs of another main plugin's configuration: network name, `ipam`, prevResult.

    Raises CniError 7 as `read_config` does.
    """
    top = Section(raw, "")
    name = network_name(top)
    section = top.section("ipam")
    if not section:
        raise top.invalid("ipam", "IPAM config missing 'ipam' key: expected an object")
    ipam = _host_local(section, Asked(top, args), top.string("cniVersion") or OLDEST)
    return name, ipam, prev_result(top)


def valid_attachments(raw: dict[str, Any]) -> list[tuple[str, str]]:
    """The attachments that GC must keep, as (container id, interface name).

    `null` is an empty list, because libcni writes an empty list so.
    Raises CniError 7 if the key is missing or malformed: an empty list in its place would remove every pod.
    """
    top = Section(raw, "")
    key = next((key for key in VALID_ATTACHMENTS if top.has(key)), None)
    if not key:
        missing = f"neither {' nor '.join(VALID_ATTACHMENTS)} says which attachments are valid"
        raise top.invalid(VALID_ATTACHMENTS[0], f"nothing was removed: {missing}")
    return [(each.required("containerID"), each.required("ifname")) for each in top.sections(key)]


def _refuse_contradictions(top: Section, config: NetworkConfig) -> None:
    if config.hairpin_mode and config.promisc_mode:
        raise top.invalid("hairpinMode", "cannot set hairpin mode and promiscuous mode at the same time")
    if config.disable_container_interface and config.ipam:
        raise top.invalid("disableContainerInterface", "cannot use IPAM when DisableContainerInterface flag is set")
    if config.vlan and config.is_gateway and (reason := why_not_ifname(f"{config.bridge}.{config.vlan}")):
        raise top.invalid("bridge", f"{config.bridge}.{config.vlan}, the gateway's interface: {reason}")
    refuse_mtu(config.mtu, [each[0].version for each in config.ipam.range_sets] if config.ipam else [])
    backend = top.value("ipMasqBackend", str, "a string")
    if config.ip_masq and config.ipam and backend not in (None, *MASQUERADE_BACKENDS):
        reason = f'unknown ipmasq backend "{backend}", expected {" or ".join(MASQUERADE_BACKENDS)}'
        raise top.invalid("ipMasqBackend", reason)


def refuse_mtu(mtu: int, versions: Iterable[int]) -> None:
    """Refuse an MTU that is too small for addresses of these IP versions; 0 means the kernel's default.

    Raises CniError 7.
    """
    if 0 < mtu < IPV6_MIN_MTU and 6 in versions:
        raise CniError(INVALID_CONFIG, f"mtu: {mtu} is less than {IPV6_MIN_MTU}, the least that IPv6 needs")


class Asked:
    """What the runtime asks for this attachment, in the three places where it can."""

    def __init__(self, top: Section, args: Mapping[str, str]) -> None:
        nothing = Section({}, "")
        self.environment = Section(dict(args), "CNI_ARGS", INVALID_ENVIRONMENT)
        self.cni_args = (top.section("args") or nothing).section("cni") or nothing
        self.runtime_config = top.section("runtimeConfig") or nothing


def _mac(asked: Asked) -> str:
    """The MAC that the runtime asks for: first runtimeConfig's, then args.cni's, then CNI_ARGS'."""
    for section, key in ((asked.runtime_config, "mac"), (asked.cni_args, "mac"), (asked.environment, "MAC")):
        if mac := section.string(key):
            if not MAC.fullmatch(mac.lower()):
                raise section.invalid(key, f"{mac!r} is not a MAC address")
            octets = bytes.fromhex(re.sub(r"[:.-]", "", mac))
            if octets[0] & 1:
                raise section.invalid(key, f"{mac} is a multicast MAC address; an interface needs a unicast one")
            if not any(octets):
                raise section.invalid(key, f"{mac} is not a MAC address that an interface can have")
            return octets.hex(":")
    return ""


def _requested(asked: Asked) -> list[IPAddress]:
    """The addresses that the runtime asks for: first runtimeConfig's, then args.cni's, then CNI_ARGS'."""
    environment = [each.strip() for each in asked.environment.string("IP").split(",")]
    listed = Section({"IP": [each for each in environment if each]}, "CNI_ARGS", INVALID_ENVIRONMENT)
    for section, key in ((asked.runtime_config, "ips"), (asked.cni_args, "ips"), (listed, "IP")):
        if requested := section.addresses(key):
            return list(dict.fromkeys(requested))
    return []


def _vlan(top: Section) -> int:
    vlan: int = top.value("vlan", int, "an integer") or 0
    if not 0 <= vlan <= LARGEST_VLAN:
        raise top.invalid("vlan", f"invalid VLAN ID {vlan} (must be between 0 and {LARGEST_VLAN})")
    return vlan


def _vlan_trunk(top: Section) -> list[int]:
    """The VLAN ids of `vlanTrunk`: single ones (`id`) and ranges (`minID` to `maxID`), sorted."""
    vlans: set[int] = set()
    for item in top.sections("vlanTrunk"):
        lowest, highest, single = (_trunk_vlan(item, key) for key in ("minID", "maxID", "id"))
        if (lowest is None) != (highest is None):
            missing = "maxID" if highest is None else "minID"
            reason = f"minID and maxID should be configured simultaneously, {missing} is missing"
            raise item.invalid(missing, reason)
        if lowest is not None and highest is not None:
            if highest < lowest:
                reason = f"minID is greater than maxID in trunk parameter: {lowest} and {highest}"
                raise item.invalid("maxID", reason)
            vlans.update(range(lowest, highest + 1))
        if single is not None:
            vlans.add(single)
        elif lowest is None:
            raise item.invalid("id", "expected a VLAN id here, or minID and maxID")
    return sorted(vlans)


def _trunk_vlan(item: Section, key: str) -> int | None:
    vlan: int | None = item.value(key, int, "an integer")
    if vlan is not None and not 1 <= vlan <= LARGEST_VLAN:
        raise item.invalid(key, f"incorrect trunk {key} parameter: expected 1 to {LARGEST_VLAN}, got {vlan}")
    return vlan


def network_name(top: Section) -> str:
    """The network's name. Raises CniError 7 if it is missing or invalid."""
    name = top.string("name")
    if not name:
        raise top.invalid("name", "missing network name")
    if reason := why_not_identifier(name):
        raise top.invalid("name", f"invalid characters found in network name {name!r}: it {reason}")
    if len(name) > NAME_MAX:
        raise top.invalid("name", f"must have at most {NAME_MAX} characters")
    return name


def _dns(dns: Section | None) -> dict[str, Any] | None:
    """The configuration's `dns`. An empty list says that there is no DNS; None means that the key is not set."""
    if dns is None:
        return None
    keys = ("nameservers", "search", "options")
    lists = {key: dns.strings(key) for key in keys}
    values = {"nameservers": lists["nameservers"], "domain": dns.string("domain"), **lists}
    found = {key: value for key, value in values.items() if value}
    return found if found or any(strictjson.find(dns.members, key) is not None for key in keys) else None


def prev_result(top: Section) -> Result | None:
    """`prevResult`: in ADD that of the plugins before, in CHECK and DEL that of the whole ADD. Raises CniError 7."""
    section = top.section("prevResult")
    if section is None:
        return None
    try:
        return decode(section.members)
    except ValueError as error:
        raise top.invalid("prevResult", f"is not a result: {error}") from None


def _ipam(ipam: Section | None, asked: Asked, version: str) -> IpamConfig | None:
    kind = ipam.string("type") if ipam else ""
    if not ipam or not kind:
        return None
    if kind not in HOST_LOCAL:
        if not _is_file_name(kind):
            raise ipam.invalid("type", f"expected a plugin's file name, got {kind!r}")
        return IpamConfig(kind, [], [], "", "", [])
    return _host_local(ipam, asked, version)


def _host_local(ipam: Section, asked: Asked, version: str) -> IpamConfig:
    return IpamConfig(
        type=ipam.string("type"),
        range_sets=_range_sets(ipam, asked.runtime_config, version),
        routes=[_route(route) for route in ipam.sections("routes")],
        data_dir=_path(ipam, "dataDir") or DEFAULT_DATA_DIR,
        resolv_conf=_path(ipam, "resolvConf"),
        requested=_requested(asked),
    )


def _path(section: Section, key: str) -> str:
    """A path. As in the reference, a relative one starts in the working directory."""
    path = section.string(key)
    if path and not _is_path(path):
        raise section.invalid(key, f"expected a path, got {path!r}")
    return path


def _is_file_name(text: str) -> bool:
    return text != "" and "/" not in text and text.isprintable()


def _is_path(text: str) -> bool:
    return text != "" and text.isprintable()


def _route(route: Section) -> Route:
    dst = route.network("dst")
    gw = route.address("gw")
    if gw is not None and gw.version != dst.version:
        raise route.invalid("gw", f"{route.string('gw')} is not of the same IP version as {dst}")
    return Route(
        dst.cidr,
        gw,
        mtu=route.integer("mtu", 0, LARGEST_U32) or 0,
        advmss=route.integer("advmss", 0, LARGEST_U32) or 0,
        priority=route.integer("priority", 0, LARGEST_U32) or 0,
        table=route.integer("table", 0, LARGEST_U32),
        scope=route.integer("scope", 0, 255),
    )


def _range_sets(ipam: Section, runtime_config: Section, version: str) -> list[RangeSet]:
    # The runtime's ranges come first, then a range directly in `ipam`, which is the oldest form.
    sets = list(runtime_config.lists_of_sections("ipRanges"))
    sets += [[ipam]] if ipam.string("subnet") else []
    sets += ipam.lists_of_sections("ranges")
    if not sets:
        raise ipam.invalid("subnet", "no IP ranges specified, expected a network in CIDR notation (or ranges)")
    range_sets = []
    found: list[tuple[int, Section, Range]] = []
    for position, sections in enumerate(sets):
        ranges = [_range(section) for section in sections]
        for section, each in zip(sections, ranges, strict=True):
            if each.version != ranges[0].version:
                reason = f"mixed address families: {each.subnet} is not of the same IP version as {ranges[0].subnet}"
                raise section.invalid("subnet", reason)
            found.append((position, section, each))
        range_sets.append(ranges)
    _refuse_overlap(found)
    for family in (4, 6):
        if not speaks(version, "0.3.0") and sum(each[0].version == family for each in range_sets) > 1:
            reason = (
                f"CNI version {version} does not support more than 1 address per family; there are two of IPv{family}"
            )
            raise ipam.invalid("ranges", reason)
    return range_sets


def _refuse_overlap(found: list[tuple[int, Section, Range]]) -> None:
    """Refuse two ranges that overlap. If any do, some two that are neighbours in sorted order do."""
    order = sorted(range(len(found)), key=lambda i: (found[i][2].version, found[i][2].start))
    for position in range(1, len(order)):
        (first, _, one), (second, section, other) = (found[i] for i in sorted(order[position - 1 : position + 1]))
        if overlap(one, other):
            where = "" if first == second else f"range set {first} overlaps with {second}: "
            raise section.invalid("subnet", f"{where}subnets {one} and {other} overlap")


def _range(section: Section) -> Range:
    subnet: IPNetwork = section.network("subnet")
    if subnet.value != subnet.first:
        length, network = subnet.prefixlen, subnet.network
        bits = f"Network has host bits set. For a subnet mask of length {length} the network address is {network}"
        raise section.invalid("subnet", f"{subnet}: {bits}")
    subnet = subnet.cidr
    if subnet.last - subnet.first < 3:
        raise section.invalid("subnet", f"Network {subnet} too small to allocate from")
    for unusable, what in UNUSABLE:
        if networks_overlap(subnet, unusable):
            raise section.invalid("subnet", f"{subnet} overlaps {unusable}, {what}: no pod can use it")
    gateway = section.address("gateway")
    if gateway is None:  # compare with None: IPAddress("0.0.0.0") is false
        gateway = IPAddress(subnet.first + 1, subnet.version)
    if gateway.version != subnet.version:
        reason = f"{section.string('gateway')} is not of the same IP version as {subnet}"
        raise section.invalid("gateway", reason)
    if not int(gateway):
        raise section.invalid("gateway", f"{gateway} is not an address that a pod could send to")
    lowest, highest = subnet.first + 1, subnet.last - (subnet.version == 4)
    start = _within(section, "rangeStart", subnet, lowest)
    end = _within(section, "rangeEnd", subnet, highest)
    if start > end and section.string("rangeStart") and section.string("rangeEnd"):
        reason = f"{section.string('rangeEnd')} is before rangeStart {section.string('rangeStart')}"
        raise section.invalid("rangeEnd", reason)
    found = Range(subnet, max(start, lowest), min(end, highest), int(gateway))
    if size([found]) <= 0:
        key = "rangeEnd" if section.string("rangeEnd") else "rangeStart"
        raise section.invalid(key, f"{section.string(key)} leaves no address of {subnet} to give out")
    return found


def _within(section: Section, key: str, subnet: IPNetwork, default: int) -> int:
    address = section.address(key)
    if address is None:
        return default
    if address not in subnet:
        raise section.invalid(key, f"{key[0].upper()}{key[1:]} {section.string(key)} not in network {subnet}")
    return int(address)
