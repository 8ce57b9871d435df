"""Mends what a node's pods share, for all of them at once. The agent does this only here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pyroute2 import IPRoute

from cni_bridge_py.config import NetworkConfig
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.rtnetlink import Link
from cni_bridge_py.node import mend as node_mend
from cni_bridge_py.node import networks
from cni_bridge_py.node.mend import Done
from cni_bridge_py.node.networks import Network
from cni_bridge_py.wiring import names, packet_filter
from cni_bridge_py.wiring.pod_filter import Exceptions, altnames, read_altnames
from cni_bridge_py.wiring.step import Explained

HALFWAY_SECONDS = 1
"""Most ADDs and DELs finish within this time."""


def mend(configuration: Path) -> Iterator[Done]:
    """Mend what the pods of the configured network share, as the next ADD would; return what was done.

    Raises CniError if the configuration or the node's state cannot be read.
    """
    found = networks.of_file(str(configuration))
    if wrong := _wrong(found):
        done = node_mend.mend(found, only=wrong)
        yield from (each for each in done if not each.error)
        # If the pod was deleted meanwhile, nothing is wrong any more.
        failed = [each for each in done if each.error]
        still = node_mend.wrong(found) if failed else set()
        yield from (each for each in failed if each.what in still)
    for network in found:
        if network.config:
            yield from _change_exceptions(Kernel(), network.config)
            _clear_gone(Kernel(), network.config)


def _wrong(found: list[Network]) -> set[str]:
    """What is wrong now, and also was a moment ago. An ADD or a DEL that is not finished is no fault."""
    wrong = node_mend.wrong(found)
    if wrong:
        time.sleep(HALFWAY_SECONDS)
        wrong &= node_mend.wrong(found)
    return wrong


def _clear_gone(kernel: Kernel, config: NetworkConfig) -> None:
    """Remove what was mended for pods whose DEL came meanwhile: DEL deletes the link first."""
    kept = packet_filter.attachments(kernel, config.name)
    for host in kept - {link.name for link in kernel.host.links()}:
        with Explained(f"the rules of {host}, which is gone"):
            packet_filter.clear(kernel, host, names.host_veth_mac(config.name, host))


def _change_exceptions(kernel: Kernel, config: NetworkConfig) -> Iterator[Done]:
    """Update the exceptions of running pods, so that they are not masqueraded towards pods of nodes that came later."""
    exceptions = Exceptions(tuple(config.non_masquerade_cidrs))
    links = {link.name: link for link in kernel.host.links()}
    for pod in read_altnames(links.values(), exceptions):
        ours = pod.owner == names.host_veth_mac(config.name, pod.host)
        if ours and pod.masqueraded and pod.exceptions.digest != exceptions.digest:
            new = replace(pod, exceptions=exceptions)
            with Explained(f"the exceptions of {pod.host}"):
                packet_filter.masquerade(kernel, new)
                _write_altnames(links[pod.host], altnames(new))
            yield Done(f"{pod.host}: masqueraded towards pods of nodes that are there now", [])


def _write_altnames(link: Link, wanted: list[str]) -> None:
    """Replace the notes on a host veth by what the packet filter now does for its pod."""
    with IPRoute() as ip:
        for name in link.altnames:
            if name.startswith(f"{link.name}.") and name not in wanted:
                ip.link("property_del", index=link.index, altname=name)
        for name in wanted:
            if name not in link.altnames:
                ip.link("property_add", index=link.index, altname=name)
