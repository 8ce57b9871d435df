"""`mend`: what pods share is made right for all of them at once, and it says what it did, as commands."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.harness import Json
from tests.node.conftest import FILE, PROGRAM, Patient
from tests.node.test_doctor import POD_SETS

VETHS = "$(ip -br link show type veth | sed -n 's/^\\(veth[0-9a-f]*\\)@.*/\\1/p')"

BREAKS = {
    "the bridge is gone": "ip link del cni0",
    "the bridge is down": "ip link set cni0 down",
    "its address is gone": "ip address flush dev cni0 scope global",
    "forwarding is off": "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0",
    "the rule set was flushed": "nft flush ruleset",
    "our table was emptied": "nft flush table inet cni-bridge-py",
    "our sets were emptied": f"{POD_SETS} | while read -r set; do nft flush set $set; done",
    "networkd took the ports out": f"for veth in {VETHS}; do ip link set $veth nomaster; done",
    "the cables are down": f"for veth in {VETHS}; do ip link set $veth down; done",
    "hairpin mode is off": f"for veth in {VETHS}; do bridge link set dev $veth hairpin off; done",
    "leases are gone": "rm -r /var/lib/cni/networks/podnet",
    "all of it": "ip link del cni0; nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0; rm -r /var/lib/cni/networks",
}


QUICK = ("all of it", "our sets were emptied", "networkd took the ports out")
"""The others run only when asked for, as .ci/run does."""


def state(patient: Patient) -> Json:
    """What is to be as before; what a lease says of a pod whose lease was lost only its runtime knows."""
    snapshot = patient.node.snapshot()
    rules = [each for each in snapshot["nftables"] if "rule" in each]
    others = [json.dumps(_sorted(each), sort_keys=True) for each in snapshot["nftables"] if "rule" not in each]
    return {
        **snapshot,
        "leases": sorted(path for path in snapshot["leases"] if "@" not in path),
        # The order in which chains and sets were made is of no account, that of rules in a chain is.
        "nftables": (sorted(others), sorted(rules, key=lambda each: str(each["rule"]["chain"]))),
        # The kernel's own, made when it finds the time.
        "routes": [route for route in snapshot["routes"] if "type=anycast" not in route],
        # Forwarding sets it for links that were not there the first time.
        "sysctls": {name: value for name, value in snapshot["sysctls"].items() if "accept_ra" not in name},
    }


def _sorted(entry: Json) -> Json:
    return {
        kind: {**told, "elem": sorted(told["elem"], key=json.dumps)} if "elem" in told else told
        for kind, told in entry.items()
    }


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in BREAKS])
def test_the_node_is_as_it_was(name: str, patient: Patient) -> None:
    before = state(patient)
    patient.sh(BREAKS[name])
    broken = patient.node.snapshot()
    said = patient.sh(f"{PROGRAM} mend --dry-run")
    assert patient.node.snapshot() == broken
    assert said.startswith("# ")
    assert patient.sh(f"{PROGRAM} mend") == said
    assert state(patient) == before
    assert patient.is_well()
    assert patient.sh(f"{PROGRAM} mend") == "# There is nothing to mend.\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BREAKS if "lease" not in name and name != "all of it"])
def test_what_it_says_does_what_it_does(name: str, patient: Patient) -> None:
    before = state(patient)
    patient.sh(BREAKS[name])
    patient.sh(patient.sh(f"{PROGRAM} mend --dry-run"))
    assert state(patient) == before
    assert patient.is_well()
    assert patient.doctor().wrong == []


def test_exceptions_are_put_back(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(nonMasqueradeCIDRs=[f"192.0.{number}.0/24" for number in range(40)])
    pod = patient.pods[0]
    assert pod.seen_as(patient.outside.address) == "10.22.0.2"
    patient.sh("nft flush ruleset")
    patient.sh(f"{PROGRAM} mend")
    assert pod.seen_as(patient.outside.address) == "10.22.0.2"
    assert pod.seen_as(patient.outside.address6) == patient.outside.node_address6


def test_pods_of_every_network(patient: Patient) -> None:
    conf = patient.conf | {"name": "other", "bridge": "cni1", "ipam": {"type": "host-local", "subnet": "10.23.0.0/16"}}
    patient.node.write("/etc/cni/net.d/20-other.conf", json.dumps(conf))
    other = patient.add("other", conf)
    patient.sh("ip link del cni0; ip link del cni1; nft flush ruleset")
    patient.sh(f"{PROGRAM} mend")
    assert patient.is_well()
    assert other.seen_as(patient.outside.address) == patient.outside.node_address


def test_leases_of_the_dead_are_released(patient: Patient) -> None:
    pod = patient.add("dead")
    address = pod.addresses()[0].partition("/")[0]
    pod.close()
    patient.node.write("/var/lib/cni/networks/podnet/10.22.9.9", "theirs\r\neth0")
    assert address in patient.node.leases("podnet")
    assert f"/{address}" in patient.sh(f"{PROGRAM} mend")
    assert set(patient.node.leases("podnet")) == {"10.22.0.2", "10.22.0.3", "10.22.9.9", "fd00:22::2", "fd00:22::3"}


def test_an_address_that_an_operator_put_there_stays(patient: Patient) -> None:
    patient.sh("ip address del 10.22.0.1/16 dev cni0; ip address add 10.99.0.1/24 dev cni0")
    done = patient.node.run(PROGRAM, "mend", check=False)
    assert done.returncode == 1
    assert "10.99.0.1/24" in done.stderr
    assert "10.99.0.1/24" in patient.node.addresses("cni0")


def test_a_node_without_pods_is_left_alone(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(pods=0)
    before = patient.node.snapshot()
    assert patient.sh(f"{PROGRAM} mend") == "# There is nothing to mend.\n"
    assert patient.node.snapshot() == before


def test_a_file_is_named(patient: Patient) -> None:
    patient.sh(f"mv {FILE} /etc/elsewhere.conf; ip link set cni0 down")
    assert "ip link set cni0 up" in patient.sh(f"{PROGRAM} mend --conf /etc/elsewhere.conf")
    assert patient.is_well()
