"""IP addresses in text from outside. netaddr has the types; what it lacks for us is here."""

from __future__ import annotations

from typing import Any, Literal

from netaddr import AddrFormatError, IPAddress, IPNetwork

IPVersion = Literal[4, 6]

IPV4_MAPPED = 0xFFFF
"""The upper 96 bits of an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2)."""

IPV6_MIN_MTU = 1280
"""RFC 8200, section 5. Below it the kernel has no IPv6 on a link."""


class InterfaceAddress(IPNetwork):
    """An address with the prefix length of its network, such as `10.22.0.5/16`.

    In netaddr, two of them are equal if their networks are. Here, their addresses have to be equal, too.
    """

    def key(self) -> tuple[Any, ...]:
        """What has to be the same for two of them to be equal."""
        return self.version, self.value, self.prefixlen


def parse_ip(text: str) -> IPAddress:
    """Read an address; an IPv4-mapped IPv6 address is IPv4.

    Raises ValueError if `text` is not an address.
    """
    try:
        ip = IPAddress(text)
    except (ValueError, AddrFormatError):
        raise ValueError(f"{text!r} is not an IP address") from None
    if ip.version == 6 and int(ip) >> 32 == IPV4_MAPPED:
        return IPAddress(int(ip) & 0xFFFFFFFF, 4)
    return ip


def parse_address(text: str) -> InterfaceAddress:
    """Read `address/prefixlen` (CIDR notation).

    Raises ValueError if `text` does not have this form.
    """
    address, _, length = text.partition("/")
    try:
        ip = parse_ip(address)
        # int() accepts more than digits, and netaddr accepts a netmask.
        if length.isascii() and length.isdigit() and int(length) <= 8 * len(ip.packed):
            return InterfaceAddress((int(ip), int(length)), ip.version)
    except ValueError:
        pass  # the error below quotes the whole text
    raise ValueError(f"invalid CIDR address: {text!r} is not a network in CIDR notation")


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Whether the two share an address."""
    return one.version == other.version and one.first <= other.last and other.first <= one.last
