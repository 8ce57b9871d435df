"""Questions about forwarding: whether the node lets pods' packets and their answers through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote

from netaddr import IPAddress

from cni_bridge_py.addresses import IPVersion
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.config import NetworkConfig
from cni_bridge_py.kernel.netlink import NetlinkError, NoAnswer
from cni_bridge_py.node import filters, networks
from cni_bridge_py.node.answers import Answer, Finding, Node, Trouble, counted, does_not_apply, told, yes
from cni_bridge_py.node.attachments import Attachment
from cni_bridge_py.node.packetfilter import CannotLook, Packet
from cni_bridge_py.node.questions.bridge import in_use
from cni_bridge_py.node.state import sysctl_value
from cni_bridge_py.wiring import plan
from cni_bridge_py.wiring.filter_steps import EnsureMacSpoofCheck, EnsureMasquerade, GuardMac, MasqueradePod
from cni_bridge_py.wiring.node_steps import has_bridge_netfilter
from cni_bridge_py.wiring.packet_filter import chain_of
from cni_bridge_py.wiring.pod_filter import PodFilter
from cni_bridge_py.wiring.step import Step

WORLD: dict[int, IPAddress] = {4: IPAddress("1.1.1.1"), 6: IPAddress("2606:4700::1111")}
"""Addresses outside the node; nothing is sent there."""

NEARLY = 0.9

NO_GATEWAY = "no network here uses the bridge as its gateway"


def routed(node: Node) -> list[NetworkConfig]:
    """The networks in use whose packets the node forwards."""
    return [config for config in in_use(node) if config.is_gateway]


def versions(config: NetworkConfig) -> list[IPVersion]:
    """The IP versions of a network's gateways."""
    return sorted({each.version for each in networks.gateways(config)})


def forwarding_on(node: Node) -> Finding:
    """Whether forwarding is on, for the node and for the links involved."""
    asked = {version for config in routed(node) for version in versions(config)}
    if not asked:
        return does_not_apply(NO_GATEWAY)
    names = list(dict.fromkeys(name for version in sorted(asked) for name in _switches(node, version)))
    meaning = "pods reach one another, but nothing beyond their network"
    off = [name for name in names if sysctl_value(name) == "0"]
    troubles = [Trouble(f"sysctl {name} is 0", meaning, [f"sysctl -w {quote(f'{name}=1')}"]) for name in off]
    return told(troubles, ", ".join(f"IPv{version}" for version in sorted(asked)))


def _switches(node: Node, version: int) -> Iterator[str]:
    if version == 6:
        yield "net/ipv6/conf/all/forwarding"
        return
    yield "net/ipv4/ip_forward"
    if sysctl_value("net/ipv4/ip_forward") == "0":
        return  # which sets it for all links
    for link in [*(plan.gateway_interface(config) for config in routed(node)), *node.state.uplinks(4)]:
        yield f"net/ipv4/conf/{link}/forwarding"


# Other people's packet filter


def filter_accepts(node: Node) -> Finding:
    """Whether the node's firewalls let pods' packets through."""
    packets = list(_packets(node))
    frames = list(_frames(node))
    if not packets and not frames:
        return does_not_apply("there is nothing to forward: no pod, or no default route")
    try:
        drops = [(config, packet, verdict) for config, packet in packets for verdict in node.filter.drops(packet)]
        drops += [(config, packet, v) for config, packet in frames for v in node.filter.drops_frame(packet)]
    except CannotLook as error:
        return Finding(Answer.UNKNOWN, str(error))
    troubles: dict[str, Trouble] = {}
    for config, packet, verdict in drops:
        found = f"{verdict}: drops {packet}"
        troubles.setdefault(
            f"{verdict} {config.bridge}", Trouble(found, _meaning(packet), filters.commands(verdict, packet, config))
        )
    return told(troubles.values(), f"{counted(len(packets) + len(frames), 'packet')} would pass")


def _meaning(packet: Packet) -> str:
    if packet.iif == packet.oif or WORLD[packet.version] not in (packet.saddr, packet.daddr):
        return "pods do not reach one another"
    return "pods reach nothing beyond the node"


def _packets(node: Node) -> Iterator[tuple[NetworkConfig, Packet]]:
    """A packet to the world and its answer, and one from pod to pod if the packet filter sees such packets."""
    for config in routed(node):
        link = plan.gateway_interface(config)
        for version in versions(config):
            source, other = _examples(node, config, version)
            for uplink in node.state.uplinks(version)[:1]:
                out = Packet(link, uplink, source, WORLD[version])
                yield config, out
                yield config, out.answer
            if bridged_packets_filtered(node, config, version):
                between = Packet(config.bridge, config.bridge, source, other)
                yield config, between
                yield config, between.answer


def _frames(node: Node) -> Iterator[tuple[NetworkConfig, Packet]]:
    for config in in_use(node):
        for version in {ip.version for each in node.of(config) for ip in each.ips}:
            found = [(each.host, ip) for each in node.of(config) for ip in each.ips if ip.version == version][:2]
            if len(found) == 2 and not config.port_isolation:
                (one, source), (other, target) = found
                yield config, Packet(one, other, source, target)


def _examples(node: Node, config: NetworkConfig, version: IPVersion) -> tuple[IPAddress, IPAddress]:
    """Two addresses of pods; without pods, the addresses that they would get."""
    found = [ip for each in node.of(config) for ip in each.ips if ip.version == version]
    gateway = next(each.ip for each in networks.gateways(config) if each.version == version)
    return [*found, gateway + 1, gateway + 2][0], [*found, gateway + 1, gateway + 2][1]


def bridged_packets_filtered(node: Node, config: NetworkConfig, version: int) -> bool:
    """Whether packets from pod to pod pass the node's packet filter."""
    link = node.state.links.get(config.bridge)
    name = "net/bridge/bridge-nf-call-iptables" if version == 4 else "net/bridge/bridge-nf-call-ip6tables"
    return sysctl_value(name) == "1" or bool(link and link.netfilter and has_bridge_netfilter())


def services_answer(node: Node) -> Finding:
    """Whether a pod gets its answer from a Service whose backend is on its own node."""
    asked = [config for config in routed(node) if config.bridge_netfilter or filters.has_services()]
    if not asked:
        return does_not_apply("no configuration asks for bridgeNetfilter, and nothing here makes Services")
    return told(_bypassed(node, asked), "packets from pod to pod pass the packet filter")


def _bypassed(node: Node, asked: Iterable[NetworkConfig]) -> Iterator[Trouble]:
    meaning = "a pod gets no answer from a Service whose backend is on its own node"
    if not has_bridge_netfilter():
        yield Trouble("the kernel's br_netfilter is not loaded", meaning, ["modprobe br_netfilter", node.mend])
        return
    for config in asked:
        missed = [version for version in versions(config) if not bridged_packets_filtered(node, config, version)]
        if missed and config.bridge_netfilter:
            yield Trouble(f"bridge {config.bridge} bypasses the packet filter", meaning, [node.mend])
        elif missed:
            mend = f"ip link set {quote(config.bridge)} type bridge nf_call_iptables 1 nf_call_ip6tables 1"
            yield Trouble(f"bridge {config.bridge} bypasses the packet filter", meaning, [mend])


# Our own packet filter


def masquerade_complete(node: Node) -> Finding:
    """Whether each pod that should be masqueraded is."""
    asked = [pod for pod in pod_filters(node) if pod.masqueraded]
    if not asked:
        return does_not_apply("no pod needs masquerade")
    meaning = "packets leave with the pods' own addresses, to which nobody outside answers"
    return _checked(node, [EnsureMasquerade(chain_of(asked[0])), *map(MasqueradePod, asked)], meaning)


def guards_complete(node: Node) -> Finding:
    """Whether macspoofchk is in force for each pod that should have it."""
    asked = [pod for pod in pod_filters(node) if pod.mac]
    if not asked:
        return does_not_apply("no pod here has macspoofchk")
    return _checked(node, [EnsureMacSpoofCheck(), *map(GuardMac, asked)], "pods can send with the MAC of another pod")


def pod_filters(node: Node) -> list[PodFilter]:
    """What the packet filter should do for each pod: what the notes on its host veth say, else the configuration."""
    return filters.pod_filters(node.state, node.configs, node.pods)


def _checked(node: Node, steps: list[Step], meaning: str) -> Finding:
    wrong = []
    for step in steps:
        try:
            step.check(node.state.kernel)
        except CniError as error:
            wrong.append(error.msg)
        except (NetlinkError, NoAnswer) as error:
            return Finding(Answer.UNKNOWN, f"nftables: {error}")
    if not wrong:
        return yes(counted(len(steps) - 1, "pod"))
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return told([Trouble(f"{wrong[0]}{more}", meaning, [node.mend])], "")


# Checks of the kernel's that drop packets


def reverse_path_accepted(node: Node) -> Finding:
    """Whether strict reverse path filtering would drop pods' packets: it does if the way back is another one."""
    asked = [config for config in routed(node) if 4 in versions(config) and node.of(config)]
    if not asked:
        return does_not_apply("there is no IPv4 pod whose packets the node forwards")
    troubles = []
    for config in asked:
        link = plan.gateway_interface(config)
        if max(sysctl_value("net/ipv4/conf/all/rp_filter"), sysctl_value(f"net/ipv4/conf/{link}/rp_filter")) != "1":
            continue
        for each in node.of(config):
            for way in (node.state.way_to(ip) for ip in each.ips if ip.version == 4):
                if way and way not in (link, config.bridge):
                    found = f"net/ipv4/conf/{link}/rp_filter is 1, but packets for pod {each.ips[0]} go to {way}"
                    mend = [f"sysctl -w {quote(f'net/ipv4/conf/{name}/rp_filter=2')}" for name in ("all", link)]
                    troubles.append(Trouble(found, "packets of that pod to other networks are dropped", mend))
    return told(troubles[:1], "the node reaches each pod through its bridge, or the check is off")


def router_advertisements_accepted(node: Node) -> Finding:
    """Whether the node keeps an IPv6 default route that it learned, although it forwards."""
    if sysctl_value("net/ipv6/conf/all/forwarding") != "1":
        return does_not_apply("the node does not forward IPv6")
    learners = node.state.learners
    if not learners:
        return does_not_apply("no link of this node learns its IPv6 addresses or routes from router advertisements")
    troubles = [
        Trouble(
            f"sysctl net/ipv6/conf/{link}/accept_ra is {value}, but {link} uses router advertisements",
            "since the node forwards, it loses its IPv6 default route, and so do its pods",
            [f"sysctl -w {quote(f'net/ipv6/conf/{link}/accept_ra=2')}"],
        )
        for link in learners
        if (value := sysctl_value(f"net/ipv6/conf/{link}/accept_ra")) != "2"
    ]
    return told(troubles, ", ".join(learners))


def connections_left(node: Node) -> Finding:
    """Whether connection tracking, which masquerade needs, has room."""
    count, most = (sysctl_value(f"net/netfilter/nf_conntrack_{name}") for name in ("count", "max"))
    if not count or not most:
        return does_not_apply("the kernel tracks no connections")
    troubles = []
    if int(count) >= NEARLY * int(most):
        meaning = "new connections of pods fail from time to time"
        mend = [f"sysctl -w net.netfilter.nf_conntrack_max={2 * int(most)}"]
        troubles.append(Trouble(f"{count} of {most} tracked connections are used", meaning, mend))
    return told(troubles, f"{count} of {most}")


def mtu_fits(node: Node) -> Finding:
    """Whether pods' packets fit the uplink."""
    uplinks = [node.state.links[name] for version in (4, 6) for name in node.state.uplinks(version)[:1] if name]
    asked = [(config, each) for config in routed(node) for each in node.of(config)]
    if not uplinks or not asked:
        return does_not_apply("there is no default route" if not uplinks else "there is no pod of a routed network")
    uplink = min(uplinks, key=lambda link: link.mtu)
    by_network: dict[str, tuple[NetworkConfig, list[Attachment]]] = {}
    for config, each in asked:
        if each.mtu > uplink.mtu:
            by_network.setdefault(config.name, (config, []))[1].append(each)
    troubles = [
        Trouble(
            f"{len(pods)} pods of network {config.name} have MTU {pods[0].mtu}, the uplink {uplink.name} {uplink.mtu}",
            "large packets are lost if something filters the ICMP errors about them: transfers hang",
            filters.mtu_commands(node, config, pods, uplink.mtu),
        )
        for config, pods in by_network.values()
    ]
    return told(troubles, f"{uplink.name} has {uplink.mtu}")
