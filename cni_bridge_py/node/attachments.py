"""The attachments on a node, from what the kernel and the leases say."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from netaddr import IPAddress

from cni_bridge_py.addresses import InterfaceAddress, parse_ip
from cni_bridge_py.config import HOST_LOCAL, NetworkConfig
from cni_bridge_py.ipam.leases import LEADING, LeaseStore
from cni_bridge_py.kernel.netlink import NetlinkError, NoAnswer
from cni_bridge_py.kernel.nftables import Element
from cni_bridge_py.kernel.rtnetlink import Link
from cni_bridge_py.node.networks import Network, configs, data_dirs, gateways
from cni_bridge_py.node.state import State, Traffic
from cni_bridge_py.wiring import names, plan
from cni_bridge_py.wiring.packet_filter import elements_of_guarded, elements_of_masqueraded
from cni_bridge_py.wiring.pod_filter import Exceptions, read_altnames

OK = "ok"
DEAD = "lease without veth (dead)"
FOREIGN = "lease without veth, of another plugin"
NO_LEASE = "veth without lease"
DOWN = "down"
POD_DOWN = "down in the pod"
UNPLUGGED = "unplugged"
BRIDGE_DOWN = "bridge down"
NO_GATEWAY = "gateway missing"
NO_ADDRESS = "address missing"
UNGUARDED = "macspoofchk missing"
UNMASQUERADED = "masquerade missing"
"""The states of an attachment, in words."""


@dataclass(frozen=True)
class Lease:
    """An address that is given out, and to whom, as its file says."""

    network: str
    path: Path
    ip: IPAddress
    container_id: str
    ifname: str
    is_ours: bool
    """This plugin wrote it, not the reference's host-local."""


@dataclass(frozen=True)
class Attachment:
    """One interface of one pod."""

    network: str
    state: str
    pod: str = ""
    """`namespace/pod`, if the runtime passed it on."""
    container_id: str = ""
    ifname: str = ""
    addresses: list[InterfaceAddress | IPAddress] = field(default_factory=list)
    """The pod's own addresses; without a pod, those of the leases."""
    mac: str = ""
    host: str = ""
    """The host veth."""
    bridge: str = ""
    vlans: list[int] = field(default_factory=list)
    traffic: Traffic | None = None
    """As the pod sees it."""
    leases: list[Lease] = field(default_factory=list)
    mtu: int = 0
    """Bytes, of the pod's end."""
    is_ours: bool = True
    """This plugin wired it."""

    @property
    def networks(self) -> list[InterfaceAddress]:
        """The addresses that the pod has, with their prefix lengths."""
        return [each for each in self.addresses if isinstance(each, InterfaceAddress)]

    @property
    def ips(self) -> list[IPAddress]:
        """The addresses without their prefix lengths."""
        return [each.ip if isinstance(each, InterfaceAddress) else each for each in self.addresses]


def find(state: State, networks: list[Network]) -> list[Attachment]:
    """The attachments of all our networks, and of the reference's in the same lease directories, sorted.

    Raises CniError or OSError if the leases cannot be read.
    """
    found = list(Search(state, networks).attachments())
    return sorted(found, key=lambda each: (each.network, min(each.ips, default=IPAddress("::")), each.host))


class Search:
    """The data from which the list is made."""

    def __init__(self, state: State, networks: list[Network]) -> None:
        self._state = state
        self._configs = {config.name: config for config in configs(networks)}
        self._leases = list(leases(networks))
        self._missing: dict[str, list[InterfaceAddress]] = {}
        # A network may be from a former configuration, and still have pods.
        self._names = list(dict.fromkeys([*self._configs, *(lease.network for lease in self._leases)]))

    def attachments(self) -> Iterator[Attachment]:
        """Each one once: those with a veth of ours, those of the reference, and leases without a pod."""
        by_veth: dict[str, list[Lease]] = {}
        for lease in self._leases:
            by_veth.setdefault(names.host_veth(lease.container_id, lease.ifname), []).append(lease)
        rest = dict(by_veth)
        others = []
        for link in self._state.links.values():
            network = self._owner(link)
            if network:
                # A lease that was written again has the veth's name in place of the container id.
                written_anew = [each for each in self._leases if each.container_id == link.name]
                rest.pop(link.name, None)
                if written_anew:
                    rest.pop(names.host_veth(link.name, ""), None)
                yield self._wired(link, network, by_veth.get(link.name, []) + written_anew)
            elif link.kind == "veth" and link.master and link.peer_netns:
                others.append(link)
        yield from self._of_nobody([lease for each in rest.values() for lease in each], others)

    def _owner(self, link: Link) -> str:
        """The network to which a host veth belongs; empty if it is not ours."""
        if link.kind != "veth" or not link.name.startswith(names.VETH_PREFIX) or len(link.name) != 15:
            return ""
        return next((each for each in self._names if names.host_veth_mac(each, link.name) == link.mac), "")

    def _of_nobody(self, leases: list[Lease], veths: list[Link]) -> Iterator[Attachment]:
        """Attachments that the reference wired, which we find by their addresses, and leases without any veth."""
        by_ip = {address.ip: veth for veth in veths for address in self._state.peer_addresses(veth)} if leases else {}
        by_holder: dict[tuple[str, str, str], list[Lease]] = {}
        for lease in leases:
            by_holder.setdefault((lease.network, lease.container_id, lease.ifname), []).append(lease)
        for (network, container_id, ifname), held in by_holder.items():
            veth = next((by_ip[lease.ip] for lease in held if lease.ip in by_ip), None)
            if veth:
                yield self._wired(veth, network, held, is_ours=False)
            else:
                state = DEAD if all(lease.is_ours for lease in held) else FOREIGN
                ips = [lease.ip for lease in held]
                yield Attachment(network, state, "", container_id, ifname, list(ips), leases=held)

    def _wired(self, link: Link, network: str, held: list[Lease], is_ours: bool = True) -> Attachment:
        state, config = self._state, self._configs.get(network)
        peer, addresses = state.peer(link), state.peer_addresses(link)
        traffic = state.traffic.get(link.name)
        return Attachment(
            network=network,
            state=self._in_words(link, peer, addresses, config, held, is_ours),
            pod="".join(each if each.isprintable() else "?" for each in link.alias),
            container_id=next((each.container_id for each in held if each.container_id != link.name), ""),
            ifname=peer.name if peer else next((each.ifname for each in held), ""),
            addresses=list(addresses) or [each.ip for each in held],
            mac=peer.mac if peer else "",
            host=link.name,
            bridge=state.names.get(link.master, ""),
            vlans=state.vlans.get(link.index, []) if config and (config.vlan or config.vlan_trunk) else [],
            traffic=traffic.of_peer if traffic else None,
            leases=held,
            mtu=peer.mtu if peer else link.mtu,
            is_ours=is_ours,
        )

    def _in_words(
        self,
        link: Link,
        peer: Link | None,
        addresses: list[InterfaceAddress],
        config: NetworkConfig | None,
        held: list[Lease],
        is_ours: bool,
    ) -> str:
        """The first fault, or OK: it looks at the way to the gateway, then at the lease, then at the packet filter."""
        bridge = self._state.names.get(link.master, "")
        if not bridge or (is_ours and config and bridge != config.bridge):
            return UNPLUGGED
        if not link.is_up:
            return DOWN
        if peer and not peer.is_up and not (config and config.disable_container_interface):
            return POD_DOWN
        if not self._state.links[bridge].is_up:
            return BRIDGE_DOWN
        if peer and not {lease.ip for lease in held} <= {each.ip for each in addresses}:
            return NO_ADDRESS
        if config and bridge == config.bridge:
            missing = self._missing_gateways(config)
            if any(each.ip in gateway for gateway in missing for each in addresses):
                return NO_GATEWAY
        if config and lacks_lease(config, held, addresses):
            return NO_LEASE
        return self._filtered(link)

    def _missing_gateways(self, config: NetworkConfig) -> list[InterfaceAddress]:
        """The network's gateway addresses that its interface lacks: all, if that is down. Cached for the other pods."""
        if config.name not in self._missing:
            interface = plan.gateway_interface(config)
            link = self._state.links.get(interface)
            there = self._state.addresses(interface) if link and link.is_up else []
            self._missing[config.name] = [each for each in gateways(config) if each not in there]
        return self._missing[config.name]

    def _filtered(self, link: Link) -> str:
        """Whether the packet filter's sets have what the notes on the host veth say."""
        for pod in read_altnames([link], Exceptions()):
            if not self._has(elements_of_guarded(pod) if pod.mac else {}):
                return UNGUARDED
            if not self._has(elements_of_masqueraded(pod) if pod.masqueraded else {}):
                return UNMASQUERADED
        return OK

    def _has(self, elements: dict[Element, str]) -> bool:
        nft = self._state.kernel.nftables
        try:
            return all(nft.comment(of, key) == comment for (of, key), comment in elements.items())
        except (NetlinkError, NoAnswer):
            return False


def lacks_lease(config: NetworkConfig, held: list[Lease], addresses: list[InterfaceAddress]) -> bool:
    """Whether a pod with these addresses should have leases, but has none."""
    return bool(config.ipam and config.ipam.type in HOST_LOCAL and addresses and not held)


def leases(networks: list[Network]) -> Iterator[Lease]:
    """The leases in all lease directories. Raises OSError if they cannot be read."""
    for data_dir in data_dirs(networks):
        for folder in sorted(_folders(Path(data_dir))):
            yield from leases_in(LeaseStore(data_dir, folder.name), folder)


def leases_in(store: LeaseStore, folder: Path) -> Iterator[Lease]:
    """The leases of one network."""
    foreign = set(store.foreign())
    for name in sorted(os.listdir(folder)):
        if name[0] not in LEADING or not _is_address(name):
            continue
        holder = store.holder(name)
        if holder is not None:
            yield Lease(folder.name, folder / name, IPAddress(name), *holder, is_ours=name not in foreign)


def _folders(data_dir: Path) -> Iterable[Path]:
    try:
        return [each for each in data_dir.iterdir() if each.is_dir()]
    except FileNotFoundError:
        return []


def _is_address(name: str) -> bool:
    try:
        parse_ip(name)
    except ValueError:
        return False
    return True
