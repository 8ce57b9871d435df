"""Plans an attachment: pure functions from configuration and addresses to a list of steps.

An option of the configuration is a line here, and a step in `node_steps.py`, `pod_steps.py` or `filter_steps.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from netaddr import IPAddress, IPNetwork

from cni_bridge_py.addresses import InterfaceAddress
from cni_bridge_py.cni.result import SCOPE_LINK, IPConfig, Result, Route
from cni_bridge_py.config import NetworkConfig, refuse_mtu
from cni_bridge_py.wiring import names
from cni_bridge_py.wiring.filter_steps import (
    ClearFilter,
    EnsureMacSpoofCheck,
    EnsureMasquerade,
    GuardMac,
    MasqueradePod,
    UnmasqueradePod,
    WriteAltnames,
)
from cni_bridge_py.wiring.names import Links
from cni_bridge_py.wiring.node_steps import (
    DEFAULT_VLAN,
    EnableBridgeNetfilter,
    EnableForwarding,
    EnsureBridge,
    EnsureGatewayAddresses,
    EnsureVlanGateway,
    SetPortVlans,
)
from cni_bridge_py.wiring.packet_filter import chain_of
from cni_bridge_py.wiring.pod_filter import Exceptions, PodFilter
from cni_bridge_py.wiring.pod_steps import (
    AddAddress,
    AddRoute,
    AnnounceMac,
    AttachToBridge,
    AwaitAddresses,
    CreateVethPair,
    DeleteForeignVeth,
    DeleteVethPair,
    DetectDuplicates,
    EnableIPv6,
    PlugBackIn,
    SetUp,
)
from cni_bridge_py.wiring.step import Step

DEFAULT_ROUTE = {4: IPNetwork("0.0.0.0/0"), 6: IPNetwork("::/0")}


@dataclass(frozen=True)
class Wiring:
    """An attachment as ADD makes it: its links; its addresses, routes and DNS as in the result; and the steps.

    The steps are in two lists: up to the step that makes the cable, and after it.
    """

    links: Links
    ips: list[IPConfig]
    routes: list[Route]
    dns: dict[str, Any]
    until_cable: list[Step]
    afterwards: list[Step]

    @property
    def steps(self) -> list[Step]:
        """All steps, in order."""
        return self.until_cable + self.afterwards


def wiring(config: NetworkConfig, host: str, ifname: str, addresses: Result, pod: str) -> Wiring:
    """Plan an attachment from the `addresses` that IPAM gave it. `pod` is `namespace/pod` if it is known.

    Raises CniError 7 if they do not fit the configuration.
    """
    refuse_mtu(config.mtu, [ip.version for ip in addresses.ips])
    ips = with_gateways(config, addresses.ips)
    routes = with_default_routes(config, ips, addresses.routes)
    ends = links(config, host, ifname, ips)
    until_cable = [*shared(config, ends, ips), cable(ends)]
    afterwards = plugged_in(config, ends, ips, routes, pod) + awaited(config, ifname, ips)
    return Wiring(ends, ips, routes, addresses.dns if config.dns is None else config.dns, until_cable, afterwards)


def addressing(config: NetworkConfig, links: Links, addresses: Result) -> Wiring:
    """Plan the rest of an attachment that was wired without addresses, after IPAM gave it some.

    Raises CniError 7 if they do not fit the configuration.
    """
    refuse_mtu(config.mtu, [ip.version for ip in addresses.ips])
    ips = with_gateways(config, addresses.ips)
    routes = with_default_routes(config, ips, addresses.routes)
    masqueraded = replace(pod_filter(config, links.host, links.pod_mac, ips), mac="")
    steps = [*way_out(config, ips), *filtered(masqueraded), *ipv6(links.pod, ips)]
    steps += [*addressed(config, links.pod, ips, routes), *awaited(config, links.pod, ips)]
    return Wiring(links, ips, routes, addresses.dns if config.dns is None else config.dns, [], steps)


def links(config: NetworkConfig, host: str, ifname: str, ips: list[IPConfig]) -> Links:
    """The links that an ADD makes. The bridge's MAC is derived from its gateway address, as a pod's is from its own."""
    gateways = gateway_addresses(config, ips)
    return names.Links(
        bridge=config.bridge,
        bridge_mac=names.address_mac(gateways[0].ip) if gateways and not config.vlan else "",
        host=host,
        host_mac=names.host_veth_mac(config.name, host),
        pod=ifname,
        pod_mac=config.mac or names.pod_mac(host, ips),
        mtu=config.mtu,
    )


def with_gateways(config: NetworkConfig, ips: list[IPConfig]) -> list[IPConfig]:
    """The addresses as the result lists them, on the pod's interface, which is the third that we list.

    With isGateway, an address without a gateway gets the first address of its network as its gateway.
    """
    return [IPConfig(ip.address, ip.gateway or (_first_of(ip) if config.is_gateway else None), 2) for ip in ips]


def _first_of(ip: IPConfig) -> IPAddress | None:
    # The highest of all addresses cannot be a pod's: there is none after it.
    return ip.address.network + 1 if ip.address.first < DEFAULT_ROUTE[ip.version].last else None


def with_default_routes(config: NetworkConfig, ips: list[IPConfig], routes: list[Route]) -> list[Route]:
    """The pod's routes: with isDefaultGateway, a default route for each IP version that has none with a gateway."""
    routes = list(routes)
    if config.is_default_gateway:
        have = {route.dst for route in routes if route.gw is not None}
        for ip in ips:
            default = DEFAULT_ROUTE[ip.version]
            if default not in have:
                routes.append(Route(default, ip.gateway))
                have.add(default)
    return routes


def gateway_addresses(config: NetworkConfig, ips: list[IPConfig]) -> list[InterfaceAddress]:
    """The bridge's addresses with isGateway: each gateway once, with the length of its network's prefix."""
    if not config.is_gateway:
        return []
    gateways = [InterfaceAddress((int(ip.gateway), ip.address.prefixlen), ip.version) for ip in ips if ip.gateway]
    return list(dict.fromkeys(gateways))


def attachment(config: NetworkConfig, links: Links, ips: list[IPConfig], routes: list[Route]) -> list[Step]:
    """The steps of an attachment: first what the node's pods share, then what is the pod's own."""
    return [*shared(config, links, ips), cable(links), *plugged_in(config, links, ips, routes, pod="")]


def shared(config: NetworkConfig, links: Links, ips: list[IPConfig]) -> list[Step]:
    """The steps on what the node's pods share."""
    vlans = bool(config.vlan or config.vlan_trunk)
    steps: list[Step] = [EnsureBridge(links.bridge, links.bridge_mac, config.mtu, config.promisc_mode, vlans)]
    if config.bridge_netfilter:
        steps.append(EnableBridgeNetfilter(links.bridge))
    steps += way_out(config, ips)
    if config.mac_spoof_check:
        steps.append(EnsureMacSpoofCheck())
    steps.append(PlugBackIn(config.name, links.bridge, _port(config, links, pod=""), _port_vlans(config, links)))
    return steps


def way_out(config: NetworkConfig, ips: list[IPConfig]) -> list[Step]:
    """The steps that make the node the gateway of these addresses."""
    steps = gateway(config, ips)
    if gateways := gateway_addresses(config, ips):
        if config.vlan:
            steps.insert(0, _vlan_gateway(config, gateways[0]))
        steps += [EnableForwarding(version) for version in sorted({each.version for each in gateways})]
    if config.ip_masq and ips:
        steps.append(EnsureMasquerade(chain_of(pod_filter(config, "", "", ips))))
    return steps


def gateway(config: NetworkConfig, ips: list[IPConfig]) -> list[Step]:
    """The step that has the node be the pods' gateway."""
    gateways = gateway_addresses(config, ips)
    return [EnsureGatewayAddresses(gateway_interface(config), gateways, config.force_address)] if gateways else []


def gateway_interface(config: NetworkConfig) -> str:
    """The interface with the gateway's addresses: the bridge, or its interface in the VLAN."""
    return f"{config.bridge}.{config.vlan}" if config.vlan else config.bridge


def _vlan_gateway(config: NetworkConfig, gateway: InterfaceAddress) -> EnsureVlanGateway:
    name = gateway_interface(config)
    port = names.host_veth("gateway", name)
    return EnsureVlanGateway(
        name,
        names.address_mac(gateway.ip),
        port,
        names.host_veth_mac("", port),
        config.bridge,
        config.vlan,
        config.mtu,
        config.preserve_default_vlan,
    )


def cable(links: Links) -> Step:
    """The step that makes what is the pod's alone."""
    return CreateVethPair(links.host, links.host_mac, links.pod, links.pod_mac, links.mtu)


def plugged_in(config: NetworkConfig, links: Links, ips: list[IPConfig], routes: list[Route], pod: str) -> list[Step]:
    """The steps that plug the cable in. `pod` is `namespace/pod` if it is known."""
    steps: list[Step] = filtered(pod_filter(config, links.host, links.pod_mac, ips))
    steps.append(_port(config, links, pod))
    if vlans := _port_vlans(config, links):
        steps.append(vlans)
    steps += ipv6(links.pod, ips)
    if config.mac:
        steps.append(AnnounceMac(links.pod))
    if config.ipam:
        steps.append(DetectDuplicates(links.pod, config.enable_dad))
    if not config.disable_container_interface:
        steps.append(SetUp(links.pod))
    return steps + addressed(config, links.pod, ips, routes)


def _port(config: NetworkConfig, links: Links, pod: str) -> AttachToBridge:
    return AttachToBridge(links.host, links.bridge, pod, config.hairpin_mode, config.port_isolation)


def _port_vlans(config: NetworkConfig, links: Links) -> SetPortVlans | None:
    if not config.vlan and not config.vlan_trunk:
        return None
    native = config.vlan or DEFAULT_VLAN
    trunk = [vlan for vlan in config.vlan_trunk if vlan != native]
    return SetPortVlans(links.host, links.bridge, native, trunk, config.preserve_default_vlan)


def ipv6(pod: str, ips: list[IPConfig]) -> list[Step]:
    """The step that enables IPv6 in the pod, if these have an IPv6 address."""
    return [EnableIPv6(pod)] if any(ip.version == 6 for ip in ips) else []


def addressed(config: NetworkConfig, pod: str, ips: list[IPConfig], routes: list[Route]) -> list[Step]:
    """The steps that give the pod its addresses and its routes."""
    return [*(AddAddress(pod, ip.address, config.enable_dad) for ip in ips), *routing(pod, ips, routes)]


def awaited(config: NetworkConfig, pod: str, ips: list[IPConfig]) -> list[Step]:
    """The step that waits until the pod may use its IPv6 addresses, if the configuration asks for that."""
    return [AwaitAddresses(pod)] if config.enable_dad and any(ip.version == 6 for ip in ips) else []


def routing(pod: str, ips: list[IPConfig], routes: list[Route]) -> list[Step]:
    """The steps that give the pod its routes. A route without a gateway gets the first gateway of its IP version.

    Routes on the link come first, because they may lead to the gateways of others. An IPv4 route that does needs the
    right scope (fib_check_nh() of net/ipv4/fib_semantics.c).
    """
    gateways = {ip.version: ip.gateway for ip in reversed(ips) if ip.gateway}
    on_link = [route for route in routes if route.is_on_link]
    others = [(route, route.gw or gateways.get(route.version)) for route in routes if not route.is_on_link]
    hops = {gw for _, gw in others if gw}
    return [
        *(AddRoute(pod, _reaching(route, hops), None) for route in on_link),
        *(AddRoute(pod, route, gw) for route, gw in others),
    ]


def _reaching(route: Route, gateways: set[IPAddress]) -> Route:
    if route.scope is None and route.version == 4 and any(gateway in route.dst for gateway in gateways):
        return replace(route, scope=SCOPE_LINK)
    return route


def pod_filter(config: NetworkConfig, host: str, mac: str, ips: list[IPConfig]) -> PodFilter:
    """What the packet filter does for an attachment with this MAC and these addresses."""
    return PodFilter(
        host,
        names.host_veth_mac(config.name, host),
        mac if config.mac_spoof_check else "",
        tuple(ip.address for ip in ips) if config.ip_masq else (),
        Exceptions(tuple(config.non_masquerade_cidrs)) if config.ip_masq else Exceptions(),
    )


def filtered(pod: PodFilter) -> list[Step]:
    """The steps that put this into the packet filter."""
    steps: list[Step] = []
    if pod.masqueraded or pod.mac:
        steps.append(WriteAltnames(pod))
    if pod.masqueraded:
        steps.append(MasqueradePod(pod))
    if pod.mac:
        steps.append(GuardMac(pod))
    return steps


def detachment(pod: PodFilter, owner: str = "") -> list[Step]:
    """The steps that unwire a pod. They need no namespace, and do nothing the second time.

    With `owner`, a host veth with another MAC stays, and so do the rules of another network.
    """
    return [UnmasqueradePod(pod, owner), DeleteVethPair(pod.host, owner), ClearFilter(pod, owner)]


def foreign_detachment(ifname: str, result: Result | None) -> list[Step]:
    """The steps that unwire a pod that another plugin wired with this `result`. They need the pod's namespace."""
    hosts = [each.name for each in result.interfaces if not each.sandbox] if result else None
    return [DeleteForeignVeth(ifname, hosts)]
