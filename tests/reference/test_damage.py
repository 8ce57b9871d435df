"""CHECK side by side: what the reference notices, ours notices, and more."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.harness import Node, Plugin
from tests.kernel.networks import NAME, add_pod, dual_stack, host_veth

CONF = dual_stack(cniVersion="1.0.0", hairpinMode=True)


class Damage(NamedTuple):
    """Something that is broken after an ADD."""

    name: str
    where: str
    """In the pod or on the node."""
    command: str
    """Run by sh, with the host veth's name in $VETH."""
    reference_notices: bool = True


DAMAGES = [
    Damage("nothing", "node", "true", False),
    Damage("pod's interface gone", "pod", "ip link delete eth0"),
    Damage("pod's interface down", "pod", "ip link set eth0 down; ip address replace fd00:22::2/64 dev eth0"),
    Damage("pod's MAC changed", "pod", "ip link set eth0 address 02:00:00:00:00:01"),
    Damage("IPv4 address gone", "pod", "ip address delete 10.22.0.2/24 dev eth0"),
    Damage("IPv6 address gone", "pod", "ip address delete fd00:22::2/64 dev eth0"),
    Damage("IPv4 route gone", "pod", "ip route delete default"),
    Damage("IPv6 route gone", "pod", "ip -6 route delete default"),
    Damage("host veth off the bridge", "node", "ip link set $VETH nomaster"),
    Damage("bridge gone", "node", "ip link delete cni0"),
    Damage(
        "lease gone", "node", f"rm /var/lib/cni/networks/{NAME}/10.22.0.2; rm /var/lib/cni/networks/{NAME}/fd00:22::2"
    ),
    Damage("one of two leases gone", "node", f"rm /var/lib/cni/networks/{NAME}/10.22.0.2", False),
    Damage("host veth down", "node", "ip link set $VETH down", False),
    Damage("hairpin mode off", "node", "bridge link set dev $VETH hairpin off", False),
    Damage("gateway gone", "node", "ip address delete 10.22.0.1/24 dev cni0", False),
    Damage("bridge down", "node", "ip link set cni0 down", False),
    Damage("forwarding off", "node", "sysctl -qw net.ipv4.ip_forward=0", False),
    Damage("rules gone", "node", "nft flush ruleset", False),
    Damage("lease of another pod", "node", f"printf 'x\\r\\neth0' > /var/lib/cni/networks/{NAME}/10.22.0.2", False),
]

ONLY_OURS = [damage.name for damage in DAMAGES if not damage.reference_notices and damage.name != "nothing"]


def notices(plugin: Plugin, node: Node, damage: Damage) -> bool:
    """Whether the plugin's CHECK fails after it."""
    pod, result = add_pod(plugin, node, CONF)
    machine = pod if damage.where == "pod" else node
    machine.run("sh", "-c", f"VETH={host_veth(result)}; {damage.command}")
    return plugin.check(node, CONF, pod, result).status != 0


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_noticed(node: Node, plugin: Plugin, damage: Damage) -> None:
    assert notices(plugin, node, damage) is (damage.name != "nothing")


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_noticed_by_the_reference(node: Node, reference: Plugin, damage: Damage) -> None:
    """So that what docs/from-the-reference.md says of it stays true."""
    assert notices(reference, node, damage) is damage.reference_notices
