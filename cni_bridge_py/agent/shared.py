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
from cni_bridge_py.wiring import names, packet_filter, plan
from cni_bridge_py.wiring.names import Links
from cni_bridge_py.wiring.pod_filter import Exceptions, PodFilter, altnames, read_altnames
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
    for pod in read_altnames(kernel.host.links(), exceptions):
        ours = pod.owner == names.host_veth_mac(config.name, pod.host)
        if ours and pod.masqueraded and pod.exceptions.digest != exceptions.digest:
            with Explained(f"the exceptions of {pod.host}"):
                packet_filter.change_exceptions(kernel, pod, exceptions)
                _write(pod, exceptions)
            yield f"{pod.host}: not masqueraded towards {', '.join(map(str, exceptions.networks))}"


def _write(pod: PodFilter, exceptions: Exceptions) -> None:
    """Write the exceptions on the pod's host veth in place of those that are written there."""
    before, after = altnames(pod), altnames(replace(pod, exceptions=exceptions))
    with IPRoute() as ip:
        (index,) = ip.link_lookup(ifname=pod.host)
        for name in before:
            if name not in after:
                ip.link("property_del", index=index, altname=name)
        for name in after:
            if name not in before:
                ip.link("property_add", index=index, altname=name)
