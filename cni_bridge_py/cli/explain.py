"""`explain`: the plugin's own steps, as commands that a person would type."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from shlex import quote

from cni_bridge_py.cli.root import need_root
from cni_bridge_py.cni.errors import INVALID_CONFIG, IO_FAILURE, CniError
from cni_bridge_py.cni.result import IPConfig, Result
from cni_bridge_py.config import HOST_LOCAL, NetworkConfig
from cni_bridge_py.ipam import host_local
from cni_bridge_py.node import attachments, networks
from cni_bridge_py.node.attachments import Attachment
from cni_bridge_py.node.confdir import PLUGIN, NetworkFile
from cni_bridge_py.node.netns import path_of
from cni_bridge_py.node.networks import Network
from cni_bridge_py.node.state import State
from cni_bridge_py.wiring import names, plan
from cni_bridge_py.wiring.step import Step

CONTAINER_ID = "example"
IFNAME = "eth0"

EXAMPLE = Attachment("", "", f"default/{CONTAINER_ID}", CONTAINER_ID, IFNAME)
"""The pod in a script that is not for a particular pod."""


def run(path: str | None, verb: str, pod: str | None) -> int:
    """Print the script for a verb, for a running pod or else for an example.

    Raises CniError if there is no configuration or no such pod, or if the plugin would refuse the configuration.
    """
    found = _configured(path)
    for network, each, netns in _running(found, pod) if pod else [(_accepted(found, path), EXAMPLE, "")]:
        config = _asked_for(network, each)
        host = names.host_veth(each.container_id, each.ifname) if not each.host else each.host
        addresses = _addresses(config, each)
        ips = plan.with_gateways(config, addresses.ips)
        if verb == "ADD":
            steps = plan.wiring(config, host, each.ifname, addresses, pod=each.pod).steps
        else:
            steps = plan.detachment(
                plan.pod_filter(config, host, plan.links(config, host, each.ifname, ips).pod_mac, ips)
            )
        print("\n".join(_script(verb, str(network.path), config, steps, each, netns)))
    return 0


def _configured(path: str | None) -> list[Network]:
    if path != "-":
        return networks.configured(path)
    return networks.of(NetworkFile(Path("standard input"), sys.stdin.buffer.read()))


def _accepted(found: list[Network], path: str | None) -> Network:
    """The first network. Raises CniError if there is none, or if the plugin refuses it."""
    if not found:
        folders = ", ".join(map(str, networks.conf_folders()))
        raise CniError(IO_FAILURE, f"no configuration of {PLUGIN} in {folders}", "name one with --conf FILE")
    if not found[0].config:
        raise CniError(INVALID_CONFIG, found[0].error)
    return found[0]


def _running(found: list[Network], pod: str) -> list[tuple[Network, Attachment, str]]:
    """The attachments of a pod on this node, with their networks and the paths of their namespaces."""
    need_root("looking into pods", "CAP_NET_ADMIN")
    state = State()
    here = [each for each in attachments.find(state, found) if each.host and each.is_ours]
    wanted = [each for each in here if each.pod == pod]
    if not wanted:
        known = ", ".join(sorted(each.pod for each in here if each.pod)[:5]) or "none"
        raise CniError(INVALID_CONFIG, f"this node has no pod {pod} of this plugin", f"there are: {known}")
    by_name = {each.name: each for each in found if each.config}
    lost = next((each.network for each in wanted if each.network not in by_name), None)
    if lost:
        raise CniError(INVALID_CONFIG, f"pod {pod} belongs to network {lost}, which is no longer configured here")
    return [(by_name[each.network], each, path_of(state.links[each.host])) for each in wanted]


def _asked_for(network: Network, each: Attachment) -> NetworkConfig:
    """The configuration; if the pod's MAC is not the one for its address, with that MAC as requested."""
    assert network.config
    ips = [IPConfig(address, None) for address in each.networks]
    asked = each.mac and each.mac != names.pod_mac(each.host, ips)
    return replace(network.config, mac=each.mac) if asked else network.config


def _addresses(config: NetworkConfig, each: Attachment) -> Result:
    routes = config.ipam.routes if config.ipam else []
    if not each.host:
        return Result([], host_local.preview(config.ipam.range_sets) if config.ipam else [], routes, {})
    ranges = [one for one_set in networks.range_sets(config) for one in one_set]
    gateways = {
        address: next((one.address(one.gateway) for one in ranges if one.spans(address.ip)), None)
        for address in each.networks
    }
    return Result([], [IPConfig(address, gateway) for address, gateway in gateways.items()], routes, {})


def _script(verb: str, source: str, config: NetworkConfig, steps: list[Step], pod: Attachment, netns: str) -> list[str]:
    who = f"pod {_on_one_line(pod.pod)}" if pod.host else "pod"
    lines = [
        "#!/bin/sh",
        f"# What {PLUGIN} does for {verb} on the network {config.name} ({_on_one_line(source)}).",
        f"# The {who} has the container id {pod.container_id or '(not known here)'} and the interface {pod.ifname}.",
        "set -e",
        "",
    ]
    if verb == "ADD":
        path = netns or f"/run/netns/{CONTAINER_ID}"
        lines += [
            "# The container runtime has made the pod's network namespace.",
            f"POD=${{POD:-{quote(path)}}}",
            f'test -e "$POD" || ip netns add {quote(Path(path).name)}',
            "",
        ]
        lines += [] if _is_delegated(config) else _lease_comment(config, "writes")
    for step in steps:
        if commands := step.commands():
            lines += [f"# {step}", *commands, ""]
    if verb == "DEL" or _is_delegated(config):
        lines += _lease_comment(config, "removes")
    return lines


def _is_delegated(config: NetworkConfig) -> bool:
    """Whether another plugin gives out the addresses. It does so after the cable is there."""
    return config.ipam is not None and config.ipam.type not in HOST_LOCAL


def _on_one_line(text: str) -> str:
    """A name for use in a comment. A line break in it would end the comment."""
    return text if text.isprintable() else repr(text)


def _lease_comment(config: NetworkConfig, what: str) -> list[str]:
    if not config.ipam:
        return []
    if _is_delegated(config):
        return [f"# Addresses come from the plugin {config.ipam.type}, which is not run here.", ""]
    folder = f"{config.ipam.data_dir}/{config.name}"
    return [f"# host-local {what} the lease: a file in {folder}, named after the pod's address.", ""]
