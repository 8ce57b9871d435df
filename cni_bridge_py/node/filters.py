"""Commands that let pods' packets through the node's firewalls; and what our own packet filter should do for pods."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from cni_bridge_py.cni.result import IPConfig
from cni_bridge_py.config import NetworkConfig
from cni_bridge_py.node import edits
from cni_bridge_py.node.attachments import Attachment
from cni_bridge_py.node.netns import name_of
from cni_bridge_py.node.packetfilter import Packet, Verdict
from cni_bridge_py.node.state import State
from cni_bridge_py.wiring import names, plan
from cni_bridge_py.wiring.pod_filter import Exceptions, PodFilter, read_altnames

if TYPE_CHECKING:
    from cni_bridge_py.node.answers import Node

LEGACY_COMMAND = {"ip": "iptables-legacy", "ip6": "ip6tables-legacy"}
NFT_COMMAND = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}


def commands(verdict: Verdict, packet: Packet, config: NetworkConfig) -> list[str]:
    """The commands that let pods' packets through a firewall, with the firewall's own tool if it has one."""
    link = plan.gateway_interface(config)
    pods = quote(link)
    if verdict.family == "bridge":
        rule = f"""'iifname "{names.VETH_PREFIX}*" accept'"""
        return [f"nft insert rule bridge {verdict.table} {verdict.base} {rule}"]
    if verdict.table == "firewalld":
        zone = f"firewall-cmd --permanent --zone=trusted --add-interface={pods}"
        return [zone, "firewall-cmd --reload"]
    if verdict.is_iptables:
        if _is_ufw(verdict):
            return [f"ufw route allow in on {pods}", f"ufw route allow out on {pods}"]
        command = (LEGACY_COMMAND if verdict.legacy else NFT_COMMAND)[verdict.family]
        if shutil.which(command):
            # docker rewrites its own chains, but not this one.
            chain = "DOCKER-USER" if verdict.has_docker else verdict.base
            return [f"{command} -I {chain} -{way} {pods} -j ACCEPT" for way in ("i", "o")]
    place = f"{verdict.family} {verdict.table} {verdict.base}"
    rules = [f'{way}ifname "{link}" accept' for way in ("i", "o")]
    return [f"nft insert rule {place} {quote(rule)}" for rule in rules]


def _is_ufw(verdict: Verdict) -> bool:
    return verdict.has_ufw and shutil.which("ufw") is not None


def has_services() -> bool:
    """Whether this node has Services: kube-proxy runs, or something with its name."""
    return any(_is_kube_proxy(process) for process in Path("/proc").glob("[0-9]*/comm"))


def _is_kube_proxy(comm: Path) -> bool:
    try:
        return comm.read_text().strip() == "kube-proxy"
    except OSError:
        return False  # it ended meanwhile


def pod_filters(state: State, configs: Iterable[NetworkConfig], pods: list[Attachment]) -> list[PodFilter]:
    """What our packet filter should do for each pod: what the notes on its host veth say, else the configuration."""
    by_name = {config.name: config for config in configs}
    # If there are too many exceptions for notes on the host veth, a configuration may have them.
    lists = [Exceptions(), *(Exceptions(tuple(config.non_masquerade_cidrs)) for config in by_name.values())]
    told = [pod for each in lists for pod in read_altnames(state.links.values(), each)]
    known = {pod.host: pod for pod in sorted(told, key=lambda pod: len(pod.exceptions.networks))}
    found = list(known.values())
    for each in pods:
        config = by_name.get(each.network)
        if config and each.host not in known:
            ips = [IPConfig(address, None) for address in state.peer_addresses(state.links[each.host])]
            found.append(plan.pod_filter(config, each.host, each.mac, ips))
    return found


def mtu_commands(node: Node, config: NetworkConfig, pods: list[Attachment], mtu: int) -> list[str]:
    """The commands that lower the MTU of a network, in its configuration and in running pods."""
    change = edits.added("mtu", str(mtu), "type", '"cni-bridge-py"')
    if config.mtu:
        change = edits.replaced("mtu", "[0-9]*", str(mtu))
    lines = [edits.edit(node.path(config), change)]
    for each in pods:
        lines.append(f"ip link set {each.host} mtu {mtu}")
        netns = name_of(node.state.links[each.host])
        if netns:
            lines.append(f"ip -n {netns} link set {each.ifname} mtu {mtu}")
    return lines
