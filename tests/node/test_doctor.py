"""Each question of the doctor: a node is broken, it is told, and the commands that the doctor gives mend it.

What breaks a node is the real tool where that runs in a namespace, and else what it leaves behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.harness import Json
from tests.node.conftest import Patient

VETH = "$(ip -br link show type veth | sed -n 's/^\\(veth[0-9a-f]*\\)@.*/\\1/p' | head -n 1)"
"""The first pod's host veth."""

DOCKER = """
iptables-nft -N DOCKER-USER
iptables-nft -A DOCKER-USER -j RETURN
iptables-nft -P FORWARD DROP
iptables-nft -A FORWARD -j DOCKER-USER
iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables-nft -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
"""
"""What dockerd has iptables do when it starts, as far as it is about forwarding."""

IPV4: Json = {"type": "host-local", "subnet": "10.22.0.0/16"}


@dataclass(frozen=True)
class Case:
    """A way to break a node, the question that tells, a word of what is told, and what pods lose (of `reach`)."""

    key: str
    breaks: str
    says: str
    loses: tuple[str, ...] = ()
    conf: Json = field(default_factory=dict)


CASES = {
    "the bridge is down": Case("bridge", "ip link set cni0 down", "cni0 is down", ("pods4", "pods6", "world4")),
    "the bridge is gone": Case("bridge", "ip link del cni0", "no bridge cni0", ("pods4", "pods6", "world4")),
    "a pod is unplugged": Case("plugged", f"ip link set {VETH} nomaster", "unplugged", ("pods4", "world4")),
    "a pod's cable is down": Case("plugged", f"ip link set {VETH} down", "is down", ("pods4", "world4")),
    "a pod is in another bridge": Case(
        "plugged", f"ip link add other type bridge; ip link set {VETH} master other", "unplugged", ("pods4", "world4")
    ),
    "hairpin mode is off": Case("plugged", f"bridge link set dev {VETH} hairpin off", "hairpin"),
    "isolation is off": Case(
        "plugged", f"bridge link set dev {VETH} isolated off", "isolated", (), {"portIsolation": True}
    ),
    "the gateway's IPv4 address is gone": Case(
        "gateway", "ip address del 10.22.0.1/16 dev cni0", "10.22.0.1/16", ("world4",)
    ),
    "the gateway's IPv6 address is gone": Case(
        "gateway", "ip address del fd00:22::1/64 dev cni0", "fd00:22::1/64", ("world6",)
    ),
    "another address took its place": Case(
        "gateway",
        "ip address flush dev cni0 scope global; ip address add 10.99.0.1/24 dev cni0",
        "10.99.0.1/24",
        ("world4",),
    ),
    "IPv6 is off on the bridge": Case(
        "gateway", "sysctl -w net.ipv6.conf.cni0.disable_ipv6=1", "fd00:22::1/64", ("world6",)
    ),
    "IPv4 forwarding is off": Case("forwarding", "sysctl -w net.ipv4.ip_forward=0", "net/ipv4/ip_forward", ("world4",)),
    "IPv4 forwarding is off for the bridge": Case(
        "forwarding", "sysctl -w net.ipv4.conf.cni0.forwarding=0", "conf/cni0/forwarding", ("world4",)
    ),
    "IPv6 forwarding is off": Case("forwarding", "sysctl -w net.ipv6.conf.all.forwarding=0", "ipv6", ("world6",)),
    "docker drops what is forwarded": Case("filter", DOCKER, "policy drop", ("world4",)),
    "iptables-legacy drops what is forwarded": Case(
        "filter", "iptables-legacy -P FORWARD DROP", "iptables-legacy", ("world4",)
    ),
    "iptables-legacy rejects what is forwarded": Case(
        "filter", "iptables-legacy -A FORWARD -m conntrack --ctstate NEW -j REJECT", "rule 1", ("world4",)
    ),
    "ip6tables drops what is forwarded": Case("filter", "ip6tables-nft -P FORWARD DROP", "ip6 filter", ("world6",)),
    "a rule set of nft's own drops": Case(
        "filter",
        "nft add table inet firewall;"
        "nft add chain inet firewall forward '{ type filter hook forward priority 0; policy drop; }';"
        "nft add rule inet firewall forward ct state established,related accept;"
        "nft add rule inet firewall forward iifname lan0 accept",
        "inet firewall, chain forward",
        ("world4", "world6"),
    ),
    "a chain that is jumped to rejects": Case(
        "filter",
        "nft add table inet firewall; nft add chain inet firewall others;"
        "nft add chain inet firewall forward '{ type filter hook forward priority 10; }';"
        "nft add rule inet firewall forward iifname vmap '{ lan0 : accept, \"cni*\" : jump others }';"
        "nft add rule inet firewall others reject with icmpx admin-prohibited",
        "chain others: rule 1",
        ("world4", "world6"),
    ),
    "a bridge rule set drops frames": Case(
        "filter",
        "nft add table bridge fence;"
        "nft add chain bridge fence forward '{ type filter hook forward priority 0; policy drop; }'",
        "bridge fence",
        ("pods4", "pods6"),
    ),
    "packets pass the packet filter no more": Case(
        "services",
        "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0;"
        "ip link set cni0 type bridge nf_call_iptables 0 nf_call_ip6tables 0",
        "bypasses",
        (),
        {"bridgeNetfilter": True},
    ),
    "the rule set was flushed: masquerade": Case("masquerade", "nft flush ruleset", "masquerade", ("world4", "world6")),
    "the rule set was flushed: guards": Case("guards", "nft flush ruleset", "macspoofchk"),
    "an element of the map is gone": Case(
        "masquerade", "nft flush map inet cni-bridge-py masqueraded4", "masqueraded4", ("world4",)
    ),
    "strict reverse path filtering": Case(
        "rp_filter",
        "sysctl -w net.ipv4.conf.cni0.rp_filter=1; ip route add 10.22.0.2/32 dev uplink0",
        "rp_filter",
        ("world4",),
    ),
    "a route takes pods' addresses": Case(
        "subnets", "ip route add 10.22.0.0/24 via 192.0.2.1", "10.22.0.0/24", ("world4",)
    ),
    "the uplink has a smaller MTU": Case("mtu", "ip link set uplink0 mtu 1400", "1400"),
    "a lease is of a dead pod": Case("leases", f"ip link del {VETH}", "gone"),
    "leases were deleted": Case("leases", "rm -r /var/lib/cni/networks/podnet", "no lease"),
    "host-local left a lease": Case(
        "leases", "printf 'gone\\r\\neth0' > /var/lib/cni/networks/podnet/10.22.7.7", "host-local"
    ),
    "the disk with the leases is read-only": Case(
        "room", "mount -t tmpfs -o ro tmpfs /var/lib/cni/networks", "read-only", (), {"ipMasq": True}
    ),
    "the disk with the leases is full": Case(
        "room",
        "mount -t tmpfs -o size=6m tmpfs /var/lib/cni/networks; head -c 5M /dev/zero > /var/lib/cni/networks/full",
        "KiB",
    ),
    "its inodes are used up": Case("room", "mount -t tmpfs -o nr_inodes=20 tmpfs /var/lib/cni/networks", "inodes"),
    "flannel has left its link": Case("leftovers", "ip link add flannel.1 type bridge", "flannel.1"),
    "another configuration sorts before ours": Case(
        "first",
        'echo \'{"name": "other", "type": "ptp", "cniVersion": "1.0.0"}\' > /etc/cni/net.d/05-other.conf',
        "05-other.conf",
    ),
    "the runtime looks elsewhere for plugins": Case(
        "runtime",
        'printf \'version = 2\\n[plugins."io.containerd.grpc.v1.cri".cni]\\nbin_dir = "/opt/elsewhere"\\n\''
        " > /etc/containerd/config.toml",
        "/opt/elsewhere",
    ),
    "the executable may not be run": Case(
        "runtime", "chmod -x $(realpath /opt/cni/bin/cni-bridge-py)", "no cni-bridge-py"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_node_is_told_and_mended(name: str, make_patient: Callable[..., Patient]) -> None:
    case = CASES[name]
    patient = make_patient(**case.conf)
    patient.sh(case.breaks)
    if case.loses:
        reached = patient.reach()
        assert not any(reached[key] for key in case.loses)

    examined = patient.doctor()
    assert case.says in examined.told(case.key)
    patient.cure(examined.commands)
    assert patient.doctor().wrong == []
    if name != "a lease is of a dead pod":
        assert patient.is_well() or case.conf.get("portIsolation")
