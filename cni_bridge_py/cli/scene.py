"""What a picture of a node shows, whether in the terminal or as SVG."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from cni_bridge_py.node import networks
from cni_bridge_py.node.answers import counted
from cni_bridge_py.node.attachments import OK, Attachment
from cni_bridge_py.node.networks import Network
from cni_bridge_py.node.state import State
from cni_bridge_py.wiring import plan


@dataclass(frozen=True)
class Uplink:
    """A link with a default route."""

    name: str
    addresses: list[str]
    next_hops: list[str]
    mtu: int
    fault: str


@dataclass(frozen=True)
class Group:
    """The pods of one network, or of one VLAN of it."""

    network: str
    details: str
    pods: list[Attachment]


@dataclass(frozen=True)
class BridgeScene:
    """A bridge, what is wrong with it in a few words, and its pods."""

    name: str
    addresses: list[str]
    details: str
    faults: list[str]
    groups: list[Group]


@dataclass(frozen=True)
class Scene:
    """A node. `lost` are attachments without a bridge; `wrong` is how many attachments are not ok."""

    title: str
    uplinks: list[Uplink]
    bridges: list[BridgeScene]
    lost: list[Attachment]
    count: int
    wrong: int

    @property
    def verdict(self) -> str:
        """The state of the pods, in a few words."""
        return f"{counted(self.count, 'attachment')}, " + (f"{self.wrong} not ok" if self.wrong else "all ok")


def scene(state: State, found: list[Network], pods: list[Attachment], title: str) -> Scene:
    """Collect what a picture shows."""
    names = dict.fromkeys([*(c.bridge for c in networks.configs(found)), *(p.bridge for p in pods if p.bridge)])
    return Scene(
        title=title,
        uplinks=_uplinks(state),
        bridges=[_bridge(state, found, name, [pod for pod in pods if pod.bridge == name], pods) for name in names],
        lost=[pod for pod in pods if not pod.bridge],
        count=len(pods),
        wrong=sum(pod.state != OK for pod in pods),
    )


def _uplinks(state: State) -> list[Uplink]:
    found = []
    for name in dict.fromkeys([*state.uplinks(4), *state.uplinks(6)]):
        link, hops = state.links[name], dict.fromkeys([*state.next_hops(4), *state.next_hops(6)])
        fault = "" if link.is_up else "down"
        found.append(Uplink(name, [str(each) for each in state.addresses(name)], list(hops), link.mtu, fault))
    return found


def _bridge(
    state: State, found: list[Network], name: str, pods: list[Attachment], everybody: list[Attachment]
) -> BridgeScene:
    link = state.links.get(name)
    by_group = sorted(pods, key=lambda pod: (pod.network, pod.vlans))  # the order of addresses is kept
    groups = [
        Group(network, _details(found, network, list(vlans), len(of_group)), of_group)
        for (network, vlans), each in groupby(by_group, key=lambda pod: (pod.network, tuple(pod.vlans)))
        for of_group in [list(each)]
    ]
    addresses = [str(each) for each in state.addresses(name)]
    details = f"MTU {link.mtu} · {link.mac}" if link else ""
    return BridgeScene(name, addresses, details, _faults(state, found, name, everybody), groups)


def _details(found: list[Network], network: str, vlans: list[int], count: int) -> str:
    words: list[str] = []
    for config in networks.configs(found):
        if config.name == network:
            words += dict.fromkeys(str(one.subnet) for ranges in networks.range_sets(config) for one in ranges)
            words += [f"gateway {plan.gateway_interface(config)}"] if config.vlan and config.is_gateway else []
    words += [f"VLAN {', '.join(map(str, vlans))}"] if vlans else []
    return " · ".join([*dict.fromkeys(words), counted(count, "pod")])


def _faults(state: State, found: list[Network], name: str, everybody: list[Attachment]) -> list[str]:
    """What is wrong with a bridge that has, or should have, pods."""
    link = state.links.get(name)
    here = [config for config in networks.configs(found) if config.bridge == name]
    wanted = any(pod.bridge == name or pod.network in [config.name for config in here] for pod in everybody)
    if not wanted:
        return []
    if not link:
        return ["there is no such bridge"]
    faults = [] if link.kind == "bridge" else ["not a bridge"]
    faults += [] if link.is_up else ["down"]
    for config in here:
        there = state.addresses(plan.gateway_interface(config))
        ips = [ip for pod in everybody if pod.network == config.name for ip in pod.ips]
        faults += [f"lacks {each}" for each in networks.gateways(config, ips) if each not in there]
    return faults
