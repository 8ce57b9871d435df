"""Run under the name `host-local-py`, the executable is an IPAM plugin for others."""

from __future__ import annotations

import json

import pytest

from tests.harness import REFERENCE_BIN_DIR, Json, Node, Plugin
from tests.kernel.networks import store_files

CONF: Json = {
    "cniVersion": "1.0.0",
    "name": "ptpnet",
    "ipMasq": True,
    "ipam": {"type": "host-local-py", "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]]},
}


@pytest.fixture
def ipam(node: Node, plugin: Plugin) -> Plugin:
    """Our executable under the other name, beside its own."""
    plugin.install(node)
    node.run("ln", "-sfn", plugin.type, "/opt/cni/bin/host-local-py")
    return Plugin("/opt/cni/bin/host-local-py")


@pytest.fixture
def ptp(ipam: Plugin) -> Plugin:
    return Plugin(REFERENCE_BIN_DIR / "ptp", cni_path=f"/opt/cni/bin:{REFERENCE_BIN_DIR}")


def test_under_ptp(node: Node, ptp: Plugin) -> None:
    pod = node.pod()
    result = ptp.add(node, CONF, pod)
    assert sorted(pod.addresses()) == ["10.77.0.2/24", "fd00:77::2/64"]
    assert node.leases("ptpnet") == dict.fromkeys(("10.77.0.2", "fd00:77::2"), (pod.container_id, "eth0"))
    assert pod.ping("10.77.0.1")
    assert node.ping("10.77.0.2")
    assert ptp.check(node, CONF, pod, result).result == {}
    ptp.delete(node, CONF, pod)
    ptp.delete(node, CONF, pod)
    assert store_files(node, "ptpnet") == []


def test_check_under_ptp_sees_the_lease_gone(node: Node, ptp: Plugin) -> None:
    pod = node.pod()
    result = ptp.add(node, CONF, pod)
    node.run("rm", "/var/lib/cni/networks/ptpnet/10.77.0.2")
    assert "lease /var/lib/cni/networks/ptpnet/10.77.0.2 is missing" in ptp.check(node, CONF, pod, result).error["msg"]


def test_all_verbs(node: Node, ipam: Plugin) -> None:
    conf = CONF | {"cniVersion": "1.1.0"}
    assert ipam.status(node, conf).result == {}
    pods = [node.pod() for _ in range(3)]
    results = [ipam.add(node, conf, pod) for pod in pods]
    assert [result["ips"][0]["address"] for result in results] == ["10.77.0.2/24", "10.77.0.3/24", "10.77.0.4/24"]
    assert "interfaces" not in results[0]
    again = ipam.call(node, "ADD", conf, pods[0]).error
    assert (again["code"], "has been allocated to" in again["msg"]) == (103, True)
    assert ipam.check(node, conf, pods[0], results[0]).result == {}
    ipam.delete(node, conf, pods[0])
    assert ipam.check(node, conf, pods[0], results[0]).error["code"] == 105
    assert ipam.gc(node, conf, [pods[1]]).result == {}
    assert set(node.leases("ptpnet")) == {"10.77.0.3", "fd00:77::3"}
    assert "1.1.0" in ipam.version(node)["supportedVersions"]


def test_its_leases_are_not_reclaimed_by_the_main_plugin(node: Node, ipam: Plugin, plugin: Plugin) -> None:
    """There is no veth of ours for them, and yet they are alive."""
    conf = CONF | {"ipam": {"type": "host-local-py", "subnet": "10.77.0.0/29"}}
    for _ in range(5):
        ipam.add(node, conf, node.pod())
    error = plugin.call(node, "ADD", conf, node.pod()).error
    assert error["code"] == 102
    assert len(node.leases("ptpnet")) == 5


def test_gc_spares_what_another_plugin_of_the_network_holds(node: Node, ipam: Plugin, plugin: Plugin) -> None:
    """A runtime lists all attachments of a network, whichever plugin made them."""
    conf = CONF | {"cniVersion": "1.1.0"}
    theirs, ours = node.pod(), node.pod()
    ipam.add(node, conf, theirs)
    plugin.add(node, conf, ours)
    plugin.add(node, conf, node.pod())
    for each in (ipam, plugin):
        assert each.gc(node, conf, [theirs, ours]).result == {}
        held = {container_id for container_id, _ in node.leases("ptpnet").values()}
        assert held == {theirs.container_id, ours.container_id}
    assert plugin.gc(node, conf, [theirs]).result == {}
    assert {container_id for container_id, _ in node.leases("ptpnet").values()} == {theirs.container_id}


@pytest.mark.parametrize("first", ["host-local", "host-local-py"])
def test_leases_are_the_references(node: Node, ptp: Plugin, first: str) -> None:
    """A ptp network changes its IPAM plugin while its pods live: no address twice, and either takes any back."""
    (second,) = {"host-local", "host-local-py"} - {first}
    before, after = (CONF | {"ipam": CONF["ipam"] | {"type": each}} for each in (first, second))
    old, new = node.pod(), node.pod()
    result = ptp.add(node, before, old)
    ptp.add(node, after, new)
    assert sorted(old.addresses()) == ["10.77.0.2/24", "fd00:77::2/64"]
    assert sorted(new.addresses()) == ["10.77.0.3/24", "fd00:77::3/64"]
    assert ptp.check(node, after, old, result).result == {}
    ptp.delete(node, after, old)
    ptp.delete(node, before, new)
    assert node.leases("ptpnet") == {}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        (CONF | {"ipam": None}, "ipam: IPAM config missing"),
        (CONF | {"ipam": {"type": "host-local-py"}}, "ipam.subnet: "),
        (CONF | {"name": ""}, "name: "),
    ],
    ids=["no ipam", "no subnet", "no name"],
)
def test_what_it_cannot_use(node: Node, ipam: Plugin, conf: Json, message: str) -> None:
    error = ipam.call(node, "ADD", json.dumps(conf), node.pod()).error
    assert (error["code"], error["msg"].startswith(message)) == (7, True), error
