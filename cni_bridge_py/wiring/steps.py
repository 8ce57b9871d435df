"""The kinds of step that wire a pod. Each applies itself, undoes itself, checks itself, and says itself as commands.

`apply` changes the kernel, `undo` takes back what is this attachment's alone, `check` raises CniError 105 where the
kernel is not as the step leaves it, `commands` gives what a person would type. `str()` says it in words.
Commands hold `$POD`, the path of the pod's network namespace.
"""

from __future__ import annotations

from errno import EACCES, EEXIST, ENODEV, EPERM

from cni_bridge_py.addresses import IPNetwork, parse_ip, parse_network
from cni_bridge_py.cni.errors import (
    ALREADY_ATTACHED,
    BRIDGE_IN_USE,
    KERNEL_REFUSED,
    NOT_AS_EXPECTED,
    NOT_PERMITTED,
    CniError,
)
from cni_bridge_py.kernel import nftables, rtnetlink, sysctl
from cni_bridge_py.kernel.netlink import NetlinkError
from cni_bridge_py.kernel.nftables import Rule
from cni_bridge_py.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from cni_bridge_py.cni.result import Route
    from cni_bridge_py.kernel.access import Kernel
    from cni_bridge_py.kernel.rtnetlink import KernelRoute, Link, Rtnetlink

IFALIASZ = 256
"""linux/if.h: an alias's room, its terminating NUL included."""

MULTICAST = (parse_network("224.0.0.0/4"), parse_network("ff00::/8"))

IN_POD = "nsenter --net=$POD"


class Step:
    """One step; what most of them share."""

    def apply(self, kernel: Kernel) -> None:
        """Make it so. Raises CniError, NetlinkError or OSError."""
        raise NotImplementedError

    def undo(self, kernel: Kernel) -> None:
        """Take it back. Most steps need not: what they did is shared, or goes with the veth pair."""

    def check(self, kernel: Kernel) -> None:
        """See that it is so. Raises CniError 105 that names what is not."""

    def commands(self) -> list[str]:
        """The same as `apply`, as shell commands."""
        raise NotImplementedError


def apply_all(steps: Sequence[Step], kernel: Kernel) -> None:
    """Apply the steps in order; where one fails, undo those before it in reverse and raise.

    Raises CniError that says which step failed and why.
    """
    applied: list[Step] = []
    try:
        for step in steps:
            applied.append(step)
            with _Explained(step):
                step.apply(kernel)
    except BaseException:
        for step in reversed(applied[:-1]):
            with _Explained(step):
                step.undo(kernel)
        raise


def check_all(steps: Sequence[Step], kernel: Kernel) -> None:
    """Check the steps in order.

    Raises CniError 105 for the first thing that is not as the steps leave it.
    """
    for step in steps:
        with _Explained(step):
            step.check(kernel)


class _Explained:
    """Turns what the kernel says into a CniError that names the step."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, (NetlinkError, OSError)):
            code = NOT_PERMITTED if error.errno in (EPERM, EACCES) else KERNEL_REFUSED
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise CniError(code, f"{self._step}: {reason}") from None


def _expect(holds: object, reason: str) -> None:
    if not holds:
        raise CniError(NOT_AS_EXPECTED, reason)


def _existing(netlink: Rtnetlink, name: str, where: str) -> Link:
    link = netlink.link(name)
    if not link:
        raise CniError(NOT_AS_EXPECTED, f"{where}: there is no interface {name}")
    return link


@record
class EnsureBridge(Step):
    """The bridge is there and up, and its MAC does not change with its ports."""

    name: str
    mac: str
    mtu: int
    promisc: bool

    def __str__(self) -> str:
        return f"a virtual switch: bridge {self.name}"

    def apply(self, kernel: Kernel) -> None:
        link = kernel.host.link(self.name) or self._create(kernel.host)
        if link.kind != "bridge":
            what = f"a {link.kind} interface" if link.kind else "an interface of another kind"
            raise CniError(
                BRIDGE_IN_USE,
                f"{self.name} is {what}, not a bridge",
                "name another one with the key bridge, or remove it",
            )
        wanted = self._flags()
        if link.flags & wanted != wanted:
            kernel.host.ask(rtnetlink.set_link(self.name, flags=wanted))

    def _create(self, host: Rtnetlink) -> Link:
        try:
            host.ask(rtnetlink.new_bridge(self.name, self.mac, self.mtu))
        except NetlinkError as error:
            if error.errno != EEXIST:  # another ADD was quicker
                raise
        link = _existing(host, self.name, "host")
        if not self.mac:
            host.ask(rtnetlink.set_link(self.name, rtnetlink.address(link.mac)))
        if sysctl.exists(self._accept_ra):
            sysctl.ensure(self._accept_ra, "0")
        return link

    @property
    def _accept_ra(self) -> str:
        return f"net/ipv6/conf/{self.name}/accept_ra"

    def _flags(self) -> int:
        return rtnetlink.IFF_UP | (rtnetlink.IFF_PROMISC if self.promisc else 0)

    def check(self, kernel: Kernel) -> None:
        link = _existing(kernel.host, self.name, "host")
        _expect(link.kind == "bridge", f"{self.name} is no bridge")
        _expect(link.is_up, f"bridge {self.name} is down")
        _expect(
            not self.mac or link.mac == self.mac,
            f"bridge {self.name} has MAC {link.mac}, not {self.mac}",
        )
        _expect(link.flags & self._flags() == self._flags(), f"bridge {self.name} is not promiscuous")

    def commands(self) -> list[str]:
        address = f" address {self.mac}" if self.mac else ""
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        pin = f'ip link set {self.name} address "$(cat /sys/class/net/{self.name}/address)"'
        return [
            f"ip link add {self.name} up{address}{mtu} type bridge",
            *([] if self.mac else [pin]),
            f"sysctl -qw {self._accept_ra}=0",
            *([f"ip link set {self.name} promisc on"] if self.promisc else []),
        ]


@record
class EnsureGatewayAddresses(Step):
    """The bridge has the pods' gateways as its addresses."""

    bridge: str
    addresses: list[IPNetwork]
    force: bool

    def __str__(self) -> str:
        return f"the pods' gateway: {', '.join(map(str, self.addresses))} on {self.bridge}"

    def apply(self, kernel: Kernel) -> None:
        link = _existing(kernel.host, self.bridge, "host")
        for version in (4, 6):
            wanted = [each for each in self.addresses if each.version == version]
            present = kernel.host.addresses(link.index, version) if wanted else {}
            for other in present:
                if clash := self._clash(other, wanted):
                    self._settle(kernel.host, link, other, clash)
            for address in wanted:
                if address not in present:
                    self._add(kernel.host, link, address)

    @staticmethod
    def _clash(other: IPNetwork, wanted: list[IPNetwork]) -> IPNetwork | None:
        """Which wanted address cannot be beside `other`: any of IPv4, of IPv6 where the networks overlap."""
        if other in wanted:
            return None
        return next((each for each in wanted if each.version == 4 or _overlap(each, other)), None)

    def _settle(self, host: Rtnetlink, link: Link, other: IPNetwork, wanted: IPNetwork) -> None:
        if not self.force:
            raise CniError(
                BRIDGE_IN_USE,
                f"bridge {self.bridge} has the address {other}, wanted is {wanted}",
                f"set forceAddress to have it replaced, or run: ip address del {other} dev {self.bridge}",
            )
        host.ask(rtnetlink.del_address(link.index, other))

    @staticmethod
    def _add(host: Rtnetlink, link: Link, address: IPNetwork) -> None:
        try:
            host.ask(rtnetlink.new_address(link.index, address))
        except NetlinkError as error:
            if error.errno != EEXIST:  # another ADD was quicker
                raise
        # A bridge that somebody made by hand takes the lowest MAC of its ports, until it is given one.
        host.ask(rtnetlink.set_link(link.name, rtnetlink.address(link.mac)))

    def check(self, kernel: Kernel) -> None:
        link = _existing(kernel.host, self.bridge, "host")
        for address in self.addresses:
            present = kernel.host.addresses(link.index, address.version)
            _expect(address in present, f"bridge {self.bridge} has no address {address}")

    def commands(self) -> list[str]:
        return [_add_address_command(each, self.bridge) for each in self.addresses]


@record
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
        _expect(sysctl.read(self._name) == "1", f"sysctl {self._name} is not 1")

    def commands(self) -> list[str]:
        return [f"sysctl -qw {self._name}=1"]


@record
class EnsureMasquerade(Step):
    """Packets of a network's pods leave it with the node's address.

    Each network has one chain. It names the subnets of all its pods, those of earlier configurations too, whose pods
    may still be there; so a pod's steps add their own to those that they find.
    """

    network: str
    subnets: list[IPNetwork]
    exceptions: list[IPNetwork]

    def __str__(self) -> str:
        return "the way out: what leaves the network gets the node's address"

    @property
    def _chain(self) -> str:
        return f"masquerade-{self.network}"

    @property
    def _ours(self) -> str:
        return f": pods of {self.network}"

    def _rules(self, found: list[str]) -> list[Rule]:
        """The rules that should be there, where those with the comments `found` are."""
        known = [parse_network(each.removesuffix(self._ours)) for each in found if each.endswith(self._ours)]
        subnets = known + [subnet for subnet in self.subnets if subnet not in known]
        versions = {subnet.version for subnet in subnets}
        kept = [(subnet, f"{subnet}: the network itself") for subnet in subnets]
        kept += [(each, f"{each}: multicast") for each in MULTICAST if each.version in versions]
        kept += [(each, f"{each}: nonMasqueradeCIDRs") for each in self.exceptions if each.version in versions]
        return [Rule("daddr", each, "return", why) for each, why in kept] + [
            Rule("saddr", subnet, "masquerade", f"{subnet}{self._ours}") for subnet in subnets
        ]

    def _missing(self, kernel: Kernel) -> list[Rule]:
        """The rules to put in place; none where they are."""
        found = kernel.nftables.comments(self._chain)
        rules = self._rules(found)
        return rules if [rule.comment for rule in rules] != found else []

    def apply(self, kernel: Kernel) -> None:
        if not self._missing(kernel):
            return
        while True:
            generation = kernel.nftables.generation()
            rules = self._missing(kernel)
            if not rules or kernel.nftables.replace(self._chain, rules, generation):
                return

    def check(self, kernel: Kernel) -> None:
        chain = f"nftables chain inet {nftables.TABLE} {self._chain}"
        _expect(not self._missing(kernel), f"{chain} is missing or was changed: no masquerade")

    def commands(self) -> list[str]:
        hook = "{ type nat hook postrouting priority srcnat; policy accept; }"
        chain = f"inet {nftables.TABLE} {self._chain}"
        return [
            f"nft add table inet {nftables.TABLE}",
            f"nft add chain {chain} '{hook}'",
            f"nft flush chain {chain}",
            *(f"nft add rule {chain} '{rule}'" for rule in self._rules([])),
        ]


@record
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
            raise CniError(ALREADY_ATTACHED, f"interface {name} exists already: {where}") from None

    def undo(self, kernel: Kernel) -> None:
        DeleteVethPair(self.host).apply(kernel)

    def check(self, kernel: Kernel) -> None:
        pod = _existing(kernel.pod, self.pod, kernel.pod_netns.path)
        _expect(pod.kind == "veth", f"{self.pod} in the pod is no veth")
        _expect(
            not self.pod_mac or pod.mac == self.pod_mac,
            f"{self.pod} has MAC {pod.mac}, not {self.pod_mac}",
        )
        _expect(pod.is_up, f"{self.pod} in the pod is down")
        host = _existing(kernel.host, self.host, "host")
        _expect(host.kind == "veth", f"{self.host} is no veth")

    def commands(self) -> list[str]:
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        host = f"ip link add {self.host} address {self.host_mac}{mtu} type veth"
        return [f"{host} peer name {self.pod} address {self.pod_mac}{mtu} netns $POD"]


@record
class AttachToBridge(Step):
    """The host's end is a port of the bridge."""

    host: str
    bridge: str
    alias: str
    hairpin: bool

    def __str__(self) -> str:
        return f"plug {self.host} into {self.bridge}"

    def apply(self, kernel: Kernel) -> None:
        bridge = _existing(kernel.host, self.bridge, "host")
        changes = [rtnetlink.master(bridge.index)]
        changes += [rtnetlink.alias(self._alias)] if self._alias else []
        kernel.host.ask(rtnetlink.set_link(self.host, *changes, flags=rtnetlink.IFF_UP))
        if self.hairpin:
            kernel.host.ask(rtnetlink.set_hairpin(_existing(kernel.host, self.host, "host").index))

    @property
    def _alias(self) -> str:
        return self.alias.encode()[: IFALIASZ - 1].decode(errors="ignore")

    def check(self, kernel: Kernel) -> None:
        bridge = _existing(kernel.host, self.bridge, "host")
        host = _existing(kernel.host, self.host, "host")
        _expect(host.master == bridge.index, f"{self.host} is not a port of bridge {self.bridge}")
        _expect(host.is_up, f"{self.host} is down")
        _expect(host.hairpin or not self.hairpin, f"bridge port {self.host} is not in hairpin mode")

    def commands(self) -> list[str]:
        from shlex import quote  # brings re: not for the way of an ADD

        alias = f" alias {quote(self._alias)}" if self._alias else ""
        return [
            f"ip link set {self.host} master {self.bridge} up{alias}",
            *([f"bridge link set dev {self.host} hairpin on"] if self.hairpin else []),
        ]


@record
class EnableIPv6(Step):
    """IPv6 is on in the pod, which a container runtime may have turned off."""

    pod: str

    def __str__(self) -> str:
        return "IPv6 is on in the pod"

    def apply(self, kernel: Kernel) -> None:
        with kernel.inside_pod():
            for name in self._names():
                sysctl.ensure(name, "0")

    def _names(self) -> list[str]:
        return [f"net/ipv6/conf/{interface}/disable_ipv6" for interface in ("lo", self.pod)]

    def commands(self) -> list[str]:
        return [f"{IN_POD} sysctl -qw {name}=0" for name in self._names()]


@record
class SetUp(Step):
    """The pod's end is up."""

    pod: str

    def __str__(self) -> str:
        return f"switch {self.pod} on"

    def apply(self, kernel: Kernel) -> None:
        kernel.pod.ask(rtnetlink.set_link(self.pod, flags=rtnetlink.IFF_UP))

    def commands(self) -> list[str]:
        return [f"{IN_POD} ip link set {self.pod} up"]


@record
class AddAddress(Step):
    """The pod has an address."""

    pod: str
    address: IPNetwork

    def __str__(self) -> str:
        return f"the pod's address: {self.address}"

    def apply(self, kernel: Kernel) -> None:
        index = _existing(kernel.pod, self.pod, kernel.pod_netns.path).index
        kernel.pod.ask(rtnetlink.new_address(index, self.address))

    def check(self, kernel: Kernel) -> None:
        index = _existing(kernel.pod, self.pod, kernel.pod_netns.path).index
        flags = kernel.pod.addresses(index, self.address.version).get(self.address)
        _expect(flags is not None, f"{self.pod} has no address {self.address}")
        duplicate = (flags or 0) & rtnetlink.IFA_F_DADFAILED
        _expect(not duplicate, f"{self.address} on {self.pod} is used by another host, too (DAD failed)")

    def commands(self) -> list[str]:
        return [f"{IN_POD} {_add_address_command(self.address, self.pod)}"]


@record
class AddRoute(Step):
    """The pod has a route; `gw` is the gateway to use where the route names none."""

    pod: str
    route: Route
    gw: str

    def __str__(self) -> str:
        return f"the pod's route to {self.route.dst}"

    def apply(self, kernel: Kernel) -> None:
        index = _existing(kernel.pod, self.pod, kernel.pod_netns.path).index
        message = rtnetlink.new_route(
            parse_network(self.route.dst),
            self.gw,
            index,
            mtu=self.route.mtu,
            advmss=self.route.advmss,
            priority=self.route.priority,
            table=self.route.table,
            scope=self.route.scope,
        )
        try:
            kernel.pod.ask(message)
        except NetlinkError as error:
            if error.errno != EEXIST:  # the same route twice in the configuration
                raise

    def check(self, kernel: Kernel) -> None:
        version = parse_network(self.route.dst).version
        found = any(self._is(route) for route in kernel.pod.routes(version))
        via = f" via {self.gw}" if self.gw else ""
        _expect(found, f"the pod has no route to {self.route.dst}{via}")

    def _is(self, route: KernelRoute) -> bool:
        """Whether the kernel's route is this one; what the configuration leaves open may be anything."""
        wanted = self.route
        return (
            route.dst == parse_network(wanted.dst).cidr
            and (not wanted.gw or route.gw == parse_ip(wanted.gw))
            and (wanted.table is None or route.table == wanted.table)
            and (not wanted.priority or route.priority == wanted.priority)
            and (not wanted.mtu or route.mtu == wanted.mtu)
            and (not wanted.advmss or route.advmss == wanted.advmss)
        )

    def commands(self) -> list[str]:
        route = self.route
        version = parse_network(route.dst).version
        words = [f"ip -{version} route add {route.dst}"]
        words += [f"via {self.gw}"] if self.gw else []
        words += [f"dev {self.pod}"]
        words += [f"metric {route.priority}"] if route.priority else []
        words += [f"table {route.table}"] if route.table is not None else []
        # `ip` takes the scope from the gateway, and link where there is none; the plugin's is global unless asked.
        words += [f"scope {route.scope or 0}"] if version == 4 and (route.scope or not self.gw) else []
        words += [f"mtu {route.mtu}"] if route.mtu else []
        words += [f"advmss {route.advmss}"] if route.advmss else []
        return [f"{IN_POD} {' '.join(words)}"]


@record
class DeleteVethPair(Step):
    """The cable is gone, and with it all that the pod's end had: addresses, routes, its bridge port."""

    host: str

    def __str__(self) -> str:
        return f"unplug the pod: {self.host}, and with it the end in the pod"

    def apply(self, kernel: Kernel) -> None:
        try:
            kernel.host.ask(rtnetlink.del_link(self.host))
        except NetlinkError as error:
            if error.errno != ENODEV:  # gone is what was wanted
                raise

    def commands(self) -> list[str]:
        return [f"ip link del {self.host}"]


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.first <= other.last and other.first <= one.last


def _add_address_command(address: IPNetwork, interface: str) -> str:
    # `ip` sets no broadcast address unless told, and waits for duplicate address detection unless told.
    option = "broadcast +" if address.version == 4 else "nodad"
    return f"ip address add {address} {option} dev {interface}"
