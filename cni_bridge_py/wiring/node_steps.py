"""Steps on what all pods of a node share: made if missing, mended if changed, and never taken away by a pod."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from errno import EEXIST, EOPNOTSUPP

from cni_bridge_py.addresses import InterfaceAddress, overlap
from cni_bridge_py.cni.errors import BRIDGE_IN_USE, KERNEL_REFUSED, CniError
from cni_bridge_py.kernel import rtnetlink, sysctl
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import Message, NetlinkError, Tolerating
from cni_bridge_py.kernel.rtnetlink import Link, Rtnetlink
from cni_bridge_py.wiring.step import Step, add_address_command, expect, on_host

DEFAULT_VLAN = 1
"""What the kernel puts every new bridge port into."""

NO_MAC = "00:00:00:00:00:00"


@dataclass(frozen=True)
class EnsureBridge(Step):
    """The bridge is there and up.

    One that we make has a MAC that does not change with its ports: `mac`, its gateway's, or else a random one. One that
    was there keeps the MAC that its owner gave it, or the network card in it. The owner's without any port would take
    on each new pod's that is lower: where it is a gateway, it keeps what it has.
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
        if link.kind != "bridge":
            what = f"a {link.kind} interface" if link.kind else "an interface of another kind"
            raise CniError(
                BRIDGE_IN_USE,
                f"{self.name} is {what}, not a bridge",
                "name another one with the key bridge, or remove it",
            )
        if self.mac and link.takes_first_ports_mac:
            # Where the last port has gone, it has none.
            mac = self.mac if link.mac == NO_MAC else link.mac
            kernel.host.ask(rtnetlink.set_link(self.name, rtnetlink.address(mac)))
        self._ignore_advertisements(kernel, link)
        wanted = self._flags()
        if link.flags & wanted != wanted:
            kernel.host.ask(rtnetlink.set_link(self.name, flags=wanted))
        if self.vlan_filtering and not link.vlan_filtering:
            self._ask_for_vlans(kernel.host, rtnetlink.set_vlan_filtering(self.name))

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
        # It has a MAC from the start: a moment later it might have a port's, and another ADD have told that.
        message = rtnetlink.new_bridge(self.name, self.mac or _random_mac(), self.mtu, self.vlan_filtering)
        with Tolerating(EEXIST):  # another ADD was quicker
            self._ask_for_vlans(kernel.host, message)
        return on_host(kernel, self.name)

    def _ignore_advertisements(self, kernel: Kernel, link: Link) -> None:
        """No pod's router advertisement becomes the node's route; a node that has its own from this bridge keeps it."""
        with suppress(OSError):  # IPv6 is off
            if sysctl.read(self._accept_ra) != "0" and not kernel.host.has_advertised_route(link.index):
                sysctl.prefer(self._accept_ra, "0")

    @property
    def _accept_ra(self) -> str:
        return f"net/ipv6/conf/{self.name}/accept_ra"

    def _flags(self) -> int:
        return rtnetlink.IFF_UP | (rtnetlink.IFF_PROMISC if self.promisc else 0)

    def check(self, kernel: Kernel) -> None:
        link = on_host(kernel, self.name)
        expect(link.kind == "bridge", f"{self.name} is no bridge")
        expect(link.is_up, f"bridge {self.name} is down")
        expect(
            not self.mac or link.mac == self.mac,
            f"bridge {self.name} has MAC {link.mac}, not {self.mac}",
        )
        expect(link.flags & self._flags() == self._flags(), f"bridge {self.name} is not promiscuous")
        expect(link.vlan_filtering or not self.vlan_filtering, f"bridge {self.name} does not filter VLANs")
        expect(link.mtu >= self.mtu, f"bridge {self.name} has MTU {link.mtu}, less than the pod's {self.mtu}")

    def commands(self) -> list[str]:
        address = f" address {self.mac}" if self.mac else ""
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        pin = f"ip link set {self.name} address $(ip -br link show {self.name} | awk '{{print $3}}')"
        return [
            f"ip link add {self.name} up{address}{mtu} type bridge{' vlan_filtering 1' if self.vlan_filtering else ''}",
            *([] if self.mac else [pin]),
            f"sysctl -qw {self._accept_ra}=0",
            *([f"ip link set {self.name} promisc on"] if self.promisc else []),
        ]


def _random_mac() -> str:
    """A locally administered address, as the kernel would choose one."""
    return (b"\x02" + os.urandom(5)).hex(":")


@dataclass(frozen=True)
class EnableBridgeNetfilter(Step):
    """Packets from pod to pod pass the node's packet filter, on this bridge alone.

    A pod that reaches a Service may be sent to a backend on its own bridge. That one's answers take the short way, and
    only what passes the packet filter is told from whom the pod expects them. A kernel without br_netfilter lets the
    bridge be told so all the same, and does nothing.
    """

    bridge: str

    def __str__(self) -> str:
        return f"Services with a backend on {self.bridge}: its packets pass the packet filter"

    def apply(self, kernel: Kernel) -> None:
        if not on_host(kernel, self.bridge).netfilter:
            kernel.host.ask(rtnetlink.set_netfilter(self.bridge))

    def check(self, kernel: Kernel) -> None:
        link = on_host(kernel, self.bridge)
        expect(link.netfilter or not has_bridge_netfilter(), f"bridge {self.bridge} bypasses the packet filter")

    def commands(self) -> list[str]:
        return [f"ip link set {self.bridge} type bridge nf_call_iptables 1 nf_call_ip6tables 1"]


def has_bridge_netfilter() -> bool:
    """Whether the kernel can let bridged packets pass the packet filter: br_netfilter is built in or loaded."""
    return sysctl.exists("net/bridge/bridge-nf-call-iptables")


@dataclass(frozen=True)
class EnsureVlanGateway(Step):
    """The bridge has an interface of its own in a VLAN, where that VLAN's gateway address goes.

    A veth pair of which both ends are on the host: one has the VLAN's name, the other is an access port.
    """

    name: str
    port: str
    bridge: str
    vlan: int
    preserve_default_vlan: bool

    def __str__(self) -> str:
        return f"the gateway's own cable into VLAN {self.vlan}: {self.name}"

    def apply(self, kernel: Kernel) -> None:
        host = kernel.host
        if not host.link(self.name):
            mtu = on_host(kernel, self.bridge).mtu
            with Tolerating(EEXIST):  # another ADD was quicker
                host.ask(rtnetlink.new_veth(self.name, "", self.port, "", None, mtu))
        bridge = on_host(kernel, self.bridge)
        host.ask(rtnetlink.set_link(self.port, rtnetlink.master(bridge.index), flags=rtnetlink.IFF_UP))
        host.ask(rtnetlink.set_link(self.name, flags=rtnetlink.IFF_UP))
        self._vlans.apply(kernel)

    @property
    def _vlans(self) -> SetPortVlans:
        return SetPortVlans(self.port, self.vlan, [], self.preserve_default_vlan)

    def check(self, kernel: Kernel) -> None:
        bridge = on_host(kernel, self.bridge)
        on_host(kernel, self.name)
        port = on_host(kernel, self.port)
        expect(port.master == bridge.index, f"{self.port} is not a port of bridge {self.bridge}")
        self._vlans.check(kernel)

    def commands(self) -> list[str]:
        return [
            f"ip link add {self.name} up type veth peer name {self.port}",
            f"ip link set {self.port} master {self.bridge} up",
            *self._vlans.commands(),
        ]


@dataclass(frozen=True)
class SetPortVlans(Step):
    """A bridge port is in these VLANs: one without tags (`vlan`), or several with tags (`trunk`)."""

    port: str
    vlan: int
    trunk: list[int]
    preserve_default_vlan: bool

    def __str__(self) -> str:
        return f"{self.port} is in VLAN {self.vlan or ', '.join(map(str, self.trunk))}"

    def apply(self, kernel: Kernel) -> None:
        index = on_host(kernel, self.port).index
        if not self.preserve_default_vlan and DEFAULT_VLAN in kernel.host.vlans(index):
            kernel.host.ask(rtnetlink.del_vlan(index, DEFAULT_VLAN))
        if self.vlan:
            kernel.host.ask(rtnetlink.add_vlan(index, self.vlan, access=True))
        for vlan in self.trunk:
            kernel.host.ask(rtnetlink.add_vlan(index, vlan, access=False))

    def check(self, kernel: Kernel) -> None:
        present = kernel.host.vlans(on_host(kernel, self.port).index)
        for vlan in [self.vlan] if self.vlan else self.trunk:
            expect(vlan in present, f"bridge port {self.port} is not in VLAN {vlan}")

    def commands(self) -> list[str]:
        drop = [] if self.preserve_default_vlan else [f"bridge vlan del vid {DEFAULT_VLAN} dev {self.port}"]
        access = [f"bridge vlan add vid {self.vlan} dev {self.port} pvid untagged"] if self.vlan else []
        return drop + access + [f"bridge vlan add vid {vlan} dev {self.port}" for vlan in self.trunk]


@dataclass(frozen=True)
class EnsureGatewayAddresses(Step):
    """The bridge has the pods' gateways as its addresses."""

    bridge: str
    addresses: list[InterfaceAddress]
    force: bool

    def __str__(self) -> str:
        return f"the pods' gateway: {', '.join(map(str, self.addresses))} on {self.bridge}"

    def apply(self, kernel: Kernel) -> None:
        link = on_host(kernel, self.bridge)
        for version in (4, 6):
            wanted = [each for each in self.addresses if each.version == version]
            present = kernel.host.addresses(link.index, version) if wanted else {}
            for other in present:
                if clash := self._clash(other, wanted):
                    self._settle(kernel.host, link, other, clash)
            if wanted and version == 6:
                sysctl.prefer(self._accept_dad, "0")
            for address in wanted:
                if address not in present:
                    with Tolerating(EEXIST):  # another ADD was quicker
                        kernel.host.ask(rtnetlink.new_address(link.index, address))

    @property
    def _accept_dad(self) -> str:
        # The bridge looks for a pod's MAC from its link-local address, which duplicate address detection would hold
        # back for a second or two after the first pod has come.
        return f"net/ipv6/conf/{self.bridge}/accept_dad"

    @staticmethod
    def _clash(other: InterfaceAddress, wanted: list[InterfaceAddress]) -> InterfaceAddress | None:
        """Which wanted address cannot be beside `other`: any of IPv4, of IPv6 where the networks overlap."""
        if other in wanted:
            return None
        return next((each for each in wanted if each.version == 4 or overlap(each, other)), None)

    def _settle(self, host: Rtnetlink, link: Link, other: InterfaceAddress, wanted: InterfaceAddress) -> None:
        if not self.force:
            raise CniError(
                BRIDGE_IN_USE,
                f"bridge {self.bridge} has the address {other}, wanted is {wanted}",
                f"set forceAddress to have it replaced, or run: ip address del {other} dev {self.bridge}",
            )
        host.ask(rtnetlink.del_address(link.index, other))

    def check(self, kernel: Kernel) -> None:
        link = on_host(kernel, self.bridge)
        for address in self.addresses:
            present = kernel.host.addresses(link.index, address.version)
            expect(address in present, f"bridge {self.bridge} has no address {address}")

    def commands(self) -> list[str]:
        no_dad = [f"sysctl -qw {self._accept_dad}=0"] if any(each.version == 6 for each in self.addresses) else []
        return no_dad + [add_address_command(each, self.bridge) for each in self.addresses]


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
        sysctl.ensure(self._name, "1")

    def check(self, kernel: Kernel) -> None:
        expect(sysctl.read(self._name) == "1", f"sysctl {self._name} is not 1")

    def commands(self) -> list[str]:
        return [f"sysctl -qw {self._name}=1"]
