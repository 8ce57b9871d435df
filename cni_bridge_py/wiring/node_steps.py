"""Steps on what all pods of a node share. They make it if it is missing, mend it if it changed, and never remove it."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EEXIST, ENOENT, EOPNOTSUPP
from shlex import quote

from cni_bridge_py.addresses import IPV6_MIN_MTU, InterfaceAddress, IPVersion, overlap
from cni_bridge_py.cni.errors import (
    BRIDGE_IN_USE,
    INVALID_CONFIG,
    KERNEL_REFUSED,
    LIMITED_CONNECTIVITY,
    PLUGIN_NOT_AVAILABLE,
    CniError,
)
from cni_bridge_py.kernel import rtnetlink, sysctl
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import Message, NetlinkError, Tolerating
from cni_bridge_py.kernel.netns import own_lock
from cni_bridge_py.kernel.rtnetlink import Link, Rtnetlink
from cni_bridge_py.wiring.step import (
    Step,
    accept_dad,
    accept_ra,
    add_address_command,
    disable_ipv6,
    enable_ipv6,
    expect,
    keep_addr_on_down,
    need_ipv6,
    on_host,
)

DEFAULT_VLAN = 1
"""The VLAN of a bridge's new ports, by default."""

ETH_DATA_LEN = 1500
"""linux/if_ether.h: the default MTU of a veth."""

NO_MAC = "00:00:00:00:00:00"


@dataclass(frozen=True)
class EnsureBridge(Step):
    """The bridge is there and up.

    If we make it, it has the pods' MTU. Later the kernel sets its MTU to the lowest of its ports', unless somebody sets
    one. If we make it, it also has a MAC that does not change with its ports: `mac`, the gateway's, or else a random
    one. A bridge that was there keeps the MAC of its owner, or of the network card in it. Without a port, it would take
    the MAC of any new pod that has a lower one. So if it is a gateway, we fix the MAC that it has.
    """

    name: str
    mac: str
    mtu: int
    promisc: bool = False
    vlan_filtering: bool = False

    def __str__(self) -> str:
        return f"a virtual switch: bridge {self.name}"

    def apply(self, kernel: Kernel) -> None:
        link = kernel.host.link(self.name) or self._create(kernel)
        self._expect_bridge(link, BRIDGE_IN_USE)
        self._keep_ipv6(kernel, link)
        if self.mac and link.takes_first_ports_mac:
            # After its last port has gone, it has none.
            mac = self.mac if link.mac == NO_MAC else link.mac
            kernel.host.ask(rtnetlink.set_link(self.name, rtnetlink.address(mac)))
        self._ignore_advertisements(kernel, link)
        wanted = self._flags()
        if link.flags & wanted != wanted:
            kernel.host.ask(rtnetlink.set_link(self.name, flags=wanted))
        if self.vlan_filtering and not link.vlan_filtering:
            self._ask_for_vlans(kernel.host, rtnetlink.set_vlan_filtering(self.name))

    def _expect_bridge(self, link: Link, code: int) -> None:
        if link.kind != "bridge":
            what = f"a {link.kind} interface" if link.kind else "an interface of another kind"
            msg = f'"{self.name}" already exists but is not a bridge: it is {what}'
            raise CniError(code, msg, "set the key bridge to another name, or remove it")

    def _keep_ipv6(self, kernel: Kernel, link: Link) -> None:
        """A bridge takes over its port's lower MTU. If that is too small for IPv6, the kernel removes its addresses."""
        if not 0 < self.mtu < IPV6_MIN_MTU:
            return
        for address in kernel.host.addresses(link.index, 6):
            if not address.ip.is_link_local():
                raise CniError(
                    INVALID_CONFIG,
                    f"mtu: {self.mtu} is less than {IPV6_MIN_MTU}, the least that IPv6 needs",
                    f"bridge {self.name} would lose {address}: raise mtu, or name another bridge with the key bridge",
                )

    def see_ready(self, kernel: Kernel) -> None:
        if link := kernel.host.link(self.name):
            self._expect_bridge(link, LIMITED_CONNECTIVITY)
            self._keep_ipv6(kernel, link)

    def _ask_for_vlans(self, host: Rtnetlink, message: Message) -> None:
        try:
            host.ask(message)
        except NetlinkError as error:
            if error.errno != EOPNOTSUPP:
                raise
            raise CniError(
                KERNEL_REFUSED,
                f"bridge {self.name} cannot filter VLANs: the kernel has no CONFIG_BRIDGE_VLAN_FILTERING",
                "leave out vlan and vlanTrunk, or use a kernel that has it",
            ) from None

    def _create(self, kernel: Kernel) -> Link:
        # Set the MAC as it is made: a moment later, it might have a port's MAC, and another ADD might have reported it.
        message = rtnetlink.new_bridge(self.name, self.mac or _random_mac(), self.mtu, self.vlan_filtering)
        with Tolerating(EEXIST):  # another ADD was quicker
            self._ask_for_vlans(kernel.host, message)
        return on_host(kernel, self.name)

    def _ignore_advertisements(self, kernel: Kernel, link: Link) -> None:
        """No router advertisement of a pod becomes the node's route. If the node has one from this bridge, keep it."""
        if link.accept_ra and not kernel.host.has_advertised_route(link.index):
            sysctl.prefer(accept_ra(self.name), "0")

    def _flags(self) -> int:
        return rtnetlink.IFF_UP | (rtnetlink.IFF_PROMISC if self.promisc else 0)

    def check(self, kernel: Kernel) -> None:
        link = on_host(kernel, self.name)
        expect(link.kind == "bridge", f"{self.name} is not a bridge")
        expect(link.is_up, f"bridge {self.name} is down")
        expect(
            not self.mac or link.mac == self.mac,
            f"bridge {self.name} has MAC {link.mac}, not {self.mac}",
        )
        expect(link.flags & self._flags() == self._flags(), f"bridge {self.name} is not promiscuous")
        expect(link.vlan_filtering or not self.vlan_filtering, f"bridge {self.name} does not filter VLANs")

    def commands(self) -> list[str]:
        address = f" address {self.mac}" if self.mac else ""
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        name = quote(self.name)
        pin = f"ip link set {name} address $(ip -br link show {name} | awk '{{print $3}}')"
        return [
            f"ip link add {name} up{address}{mtu} type bridge{' vlan_filtering 1' if self.vlan_filtering else ''}",
            *([] if self.mac else [pin]),
            f"sysctl -qw {quote(f'{accept_ra(self.name)}=0')}",
            *([f"ip link set {name} promisc on"] if self.promisc else []),
        ]


def _random_mac() -> str:
    """A random, locally administered address, as the kernel would choose it."""
    return (b"\x02" + os.urandom(5)).hex(":")


@dataclass(frozen=True)
class EnableBridgeNetfilter(Step):
    """Packets from pod to pod pass the node's packet filter, on this bridge alone.

    A Service may send a pod to a backend on the pod's own bridge. The answers go straight over the bridge. Only if they
    pass the packet filter can NAT restore the Service's address, which the pod expects. A kernel without br_netfilter
    accepts the setting, and does nothing.
    """

    bridge: str

    def __str__(self) -> str:
        return f"packets between pods on {self.bridge} pass the packet filter"

    def apply(self, kernel: Kernel) -> None:
        if not on_host(kernel, self.bridge).netfilter:
            kernel.host.ask(rtnetlink.set_netfilter(self.bridge))

    def see_ready(self, kernel: Kernel) -> None:
        if not has_bridge_netfilter():
            msg = (
                "bridgeNetfilter: this kernel has no br_netfilter: a pod gets no answer from a Service on its own node"
            )
            raise CniError(LIMITED_CONNECTIVITY, msg, "run: modprobe br_netfilter")

    def check(self, kernel: Kernel) -> None:
        link = on_host(kernel, self.bridge)
        expect(link.netfilter or not has_bridge_netfilter(), f"bridge {self.bridge} bypasses the packet filter")

    def commands(self) -> list[str]:
        return [f"ip link set {quote(self.bridge)} type bridge nf_call_iptables 1 nf_call_ip6tables 1"]


def has_bridge_netfilter() -> bool:
    """Whether the kernel can let bridged packets pass the packet filter: br_netfilter is built in or loaded."""
    return sysctl.exists("net/bridge/bridge-nf-call-iptables")


@dataclass(frozen=True)
class EnsureVlanGateway(Step):
    """The bridge has an interface of its own in a VLAN, for the address of that VLAN's gateway.

    It is a veth pair with both ends on the host: one has the VLAN's name, the other is an access port. Its MTU is the
    highest that a pod has had, because it drops longer packets without telling anybody.
    """

    name: str
    mac: str
    port: str
    port_mac: str
    bridge: str
    vlan: int
    mtu: int
    preserve_default_vlan: bool

    def __str__(self) -> str:
        return f"the gateway's own cable into VLAN {self.vlan}: {self.name}"

    def apply(self, kernel: Kernel) -> None:
        bridge = on_host(kernel, self.bridge)
        gateway = kernel.host.link(self.name) or self._create(kernel)
        self._expect_veth(gateway)
        sysctl.prefer(accept_ra(self.name), "0")  # pods must not act as routers for the node
        port = on_host(kernel, self.port)
        if port.master != bridge.index:
            kernel.host.ask(rtnetlink.set_link(self.port, rtnetlink.master(bridge.index)))
        self._vlans.apply(kernel)
        for end in (port, gateway):
            if not end.is_up or end.mtu < self._least_mtu:
                mtu = rtnetlink.mtu(max(end.mtu, self._least_mtu))
                kernel.host.ask(rtnetlink.set_link(end.name, mtu, flags=rtnetlink.IFF_UP))

    def _expect_veth(self, gateway: Link) -> None:
        if gateway.kind != "veth":
            raise CniError(
                BRIDGE_IN_USE,
                f"{self.name} already exists, but is not the veth with the gateway of VLAN {self.vlan}",
                f"remove {self.name}, or set the key bridge to another name",
            )

    def see_ready(self, kernel: Kernel) -> None:
        if gateway := kernel.host.link(self.name):
            self._expect_veth(gateway)

    @property
    def _least_mtu(self) -> int:
        return self.mtu or ETH_DATA_LEN

    def _create(self, kernel: Kernel) -> Link:
        with Tolerating(EEXIST):  # another ADD was quicker
            kernel.host.ask(rtnetlink.new_veth(self.name, self.mac, self.port, self.port_mac, None, self.mtu))
        return on_host(kernel, self.name)

    @property
    def _vlans(self) -> SetPortVlans:
        return SetPortVlans(self.port, self.bridge, self.vlan, [], self.preserve_default_vlan)

    def check(self, kernel: Kernel) -> None:
        bridge = on_host(kernel, self.bridge)
        port = on_host(kernel, self.port)
        expect(port.master == bridge.index, f"{self.port} is not a port of bridge {self.bridge}")
        for link in (port, on_host(kernel, self.name)):
            expect(link.is_up, f"{link.name} is down")
        self._vlans.check(kernel)

    def commands(self) -> list[str]:
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        pair = f"ip link add {quote(self.name)} address {self.mac}{mtu} type veth"
        return [
            f"{pair} peer name {self.port} address {self.port_mac}{mtu}",
            f"sysctl -qw {quote(f'{accept_ra(self.name)}=0')}",
            f"ip link set {self.port} master {quote(self.bridge)}",
            *self._vlans.commands(),
            f"ip link set {self.port} up",
            f"ip link set {quote(self.name)} up",
        ]


@dataclass(frozen=True)
class SetPortVlans(Step):
    """A bridge port is in these VLANs: in the native one untagged, in those of its trunk tagged.

    It leaves the bridge's default VLAN, unless that has to be preserved.
    """

    port: str
    bridge: str
    native: int
    trunk: list[int]
    preserve_default_vlan: bool

    def __str__(self) -> str:
        return f"{self.port} is in VLAN {', '.join(map(str, [self.native, *self.trunk]))}"

    def apply(self, kernel: Kernel) -> None:
        index = on_host(kernel, self.port).index
        default = on_host(kernel, self.bridge).default_vlan
        if self._leaves(default):
            with Tolerating(ENOENT):  # it has left before
                kernel.host.ask(rtnetlink.del_vlan(index, default))
        kernel.host.ask(rtnetlink.add_vlans(index, self.native, self.trunk))

    def _leaves(self, default: int) -> bool:
        return default not in (0, self.native, *self.trunk) and not self.preserve_default_vlan

    def check(self, kernel: Kernel) -> None:
        present = kernel.host.vlans(on_host(kernel, self.port).index)
        untagged = rtnetlink.BRIDGE_VLAN_INFO_PVID | rtnetlink.BRIDGE_VLAN_INFO_UNTAGGED
        wanted = {self.native: untagged} | dict.fromkeys(self.trunk, 0)
        for vlan, flags in wanted.items():
            expect(vlan in present, f"bridge port {self.port} is not in VLAN {vlan}")
            how = "untagged and by default" if flags else "tagged"
            expect(present[vlan] == flags, f"bridge port {self.port} is not in VLAN {vlan} {how}")
        for vlan in present:
            expect(vlan in wanted or self.preserve_default_vlan, f"bridge port {self.port} is in VLAN {vlan}, too")

    def commands(self) -> list[str]:
        drop = [f"bridge vlan del vid {DEFAULT_VLAN} dev {self.port}"] if self._leaves(DEFAULT_VLAN) else []
        native = f"bridge vlan add vid {self.native} dev {self.port} pvid untagged"
        return [*drop, native, *(f"bridge vlan add vid {vlan} dev {self.port}" for vlan in self.trunk)]


@dataclass(frozen=True)
class EnsureGatewayAddresses(Step):
    """The bridge has the pods' gateways as addresses. If it has one of them, its other addresses are its owner's."""

    bridge: str
    addresses: list[InterfaceAddress]
    force: bool

    def __str__(self) -> str:
        return f"the pods' gateway: {', '.join(map(str, self.addresses))} on {self.bridge}"

    def apply(self, kernel: Kernel) -> None:
        link = on_host(kernel, self.bridge)
        for version in sorted({each.version for each in self.addresses}):
            if self._missing(kernel.host.addresses(link.index, version), version):
                with own_lock():  # another network may need the bridge for its own gateway
                    self._add(kernel.host, link, version)
            if version == 6:
                # The bridge uses its link-local address to ask for a pod's MAC. Duplicate address detection would hold
                # that address back for a second or two after the first pod.
                sysctl.prefer(accept_dad(self.bridge), "0")

    def _missing(self, present: Collection[InterfaceAddress], version: int) -> list[InterfaceAddress]:
        return [each for each in self.addresses if each.version == version and each not in present]

    def _add(self, host: Rtnetlink, link: Link, version: IPVersion) -> None:
        present = host.addresses(link.index, version)
        missing = self._missing(present, version)
        is_ours = any(each in present for each in self.addresses)
        if not is_ours:
            self._make_room(host, link, present)
        if missing and version == 6:
            self._prepare_ipv6(link)
        for address in missing:
            with Tolerating(EEXIST):  # somebody else was quicker
                host.ask(rtnetlink.new_address(link.index, address))
        if not is_ours and not self.force:
            self._give_way(host, link, missing)

    def _make_room(self, host: Rtnetlink, link: Link, present: Collection[InterfaceAddress]) -> None:
        for other, wanted in self._clashes(present):
            if not self.force:
                raise self._in_use(other, wanted)
            with Tolerating(EADDRNOTAVAIL):  # removing a subnet's first address also removes its others
                host.ask(rtnetlink.del_address(link.index, other))

    def _give_way(self, host: Rtnetlink, link: Link, added: list[InterfaceAddress]) -> None:
        # Other programs do not know our lock, and a call of ours may have held it for longer than we wait.
        for other, wanted in self._clashes(host.addresses(link.index, added[0].version)) if added else []:
            for address in added:
                with Tolerating(EADDRNOTAVAIL):
                    host.ask(rtnetlink.del_address(link.index, address))
            raise self._in_use(other, wanted)

    def _clashes(self, present: Collection[InterfaceAddress]) -> list[tuple[InterfaceAddress, InterfaceAddress]]:
        """Pairs of an address and a wanted one that conflict: all of IPv4; of IPv6, those whose networks overlap."""
        return [
            (other, wanted)
            for other in present
            for wanted in self.addresses
            if other.version == wanted.version and other not in self.addresses
            if other.version == 4 or overlap(wanted, other)
        ]

    def _in_use(self, other: InterfaceAddress, wanted: InterfaceAddress) -> CniError:
        return CniError(
            BRIDGE_IN_USE,
            f'"{self.bridge}" already has an IP address different from {wanted}: {other}',
            f"give this network a bridge of its own with the key bridge; or, if nobody else uses {other}, "
            f"set forceAddress to replace it, or run: ip address del {other} dev {self.bridge}",
        )

    def _prepare_ipv6(self, link: Link) -> None:
        self._need_mtu(link)
        enable_ipv6(self.bridge)
        sysctl.prefer(keep_addr_on_down(self.bridge), "1")

    def _need_mtu(self, link: Link) -> None:
        if link.mtu < IPV6_MIN_MTU:
            raise CniError(
                KERNEL_REFUSED,
                f"bridge {self.bridge} has an MTU of {link.mtu}, but IPv6 needs {IPV6_MIN_MTU}",
                "raise its MTU (unless somebody set one, it is the lowest of its ports' MTUs), or leave out IPv6",
            )

    def see_ready(self, kernel: Kernel) -> None:
        link = kernel.host.link(self.bridge)
        for version in sorted({each.version for each in self.addresses}):
            if version == 6:
                need_ipv6()
            present = kernel.host.addresses(link.index, version) if link else {}
            if version == 6 and link and self._missing(present, version):
                self._need_mtu(link)
            if not self.force and not any(each in present for each in self.addresses):
                for other, wanted in self._clashes(present):
                    raise self._in_use(other, wanted)

    def check(self, kernel: Kernel) -> None:
        link = on_host(kernel, self.bridge)
        for address in self.addresses:
            present = kernel.host.addresses(link.index, address.version)
            expect(address in present, f"bridge {self.bridge} has no address {address}")

    def commands(self) -> list[str]:
        parameters = []
        if any(each.version == 6 for each in self.addresses):
            parameters = [
                f"{disable_ipv6(self.bridge)}=0",
                f"{keep_addr_on_down(self.bridge)}=1",
                f"{accept_dad(self.bridge)}=0",
            ]
        return [f"sysctl -qw {quote(each)}" for each in parameters] + [
            add_address_command(each, self.bridge) for each in self.addresses
        ]


@dataclass(frozen=True)
class EnableForwarding(Step):
    """The node forwards packets of an IP version."""

    version: int

    def __str__(self) -> str:
        return f"the node forwards IPv{self.version}"

    @property
    def _name(self) -> str:
        return "net/ipv4/ip_forward" if self.version == 4 else "net/ipv6/conf/all/forwarding"

    def apply(self, kernel: Kernel) -> None:
        if sysctl.read(self._name) != "0":
            return
        if self.version == 6:
            self._keep_advertised_routes()
        sysctl.ensure(self._name, "1")

    def see_ready(self, kernel: Kernel) -> None:
        if sysctl.read(self._name) == "0" and not sysctl.is_writable(self._name):
            raise CniError(PLUGIN_NOT_AVAILABLE, f"sysctl {self._name} is 0, and cannot be set")

    @staticmethod
    def _keep_advertised_routes() -> None:
        # A router ignores router advertisements. If the node's default route came from one, the kernel would drop it,
        # unless accept_ra is 2 on that link.
        for link in sysctl.children("net/ipv6/conf"):
            with suppress(FileNotFoundError):  # it is gone
                if link not in ("all", "default") and sysctl.read(accept_ra(link)) == "1":
                    sysctl.ensure(accept_ra(link), "2")

    def check(self, kernel: Kernel) -> None:
        expect(sysctl.read(self._name) != "0", f"sysctl {self._name} is 0")

    def commands(self) -> list[str]:
        if self.version == 4:
            return [f"sysctl -qw {self._name}=1"]
        listening = "grep -lx 1 /proc/sys/net/ipv6/conf/*/accept_ra | grep -v -e /all/ -e /default/"
        return [
            f"if [ $(sysctl -n {self._name}) = 0 ]; then",
            f'    {listening} | while read -r file; do echo 2 > "$file"; done',
            f"    sysctl -qw {self._name}=1",
            "fi",
        ]
