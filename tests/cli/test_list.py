"""`list`: every attachment, and its state in words."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.harness import PATH, REFERENCE_BIN_DIR, Json, Plugin
from tests.node.conftest import PROGRAM, Patient, make_patient, patient

__all__ = ["make_patient", "patient"]


def listed(patient: Patient, *options: str) -> list[Json]:
    found: list[Json] = json.loads(patient.node.run(PROGRAM, "list", "--json", *options).stdout)
    return found


def test_it_says_of_each_pod_what_the_kernel_says(patient: Patient) -> None:
    for each, pod in zip(listed(patient), patient.pods, strict=True):
        inside = pod.link("eth0")
        host = next(link for link in patient.node.links().values() if link.get("ifalias") == f"default/{pod.name}")
        assert (each["namespace"], each["pod"], each["containerID"]) == ("default", pod.name, pod.container_id)
        assert each["addresses"] == pod.addresses()
        assert (each["mac"], each["mtu"], each["ifname"]) == (inside["address"], inside["mtu"], "eth0")
        assert (each["hostVeth"], each["bridge"], each["network"]) == (host["ifname"], "cni0", "podnet")
        assert each["leases"] == [
            f"/var/lib/cni/networks/podnet/{address.partition('/')[0]}" for address in pod.addresses()
        ]
        assert each["state"] == "ok"


def test_traffic_is_as_the_pod_sees_it(patient: Patient) -> None:
    pod = patient.pods[0]
    before = listed(patient)[0]["traffic"]
    pod.run("busybox", "ping", "-q", "-c", "5", "-i", "0.1", "-s", "1000", "10.22.0.1")
    after = listed(patient)[0]["traffic"]
    assert after["sentPackets"] - before["sentPackets"] >= 5
    assert after["sentBytes"] - before["sentBytes"] >= 5000
    assert after["receivedBytes"] - before["receivedBytes"] >= 5000


@pytest.mark.parametrize(
    ("breaks", "state"),
    [
        ("ip link set $VETH nomaster", "unplugged"),
        ("ip link set $VETH down", "down"),
        ("ip -n web-0 link set eth0 down", "down in the pod"),
        ("ip -n web-0 address flush dev eth0", "address missing"),
        ("ip -n web-0 address del 10.22.0.2/16 dev eth0", "address missing"),
        ("ip link del $VETH", "lease without veth (dead)"),
        ("rm /var/lib/cni/networks/podnet/10.22.0.2 /var/lib/cni/networks/podnet/fd00:22::2", "veth without lease"),
        ("nft flush set bridge cni-bridge-py attachments", "macspoofchk missing"),
        ("nft flush set inet cni-bridge-py attachments", "masquerade missing"),
    ],
)
def test_what_is_wrong_is_in_words(breaks: str, state: str, patient: Patient) -> None:
    veth = listed(patient)[0]["hostVeth"]
    patient.sh(breaks.replace("$VETH", veth))
    states = {each["state"] for each in listed(patient) if each["pod"] != "web-1"}
    assert states == {state}
    if "nft" not in breaks:
        assert [each["state"] for each in listed(patient, "--pod", "web-1")] == ["ok"]


@pytest.mark.parametrize(
    ("breaks", "state"),
    [
        ("ip link set cni0 down", "bridge down"),
        ("ip link del cni0", "unplugged"),
        ("ip address flush dev cni0 scope global", "gateway missing"),
        ("ip address del 10.22.0.1/16 dev cni0", "gateway missing"),
        ("ip address del fd00:22::1/64 dev cni0", "gateway missing"),
    ],
)
def test_what_is_wrong_with_what_pods_share_is_wrong_with_each(breaks: str, state: str, patient: Patient) -> None:
    patient.sh(breaks)
    assert [each["state"] for each in listed(patient)] == [state, state]
    patient.node.run(PROGRAM, "mend")
    assert [each["state"] for each in listed(patient)] == ["ok", "ok"]


def test_a_gateway_that_no_pod_has_yet_is_not_missed(make_patient: Callable[..., Patient]) -> None:
    """If a range set has two subnets, the bridge gets the second gateway with the second subnet's first pod."""
    ranges = [[{"subnet": "10.22.0.0/16"}, {"subnet": "10.23.0.0/16"}]]
    patient = make_patient(ipam={"type": "host-local", "ranges": ranges})
    assert [each["state"] for each in listed(patient)] == ["ok", "ok"]
    assert "lacks" not in patient.node.run(PROGRAM, "map").stdout
    assert "nothing to mend" in patient.node.run(PROGRAM, "mend").stdout


def test_an_interface_that_is_to_be_down(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(disableContainerInterface=True, ipam={}, isDefaultGateway=False, ipMasq=False)
    assert [each["state"] for each in listed(patient)] == ["ok", "ok"]


def test_nothing_is_said_to_be_nothing(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(0)
    assert listed(patient) == []
    assert patient.node.run(PROGRAM, "list").stdout == "no attachments: no pod of ours is here\n"
    for option in ("--network=nosuch", "--pod=nosuch"):
        assert "`list` alone shows all" in patient.node.run(PROGRAM, "list", option).stdout


def test_pods_of_the_reference_on_the_same_directory(patient: Patient) -> None:
    reference = Plugin(REFERENCE_BIN_DIR / "bridge")
    conf = {key: value for key, value in patient.conf.items() if key != "macspoofchk"} | {
        "type": "bridge",
        "ipMasq": False,
    }
    pod = patient.node.pod("theirs")
    reference.add(patient.node, conf, pod)
    patient.node.write("/var/lib/cni/networks/podnet/10.22.9.9", "gone\r\neth0")
    found = {each["addresses"][0]: each for each in listed(patient)}
    theirs = found[pod.addresses()[0]]
    assert (theirs["containerID"], theirs["state"], theirs["plugin"]) == (pod.container_id, "ok", "")
    assert theirs["mac"] == pod.link("eth0")["address"]
    assert found["10.22.9.9"]["state"] == "lease without veth, of another plugin"
    assert len(found) == 4


def test_filters(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient()
    conf = patient.conf | {"name": "other", "bridge": "cni1", "ipam": {"type": "host-local", "subnet": "10.23.0.0/16"}}
    patient.node.write("/etc/cni/net.d/20-other.conf", json.dumps(conf))
    patient.add("db-0", conf)
    assert [each["pod"] for each in listed(patient, "--network", "other")] == ["db-0"]
    assert [each["pod"] for each in listed(patient, "--pod", "default/web")] == ["web-0", "web-1"]
    assert len(listed(patient)) == 3


def test_a_network_without_addresses_or_configuration(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(ipam={}, isDefaultGateway=False, ipMasq=False)
    assert [each["state"] for each in listed(patient)] == ["ok", "ok"]
    assert [each["addresses"] for each in listed(patient)] == [[], []]


def test_pods_of_a_configuration_that_is_gone_are_listed(patient: Patient) -> None:
    patient.sh("rm /etc/cni/net.d/*")
    assert [each["pod"] for each in listed(patient)] == ["web-0", "web-1"]


def test_the_table(patient: Patient) -> None:
    lines = patient.node.run(PROGRAM, "list").stdout.splitlines()
    assert lines[0].split() == ["POD", "ADDRESSES", "NETWORK", "BRIDGE", "HOST", "VETH", "SENT", "RECEIVED", "STATE"]
    assert lines[1].startswith("default/web-0  10.22.0.2/16, fd00:22::2/64  podnet")
    wide = patient.node.run(PROGRAM, "list", "--wide").stdout
    for word in (patient.pods[0].container_id, "0a:58:0a:16:00:02", "1500"):
        assert word in wide


def test_it_watches_in_a_narrow_terminal(patient: Patient) -> None:
    """The state is the last column, and the most important one."""
    patient.sh("ip link set cni0 down")
    env = {"PATH": PATH, "LC_ALL": "C.UTF-8", "TERM": "xterm", "COLUMNS": "80"}
    argv = ("script", "-qefc", f"timeout --signal=INT 5 {PROGRAM} list --watch 0.3", "/dev/null")
    assert "bridge down" in patient.node.run(*argv, check=False, env=env).stdout


def test_it_watches(patient: Patient) -> None:
    for number in ("INT", "TERM"):
        # A pipe gets one table after another, the first one at once.
        argv = ("timeout", f"--signal={number}", "5", PROGRAM, "list", "--watch", "0.3")
        done = patient.node.run(*argv, check=False)
        assert done.stdout.count("default/web-0") > 1
        assert done.stderr == ""
