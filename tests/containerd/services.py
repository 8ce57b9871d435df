"""A Service as kube-proxy makes it, in both of its modes: the rules of a node for one Service with one backend.

Names, priorities, marks and the order of rules are kube-proxy's; what one Service does not need is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from tests.harness import SERVER_PORT, Node

CLUSTER_IPS = {4: "10.96.0.10", 6: "fd00:10:96::a"}
PORT = 80
NODE_PORT = 30080
PROTOCOLS = ("tcp", "udp")

NFT_TABLE = """
add table {ip} kube-proxy
delete table {ip} kube-proxy
table {ip} kube-proxy {{
    set nodeport-ips {{ type {type}; elements = {{ {node_address} }}; }}
    chain mark-for-masquerade {{ meta mark set meta mark | 0x4000; }}
    chain masquerading {{
        meta mark & 0x4000 == 0 return
        meta mark set meta mark ^ 0x4000
        masquerade fully-random
    }}
{chains}
    map service-ips {{
        type {type} . inet_proto . inet_service : verdict
        elements = {{ {service_ips} }}
    }}
    map service-nodeports {{
        type inet_proto . inet_service : verdict
        elements = {{ {service_nodeports} }}
    }}
    chain services {{
        {ip} daddr . meta l4proto . th dport vmap @service-ips
        {ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
    }}
    chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
    chain nat-output {{ type nat hook output priority -100; jump services; }}
    chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}
}}
"""

NFT_CHAINS = """
    chain endpoint-{protocol} {{
        {ip} saddr {backend} jump mark-for-masquerade
        meta l4proto {protocol} dnat to {target}
    }}
    chain service-{protocol} {{
        {ip} daddr {cluster_ip} {ip} saddr != {cluster_cidr} jump mark-for-masquerade
        numgen random mod 1 vmap {{ 0 : goto endpoint-{protocol} }}
    }}
    chain external-{protocol} {{
        jump mark-for-masquerade
        goto service-{protocol}
    }}
"""

IPTABLES = """
*filter
:KUBE-FORWARD -
-A FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-MARK-MASQ -
:KUBE-NODEPORTS -
:KUBE-POSTROUTING -
:KUBE-SERVICES -
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
{chains}
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
"""

IPTABLES_CHAINS = """
:KUBE-EXT-{protocol} -
:KUBE-SEP-{protocol} -
:KUBE-SVC-{protocol} -
-A KUBE-SERVICES -d {cluster_ip} -p {protocol} -m {protocol} --dport {port} -j KUBE-SVC-{protocol}
-A KUBE-NODEPORTS -p {protocol} -m {protocol} --dport {node_port} -j KUBE-EXT-{protocol}
-A KUBE-EXT-{protocol} -j KUBE-MARK-MASQ
-A KUBE-EXT-{protocol} -j KUBE-SVC-{protocol}
-A KUBE-SVC-{protocol} ! -s {cluster_cidr} -d {cluster_ip} -p {protocol} -m {protocol} --dport {port} -j KUBE-MARK-MASQ
-A KUBE-SVC-{protocol} -j KUBE-SEP-{protocol}
-A KUBE-SEP-{protocol} -s {backend} -j KUBE-MARK-MASQ
-A KUBE-SEP-{protocol} -p {protocol} -m {protocol} -j DNAT --to-destination {target}
"""


@dataclass(frozen=True)
class Service:
    """A Service of type NodePort for TCP and UDP, of the IP versions that its backend has addresses of."""

    backend: Sequence[str]
    """The backend's addresses."""
    cluster_cidrs: Sequence[str]

    @property
    def cluster_ips(self) -> list[str]:
        """Its addresses in the cluster, in the order of the backend's."""
        return [CLUSTER_IPS[ip_address(address).version] for address in self.backend]

    def write(self, mode: str, node: Node, addresses: Sequence[str]) -> None:
        """Write its rules on a node of those addresses, as kube-proxy in `mode`: nftables or iptables."""
        for backend, cidr, address in zip(self.backend, self.cluster_cidrs, addresses, strict=True):
            version = ip_address(backend).version
            values = {
                "ip": {4: "ip", 6: "ip6"}[version],
                "type": {4: "ipv4_addr", 6: "ipv6_addr"}[version],
                "backend": backend,
                "target": f"[{backend}]:{SERVER_PORT}" if version == 6 else f"{backend}:{SERVER_PORT}",
                "cluster_ip": CLUSTER_IPS[version],
                "cluster_cidr": cidr,
                "node_address": address,
                "port": str(PORT),
                "node_port": str(NODE_PORT),
            }
            if mode == "nftables":
                node.run("nft", "-f", "-", input=_nftables(values))
            else:
                command = {4: "iptables-restore", 6: "ip6tables-restore"}[version]
                node.run(command, "--noflush", input=_iptables(values))


def _nftables(values: dict[str, str]) -> str:
    services = (f"{values['cluster_ip']} . {each} . {PORT} : goto service-{each}" for each in PROTOCOLS)
    node_ports = (f"{each} . {NODE_PORT} : goto external-{each}" for each in PROTOCOLS)
    return NFT_TABLE.format(
        **values,
        chains="".join(NFT_CHAINS.format(**values, protocol=each) for each in PROTOCOLS),
        service_ips=", ".join(services),
        service_nodeports=", ".join(node_ports),
    )


def _iptables(values: dict[str, str]) -> str:
    return IPTABLES.format(chains="".join(IPTABLES_CHAINS.format(**values, protocol=each) for each in PROTOCOLS))
