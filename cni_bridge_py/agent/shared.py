"""What a node's pods share, made right for all of them at once: the one place where the agent asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pyroute2 import IPRoute

from cni_bridge_py.agent.reconcile import gateway
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.cni.result import IPConfig
from cni_bridge_py.config import NetworkConfig, read_config
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import NetlinkError
from cni_bridge_py.kernel.rtnetlink import Link
from cni_bridge_py.wiring import names, packet_filter, plan
from cni_bridge_py.wiring.names import Links
from cni_bridge_py.wiring.pod_filter import Exceptions, altnames, read_altnames
from cni_bridge_py.wiring.step import Explained


def mend(configuration: Mapping[str, Any] | None) -> Iterator[str]:
    """Have the bridge and what goes with it as the next ADD would leave them; what was wrong, in words.

    Makes none: the bridge comes with the node's first pod. Raises CniError where something cannot be mended.
    """
    if configuration is None:
        return
    top = {key: configuration[key] for key in ("cniVersion", "name")}
    # The MTU and the MAC of a bridge that is there are what its pods rely on, and stay.
    config = read_config({**top, **configuration["plugins"][0], "mtu": 0})
    kernel = Kernel()
    if not kernel.host.link(config.bridge) or not config.ipam:
        return
    gateways = [gateway(each.subnet) for ranges in config.ipam.range_sets for each in ranges]
    links = Links(config.bridge, bridge_mac="", host="", host_mac="", pod="", pod_mac="", mtu=0)
    for step in plan.shared(config, links, [IPConfig(each, each.ip) for each in gateways]):
        try:
            step.check(kernel)
        except (CniError, NetlinkError, OSError) as wrong:
            with Explained(step):
                step.apply(kernel)
                step.check(kernel)
            yield f"{wrong.msg if isinstance(wrong, CniError) else wrong}: mended"
    yield from _change_exceptions(kernel, config)


def _change_exceptions(kernel: Kernel, config: NetworkConfig) -> Iterator[str]:
    """Have pods that were made when the cluster had other nodes go to the pods of all that it has now unmasqueraded."""
    exceptions = Exceptions(tuple(config.non_masquerade_cidrs))
    links = {link.name: link for link in kernel.host.links()}
    for pod in read_altnames(links.values(), exceptions):
        ours = pod.owner == names.host_veth_mac(config.name, pod.host)
        if ours and pod.masqueraded and pod.exceptions.digest != exceptions.digest:
            new = replace(pod, exceptions=exceptions)
            with Explained(f"the exceptions of {pod.host}"):
                packet_filter.masquerade(kernel, new)
                _write_altnames(links[pod.host], altnames(new))
            yield f"{pod.host}: not masqueraded towards {', '.join(map(str, exceptions.networks))}"


def _write_altnames(link: Link, wanted: list[str]) -> None:
    """Have a host veth tell what the packet filter does for its pod, in place of what it told."""
    with IPRoute() as ip:
        for name in link.altnames:
            if name.startswith(f"{link.name}.") and name not in wanted:
                ip.link("property_del", index=link.index, altname=name)
        for name in wanted:
            if name not in link.altnames:
                ip.link("property_add", index=link.index, altname=name)
