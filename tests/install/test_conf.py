"""The configuration: what is installed, and what is kept of what was there."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.harness import Json
from tests.install.conftest import CONF, Installer, shipped

SINGLES = ["10-bridge.conf"]
LISTS = ["10-bridge.conflist", "10-bridge-firewall.conflist"]
SUBNETS = ["10.99.0.0/16", "10.99.4.0/30", "fd00:99::/64"]
ANOTHERS: Json = {"cniVersion": "1.0.0", "name": "another", "type": "bridge"}
CHANGED: Json = {
    "cniVersion": "1.1.0",
    "name": "mine",
    "type": "cni-bridge-py",
    "bridge": "br-mine",
    "isGateway": True,
    "ipMasq": False,
    "dns": {"nameservers": ["192.0.2.53"]},
    "ipam": {
        "type": "host-local",
        "subnet": "10.50.0.0/24",
        "rangeStart": "10.50.0.10",
        "gateway": "10.50.0.254",
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}


def ours(conf: Json) -> Json:
    part: Json = next(each for each in conf.get("plugins", [conf]) if each["type"] == "cni-bridge-py")
    return part


def changed(**keys: Any) -> Json:
    return copy.deepcopy(CHANGED) | keys


@pytest.fixture(autouse=True)
def reference_plugins(installer: Installer) -> None:
    """What the shipped lists chain behind ours is there."""
    installer.node.run("sh", "-c", "cp /usr/lib/cni/portmap /usr/lib/cni/firewall /opt/cni/bin/")


@pytest.mark.parametrize("name", [*SINGLES, *LISTS])
def test_the_configuration_asked_for_is_installed(installer: Installer, name: str) -> None:
    installer.install("--conf", name)
    assert installer.confs() == [name]
    assert installer.path(f"{CONF}/{name}").read_text() == (installer.checkout / "conf" / name).read_text()


@pytest.mark.parametrize("subnet", SUBNETS)
@pytest.mark.parametrize("name", [*SINGLES, *LISTS])
def test_the_subnet_is_the_only_thing_that_is_changed(installer: Installer, name: str, subnet: str) -> None:
    installer.install("--conf", name, "--subnet", subnet)
    conf = installer.conf(name)
    assert ours(conf)["ipam"].pop("subnet") == subnet
    ours(conf)["ipam"]["subnet"] = "10.22.0.0/16"
    assert conf == shipped(name)


@pytest.mark.parametrize(
    "options", [["--subnet=10.99.0.0/16,fd00:99::/64"], ["--subnet=10.99.0.0/16", "--subnet=fd00:99::/64"]]
)
def test_two_subnets_are_dual_stack(installer: Installer, options: list[str]) -> None:
    installer.install(*options)
    ipam = installer.conf()["ipam"]
    assert ipam == {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/16"}], [{"subnet": "fd00:99::/64"}]]}


def test_from_dual_stack_to_another_and_back(installer: Installer) -> None:
    installer.install("--subnet=10.99.0.0/16,fd00:99::/64")
    installer.install("--subnet=fd00:98::/64")
    assert installer.conf()["ipam"]["ranges"] == [[{"subnet": "fd00:98::/64"}]]
    installer.install("--subnet=fd00:97::/64,10.97.0.0/16")
    assert installer.conf()["ipam"]["ranges"] == [[{"subnet": "fd00:97::/64"}], [{"subnet": "10.97.0.0/16"}]]


# --- running it again ---


@pytest.mark.parametrize("name", [*SINGLES, *LISTS])
def test_running_it_again_keeps_the_subnet_and_the_list(installer: Installer, name: str) -> None:
    installer.install("--conf", name, "--subnet", "10.99.0.0/16", "--mtu", "1400")
    before = installer.path(f"{CONF}/{name}").read_bytes()
    assert "as it was" in installer.install()
    assert installer.confs() == [name]
    assert installer.path(f"{CONF}/{name}").read_bytes() == before


@pytest.mark.parametrize("name", ["10-bridge.conf", "05-mine.conf", "99.json"])
def test_running_it_again_keeps_what_was_changed_by_hand(installer: Installer, name: str) -> None:
    text = json.dumps(CHANGED, indent=7)
    installer.write_conf(name, text)
    installer.install()
    assert installer.confs() == [name]
    assert installer.path(f"{CONF}/{name}").read_text() == text


def test_the_subnet_changes_what_belongs_to_it(installer: Installer) -> None:
    installer.write_conf("10-bridge.conf", CHANGED)
    said = installer.install("--subnet", "10.51.0.0/24")
    ipam = CHANGED["ipam"] | {"subnet": "10.51.0.0/24"}
    del ipam["rangeStart"], ipam["gateway"]  # of the old subnet
    assert installer.conf() == changed(ipam=ipam)
    assert [json.loads(each) for each in installer.backups()] == [CHANGED]
    assert "changed; the former one is in" in said


def test_a_larger_subnet_keeps_what_lies_in_it(installer: Installer) -> None:
    installer.write_conf("10-bridge.conf", CHANGED)
    installer.install("--subnet", "10.50.0.0/16")
    assert installer.conf() == changed(ipam=CHANGED["ipam"] | {"subnet": "10.50.0.0/16"})


def test_the_mtu_changes_the_mtu(installer: Installer) -> None:
    installer.write_conf("10-bridge.conf", CHANGED)
    installer.install("--mtu", "1400")
    assert installer.conf() == changed(mtu=1400)
    installer.install("--mtu", "1300")
    assert installer.conf() == changed(mtu=1300)


def test_from_one_to_a_list_keeps_what_was_changed_by_hand(installer: Installer) -> None:
    installer.write_conf("10-bridge.conf", CHANGED)
    installer.install("--conf", "10-bridge.conflist")
    assert installer.picked_up() == ["10-bridge.conflist"]
    conf = installer.conf("10-bridge.conflist")
    assert (conf["name"], conf["cniVersion"]) == ("mine", "1.1.0")
    assert ours(conf) == {key: CHANGED[key] for key in CHANGED if key not in ("name", "cniVersion")}
    assert conf["plugins"][1:] == shipped("10-bridge.conflist")["plugins"][1:]
    assert [json.loads(each) for each in installer.backups()] == [CHANGED]


def test_from_one_list_to_another_keeps_what_was_chained_by_hand(installer: Installer) -> None:
    conf = shipped("10-bridge.conflist")
    conf["disableCheck"] = True
    conf["plugins"][1]["snat"] = False
    conf["plugins"].append({"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}})
    installer.node.run("cp", "/usr/lib/cni/tuning", "/opt/cni/bin/")
    installer.write_conf("10-bridge.conflist", conf)
    installer.install("--conf", "10-bridge-firewall.conflist")
    now = installer.conf("10-bridge-firewall.conflist")
    assert [each["type"] for each in now["plugins"]] == ["cni-bridge-py", "portmap", "firewall", "tuning"]
    assert now["plugins"][1] == conf["plugins"][1]
    assert now["plugins"][3] == conf["plugins"][2]
    assert now["disableCheck"] is True


def test_from_a_list_back_to_one(installer: Installer) -> None:
    installer.install("--conf", "10-bridge.conflist", "--subnet", "10.99.0.0/16")
    installer.install("--conf", "10-bridge.conf")
    assert installer.picked_up() == ["10-bridge.conf"]
    conf = installer.conf()
    assert conf["ipam"].pop("subnet") == "10.99.0.0/16"
    conf["ipam"]["subnet"] = "10.22.0.0/16"
    assert conf == shipped()


def test_a_second_network_of_ours_is_left_alone(installer: Installer) -> None:
    installer.install()
    installer.write_conf("20-second.conf", CHANGED)
    installer.install("--subnet", "10.99.0.0/16")
    assert installer.conf("20-second.conf") == CHANGED
    assert installer.conf()["ipam"]["subnet"] == "10.99.0.0/16"


# --- what is somebody else's ---


@pytest.mark.parametrize("existing", [json.dumps(ANOTHERS), "no JSON at all", "[]", ""])
def test_what_has_our_name_and_is_not_ours_is_kept_as_a_backup(installer: Installer, existing: str) -> None:
    installer.write_conf("10-bridge.conf", existing)
    said = installer.install()
    assert installer.conf() == shipped()
    assert installer.backups() == [existing]
    assert "the former one is in" in said
    assert installer.picked_up() == ["10-bridge.conf"]


def test_two_backups_within_a_second_are_both_kept(installer: Installer) -> None:
    for existing in ("first", "second", "third"):
        installer.write_conf("10-bridge.conf", existing)
        installer.install()
    assert sorted(installer.backups()) == ["first", "second", "third"]


@pytest.mark.parametrize("other", ["20-other.conf", "10-bridge.conflist", "99.json"])
def test_it_says_whose_place_it_took(installer: Installer, other: str) -> None:
    installer.write_conf(other, ANOTHERS)
    said = installer.install()
    assert f"Until now, new pods got {CONF}/{other} (network another: bridge)" in said
    assert "may not reach the pods that are running" in said
    assert installer.conf(other) == ANOTHERS
    assert "Until now" not in installer.install(), "that is no news the second time"


@pytest.mark.parametrize("other", ["0-other.txt", "0-other.conf.bak", "0-other.conf.bak-20200101T000000Z"])
def test_what_no_runtime_takes_notice_of_is_not_spoken_of(installer: Installer, other: str) -> None:
    installer.write_conf(other, ANOTHERS)
    said = installer.install()
    assert "Until now" not in said
    assert "WARNING" not in said
    assert installer.conf(other) == ANOTHERS


@pytest.mark.parametrize("other", ["05-other.conf", "05-other.conflist", "1.json", "00-Other.conflist"])
def test_it_warns_when_another_configuration_comes_first(installer: Installer, other: str) -> None:
    installer.write_conf(other, ANOTHERS)
    said = installer.install()
    assert f"WARNING: {CONF}/{other} (network another: bridge) sorts before 10-bridge.conf" in said
    assert f"the first in alphabetical order, {other};" in said
    assert installer.conf(other) == ANOTHERS


# --- MTU ---


def uplink(installer: Installer, mtu: int) -> None:
    installer.node.run(*f"ip link add tun0 mtu {mtu} type veth peer name far".split())
    route = "route add default via 192.0.2.1"
    for command in ("link set tun0 up", "link set far up", "address add 192.0.2.2/24 dev tun0", route):
        installer.node.run("ip", *command.split())


def test_the_mtu_follows_an_uplink_with_a_smaller_one(installer: Installer) -> None:
    uplink(installer, 1380)
    assert "The pods' MTU is 1380, the MTU of tun0" in installer.install()
    assert installer.conf()["mtu"] == 1380


def test_the_mtu_that_is_asked_for_is_taken(installer: Installer) -> None:
    uplink(installer, 1380)
    assert "the MTU of" not in installer.install("--mtu=1200")
    assert installer.conf()["mtu"] == 1200


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_the_mtu_is_the_kernels_where_the_uplink_has_the_usual_one(installer: Installer, mtu: int) -> None:
    uplink(installer, mtu)
    installer.install()
    assert installer.conf() == shipped()


def test_an_upgrade_does_not_change_the_mtu(installer: Installer) -> None:
    installer.install()
    uplink(installer, 1380)
    installer.install()
    assert installer.conf() == shipped()
