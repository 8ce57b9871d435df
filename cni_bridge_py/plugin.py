"""The verbs. Each is the story of what it does, told in the words of the modules below."""

from __future__ import annotations

import os

from cni_bridge_py.cni import runner
from cni_bridge_py.cni.errors import (
    ALREADY_ATTACHED,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    NOT_AS_EXPECTED,
    NOT_PERMITTED,
    CniError,
)
from cni_bridge_py.cni.result import Interface, Result, encode
from cni_bridge_py.config import read_config
from cni_bridge_py.ipam.host_local import Attachment, HostLocal
from cni_bridge_py.ipam.none import NoIpam
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netns import NetNS, NotANetworkNamespace
from cni_bridge_py.wiring import names, plan
from cni_bridge_py.wiring.steps import apply_all, check_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_bridge_py.cni.request import Request
    from cni_bridge_py.config import NetworkConfig
    from cni_bridge_py.wiring.names import Links


def add(request: Request, raw: dict[str, Any]) -> dict[str, Any]:
    """ADD: wire the pod, or leave no trace of it."""
    config = read_config(raw)
    _need_root()
    host = names.host_veth(request.container_id, request.ifname)
    with _pod_netns(request) as netns, _ipam(config, request, host) as ipam:
        kernel = Kernel(netns)
        if kernel.host.link(host):
            msg = f"container {request.container_id} has interface {request.ifname} already: {host} is its host veth"
            raise CniError(ALREADY_ATTACHED, msg, "an ADD is followed by a DEL before the next ADD")
        addresses = ipam.add(is_living=lambda key: kernel.host.link(key) is not None)
        try:
            ips = plan.with_gateways(config, addresses.ips)
            routes = plan.with_default_routes(config, ips, addresses.routes)
            links = plan.links(config, host, request.ifname, ips)
            apply_all(plan.attachment(config, links, ips, routes, request.pod), kernel)
            made = Result(_interfaces(kernel, links), ips, routes, config.dns or addresses.dns)
            return encode(made, config.cni_version)
        except BaseException:
            ipam.delete(addresses.ips)
            raise


def delete(request: Request, raw: dict[str, Any]) -> None:
    """DEL: unwire the pod, then release its addresses; nothing there is nothing to do."""
    config = read_config(raw)
    _need_root()
    host = names.host_veth(request.container_id, request.ifname)
    apply_all(plan.detachment(host), Kernel())
    with _ipam(config, request, host) as ipam:
        ipam.delete(config.prev_result.ips if config.prev_result else [])


def check(request: Request, raw: dict[str, Any]) -> None:
    """CHECK: see that everything is as the ADD's result says; the same steps as ADD's, made from that result."""
    config = read_config(raw)
    _need_root()
    if not config.prev_result:
        raise CniError(INVALID_CONFIG, "prevResult: CHECK needs the result of the ADD")
    host = names.host_veth(request.container_id, request.ifname)
    with _pod_netns(request) as netns:
        links = _links_of(config.prev_result, config, host, request)
        ips = _ips_of(config.prev_result, request)
        steps = plan.attachment(config, links, ips, config.prev_result.routes)
        check_all(steps, Kernel(netns))
    with _ipam(config, request, host) as ipam:
        ipam.check(ips)


VERBS: dict[str, runner.Verb] = {"ADD": add, "DEL": delete, "CHECK": check}


def main() -> int:
    """Serve one invocation by a container runtime; return the exit status."""
    return runner.run(VERBS)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise CniError(NOT_PERMITTED, "wiring pods needs root", "run it as root, as container runtimes do")


def _pod_netns(request: Request) -> NetNS:
    """Open CNI_NETNS. Raises CniError 4 when it is none, or this process's own."""
    try:
        netns = NetNS(request.netns)
    except NotANetworkNamespace as error:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_NETNS: {request.netns}: {error}") from None
    if netns.is_own():
        msg = f"CNI_NETNS: {request.netns} is the host's own network namespace, a pod's is expected"
        raise CniError(INVALID_ENVIRONMENT, msg)
    return netns


def _ipam(config: NetworkConfig, request: Request, host: str) -> HostLocal | NoIpam:
    if not config.ipam:
        return NoIpam()
    attachment = Attachment(request.container_id, request.ifname, host)
    return HostLocal(config.ipam, config.name, attachment)


def _interfaces(kernel: Kernel, links: Links) -> list[Interface]:
    """The attachment's links as the kernel has them: bridge, host veth, pod interface."""
    found = [
        (kernel.host.link(links.bridge), ""),
        (kernel.host.link(links.host), ""),
        (kernel.pod.link(links.pod), kernel.pod_netns.path),
    ]
    return [Interface(link.name, link.mac, sandbox, link.mtu) for link, sandbox in found if link]


def _links_of(result: Result, config: NetworkConfig, host: str, request: Request) -> Links:
    """The links that a result lists; a plugin later in the chain may have changed a MAC."""
    listed = {(each.name, bool(each.sandbox)): each for each in result.interfaces}
    pod = listed.get((request.ifname, True))
    if pod and pod.sandbox != request.netns:
        msg = f"prevResult has {request.ifname} in {pod.sandbox}, CNI_NETNS is {request.netns}"
        raise CniError(NOT_AS_EXPECTED, msg)
    bridge = listed.get((config.bridge, False))
    return names.Links(
        bridge=config.bridge,
        bridge_mac=bridge.mac if bridge else "",
        host=host,
        host_mac="",
        pod=request.ifname,
        pod_mac=pod.mac if pod else "",
    )


def _ips_of(result: Result, request: Request) -> list[Any]:
    """The addresses that a result lists for the pod's interface."""
    indices = [i for i, each in enumerate(result.interfaces) if each.name == request.ifname and each.sandbox]
    return [ip for ip in result.ips if ip.interface is None or ip.interface in indices]
