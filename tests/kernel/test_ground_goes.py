"""What an ADD says is so when it says it, whatever somebody took away while it ran."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.harness import Node, Plugin
from tests.kernel.networks import BRIDGE, NAME, addresses_of, dual_stack, small, veths
from tests.kernel.pausing import paused

LEASES = f"/var/lib/cni/networks/{NAME}"

EACH_VETH = "ip -o link show type veth | sed -n 's/^[0-9]*: \\(veth[^@]*\\)@.*/\\1/p' | xargs -I %"

LOSSES = {
    "the bridge": f"ip link delete {BRIDGE}",
    "the bridge, and another comes": f"ip link delete {BRIDGE}; ip link add {BRIDGE} up type bridge",
    "the bridge goes down": f"ip link set {BRIDGE} down",
    "the gateway": f"ip address flush dev {BRIDGE} scope global",
    "the leases": f"rm -r {LEASES}",
    "the host veth": f"{EACH_VETH} ip link delete %",
    "the host veth goes down": f"{EACH_VETH} ip link set % down",
    "the bridge port": f"{EACH_VETH} ip link set % nomaster",
    "the pod's addresses": "ip -n POD address flush dev eth0 scope global",
}

LAST_LOOK = 8
"""The messages of an ADD's last look: at the gateway's link and its addresses, at three links, and at the pod's
addresses of each IP version."""


@pytest.mark.parametrize("loss", LOSSES)
def test_an_add_is_whole_or_fails(make_node: Callable[[], Node], plugin: Plugin, loss: str) -> None:
    """It stops at each of its messages to the kernel, and something goes."""
    for occurrence in range(1, messages_of_an_add(make_node(), plugin) - LAST_LOOK + 1):
        node = make_node()
        conf, pod = dual_stack(), node.pod()
        with paused(plugin, node, conf, pod, occurrence) as adding:
            assert not adding.done()
            node.run("sh", "-c", LOSSES[loss].replace("POD", pod.name), check=False)
        reply = adding.result()
        if reply.status == 0:
            assert plugin.check(node, conf, pod, reply.json).result == {}, f"message {occurrence}"
            assert sorted(node.leases(NAME)) == sorted(addresses_of(reply.json))
        else:
            assert (veths(node), node.leases(NAME), set(pod.links())) == ([], {}, {"lo"}), f"message {occurrence}"


def messages_of_an_add(node: Node, plugin: Plugin) -> int:
    trace = node.directory / "trace"
    plugin.under("strace", "--follow-forks", "-o", str(trace), "-e", "trace=sendto").add(node, dual_stack(), node.pod())
    return trace.read_text().count("sendto(")


def test_an_address_is_given_once_though_the_leases_went(make_node: Callable[[], Node], plugin: Plugin) -> None:
    for occurrence in itertools.count(1):
        node = make_node()
        conf, first, second = small(), node.pod(), node.pod()
        with paused(plugin, node, conf, first, occurrence) as adding:
            done = adding.done()
            node.run("rm", "-rf", LEASES)
            result = plugin.add(node, conf, second)
        reply = adding.result()
        assert reply.status or addresses_of(reply.json) != addresses_of(result), f"message {occurrence}"
        if done:
            return


def test_two_nodes_share_a_lease_directory(make_node: Callable[[], Node], plugin: Plugin, tmp_path: object) -> None:
    """One cannot see the other's pods: it takes no lease of theirs for dead, and no GC of its own releases one."""
    conf = small("10.22.0.0/29", ipam={"ranges": [[{"subnet": "10.22.0.0/29"}]], "dataDir": str(tmp_path)})
    one, other = make_node(), make_node()
    pods = [one.pod() for _ in range(3)]
    addresses = {addresses_of(plugin.add(one, conf, pod))[0] for pod in pods}
    addresses |= {addresses_of(plugin.add(other, conf, other.pod()))[0] for _ in range(2)}
    assert len(addresses) == 5
    full = plugin.call(other, "ADD", conf, other.pod())
    assert full.error["code"] == 102, full.json
    assert plugin.gc(other, conf, []).status == 0
    again = {addresses_of(plugin.add(other, conf, other.pod()))[0] for _ in range(2)}
    assert len(again) == 2
    assert plugin.call(other, "ADD", conf, other.pod()).error["code"] == 102
    for pod in pods:
        plugin.delete(one, conf, pod)
    assert plugin.call(other, "ADD", conf, other.pod()).status == 0
