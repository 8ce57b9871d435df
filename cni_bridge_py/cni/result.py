"""Results, and how each version of the specification writes them (SPEC.md, section 5, "Success")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from netaddr import IPAddress, IPNetwork

from cni_bridge_py.addresses import InterfaceAddress, IPVersion, parse_address, parse_ip
from cni_bridge_py.cni import strictjson
from cni_bridge_py.cni.errors import INCOMPATIBLE_VERSION, CniError

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""The versions of the specification that we speak, oldest first."""

OLDEST, NEWEST = VERSIONS[0], VERSIONS[-1]
"""A configuration without `cniVersion` has the oldest version, as in libcni."""


def speaks(version: str, at_least: str) -> bool:
    """Whether `version` (one of VERSIONS) is `at_least` that version."""
    return VERSIONS.index(version) >= VERSIONS.index(at_least)


@dataclass(frozen=True)
class Interface:
    """A link that the plugin made: `sandbox` is the pod's namespace path, empty for a link of the host."""

    name: str
    mac: str
    sandbox: str = ""
    mtu: int = 0
    socket_path: str = ""
    pci_id: str = ""


@dataclass(frozen=True)
class IPConfig:
    """An address with its prefix length, perhaps a gateway, and the index of its interface."""

    address: InterfaceAddress
    gateway: IPAddress | None = None
    interface: int | None = None

    @property
    def version(self) -> IPVersion:
        """The IP version."""
        return self.address.version


SCOPE_LINK = 253
"""The scope of a route to destinations on the link (RT_SCOPE_LINK). RT_SCOPE_HOST, 254, is nearer still."""


@dataclass(frozen=True)
class Route:
    """A route of the pod. Only `dst` is required; zero and None mean "not given"."""

    dst: IPNetwork
    gw: IPAddress | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None

    @property
    def version(self) -> IPVersion:
        """The IP version."""
        return self.dst.version

    @property
    def is_on_link(self) -> bool:
        """Whether it must not get a gateway: its gateway is 0.0.0.0 or ::, or its scope is link."""
        if self.gw is None:
            return (self.scope or 0) >= SCOPE_LINK
        return int(self.gw) == 0


@dataclass(frozen=True)
class Result:
    """What an ADD made."""

    interfaces: list[Interface]
    ips: list[IPConfig]
    routes: list[Route]
    dns: dict[str, Any]


def passed_on(earlier: Result | None, made: Result) -> Result:
    """The answer of a plugin in a chain: first what the plugins before it made, then what it made itself."""
    if earlier is None:
        return made
    before = len(earlier.interfaces)
    ips = [replace(ip, interface=None if ip.interface is None else before + ip.interface) for ip in made.ips]
    dns = dict(earlier.dns)
    for key, value in made.dns.items():
        # There is only one domain. Nameservers, search domains and options are lists; the earlier plugin's come first.
        dns[key] = list(dict.fromkeys(dns.get(key, []) + value)) if isinstance(value, list) else dns.get(key, value)
    interfaces, routes = earlier.interfaces + made.interfaces, earlier.routes + made.routes
    return Result(interfaces, earlier.ips + ips, routes, dns)


def encode(result: Result, version: str) -> dict[str, Any]:
    """Write `result` in the form of `version` of the specification.

    Raises CniError 1 if that version cannot express it: 0.2.0 and older have one address per family.
    """
    if not speaks(version, "0.3.0"):
        return {"cniVersion": version, **_encode_families(result, version), "dns": result.dns}
    with_fields = speaks(version, "1.1.0")
    ips = [
        _set(version=None if speaks(version, "1.0.0") else str(ip.version), interface=ip.interface)
        | _set(address=str(ip.address), gateway=_text_of(ip.gateway))
        for ip in result.ips
    ]
    encoded: dict[str, Any] = {"cniVersion": version}
    if result.interfaces:
        encoded["interfaces"] = [_encode_interface(each, with_fields) for each in result.interfaces]
    if ips:
        encoded["ips"] = ips
    if result.routes:
        encoded["routes"] = [_encode_route(route) for route in result.routes]
    # Older versions have it, even if it is empty.
    return encoded | _set(dns=result.dns or (None if speaks(version, "1.0.0") else {}))


def _encode_interface(interface: Interface, with_fields: bool) -> dict[str, Any]:
    encoded = {"name": interface.name} | _set(mac=interface.mac or None)
    if with_fields:
        encoded |= _set(
            mtu=interface.mtu or None,
            socketPath=interface.socket_path or None,
            pciID=interface.pci_id or None,
        )
    return encoded | _set(sandbox=interface.sandbox or None)


def _encode_route(route: Route) -> dict[str, Any]:
    """A route with all its fields. Some came with 1.1.0, but the reference writes them in every version."""
    return _encode_plain_route(route) | _set(
        mtu=route.mtu or None,
        advmss=route.advmss or None,
        priority=route.priority or None,
        table=route.table,
        scope=route.scope,
    )


def _encode_plain_route(route: Route) -> dict[str, Any]:
    return {"dst": str(route.dst)} | _set(gw=_text_of(route.gw))


def _encode_families(result: Result, version: str) -> dict[str, Any]:
    encoded: dict[str, Any] = {}
    for ip in result.ips:
        key = f"ip{ip.version}"
        if key in encoded:
            msg = (
                f"CNI version {version} does not support more than 1 address per "
                f"family; there are two of IPv{ip.version}"
            )
            raise CniError(INCOMPATIBLE_VERSION, msg)
        routes = [_encode_plain_route(r) for r in result.routes if r.version == ip.version]
        encoded[key] = {"ip": str(ip.address)} | _set(gateway=_text_of(ip.gateway), routes=routes or None)
    return encoded


def _text_of(ip: IPAddress | None) -> str | None:
    return None if ip is None else str(ip)


def _set(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}


def decode(encoded: dict[str, Any]) -> Result:
    """Read a result (a prevResult, or an IPAM plugin's answer) of any version.

    Raises ValueError that says what is not of the specification's form.
    """
    ips = [_decode_ip(_text(ip, "address"), ip) for ip in _objects(encoded, "ips")]
    routes = [_decode_route(route) for route in _objects(encoded, "routes")]
    for family in ("ip4", "ip6"):
        if old := _object(encoded, family):
            ips.append(_decode_ip(_text(old, "ip"), old))
            routes += [_decode_route(route) for route in _objects(old, "routes")]
    interfaces = [_decode_interface(each) for each in _objects(encoded, "interfaces")]
    return Result(interfaces, ips, routes, _decode_dns(_object(encoded, "dns")))


def _decode_dns(dns: dict[str, Any]) -> dict[str, Any]:
    told = {"domain": _text(dns, "domain"), **{key: _list(dns, key) for key in ("nameservers", "search", "options")}}
    if any(not isinstance(each, str) for key in told if key != "domain" for each in told[key]):
        raise ValueError("dns has a value that is not a string")
    return {key: value for key, value in told.items() if value}


def _decode_interface(interface: dict[str, Any]) -> Interface:
    return Interface(
        _required(interface, "name"),
        _text(interface, "mac"),
        _text(interface, "sandbox"),
        _number(interface, "mtu") or 0,
        _text(interface, "socketPath"),
        _text(interface, "pciID"),
    )


def _decode_ip(address: str, encoded: dict[str, Any]) -> IPConfig:
    parsed, gateway = parse_address(address), _ip(encoded, "gateway")
    if gateway is not None and gateway.version != parsed.version:
        raise ValueError(f"gateway {gateway} is not of the same IP version as {address}")
    return IPConfig(parsed, gateway, _number(encoded, "interface"))


def _decode_route(route: dict[str, Any]) -> Route:
    return Route(
        parse_address(_text(route, "dst")).cidr,
        _ip(route, "gw"),
        _number(route, "mtu") or 0,
        _number(route, "advmss") or 0,
        _number(route, "priority") or 0,
        _number(route, "table"),
        _number(route, "scope", 255),
    )


def _object(encoded: dict[str, Any], key: str) -> dict[str, Any]:
    value = strictjson.find(encoded, key) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{key} is not an object")
    return value


def _objects(encoded: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = _list(encoded, key)
    if not all(isinstance(each, dict) for each in values):
        raise ValueError(f"{key} has a value that is not an object")
    return values


def _list(encoded: dict[str, Any], key: str) -> list[Any]:
    values = strictjson.find(encoded, key) or []
    if not isinstance(values, list):
        raise ValueError(f"{key} is not a list")
    return values


def _required(encoded: dict[str, Any], key: str) -> str:
    if strictjson.find(encoded, key) is None:
        raise ValueError(f"{key} is missing")
    return _text(encoded, key)


def _text(encoded: dict[str, Any], key: str) -> str:
    value = strictjson.find(encoded, key) or ""
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a string")
    value.encode()  # JSON can hold half a surrogate pair, the kernel cannot
    return value


def _ip(encoded: dict[str, Any], key: str) -> IPAddress | None:
    text = _text(encoded, key)
    return parse_ip(text) if text else None


def _number(encoded: dict[str, Any], key: str, largest: int = (1 << 32) - 1) -> int | None:
    value = strictjson.find(encoded, key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= largest):
        raise ValueError(f"{key} is not a number from 0 to {largest}")
    return value
