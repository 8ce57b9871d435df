"""What an attachment is made of: pure functions from configuration and addresses to a list of steps.

An option of the configuration is a line here and a step in `steps.py`.
"""

from __future__ import annotations

from cni_bridge_py.addresses import IPNetwork, format_ip, parse_ip, parse_network
from cni_bridge_py.cni.result import IPConfig, Route
from cni_bridge_py.wiring import names
from cni_bridge_py.wiring.steps import (
    AddAddress,
    AddRoute,
    AttachToBridge,
    CreateVethPair,
    DeleteVethPair,
    EnableForwarding,
    EnableIPv6,
    EnsureBridge,
    EnsureGatewayAddresses,
    EnsureMasquerade,
    SetUp,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_bridge_py.config import NetworkConfig
    from cni_bridge_py.wiring.names import Links
    from cni_bridge_py.wiring.steps import Step

DEFAULT_ROUTE = {"4": "0.0.0.0/0", "6": "::/0"}


def links(config: NetworkConfig, host: str, ifname: str, ips: list[IPConfig]) -> Links:
    """The links that an ADD makes. The bridge's MAC goes with its gateway address, as a pod's does with its own."""
    gateways = gateway_addresses(config, ips)
    return names.Links(
        bridge=config.bridge,
        bridge_mac=names.address_mac(str(gateways[0])) if gateways else "",
        host=host,
        host_mac=names.host_veth_mac(host),
        pod=ifname,
        pod_mac=names.pod_mac(host, ips),
    )


def with_gateways(config: NetworkConfig, ips: list[IPConfig]) -> list[IPConfig]:
    """The addresses as the result lists them: the pod's interface is the third, and with isGateway each has a gateway.

    An address that came without gateway gets its network's first one.
    """
    return [IPConfig(ip.address, ip.gateway or (_first_of(ip) if config.is_gateway else ""), 2) for ip in ips]


def _first_of(ip: IPConfig) -> str:
    network = parse_network(ip.address)
    return format_ip(network.version, network.first + 1)


def with_default_routes(config: NetworkConfig, ips: list[IPConfig], routes: list[Route]) -> list[Route]:
    """The pod's routes: with isDefaultGateway, a default route for each IP version that has none with a gateway."""
    routes = list(routes)
    if config.is_default_gateway:
        for ip in ips:
            default = DEFAULT_ROUTE[ip.version]
            if not any(route.dst == default and route.gw for route in routes):
                routes.append(Route(default, ip.gateway))
    return routes


def gateway_addresses(config: NetworkConfig, ips: list[IPConfig]) -> list[IPNetwork]:
    """The bridge's addresses with isGateway: each gateway once, with the length of its network's prefix."""
    if not config.is_gateway:
        return []
    gateways = [IPNetwork(*parse_ip(ip.gateway), parse_network(ip.address).prefixlen) for ip in ips if ip.gateway]
    return [gateway for i, gateway in enumerate(gateways) if gateway not in gateways[:i]]


def attachment(
    config: NetworkConfig, links: Links, ips: list[IPConfig], routes: list[Route], pod: str = ""
) -> list[Step]:
    """The steps that wire a pod. `pod` is `namespace/pod` where it is known."""
    steps: list[Step] = [EnsureBridge(links.bridge, links.bridge_mac, config.mtu, config.promisc_mode)]
    if gateways := gateway_addresses(config, ips):
        steps.append(EnsureGatewayAddresses(links.bridge, gateways, config.force_address))
        steps += [EnableForwarding(version) for version in sorted({each.version for each in gateways})]
    if config.ip_masq and ips:
        subnets = [parse_network(ip.address).cidr for ip in ips]
        steps.append(EnsureMasquerade(config.name, subnets, config.non_masquerade_cidrs))
    steps += [
        CreateVethPair(links.host, links.host_mac, links.pod, links.pod_mac, config.mtu),
        AttachToBridge(links.host, links.bridge, pod, config.hairpin_mode),
    ]
    if any(ip.version == "6" for ip in ips):
        steps.append(EnableIPv6(links.pod))
    steps.append(SetUp(links.pod))
    steps += [AddAddress(links.pod, parse_network(ip.address)) for ip in ips]
    steps += [AddRoute(links.pod, route, _gateway_of(route, ips)) for route in routes]
    return steps


def _gateway_of(route: Route, ips: list[IPConfig]) -> str:
    """The route's own gateway, else the first of its IP version."""
    same_version = [ip for ip in ips if ip.version == route.version and ip.gateway]
    return route.gw or (same_version[0].gateway if same_version else "")


def detachment(host: str) -> list[Step]:
    """The steps that unwire a pod; they need no namespace, and find nothing to do the second time."""
    return [DeleteVethPair(host)]
