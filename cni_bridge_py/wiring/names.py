"""Names and MAC addresses. They are derived and never stored, so every verb finds what ADD made."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from netaddr import IPAddress

from cni_bridge_py.cni.result import IPConfig

VETH_PREFIX = "veth"
VETH_DIGITS = 11
"""Prefix and digits together fill an interface name."""

HOST_MAC_PREFIX = b"\xfe\xff"
"""The highest of the unicast MACs that nobody owns. A bridge takes its ports' lowest MAC, unless somebody set one: with
a network card in it, it keeps the card's MAC when pods come and go."""

POD_MAC_PREFIX = b"\x0a\x58"


@dataclass(frozen=True)
class Links:
    """The three links of an attachment. An empty MAC or an MTU of 0 leaves the choice to the kernel."""

    bridge: str
    bridge_mac: str
    host: str
    host_mac: str
    pod: str
    pod_mac: str
    mtu: int


class Attachments:
    """A set of attachments, identified by their ids or by the names of their host veths."""

    def __init__(self, ids: list[tuple[str, str]]) -> None:
        """`ids` are pairs of container id and interface name."""
        self.veths = {host_veth(*each) for each in ids}
        self._containers = {container_id for container_id, _ in ids}

    def hold(self, container_id: str, ifname: str) -> bool:
        """Whether a lease with these ids is theirs. Without `ifname`, the id is a container's or a host veth's."""
        if not ifname:
            return container_id in self._containers or container_id in self.veths
        return host_veth(container_id, ifname) in self.veths


def host_veth(container_id: str, ifname: str) -> str:
    """The host veth's name: `veth` and 11 hexadecimal digits, which together fill an interface name."""
    # GC's list may have attachments of other plugins, with any names.
    return VETH_PREFIX + _digest(f"{container_id} {ifname}".encode(errors="surrogatepass")).hex()[:VETH_DIGITS]


def host_veth_mac(network: str, name: str) -> str:
    """The host veth's MAC: locally administered, unicast, and derived from the network.

    Nobody else gives a link of that name that MAC, so GC recognises a network's veths without any state of ours. For a
    veth that belongs to no network, `network` is empty.
    """
    return (HOST_MAC_PREFIX + _digest(f"{network} {name}".encode())[:4]).hex(":")


def is_host_veth(network: str, name: str, mac: str) -> bool:
    """Whether a link of that name and MAC is a host veth of that network. MACs of former versions began with 02."""
    former = (b"\x02" + _digest(f"{network} {name}".encode())[:5]).hex(":")
    return mac in (host_veth_mac(network, name), former)


def address_mac(ip: IPAddress) -> str:
    """The MAC for an address. When the address is used again, neighbours' entries for it stay valid.

    `0a:58` and the IPv4 address, or a hash of the IPv6 address.
    """
    return (POD_MAC_PREFIX + (ip.packed if ip.version == 4 else _digest(ip.packed)[:4])).hex(":")


def pod_mac(host: str, ips: list[IPConfig]) -> str:
    """The pod's MAC: from its first IPv4 address, else from its first address, else from its host veth's name."""
    first = next((ip for ip in ips if ip.version == 4), ips[0] if ips else None)
    return address_mac(first.address.ip) if first else (POD_MAC_PREFIX + _digest(host.encode())[5:9]).hex(":")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
