"""What a node's pods share, made right for all of them at once: the one place where the agent asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netaddr import IPNetwork

from cni_bridge_py.agent.reconcile import gateway
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.cni.result import IPConfig
from cni_bridge_py.config import read_config
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import NetlinkError
from cni_bridge_py.wiring import plan
from cni_bridge_py.wiring.names import Links
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
    subnets = [IPNetwork(str(each.subnet)) for ranges in config.ipam.range_sets for each in ranges]
    ips = [IPConfig(str(each := gateway(subnet)), str(each.ip)) for subnet in subnets]
    links = Links(config.bridge, bridge_mac="", host="", host_mac="", pod="", pod_mac="", mtu=0)
    for step in plan.shared(config, links, ips):
        try:
            step.check(kernel)
        except (CniError, NetlinkError, OSError) as wrong:
            with Explained(step):
                step.apply(kernel)
                step.check(kernel)
            yield f"{wrong.msg if isinstance(wrong, CniError) else wrong}: mended"
