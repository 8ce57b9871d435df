"""STATUS: whether an ADD could be served."""

from __future__ import annotations

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import add_pod, dual_stack, network, small


@pytest.mark.parametrize(
    "conf",
    [
        dual_stack(macspoofchk=True),
        network() | {"ipam": {}},
        network(4, ipam={"dataDir": "/var/lib/none/such"}),
        small(ipMasq=True),
    ],
    ids=["everything", "no ipam", "dataDir that is not there yet", "small"],
)
def test_an_add_could_be_served(node: Node, plugin: Plugin, conf: Json) -> None:
    before = node.snapshot()
    assert plugin.status(node, conf).result == {}
    assert node.snapshot() == before
    assert not (node.root / "var/lib/none").exists()


def test_it_stays_so_with_pods(node: Node, plugin: Plugin) -> None:
    add_pod(plugin, node, dual_stack())
    before = node.snapshot()
    assert plugin.status(node, dual_stack()).result == {}
    assert node.snapshot() == before


@pytest.mark.parametrize(
    ("prepare", "keys", "code", "message"),
    [
        ("ip link add cni0 type veth peer name other", {}, 51, "already exists but is not a bridge"),
        ("touch /var/lib/file", {"ipam": {"dataDir": "/var/lib/file"}}, 50, "/var/lib/file is not writable"),
        ("mount -t tmpfs -o ro tmpfs /var/lib/cni", {}, 50, "/var/lib/cni is not writable"),
        (":", {"ipam": {"type": "none-such"}}, 50, 'failed to find plugin "none-such"'),
    ],
    ids=["no bridge", "dataDir is a file", "dataDir is read-only", "no IPAM plugin"],
)
def test_why_none_could_be(node: Node, plugin: Plugin, prepare: str, keys: Json, code: int, message: str) -> None:
    node.run("sh", "-c", prepare)
    error = plugin.status(node, network(4, **keys)).error
    assert (error["code"], message in error["msg"]) == (code, True), error


@pytest.mark.parametrize("key", ["ipMasq", "macspoofchk"])
def test_a_kernel_without_nftables(node: Node, plugin: Plugin, key: str) -> None:
    # The first socket is rtnetlink's, which every kernel has.
    without = "inject=socket:error=EPROTONOSUPPORT:when=2+"
    strace = ("strace", "--follow-forks", "-qqq", "-o", "/dev/null", "-e", "trace=socket", "-e", without)
    conf = network(4) | {key: True}
    error = plugin.under(*strace).status(node, conf).error
    assert (error["code"], f"{key}: this kernel has no nftables: " in error["msg"]) == (50, True), error
    assert plugin.under(*strace).status(node, network(4)).result == {}


def test_a_kernel_without_br_netfilter(node: Node, plugin: Plugin) -> None:
    node.run("sh", "-c", "test ! -e /proc/sys/net/bridge || mount -t tmpfs tmpfs /proc/sys/net/bridge")
    error = plugin.status(node, network(4, bridgeNetfilter=True)).error
    assert (error["code"], "this kernel has no br_netfilter" in error["msg"]) == (51, True), error
    assert error["details"] == "run: modprobe br_netfilter"
    assert plugin.status(node, network(4)).result == {}


def test_a_full_range(node: Node, plugin: Plugin) -> None:
    conf = small("10.22.0.0/30")
    pod, _ = add_pod(plugin, node, conf)
    error = plugin.status(node, conf).error
    assert error["code"] == 50
    assert "no IP addresses available in range set: 10.22.0.1-10.22.0.2" in error["msg"]
    pod.close()  # takes the veth with it: the lease is dead, and the next ADD reclaims it
    node.run("sh", "-c", "while ip link show type veth | grep -q veth; do sleep 0.1; done")
    assert plugin.status(node, conf).result == {}


def test_it_came_with_1_1_0(node: Node, plugin: Plugin) -> None:
    error = plugin.status(node, network(4, cniVersion="1.0.0")).error
    assert error["code"] == 1
    assert "STATUS" in error["msg"]
