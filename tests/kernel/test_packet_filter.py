"""The packet filter, which the pods of all networks share: what is one pod's in it, and how it comes back."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.harness import Json, Node, Outside, Plugin, Pod
from tests.kernel.networks import (
    add_pod,
    addresses_of,
    assert_nothing_left,
    dual_stack,
    exceptions,
    filter_left,
    filter_sets,
    guarded,
    host_veth,
    masqueraded,
    network,
    tables,
    veths,
)
from tests.kernel.pausing import paused

INET, BRIDGE_TABLE = "inet cni-bridge-py", "bridge cni-bridge-py"
SPOOFED = "02:de:ad:be:ef:01"

ONE = dual_stack(name="one", bridge="br1", macspoofchk=True, nonMasqueradeCIDRs=["192.0.2.128/25"])
"""What its pods send to the upper half of the outside's network goes as it is."""
TWO = network(
    name="two",
    bridge="br2",
    isGateway=True,
    ipMasq=True,
    macspoofchk=True,
    ipam={"ranges": [[{"subnet": "10.33.0.0/24"}]]},
)

EXEMPT = "192.0.2.200"


def outside(node: Node) -> Outside:
    """The world, with an address that ONE's pods reach as themselves."""
    world = Outside(node)
    world.run("ip", "address", "add", f"{EXEMPT}/32", "dev", "eth0")
    return world


def assert_filtered(pod: Pod, result: Json) -> None:
    """A pod of ONE is masqueraded but for its exceptions, and may not send from another MAC."""
    assert pod.seen_as(Outside.address) == Outside.node_address
    assert pod.seen_as(EXEMPT) == addresses_of(result)[0]
    mac = result["interfaces"][2]["mac"]
    pod.run("ip", "link", "set", "eth0", "address", SPOOFED)
    assert not pod.ping("10.22.0.1"), "it may spoof"
    pod.run("ip", "link", "set", "eth0", "address", mac)
    assert pod.ping("10.22.0.1", count=3)


FLUSH_SETS = 'nft list sets | awk \'/^table/ {t = $2 " " $3} /^\\tset/ {print "flush set " t " " $2}\' | nft -f -'

DAMAGE = {
    "everything": "nft flush ruleset",
    "tables deleted": f"nft delete table {INET}; nft delete table {BRIDGE_TABLE}",
    "tables flushed": f"nft flush table {INET}; nft flush table {BRIDGE_TABLE}",
    "base chains flushed": f"nft flush chain {INET} postrouting; nft flush chain {BRIDGE_TABLE} macspoofchk",
    "base chains deleted": "; ".join(
        f"nft flush chain {chain}; nft delete chain {chain}"
        for chain in (f"{INET} postrouting", f"{BRIDGE_TABLE} macspoofchk")
    ),
    "all sets flushed": FLUSH_SETS,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_any_networks_next_add_puts_it_back(node: Node, plugin: Plugin, damage: str) -> None:
    outside(node)
    pod, result = add_pod(plugin, node, ONE)
    gone, _ = add_pod(plugin, node, ONE)
    before = filter_sets(node)
    node.run("sh", "-ec", DAMAGE[damage])
    plugin.delete(node, ONE, gone)
    other, other_result = add_pod(plugin, node, TWO)
    assert_filtered(pod, result)
    assert plugin.check(node, ONE, pod, result).result == {}
    assert plugin.check(node, TWO, other, other_result).result == {}
    plugin.delete(node, TWO, other)
    plugin.delete(node, ONE, pod)
    assert filter_left(node) == []
    assert before.keys() >= filter_sets(node).keys()


OF_ONE = "nft -j list sets inet | grep -o 'pods4-[0-9a-f]*' | cut -d- -f2"
ONE_PART = {
    "the addresses of its pods": f"nft flush set {INET} pods4-$({OF_ONE})",
    "its exceptions": f"nft flush set {INET} exceptions4-$({OF_ONE})",
    "its chain": f"nft flush chain {INET} masquerade-$({OF_ONE})",
    "the rule that leads to it": f"""
        rule=$(nft -a list chain {INET} postrouting | sed -n 's/.*@pods4-.*handle //p')
        nft delete rule {INET} postrouting handle $rule
        """,
}


@pytest.mark.parametrize("conf", [ONE, TWO], ids=["its own", "another's"])
@pytest.mark.parametrize("part", ONE_PART)
def test_any_networks_next_add_puts_a_part_back(node: Node, plugin: Plugin, part: str, conf: Json) -> None:
    outside(node)
    pod, result = add_pod(plugin, node, ONE)
    node.run("sh", "-ec", ONE_PART[part])
    assert plugin.check(node, ONE, pod, result).status == 1
    add_pod(plugin, node, conf)
    assert_filtered(pod, result)
    assert plugin.check(node, ONE, pod, result).result == {}


@pytest.mark.parametrize("feature", ["ipMasq", "macspoofchk"])
def test_a_network_that_needs_one_table_puts_both_back(node: Node, plugin: Plugin, feature: str) -> None:
    outside(node)
    pod, result = add_pod(plugin, node, ONE)
    node.run("nft", "flush", "ruleset")
    add_pod(plugin, node, TWO | {"ipMasq": False, "macspoofchk": False, feature: True})
    assert_filtered(pod, result)
    assert plugin.check(node, ONE, pod, result).result == {}


@pytest.mark.parametrize("damage", ["everything", "tables flushed", "all sets flushed"])
def test_a_delete_after_it_leaves_nothing(node: Node, plugin: Plugin, damage: str) -> None:
    pods = [(conf, *add_pod(plugin, node, conf)) for conf in (ONE, TWO)]
    node.run("sh", "-ec", DAMAGE[damage])
    for conf, pod, _ in pods:
        plugin.delete(node, conf, pod)
    assert filter_left(node) == []


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_a_pod_left_that_has_gone_is_not_put_back(node: Node, plugin: Plugin, damage: str) -> None:
    """A late DEL could not remove it: nothing would say any more what the pod had."""
    gone, _ = add_pod(plugin, node, ONE)
    node.run("sh", "-ec", DAMAGE[damage])
    gone.run("ip", "link", "delete", "eth0")
    other, _ = add_pod(plugin, node, TWO)
    plugin.delete(node, ONE, gone)
    plugin.delete(node, TWO, other)
    assert filter_left(node) == []


@pytest.mark.slow
def test_a_delete_while_it_is_put_back_leaves_nothing(node: Node, plugin: Plugin) -> None:
    """Whatever an ADD has read already: the pod that it is about to put back goes."""
    stays, result = add_pod(plugin, node, ONE)
    for occurrence in itertools.count(1):
        pod, _ = add_pod(plugin, node, ONE)
        new = node.pod()
        node.run("nft", "flush", "ruleset")
        with paused(plugin, node, TWO, new, occurrence) as call:
            ended = call.done()
            plugin.delete(node, ONE, pod)
        assert call.result().status == 0
        plugin.delete(node, TWO, new)
        assert set(masqueraded(node)) == set(addresses_of(result)), occurrence
        assert list(guarded(node)) == [host_veth(result)], occurrence
        if ended:
            break
    assert plugin.check(node, ONE, stays, result).result == {}


def killed(plugin: Plugin, node: Node, conf: Json, pod: Pod, occurrence: int) -> bool:
    """Whether an ADD had an nth netlink message to send, at which it was killed."""
    strace = ("strace", "--follow-forks", "-qq", "-o", "/dev/null", "-e", "trace=sendto")
    traced = plugin.under(*strace, "-e", f"inject=sendto:signal=KILL:when={occurrence}")
    return traced.call(node, "ADD", conf, pod).status != 0


@pytest.mark.slow
def test_an_add_that_is_killed_while_it_puts_back(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, ONE)
    for occurrence in itertools.count(1):
        new = node.pod()
        node.run("nft", "flush", "ruleset")
        if not killed(plugin, node, TWO, new, occurrence):
            break
        plugin.delete(node, TWO, new)
        plugin.add(node, TWO, new)
        assert plugin.check(node, ONE, pod, result).result == {}, occurrence
        plugin.delete(node, TWO, new)
        assert set(masqueraded(node)) == set(addresses_of(result)), occurrence
        assert list(guarded(node)) == [host_veth(result)], occurrence


def test_exceptions_that_are_too_many_to_be_written_down(node: Node, plugin: Plugin) -> None:
    """Another network's ADD does not know them; the network's own puts them back for all its pods."""
    outside(node)
    many = [f"172.16.{n}.0/25" for n in range(40)]
    conf = ONE | {"nonMasqueradeCIDRs": ["192.0.2.128/25", *many]}
    pod, result = add_pod(plugin, node, conf)
    node.run("nft", "flush", "ruleset")
    other, _ = add_pod(plugin, node, TWO)
    assert pod.seen_as(Outside.address) == pod.seen_as(EXEMPT) == Outside.node_address
    second, _ = add_pod(plugin, node, conf)
    assert_filtered(pod, result)
    assert plugin.check(node, conf, pod, result).result == {}
    for each, of in ((pod, conf), (second, conf), (other, TWO)):
        plugin.delete(node, of, each)
    assert filter_left(node) == []


OFF: dict[str, dict[str, Any]] = {
    "ipMasq": {"ipMasq": False},
    "macspoofchk": {"macspoofchk": False},
    "both": {"ipMasq": False, "macspoofchk": False},
    "exceptions": {"nonMasqueradeCIDRs": []},
}


@pytest.mark.parametrize("off", OFF)
def test_what_is_turned_off_holds_for_pods_from_then_on(node: Node, plugin: Plugin, off: str) -> None:
    outside(node)
    old, result = add_pod(plugin, node, ONE)
    changed = ONE | OFF[off]
    new, new_result = add_pod(plugin, node, changed)
    assert_filtered(old, result)
    masked = "ipMasq" not in OFF[off]
    own = addresses_of(new_result)[0]
    assert new.seen_as(Outside.address) == (Outside.node_address if masked else own)
    assert new.seen_as(EXEMPT) == (Outside.node_address if off == "exceptions" else own)
    assert len(guarded(node)) == (1 if "macspoofchk" in OFF[off] else 2)
    assert plugin.check(node, changed, new, new_result).result == {}
    plugin.delete(node, changed, old)
    assert host_veth(result) not in str(tables(node))
    plugin.delete(node, changed, new)
    assert filter_left(node) == []


def test_a_network_that_was_renamed(node: Node, plugin: Plugin) -> None:
    pod, _ = add_pod(plugin, node, ONE)
    plugin.delete(node, ONE | {"name": "renamed"}, pod)
    assert veths(node) == filter_left(node) == []


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_an_attachment_whose_link_is_gone(node: Node, plugin: Plugin, verb: str) -> None:
    pod, _ = add_pod(plugin, node, ONE)
    pod.run("ip", "link", "delete", "eth0")
    plugin.delete(node, ONE, pod) if verb == "DEL" else plugin.gc(node, ONE)
    assert_nothing_left(node, "one")


def test_gc_leaves_a_link_and_rules_of_the_same_name_that_are_anothers(node: Node, plugin: Plugin) -> None:
    """As another network's, to which the same container's interface was attached afterwards."""
    pod, result = add_pod(plugin, node, TWO)
    before = tables(node)
    assert plugin.gc(node, ONE).result == {}
    assert tables(node) == before
    assert veths(node) == [host_veth(result)]
    assert plugin.check(node, TWO, pod, result).result == {}
    plugin.delete(node, TWO, pod)
    node.run(*f"ip link add {host_veth(result)} type veth peer name stranger".split())
    assert plugin.gc(node, TWO).result == {}
    assert set(veths(node)) == {host_veth(result), "stranger"}


def test_gc_of_one_network_while_pods_of_another_come_and_go(node: Node, plugin: Plugin) -> None:
    kept, kept_result = add_pod(plugin, node, ONE)
    pods = [node.pod() for _ in range(2)]
    done = False

    def collect() -> int:
        for calls in itertools.count():
            if done:
                return calls
            assert plugin.gc(node, ONE, [kept]).result == {}
        return 0

    with ThreadPoolExecutor() as pool:
        collecting = pool.submit(collect)
        try:
            for _ in range(5):
                for pod in pods:
                    result = plugin.add(node, TWO, pod)
                    assert plugin.check(node, TWO, pod, result).result == {}
                    plugin.delete(node, TWO, pod)
        finally:
            done = True
        assert collecting.result()
    assert plugin.check(node, ONE, kept, kept_result).result == {}


def test_an_address_that_a_dead_pod_had(node: Node, plugin: Plugin) -> None:
    """Its link went without DEL, its address to another; the late DEL takes nothing from that one."""
    conf = network(4, ipMasq=True, macspoofchk=True, ipam={"ranges": [[{"subnet": "10.22.0.0/30"}]]})
    dead, first = add_pod(plugin, node, conf)
    dead.run("ip", "link", "delete", "eth0")
    pod, result = add_pod(plugin, node, conf)
    assert addresses_of(result) == addresses_of(first)
    assert plugin.check(node, conf, pod, result).result == {}
    plugin.delete(node, conf, dead)
    assert plugin.check(node, conf, pod, result).result == {}
    plugin.delete(node, conf, pod)
    assert_nothing_left(node)


WITHOUT_NETFILTER = """
import ctypes, os, struct, sys
from errno import EPROTONOSUPPORT
NR = {"x86_64": 41, "aarch64": 198}[os.uname().machine]
program = b"".join(struct.pack("HBBI", *each) for each in [
    (0x20, 0, 0, 0), (0x15, 0, 3, NR),  # the number of the system call: socket(2)
    (0x20, 0, 0, 32), (0x15, 0, 1, 12),  # its third argument: NETLINK_NETFILTER
    (0x06, 0, 0, 0x50000 | EPROTONOSUPPORT), (0x06, 0, 0, 0x7FFF0000),
])
buffer = ctypes.create_string_buffer(program)
prog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == libc.prctl(22, 2, prog) == 0  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Run a command that gets no socket of netfilter's: see seccomp(2)."""


def test_a_delete_on_a_kernel_without_nftables(node: Node, plugin: Plugin) -> None:
    """It works, whatever the configuration asks for."""
    pod, _ = add_pod(plugin, node, network(4, isGateway=True))
    trace = node.directory / "trace"
    strace = ("strace", "--follow-forks", "-e", "trace=socket", "-o", str(trace))
    without = plugin.under(sys.executable, "-c", WITHOUT_NETFILTER, *strace)
    without.delete(node, network(4, isGateway=True, ipMasq=True, macspoofchk=True), pod)
    lines = [line for line in trace.read_text().splitlines() if "NETLINK_NETFILTER" in line]
    assert lines
    assert all("EPROTONOSUPPORT" in line for line in lines)
    assert_nothing_left(node)


def test_a_pod_without_alternative_names(node: Node, plugin: Plugin) -> None:
    """As on kernels before 5.5: a table that is gone comes back for pods made from then on."""
    outside(node)
    pod, result = add_pod(plugin, node, ONE)
    link = node.link(host_veth(result))
    for name in link["altnames"]:
        node.run("ip", "link", "property", "del", "dev", host_veth(result), "altname", name)
    node.run("nft", "flush", "ruleset")
    new, new_result = add_pod(plugin, node, ONE)
    assert_filtered(new, new_result)
    assert set(masqueraded(node)) == set(addresses_of(new_result))
    for each in (pod, new):
        plugin.delete(node, ONE, each)
    assert filter_left(node) == []


NETWORKS = {
    "adjacent and overlapping": [f"172.{16 + n // 4096}.{n // 16 % 256}.{n % 16 * 16}/28" for n in range(9_000)]
    + [f"172.20.{n // 4}.{n % 4 * 64}/26" for n in range(500)]
    + [f"fd01:{n:x}::/33" for n in range(499)]
    + ["255.255.255.255/32"],
    "apart": [f"100.{64 + n // 4096}.{n // 16 % 256}.{n % 16 * 16}/29" for n in range(5_000)]
    + [f"fd02:{n:x}::/33" for n in range(5_000)],
    "everything": ["0.0.0.0/0", "::/0", "10.0.0.0/8"],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_many_exceptions(node: Node, plugin: Plugin, name: str) -> None:
    outside(node)
    conf = dual_stack(nonMasqueradeCIDRs=[*NETWORKS[name], "192.0.2.128/25"])
    first, _ = add_pod(plugin, node, conf)
    pod, result = add_pod(plugin, node, conf)
    assert pod.seen_as(EXEMPT) == addresses_of(result)[0]
    assert pod.seen_as(Outside.address) == (addresses_of(result)[0] if name == "everything" else Outside.node_address)
    assert plugin.check(node, conf, pod, result).result == {}
    assert exceptions(node)
    for each in (first, pod):
        plugin.delete(node, conf, each)
    assert filter_left(node) == []


@pytest.mark.slow
def test_two_thousand_pods(node: Node, plugin: Plugin) -> None:
    """After a flush all are put back; what comes and goes afterwards leaves them alone."""
    pod, result = add_pod(plugin, node, ONE)
    commands = []
    for number in range(2_000):
        veth, address = f"vethf{number:010x}", f"10.22.{128 + number // 250}.{number % 250 + 2}"
        commands.append(f"link add {veth} type veth peer name p{number}")
        altnames = [f"mac.0a:58:00:00:{number >> 8:02x}:{number & 255:02x}", f"masquerade.{address}-24"]
        commands.append(f"link property add dev {veth} " + " ".join(f"altname {veth}.{each}" for each in altnames))
    node.run("ip", "-batch", "-", input="\n".join(commands), timeout=250)
    node.run("nft", "flush", "ruleset")
    other, _ = add_pod(plugin, node, TWO)
    assert len(guarded(node)) == len(masqueraded(node)) - 1 == 2_002
    assert plugin.check(node, ONE, pod, result).result == {}
    plugin.delete(node, TWO, other)
    plugin.delete(node, ONE, pod)
    assert len(guarded(node)) == len(masqueraded(node)) == 2_000
