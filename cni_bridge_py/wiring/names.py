"""Names and MAC addresses: derived, never remembered, so that every verb finds what ADD made."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from netaddr import IPAddress

from cni_bridge_py.cni.result import IPConfig

VETH_PREFIX = "veth"
VETH_DIGITS = 11
"""Together they fill an interface name."""

HOST_MAC_PREFIX = b"\xfe\xff"
"""The highest of the unicast MACs that nobody owns. A bridge takes the lowest MAC of its ports unless one was set: one
with a network card in it keeps the card's, however many pods come and go."""

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
    """A set of attachments, known by their ids or by their host veths' names."""

    def __init__(self, ids: list[tuple[str, str]]) -> None:
        """`ids` are pairs of container id and interface name."""
        self.veths = {host_veth(*each) for each in ids}
        self._containers = {container_id for container_id, _ in ids}

    def hold(self, container_id: str, ifname: str) -> bool:
        """Whether one of them holds a lease that says so; without `ifname` it says a container or a host veth."""
        if not ifname:
            return container_id in self._containers or container_id in self.veths
        return host_veth(container_id, ifname) in self.veths


def host_veth(container_id: str, ifname: str) -> str:
    """The host veth's name: `veth` and 11 hexadecimal digits, which together fill an interface name."""
    # GC is told of attachments that may be none of ours, in names of any kind.
    return VETH_PREFIX + _digest(f"{container_id} {ifname}".encode(errors="surrogatepass")).hex()[:VETH_DIGITS]


def host_veth_mac(network: str, name: str) -> str:
    """The host veth's MAC: locally administered, unicast, and telling whose the veth is.

    Nobody else gives a link of that name that MAC, so GC knows a network's veths without any state of ours. A veth that
    is of no network has the empty name for its network.
    """
    return (HOST_MAC_PREFIX + _digest(f"{network} {name}".encode())[:4]).hex(":")


def is_host_veth(network: str, name: str, mac: str) -> bool:
    """Whether a link of that name and MAC is a host veth of that network; those of former versions began with 02."""
    former = (b"\x02" + _digest(f"{network} {name}".encode())[:5]).hex(":")
    return mac in (host_veth_mac(network, name), former)


def address_mac(ip: IPAddress) -> str:
    """The MAC that goes with an address, so that neighbours' entries stay true when it is used again.

    `0a:58` and the IPv4 address, or a hash of the IPv6 address.
    """
    return (POD_MAC_PREFIX + (ip.packed if ip.version == 4 else _digest(ip.packed)[:4])).hex(":")


def pod_mac(host: str, ips: list[IPConfig]) -> str:
    """The pod's MAC: its first IPv4 address's, else its first address's, else one told by its host veth's name."""
    first = next((ip for ip in ips if ip.version == 4), ips[0] if ips else None)
    return address_mac(first.address.ip) if first else (POD_MAC_PREFIX + _digest(host.encode())[5:9]).hex(":")


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
