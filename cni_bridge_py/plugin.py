"""The verbs. Each function reads like the list of what it does; the modules below do the work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from netaddr import IPAddress, IPSet

from cni_bridge_py.cni import runner
from cni_bridge_py.cni.errors import (
    ALREADY_ATTACHED,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    NOT_AS_EXPECTED,
    NOT_PERMITTED,
    PLUGIN_NOT_AVAILABLE,
    CniError,
    Errors,
)
from cni_bridge_py.cni.request import Request
from cni_bridge_py.cni.result import Interface, IPConfig, Result, Route, encode, passed_on
from cni_bridge_py.config import HOST_LOCAL, NetworkConfig, read_config, read_config_for_delete, valid_attachments
from cni_bridge_py.ipam import host_local
from cni_bridge_py.ipam.delegated import Delegated
from cni_bridge_py.ipam.host_local import Attachment, HostLocal
from cni_bridge_py.ipam.none import NoIpam
from cni_bridge_py.kernel import capabilities
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import NetlinkError, NoAnswer
from cni_bridge_py.kernel.netns import NetNS, NotANetworkNamespace
from cni_bridge_py.wiring import names, packet_filter, plan
from cni_bridge_py.wiring.filter_steps import has_nftables
from cni_bridge_py.wiring.names import Links
from cni_bridge_py.wiring.plan import Wiring
from cni_bridge_py.wiring.pod_filter import PodFilter
from cni_bridge_py.wiring.step import (
    Explained,
    Step,
    apply_all,
    check_all,
    expect,
    in_pod,
    on_host,
    see_ready,
)

Ipam = HostLocal | Delegated | NoIpam


def add(request: Request, raw: dict[str, Any]) -> dict[str, Any]:
    """ADD: wire the pod, or leave nothing behind."""
    config = read_config(raw, request.args)
    if request.ifname == "lo":
        raise CniError(INVALID_ENVIRONMENT, "CNI_IFNAME: every namespace already has lo; name another interface")
    _need_root()
    with _pod_netns(request) as netns, Kernel(netns) as kernel, ExitStack() as undo:
        ipam = _ipam(config, request, kernel)
        if isinstance(ipam, Delegated):
            wiring = _cable_first(config, request, kernel, ipam, undo)
        else:
            wiring = _lease_first(config, request, kernel, ipam, undo)
        interfaces = _interfaces(kernel, config, wiring)
        ipam.confirm(wiring.ips)
        made = Result(interfaces, wiring.ips, wiring.routes, wiring.dns)
        answer = encode(passed_on(config.prev_result, made), config.cni_version)
        undo.pop_all()
        return answer


def _lease_first(
    config: NetworkConfig, request: Request, kernel: Kernel, ipam: HostLocal | NoIpam, undo: ExitStack
) -> Wiring:
    """First the lease, then the cable: so whatever kills us, a lease of ours without a cable is dead."""
    host = names.host_veth(request.container_id, request.ifname)
    with ipam:
        _refuse_second(kernel, request, host)
        addresses = ipam.add()
        undo.callback(_take_back, config, request, kernel, ipam, addresses.ips)
        wiring = plan.wiring(config, host, request.ifname, addresses, request.pod)
        apply_all(wiring.until_cable, kernel)
    # The cable is there now, so everybody can see that the lease is not dead. The rest needs no lock.
    apply_all(wiring.afterwards, kernel)
    return wiring


def _cable_first(config: NetworkConfig, request: Request, kernel: Kernel, ipam: Delegated, undo: ExitStack) -> Wiring:
    """First the cable, then the addresses: another IPAM plugin, such as dhcp, may need the pod's interface."""
    ipam.need_plugin()
    host = names.host_veth(request.container_id, request.ifname)
    _refuse_second(kernel, request, host)
    undo.callback(_take_back, config, request, kernel, NoIpam(), [])
    wiring = plan.wiring(config, host, request.ifname, NoIpam().add(), request.pod)
    apply_all(wiring.steps, kernel)
    undo.callback(_take_back, config, request, kernel, ipam, [])
    wiring = plan.addressing(config, wiring.links, ipam.add())
    apply_all(wiring.steps, kernel)
    return wiring


def _take_back(config: NetworkConfig, request: Request, kernel: Kernel, ipam: Ipam, ips: list[IPConfig]) -> None:
    with Errors():  # report the first error, not this one
        _unwire(config, request, kernel, ipam, ips)


def delete(request: Request, raw: dict[str, Any]) -> None:
    """DEL: unwire the pod and release its addresses. If nothing is there, there is nothing to do."""
    config = read_config_for_delete(raw, request.args)
    _need_root()
    ips = config.prev_result.ips if config.prev_result else []
    try:
        with _pod_netns(request) as netns, Kernel(netns) as kernel:
            foreign = plan.foreign_detachment(request.ifname, config.prev_result)
            _unwire(config, request, kernel, _ipam(config, request, kernel), ips, foreign)
    except NoPodNamespace:
        with Kernel() as kernel:
            _unwire(config, request, kernel, _ipam(config, request, kernel), ips)


def check(request: Request, raw: dict[str, Any]) -> None:
    """CHECK: check that everything is as the ADD's result says, with ADD's steps, planned from that result."""
    config = read_config(raw, request.args)
    _need_root()
    if not config.prev_result:
        raise CniError(INVALID_CONFIG, "Required prevResult missing: CHECK needs the result of the ADD")
    with _pod_netns(request) as netns, Kernel(netns) as kernel:
        links = _links_of(config.prev_result, config, request)
        ips = _ips_of(config.prev_result, request)
        routes = _routes_of(config.prev_result, config, ips)
        if links.host != names.host_veth(request.container_id, request.ifname):
            config, routes = _as_the_reference_makes(config, routes)
        steps = plan.attachment(config, links, ips, routes)
        check_all(steps, kernel)
        with _ipam(config, request, kernel) as ipam:
            ipam.check(ips)


def status(request: Request, raw: dict[str, Any]) -> None:
    """STATUS: check whether an ADD would succeed. Changes nothing."""
    config = read_config(raw)
    _need_root()
    if missing := capabilities.missing():
        raise CniError(NOT_PERMITTED, f"wiring pods needs {' and '.join(missing)}")
    kernel = Kernel()
    ips = plan.with_gateways(config, host_local.preview(config.ipam.range_sets) if config.ipam else [])
    see_ready(plan.shared(config, plan.links(config, "", "", ips), ips), kernel)
    if config.ip_masq or config.mac_spoof_check:
        try:
            kernel.nftables.generation()
        except (NetlinkError, NoAnswer, OSError) as error:
            key = "ipMasq" if config.ip_masq else "macspoofchk"
            msg = f"{key}: this kernel has no nftables: {error}"
            raise CniError(PLUGIN_NOT_AVAILABLE, msg) from None
    _ipam(config, request, kernel).status()


def gc(request: Request, raw: dict[str, Any]) -> None:
    """GC: remove this network's host veths and leases whose attachments are not listed. Errors do not stop it."""
    config = read_config(raw)
    _need_root()
    kept = names.Attachments(valid_attachments(raw))
    valid = frozenset(kept.veths)
    errors = Errors()
    with Kernel() as kernel:
        owners = {}
        with errors, Explained("the packet filter's attachments"):
            if has_nftables(kernel):
                filtered = packet_filter.attachments(kernel, config.name)  # their links may be gone
                owners = {host: names.host_veth_mac(config.name, host) for host in filtered}
        owners |= {
            link.name: link.mac for link in kernel.host.links() if names.is_host_veth(config.name, link.name, link.mac)
        }
        for host in owners.keys() - valid:
            kept.veths.add(host)  # keep its address until its veth is gone
            with errors:
                apply_all(plan.detachment(PodFilter(host, owners[host]), owners[host]), kernel)
                kept.veths.remove(host)
        with errors, _ipam(config, request, kernel) as ipam:
            ipam.gc(kept.hold)
    errors.report()


VERBS: dict[str, runner.Verb] = {"ADD": add, "DEL": delete, "CHECK": check, "STATUS": status, "GC": gc}


def main() -> int:
    """Serve one invocation by a container runtime; return the exit status."""
    return runner.run({name: _explained(verb) for name, verb in VERBS.items()})


def _explained(verb: runner.Verb) -> runner.Verb:
    """The verb, with errors of the kernel between its steps reported like those within steps."""

    def explained(request: Request, raw: dict[str, Any]) -> dict[str, Any] | None:
        with Explained(request.command):
            return verb(request, raw)

    return explained


class NoPodNamespace(CniError):
    """CNI_NETNS is not a pod's network namespace."""

    def __init__(self, request: Request, reason: str) -> None:
        super().__init__(INVALID_ENVIRONMENT, f'CNI_NETNS: failed to open netns "{request.netns}": {reason}')


def _need_root() -> None:
    if os.geteuid() != 0:
        raise CniError(NOT_PERMITTED, "wiring pods needs root", "run it as root, as container runtimes do")


def _pod_netns(request: Request) -> NetNS:
    """Open CNI_NETNS. Raises NoPodNamespace if it is not a namespace, or is our own without CNI_NETNS_OVERRIDE."""
    try:
        netns = NetNS(request.netns)
    except NotANetworkNamespace as error:
        raise NoPodNamespace(request, str(error)) from None
    if netns.is_own() and not request.netns_override:
        reason = "plugin's netns and netns from CNI_NETNS should not be the same: it is the host's, but must be a pod's"
        raise NoPodNamespace(request, reason)
    return netns


def _ipam(config: NetworkConfig, request: Request, kernel: Kernel) -> Ipam:
    """The source of this network's addresses."""
    if not config.ipam:
        return NoIpam()
    if config.ipam.type not in HOST_LOCAL:
        return Delegated(config.ipam.type, request.path, request.config)
    key = names.host_veth(request.container_id, request.ifname)
    attachment = Attachment(request.container_id, request.ifname, key)

    def is_living(key: str) -> bool:
        # If the key is not the name of a veth, another plugin wires the pod.
        return not key.startswith(names.VETH_PREFIX) or kernel.host.link(key) is not None

    def attached() -> Iterator[tuple[str, IPAddress]]:
        for link in kernel.host.links():
            if names.is_host_veth(config.name, link.name, link.mac):
                try:
                    found = [kernel.host.addresses(link.peer, version, link.peer_netns) for version in (4, 6)]
                except NetlinkError:
                    continue  # the pod is gone
                yield from ((link.name, address.ip) for addresses in found for address in addresses)

    return HostLocal(config.ipam, config.name, attachment, is_living, attached)


def _refuse_second(kernel: Kernel, request: Request, host: str) -> None:
    link = kernel.host.link(host)
    if link and link.kind == "veth":
        msg = f"container {request.container_id} already has {request.ifname}: {host} is its host veth"
        raise CniError(ALREADY_ATTACHED, msg, "call DEL before the next ADD of the same attachment")


def _unwire(
    config: NetworkConfig,
    request: Request,
    kernel: Kernel,
    ipam: Ipam,
    ips: list[IPConfig],
    foreign: Sequence[Step] = (),
) -> None:
    """Remove the pod's cable, then its addresses. The first needs no lock, and takes the kernel some time.

    `foreign` are the steps that remove the cable of another plugin.
    """
    host = names.host_veth(request.container_id, request.ifname)
    *cable, rest = plan.detachment(plan.pod_filter(config, host, config.mac, ips))
    if ipam.needs_interface:
        try:
            ipam.delete(ips)
        finally:
            apply_all([*cable, *foreign, rest], kernel)
        return
    apply_all([*cable, *foreign], kernel)
    try:
        if not ipam.is_unused():
            with ipam:
                # Once more: an ADD of the same attachment that a runtime gave up on may have made it meanwhile.
                apply_all(cable[-1:], kernel)
                ipam.delete(ips)
    finally:
        apply_all([rest], kernel)


def _interfaces(kernel: Kernel, config: NetworkConfig, wiring: Wiring) -> list[Interface]:
    """The attachment's links as the kernel has them: bridge, host veth, pod interface, and a VLAN's gateway.

    Raises CniError 105 if they, the pod's addresses or its gateway are not as the steps left them: something else may
    have removed them meanwhile, or put another bridge in place of theirs.
    """
    if not config.force_address:  # with it, networks take the bridge from each other
        check_all(plan.gateway(config, wiring.ips), kernel)
    bridge, host = on_host(kernel, wiring.links.bridge), on_host(kernel, wiring.links.host)
    pod = in_pod(kernel, wiring.links.pod)
    for link in (bridge, host, pod):
        expect(link.is_up or (link is pod and config.disable_container_interface), f"{link.name} is not up any more")
    expect(host.master == bridge.index, f"{host.name} is no longer a port of bridge {bridge.name}")
    for version in sorted({ip.version for ip in wiring.ips}):
        present = kernel.pod.addresses(pod.index, version)
        for ip in wiring.ips:
            expect(ip.version != version or ip.address in present, f"{pod.name} no longer has the address {ip.address}")
    found = [(bridge, ""), (host, ""), (pod, kernel.pod_netns.path)]
    if config.vlan and config.is_gateway:
        found.append((on_host(kernel, plan.gateway_interface(config)), ""))
    return [Interface(link.name, link.mac, sandbox, link.mtu) for link, sandbox in found]


def _links_of(result: Result, config: NetworkConfig, request: Request) -> Links:
    """The links that a result lists. MTUs are left open, because a later plugin may have changed them."""
    # A result of before 0.3.0 lists no interface, in whatever version libcni has written it anew.
    listed = result.interfaces or [Interface(request.ifname, "", request.netns)]
    named = [each for each in listed if each.sandbox and each.name == request.ifname]
    if not named:
        raise CniError(NOT_AS_EXPECTED, f"prevResult lists no interface {request.ifname} in a sandbox")
    # Another plugin's may have the same name in another place: in a virtual machine, say.
    pod = next((each for each in named if each.sandbox == request.netns), None)
    if not pod:
        place = f"Sandbox in prevResult {named[0].sandbox} doesn't match configured netns: {request.netns}"
        raise CniError(NOT_AS_EXPECTED, f"{place}: {request.ifname} is said to be elsewhere")
    on_host = {each.name: each.mac.lower() for each in result.interfaces if not each.sandbox}
    host = names.host_veth(request.container_id, request.ifname)
    if host not in on_host:
        # Another plugin made this pod. Like us, it lists the host's end right before the pod's.
        before = [each.name for each in listed[: listed.index(pod)] if not each.sandbox]
        host = next((name for name in reversed(before) if name != config.bridge), host)
    return names.Links(
        bridge=config.bridge,
        bridge_mac=on_host.get(config.bridge, ""),
        host=host,
        host_mac="",
        pod=request.ifname,
        pod_mac=pod.mac.lower(),
        mtu=0,
    )


def _ips_of(result: Result, request: Request) -> list[IPConfig]:
    """The addresses that a result lists for the pod's interface, or for none in particular if there are no others."""
    pods = {
        i for i, each in enumerate(result.interfaces) if each.name == request.ifname and each.sandbox == request.netns
    }
    found = [ip for ip in result.ips if ip.interface in pods]
    return found or [ip for ip in result.ips if ip.interface is None]


def _routes_of(result: Result, config: NetworkConfig, ips: list[IPConfig]) -> list[Route]:
    """The routes that a result lists and this plugin made. Other plugins of the chain check their own."""
    if config.ipam and config.ipam.type in HOST_LOCAL:
        ours = {route.dst for route in plan.with_default_routes(config, ips, config.ipam.routes)}
        return [route for route in result.routes if route.dst in ours]
    if sum(1 for each in result.interfaces if each.sandbox) == 1:
        return result.routes
    networks = IPSet(ip.address.cidr for ip in ips)
    return [route for route in result.routes if route.gw and route.gw in networks]


def _as_the_reference_makes(config: NetworkConfig, routes: list[Route]) -> tuple[NetworkConfig, list[Route]]:
    """What to check of a pod that the reference made: no rules of ours, and only what the reference sets of a route."""
    plain = [replace(route, mtu=0, advmss=0) for route in routes]
    return replace(config, ip_masq=False, mac_spoof_check=False), plain
