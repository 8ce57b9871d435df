"""Steps on what belongs to one pod only. Most of it disappears with the veth pair.

In commands, `$POD` is the path of the pod's network namespace.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from errno import EEXIST, ENODEV, EOPNOTSUPP, EXFULL
from shlex import quote

from netaddr import IPAddress

from cni_bridge_py.addresses import InterfaceAddress
from cni_bridge_py.cni.errors import ALREADY_ATTACHED, KERNEL_REFUSED, CniError
from cni_bridge_py.cni.request import IFNAMSIZ
from cni_bridge_py.cni.result import Route
from cni_bridge_py.kernel import rtnetlink, sysctl
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import NetlinkError, Tolerating
from cni_bridge_py.kernel.rtnetlink import KernelRoute
from cni_bridge_py.wiring.names import VETH_PREFIX, is_host_veth
from cni_bridge_py.wiring.node_steps import SetPortVlans
from cni_bridge_py.wiring.pod_filter import digest
from cni_bridge_py.wiring.step import (
    Step,
    accept_dad,
    add_address_command,
    disable_ipv6,
    enable_ipv6,
    expect,
    in_pod,
    keep_addr_on_down,
    on_host,
)

DAD_SECONDS = 10
"""The reference's limit, too. With the kernel's defaults, it takes one to two seconds."""

BR_MAX_PORTS = 1 << 10
"""net/bridge/br_private.h; the kernel gives none the number 0."""

IFALIASZ = 256
"""linux/if.h: the size of an alias in bytes, including its terminating NUL."""

ALTIFNAMSIZ = 128
"""linux/if.h: an alternative name's room, its terminating NUL included."""

IN_POD = "nsenter --net=$POD"


def _sysctl_command(setting: str) -> str:
    return f"{IN_POD} sysctl -qw {quote(setting)}"


@dataclass(frozen=True)
class CreateVethPair(Step):
    """A virtual cable: one end on the host, the other in the pod under its final name."""

    host: str
    host_mac: str
    pod: str
    pod_mac: str
    mtu: int

    def __str__(self) -> str:
        return f"a virtual cable: {self.host} on the host, {self.pod} in the pod"

    def apply(self, kernel: Kernel) -> None:
        fd = kernel.pod_netns.fd
        message = rtnetlink.new_veth(self.host, self.host_mac, self.pod, self.pod_mac, fd, self.mtu)
        try:
            kernel.host.ask(message)
        except NetlinkError as error:
            if error.errno != EEXIST:
                raise
            where = kernel.pod_netns.path if kernel.pod.link(self.pod) else "on the host"
            name = self.pod if kernel.pod.link(self.pod) else self.host
            raise CniError(ALREADY_ATTACHED, f"interface {name} already exists: {where}") from None

    def check(self, kernel: Kernel) -> None:
        pod = in_pod(kernel, self.pod)
        expect(pod.kind == "veth", f"{self.pod} in the pod is not a veth")
        expect(
            not self.pod_mac or pod.mac == self.pod_mac,
            f"{self.pod} has MAC {pod.mac}, not {self.pod_mac}",
        )
        host = on_host(kernel, self.host)
        expect(host.kind == "veth", f"{self.host} is not a veth")
        is_one_cable = pod.peer == host.index and host.peer == pod.index
        expect(is_one_cable, f"{self.pod} in the pod is not the other end of {self.host}")

    def commands(self) -> list[str]:
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        host = f"ip link add {self.host} address {self.host_mac}{mtu} type veth"
        return [f"{host} peer name {quote(self.pod)} address {self.pod_mac}{mtu} netns $POD"]


@dataclass(frozen=True)
class AttachToBridge(Step):
    """The host's end is a port of the bridge."""

    host: str
    bridge: str
    alias: str = ""
    hairpin: bool = False
    isolated: bool = False

    def __str__(self) -> str:
        return f"plug {self.host} into {self.bridge}"

    def apply(self, kernel: Kernel) -> None:
        bridge = on_host(kernel, self.bridge)
        changes = [rtnetlink.master(bridge.index)]
        changes += [rtnetlink.alias(self._alias)] if self._alias else []
        try:
            kernel.host.ask(rtnetlink.set_link(self.host, *changes))
        except NetlinkError as error:
            if error.errno != EXFULL:
                raise
            msg = f"bridge {self.bridge} has {BR_MAX_PORTS - 1} ports, and no room for another"
            raise CniError(KERNEL_REFUSED, msg, "delete pods, or name another bridge with the key bridge") from None
        # Up is the last, for plugging in what is up takes the kernel 0.2 ms more where the bridge has 250 ports.
        kernel.host.ask(rtnetlink.set_port_up(self.host, hairpin=self.hairpin, isolated=self.isolated))

    @property
    def _alias(self) -> str:
        return self.alias.encode(errors="replace")[: IFALIASZ - 1].decode(errors="ignore")

    def check(self, kernel: Kernel) -> None:
        bridge = on_host(kernel, self.bridge)
        host = on_host(kernel, self.host)
        expect(host.master == bridge.index, f"{self.host} is not a port of bridge {self.bridge}")
        expect(host.is_up, f"{self.host} is down")
        expect(host.hairpin or not self.hairpin, f"bridge port {self.host} is not in hairpin mode")
        expect(host.isolated or not self.isolated, f"bridge port {self.host} is not isolated")

    def commands(self) -> list[str]:
        alias = f" alias {quote(self._alias)}" if self._alias else ""
        return [
            f"ip link set {self.host} master {quote(self.bridge)}{alias}",
            *([f"bridge link set dev {self.host} hairpin on"] if self.hairpin else []),
            *([f"bridge link set dev {self.host} isolated on"] if self.isolated else []),
            f"ip link set {self.host} up",
        ]


@dataclass(frozen=True)
class PlugBackIn(Step):
    """If somebody deleted the bridge, the network's other pods are plugged into the new one.

    An alternative name of the bridge says that this has been done for the network. It goes with the bridge; so each
    network that uses a new one does it once. `port` are the steps that make a port of this network's, whichever pod's.
    """

    network: str
    bridge: str
    port: AttachToBridge
    vlans: SetPortVlans | None

    def __str__(self) -> str:
        return f"if {self.bridge} was deleted: plug the network's other pods in again"

    def apply(self, kernel: Kernel) -> None:
        if self._done in on_host(kernel, self.bridge).altnames:
            return
        for link in kernel.host.links():
            # One that is down was never in a bridge: its ADD is still running.
            if link.is_up and not link.master and is_host_veth(self.network, link.name, link.mac):
                with Tolerating(ENODEV):  # its DEL was quicker
                    self._plug_in(kernel, link.name)
        with Tolerating(EEXIST), Tolerating(EOPNOTSUPP):  # another ADD was quicker; kernels before 5.5
            kernel.host.ask(rtnetlink.add_altnames(self.bridge, [self._done]))

    @property
    def _done(self) -> str:
        room = ALTIFNAMSIZ - 1 - len(f"{self.bridge}.network.".encode())
        network = self.network if len(self.network) <= room else digest(self.network)
        return f"{self.bridge}.network.{network}"

    def _plug_in(self, kernel: Kernel, host: str) -> None:
        replace(self.port, host=host).apply(kernel)
        if self.vlans:
            replace(self.vlans, port=host).apply(kernel)

    def commands(self) -> list[str]:
        return []


@dataclass(frozen=True)
class EnableIPv6(Step):
    """IPv6 is on in the pod, even if a container runtime switched it off. Addresses stay when the link goes down."""

    pod: str

    def __str__(self) -> str:
        return "IPv6 is on in the pod"

    def apply(self, kernel: Kernel) -> None:
        with kernel.inside_pod():
            for interface in ("lo", self.pod):
                enable_ipv6(interface)
            sysctl.prefer(keep_addr_on_down(self.pod), "1")

    def commands(self) -> list[str]:
        parameters = [f"{disable_ipv6(interface)}=0" for interface in ("lo", self.pod)]
        parameters.append(f"{keep_addr_on_down(self.pod)}=1")
        return [_sysctl_command(each) for each in parameters]


@dataclass(frozen=True)
class DetectDuplicates(Step):
    """Duplicate address detection for the pod's IPv6 addresses, the link-local one included, is on or off.

    It takes one to two seconds after the link is up. Until then, the pod cannot use the address.
    """

    pod: str
    wanted: bool

    def __str__(self) -> str:
        return f"duplicate address detection is {'on' if self.wanted else 'off'}"

    @property
    def _value(self) -> str:
        return "1" if self.wanted else "0"

    def apply(self, kernel: Kernel) -> None:
        with kernel.inside_pod():
            sysctl.prefer(accept_dad(self.pod), self._value)

    def commands(self) -> list[str]:
        return [_sysctl_command(f"{accept_dad(self.pod)}={self._value}")]


@dataclass(frozen=True)
class SetUp(Step):
    """The pod's end is up."""

    pod: str

    def __str__(self) -> str:
        return f"switch {self.pod} on"

    def apply(self, kernel: Kernel) -> None:
        kernel.pod.ask(rtnetlink.set_link(self.pod, flags=rtnetlink.IFF_UP))

    def check(self, kernel: Kernel) -> None:
        pod = in_pod(kernel, self.pod)
        expect(pod.is_up, f"{self.pod} in the pod is down")

    def commands(self) -> list[str]:
        return [f"{IN_POD} ip link set {quote(self.pod)} up"]


@dataclass(frozen=True)
class AddAddress(Step):
    """The pod has an address."""

    pod: str
    address: InterfaceAddress
    dad: bool = False

    def __str__(self) -> str:
        return f"the pod's address: {self.address}"

    def apply(self, kernel: Kernel) -> None:
        index = in_pod(kernel, self.pod).index
        kernel.pod.ask(rtnetlink.new_address(index, self.address, self.dad))

    def check(self, kernel: Kernel) -> None:
        index = in_pod(kernel, self.pod).index
        flags = kernel.pod.addresses(index, self.address.version).get(self.address)
        expect(flags is not None, f"{self.pod} has no address {self.address}")
        duplicate = (flags or 0) & rtnetlink.IFA_F_DADFAILED
        expect(not duplicate, f"{self.address} on {self.pod} is used by another host, too (DAD failed)")

    def commands(self) -> list[str]:
        return [f"{IN_POD} {add_address_command(self.address, self.pod, self.dad)}"]


@dataclass(frozen=True)
class AwaitAddresses(Step):
    """The pod's IPv6 addresses are unique: duplicate address detection, which the configuration asks for, is over."""

    pod: str

    def __str__(self) -> str:
        return "duplicate address detection is over"

    def apply(self, kernel: Kernel) -> None:
        index = in_pod(kernel, self.pod).index
        deadline = time.monotonic() + DAD_SECONDS
        while True:
            flags = kernel.pod.addresses(index, 6)
            for address, each in flags.items():
                expect(not each & rtnetlink.IFA_F_DADFAILED, f"{address} is used by another host, too (DAD failed)")
            if not any(each & rtnetlink.IFA_F_TENTATIVE for each in flags.values()):
                return
            expect(time.monotonic() < deadline, f"duplicate address detection has not ended after {DAD_SECONDS} s")
            time.sleep(0.05)

    def commands(self) -> list[str]:
        return [
            f"while {IN_POD} ip -6 address show dev {quote(self.pod)} tentative | grep -q inet6; do sleep 0.1; done"
        ]


@dataclass(frozen=True)
class AnnounceMac(Step):
    """When the pod's interface comes up, the kernel announces its MAC: neighbours may know the address with another."""

    pod: str

    def __str__(self) -> str:
        return "neighbours are told the pod's MAC"

    def apply(self, kernel: Kernel) -> None:
        with kernel.inside_pod():
            for name in self._names():
                if sysctl.exists(name):
                    sysctl.ensure(name, "1")

    def _names(self) -> list[str]:
        return [f"net/ipv4/conf/{self.pod}/arp_notify", f"net/ipv6/conf/{self.pod}/ndisc_notify"]

    def commands(self) -> list[str]:
        return [_sysctl_command(f"{name}=1") for name in self._names()]


@dataclass(frozen=True)
class AddRoute(Step):
    """The pod has a route. `gw` is the gateway if the route itself has none."""

    pod: str
    route: Route
    gw: IPAddress | None

    def __str__(self) -> str:
        return f"the pod's route to {self._place}"

    @property
    def _place(self) -> str:
        where = f" via {self.gw}" if self.gw else " on its link" if self.route.is_on_link else ""
        return f"{self.route.dst}{where}"

    def apply(self, kernel: Kernel) -> None:
        index = in_pod(kernel, self.pod).index
        message = rtnetlink.new_route(
            self.route.dst,
            self.gw,
            index,
            mtu=self.route.mtu,
            advmss=self.route.advmss,
            priority=self.route.priority,
            table=self.route.table,
            scope=self.route.scope,
        )
        with Tolerating(EEXIST):  # the same route twice in the configuration
            kernel.pod.ask(message)

    def check(self, kernel: Kernel) -> None:
        found = any(self._is(route) for route in kernel.pod.routes(self.route.version))
        expect(found, f"the pod has no route to {self._place}")

    def _is(self, route: KernelRoute) -> bool:
        """Whether the kernel's route is this one. What the configuration does not set may have any value."""
        wanted = self.route
        return (
            route.dst == wanted.dst
            and (not route.gws if wanted.is_on_link else not wanted.gw or wanted.gw in route.gws)
            and (not wanted.table or route.table == wanted.table)
            and (wanted.scope is None or route.dst.version == 6 or route.scope == wanted.scope)
            and (not wanted.priority or route.priority == wanted.priority)
            and (not wanted.mtu or route.mtu == wanted.mtu)
            and (not wanted.advmss or route.advmss == wanted.advmss)
        )

    def commands(self) -> list[str]:
        route = self.route
        words = [f"ip -{route.version} route add {route.dst}"]
        words += [f"via {self.gw}"] if self.gw else []
        words += [f"dev {quote(self.pod)}"]
        words += [f"metric {route.priority}"] if route.priority else []
        words += [f"table {route.table}"] if route.table is not None else []
        # Without `scope`, `ip` would choose link for a route without a gateway; the plugin's default is global.
        words += [f"scope {route.scope or 0}"] if route.version == 4 and (route.scope or not self.gw) else []
        words += [f"mtu {route.mtu}"] if route.mtu else []
        words += [f"advmss {route.advmss}"] if route.advmss else []
        return [f"{IN_POD} {' '.join(words)}"]


@dataclass(frozen=True)
class DeleteVethPair(Step):
    """The cable is gone, and with it its bridge port, and the addresses and routes of the pod's end.

    With `owner`, a MAC, the step does nothing if the host's end has another MAC: it belongs to another network.
    """

    host: str
    owner: str = ""

    def __str__(self) -> str:
        return f"unplug the pod: {self.host}, and with it the end in the pod"

    def apply(self, kernel: Kernel) -> None:
        link = kernel.host.link(self.host)
        # Anything but a veth with that name is not ours.
        if link and link.kind == "veth" and self.owner in ("", link.mac):
            with Tolerating(ENODEV):  # it is gone already
                kernel.host.ask(rtnetlink.del_link(self.host))

    def commands(self) -> list[str]:
        return [f"ip link del {self.host}"]


@dataclass(frozen=True)
class DeleteForeignVeth(Step):
    """The pod's interface is gone even if another plugin made it, with its own name for the host veth.

    `hosts` are the names that the host veth may have. If they are not known, it may have any name but one of ours. A
    link with another name belongs to another pod, which uses the path of the namespace again.
    """

    pod: str
    hosts: list[str] | None

    def __str__(self) -> str:
        return f"unplug {self.pod}, if another plugin made it"

    def apply(self, kernel: Kernel) -> None:
        link = kernel.pod.link(self.pod)
        host = kernel.host.link_by_index(link.peer) if link and link.kind == "veth" else None
        if host and self._may_be(host.name):
            kernel.pod.ask(rtnetlink.del_link(self.pod))

    def _may_be(self, host: str) -> bool:
        if self.hosts is None:
            return not host.startswith(VETH_PREFIX) or len(host) < IFNAMSIZ - 1
        return host in self.hosts

    def commands(self) -> list[str]:
        return [f"{IN_POD} ip link del {quote(self.pod)}"]
