"""The commands that bring back what a pod has lost in its own namespace. They do what its ADD did."""

from __future__ import annotations

from shlex import quote

from cni_bridge_py.addresses import InterfaceAddress
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.cni.result import IPConfig
from cni_bridge_py.config import NetworkConfig
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netns import NetNS
from cni_bridge_py.node import networks
from cni_bridge_py.node.attachments import Attachment
from cni_bridge_py.node.netns import path_of
from cni_bridge_py.node.state import State
from cni_bridge_py.wiring import plan
from cni_bridge_py.wiring.pod_steps import IN_POD, SetUp
from cni_bridge_py.wiring.step import Explained, Step


def commands(state: State, config: NetworkConfig, pod: Attachment) -> list[str]:
    """The commands that bring back what the pod has lost. Raises CniError or OSError.

    If the pod's namespace has no name, no command can enter it. Then the only command deletes the pod.
    """
    path = path_of(state.links[pod.host])
    if not path:
        namespace, _, name = pod.pod.rpartition("/")
        return [f"kubectl delete pod --namespace {quote(namespace)} {quote(name)}"]
    ips = plan.with_gateways(config, _leased(config, pod))
    routes = plan.with_default_routes(config, ips, config.ipam.routes if config.ipam else [])
    steps = [SetUp(pod.ifname), *plan.addressed(config, pod.ifname, ips, routes)]
    enter = f"nsenter --net={quote(path)}"
    with NetNS(path) as netns, Kernel(netns) as kernel:
        lacking = [step for step in steps if _is_lacking(step, kernel)]
    return [line.replace(IN_POD, enter) for step in lacking for line in step.commands()]


def _leased(config: NetworkConfig, pod: Attachment) -> list[IPConfig]:
    """The pod's addresses and gateways by its leases. If another plugin gave the addresses, those that the pod has."""
    ranges = [one for one_set in networks.range_sets(config) for one in one_set]
    if not ranges:
        return [IPConfig(each) for each in pod.networks]
    found = [(lease.ip, one) for lease in pod.leases for one in ranges if one.spans(lease.ip)]
    return [
        IPConfig(InterfaceAddress((int(ip), one.subnet.prefixlen), ip.version), one.address(one.gateway))
        for ip, one in found
    ]


def _is_lacking(step: Step, kernel: Kernel) -> bool:
    try:
        with Explained(step):
            step.check(kernel)
    except CniError:
        return True
    return False
