"""IP addresses and networks, as little as an ADD needs.

Names are netaddr's, so that a reader of one knows the other; `netaddr` itself takes 26 ms to import, which an
ADD cannot afford.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from cni_bridge_py.record import record

WIDTH = {4: 32, 6: 128}
"""Bits in an address of each IP version."""


@record
class IPNetwork:
    """An address with the length of its network's prefix; host bits are kept, as in `10.22.0.5/16`."""

    version: int
    value: int
    prefixlen: int

    @property
    def ip(self) -> str:
        """The address alone, as text."""
        return format_ip(self.version, self.value)

    @property
    def first(self) -> int:
        """The network's lowest address."""
        return self.value & ~self._hostmask

    @property
    def last(self) -> int:
        """The network's highest address (IPv4: the broadcast address)."""
        return self.value | self._hostmask

    @property
    def cidr(self) -> IPNetwork:
        """The network itself: the same prefix, no host bits."""
        return IPNetwork(self.version, self.first, self.prefixlen)

    def contains(self, version: int, value: int) -> bool:
        """Whether the address lies in this network."""
        return version == self.version and self.first <= value <= self.last

    @property
    def _hostmask(self) -> int:
        return (1 << (WIDTH[self.version] - self.prefixlen)) - 1

    def __str__(self) -> str:
        return f"{self.ip}/{self.prefixlen}"


def parse_ip(text: str) -> tuple[int, int]:
    """Return `(version, value)` of an address; an IPv4-mapped IPv6 address is IPv4.

    Raises ValueError when `text` is no address.
    """
    try:
        if ":" not in text:
            return 4, int.from_bytes(inet_pton(AF_INET, text), "big")
        value = int.from_bytes(inet_pton(AF_INET6, text), "big")
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IP address") from None
    if value >> 32 == 0xFFFF:
        return 4, value & 0xFFFFFFFF
    return 6, value


def format_ip(version: int, value: int) -> str:
    """Write an address in its canonical form (RFC 5952 for IPv6)."""
    return inet_ntop(AF_INET if version == 4 else AF_INET6, packed(version, value))


def packed(version: int, value: int) -> bytes:
    """The address in network byte order."""
    return value.to_bytes(WIDTH[version] // 8, "big")


def parse_network(text: str) -> IPNetwork:
    """Read `address/prefixlen`, host bits allowed.

    Raises ValueError when `text` is not of that form.
    """
    address, slash, length = text.partition("/")
    version, value = parse_ip(address)
    if not slash or not (length.isascii() and length.isdigit() and int(length) <= WIDTH[version]):
        raise ValueError(f"{text!r} is not a network in CIDR notation")
    return IPNetwork(version, value, int(length))
