"""Questions about the bridge and its ports: whether they are as the plugin made them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from cni_bridge_py.addresses import InterfaceAddress, overlap
from cni_bridge_py.config import NetworkConfig
from cni_bridge_py.kernel.rtnetlink import Link
from cni_bridge_py.node import inside
from cni_bridge_py.node.answers import Finding, Node, Trouble, counted, does_not_apply, told
from cni_bridge_py.node.attachments import DOWN, NO_ADDRESS, POD_DOWN, UNPLUGGED
from cni_bridge_py.wiring import plan

MOST_PORTS = 1023
"""net/bridge/br_private.h: BR_MAX_PORTS, without port number 0, which is not used."""

NET_ADDR_SET = "3"
"""linux/netdevice.h."""

NEARLY = 0.95

NO_BRIDGE_YET = "there has been no pod yet; the first one makes the bridge"


def in_use(node: Node) -> list[NetworkConfig]:
    """The networks that have pods or a bridge."""
    bridges = {name for name, link in node.state.links.items() if link.kind == "bridge"}
    return [config for config in node.configs if node.of(config) or config.bridge in bridges]


def bridge_up(node: Node) -> Finding:
    """Whether each bridge is there, a bridge, and up."""
    asked = [config for config in node.configs if node.of(config) or config.bridge in node.state.links]
    if not asked:
        return does_not_apply(NO_BRIDGE_YET)
    return told(_not_up(node, asked), ", ".join(dict.fromkeys(config.bridge for config in asked)))


def _not_up(node: Node, asked: list[NetworkConfig]) -> Iterator[Trouble]:
    # If a bridge has several networks, report the one with the most pods.
    for config in {config.bridge: config for config in sorted(asked, key=lambda each: len(node.of(each)))}.values():
        name, link = config.bridge, node.state.links.get(config.bridge)
        pods = f"{counted(len(node.of(config)), 'pod')} of network {config.name} cannot reach anything"
        if not link:
            yield Trouble(f"there is no bridge {name}", pods, [node.mend])
        elif link.kind != "bridge":
            kind = f"{link.kind} interface" if link.kind else "network card"
            mend = [
                f"ip link set {quote(name)} down",
                f"ip link set {quote(name)} name {quote(name[:11])}.old",
                node.mend,
            ]
            yield Trouble(f"{name} is a {kind}, not a bridge", "no pod can be plugged into it", mend)
        elif not link.is_up:
            yield Trouble(f"bridge {name} is down", pods, [node.mend])


def gateway_there(node: Node) -> Finding:
    """Whether each bridge has the pods' gateways as its addresses."""
    asked = [config for config in in_use(node) if node.gateways(config) and _has_pods_or_addresses(node, config)]
    if not asked:
        return does_not_apply(NO_BRIDGE_YET if not in_use(node) else "no network here uses the bridge as its gateway")
    told_well = ", ".join(str(each) for config in asked for each in node.gateways(config))
    return told((trouble for config in asked for trouble in _no_gateway(node, config)), told_well)


def _has_pods_or_addresses(node: Node, config: NetworkConfig) -> bool:
    return bool(node.of(config) or node.state.addresses(plan.gateway_interface(config)))


def _no_gateway(node: Node, config: NetworkConfig) -> Iterator[Trouble]:
    name, wanted = plan.gateway_interface(config), node.gateways(config)
    there = node.state.addresses(name)
    missing = [each for each in wanted if each not in there]
    if not missing:
        return
    others = [] if config.force_address else [each for each in there if _is_in_the_way(each, wanted, there)]
    mend = [*(f"ip address del {other} dev {quote(name)}" for other in others), node.mend]
    found = f"{name} lacks {', '.join(map(str, missing))}" + (
        f", and has {', '.join(map(str, there))}" if there else ""
    )
    yield Trouble(found, "pods reach one another, but nothing beyond their network", mend)


def _is_in_the_way(other: InterfaceAddress, wanted: list[InterfaceAddress], there: list[InterfaceAddress]) -> bool:
    """Whether an ADD would refuse the bridge because of that address: see EnsureGatewayAddresses."""
    of_version = [each for each in wanted if each.version == other.version]
    if other in wanted or any(each in there for each in of_version):
        return False
    return any(other.version == 4 or overlap(other, each) for each in of_version)


def bridge_mac_pinned(node: Node) -> Finding:
    """Whether each bridge's MAC was set, so that it does not change with its ports."""
    links = [link for config in in_use(node) if (link := node.state.links.get(config.bridge)) and link.kind == "bridge"]
    if not links:
        return does_not_apply(NO_BRIDGE_YET)
    troubles = [
        Trouble(
            f"bridge {link.name} uses the lowest MAC of its ports, now {link.mac}",
            "whenever a pod that starts or stops changes this MAC, all pods lose their gateway for a while",
            [f"ip link set {quote(link.name)} address {link.mac}"],
        )
        for link in {link.name: link for link in links}.values()
        if _follows_pods(node, link)
    ]
    return told(troubles, ", ".join(f"{link.name} {link.mac}" for link in links))


def _follows_pods(node: Node, bridge: Link) -> bool:
    """Whether nobody has set the bridge's MAC, and it has a pod's MAC. A network card's is lower, so it would stay."""
    if bridge.mac not in {node.state.links[pod.host].mac for pod in node.pods}:
        return False
    try:
        # If /sys belongs to another network namespace, as after `nsenter --net`, we cannot know.
        told = {
            key: Path("/sys/class/net", bridge.name, key).read_text().strip() for key in ("ifindex", "addr_assign_type")
        }
        return told["ifindex"] == str(bridge.index) and told["addr_assign_type"] != NET_ADDR_SET
    except OSError:
        return False


def ports_left(node: Node) -> Finding:
    """Whether each bridge has room for more ports: the kernel has a limit."""
    counts = {config.bridge: len(node.state.ports(config.bridge)) for config in in_use(node)}
    if not counts:
        return does_not_apply(NO_BRIDGE_YET)
    troubles = [_many_ports(node, bridge, count) for bridge, count in counts.items() if count >= MOST_PORTS * NEARLY]
    return told(troubles, ", ".join(f"{bridge} has {count} of {MOST_PORTS}" for bridge, count in counts.items()))


def _many_ports(node: Node, bridge: str, count: int) -> Trouble:
    of_pods = {each.host for each in node.attachments}
    others = [port.name for port in node.state.ports(bridge) if port.name not in of_pods]
    mend = [f"ip link set {quote(name)} nomaster" for name in others] or ["kubectl cordon $(hostname)"]
    found = f"bridge {bridge} has {count} of {MOST_PORTS} ports, {len(others)} of them not for pods"
    return Trouble(found, "when all are used, no new pod can be plugged in", mend)


def pods_plugged_in(node: Node) -> Finding:
    """Whether each pod's cable is in its bridge, up, and set as the configuration says."""
    if not node.pods:
        return does_not_apply("there is no pod of this plugin")
    troubles = []
    for state in (UNPLUGGED, DOWN):
        wrong = [f"{each.host} of {each.pod or each.container_id}" for each in node.pods if each.state == state]
        if wrong:
            meaning = "that pod reaches nothing" if len(wrong) == 1 else "these pods reach nothing"
            troubles.append(Trouble(f"{_first_of(wrong)} {state}", meaning, [node.mend]))
    troubles += [trouble for config in in_use(node) for trouble in _wrong_inside(node, config)]
    troubles += [trouble for config in in_use(node) for trouble in _wrong_ports(node, config)]
    return told(troubles, counted(len(node.pods), "pod"))


def _wrong_inside(node: Node, config: NetworkConfig) -> Iterator[Trouble]:
    for each in node.of(config):
        who = f"{each.ifname} of {each.pod or each.container_id}"
        if each.state == POD_DOWN:
            found, meaning = f"{who} is down in the pod", "that pod reaches nothing"
        elif each.state == NO_ADDRESS:
            lost = [str(lease.ip) for lease in each.leases if lease.ip not in each.ips or not each.networks]
            found, meaning = f"{who} has lost {', '.join(lost)}", "that pod is not reached by this address"
        else:
            continue
        yield Trouble(found, meaning, inside.commands(node.state, config, each))


def _wrong_ports(node: Node, config: NetworkConfig) -> Iterator[Trouble]:
    ports = [link for each in node.of(config) if (link := node.state.links[each.host]).master]
    through = [f"bridge port {link.name}" for link in ports if config.hairpin_mode and not link.hairpin]
    if through:
        meaning = "a pod does not reach itself through a Service"
        yield Trouble(f"{_first_of(through)} not in hairpin mode", meaning, [node.mend])
    open_ports = [f"bridge port {link.name}" for link in ports if config.port_isolation and not link.isolated]
    if open_ports:
        meaning = "a pod reaches other pods, from which it is to be isolated"
        yield Trouble(f"{_first_of(open_ports)} not isolated", meaning, [node.mend])


def _first_of(names: list[str]) -> str:
    """The first name, the number of the others, and the verb: `vethx of shop/web (and 249 more) are`."""
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more) are"
