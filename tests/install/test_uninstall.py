"""What --uninstall takes, what stays and why, and what --purge takes as well."""

from __future__ import annotations

import json

import pytest

from tests.harness import Json, Pod
from tests.install.conftest import BIN, CONF, PREFIX, Installer

ANOTHERS = '{"cniVersion": "1.0.0", "name": "another", "type": "bridge"}'
LEASES = "/var/lib/cni/networks/podnet"


def start_pod(installer: Installer, name: str) -> Pod:
    """Have the installed plugin wire a pod, as a runtime would."""
    pod = installer.node.pod(name)
    call(installer, "ADD", pod)
    return pod


def call(installer: Installer, verb: str, pod: Pod, conf: Json | None = None) -> None:
    env = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.name,
        "CNI_NETNS": pod.path,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": BIN,
    }
    installer.node.run(f"{BIN}/cni-bridge-py", env=env, input=json.dumps(conf or installer.conf()))


@pytest.fixture
def real(installer: Installer) -> Installer:
    """An installation of the plugin itself, which can run pods."""
    installer.build_source()
    installer.install()
    return installer


def test_it_takes_what_install_put_there_and_nothing_else(installer: Installer) -> None:
    (installer.path(BIN) / "portmap").write_text("another plugin")
    installer.write_conf("20-other.conf", ANOTHERS)
    before = installer.contents()
    installer.install("--subnet", "10.99.0.0/16")
    installer.build("two")
    installer.install()
    said = installer.uninstall()
    assert installer.contents() == before
    for path in (f"{CONF}/10-bridge.conf", f"{BIN}/cni-bridge-py", f"{PREFIX}/bin/cni-bridge-py"):
        assert f"Removed {path}" in said
    assert f"New pods in {CONF} get their network from {CONF}/20-other.conf" in said


def test_it_says_when_no_configuration_is_left(installer: Installer) -> None:
    installer.install()
    assert f"{CONF} has no configuration now" in installer.uninstall()


def test_twice_says_that_there_was_nothing(installer: Installer) -> None:
    installer.install()
    installer.uninstall()
    assert "There was nothing to uninstall" in installer.uninstall()
    assert "There was nothing to uninstall" in installer.uninstall("--purge")


def test_elsewhere_says_that_there_was_nothing(installer: Installer) -> None:
    installer.install()
    before = installer.contents()
    elsewhere = ("--bin-dir=/opt/elsewhere", "--conf-dir=/opt/elsewhere", "--prefix=/opt/elsewhere")
    assert "There was nothing to uninstall in /opt/elsewhere" in installer.succeed("--uninstall", *elsewhere)
    assert installer.contents() == before


def test_a_configuration_that_was_changed_by_hand_is_kept_where_no_runtime_picks_it_up(installer: Installer) -> None:
    installer.install()
    edited = installer.conf() | {"bridge": "br-mine"}
    installer.write_conf("10-bridge.conf", edited)
    said = installer.uninstall()
    assert "and kept it as" in said
    assert installer.picked_up() == []
    assert [json.loads(each) for each in installer.backups()] == [edited]
    assert "what was removed just now" in said
    assert "earlier time" not in said
    installer.write_conf("10-bridge.conf", edited)
    said = installer.uninstall()
    assert said.count("what was removed just now") == 1
    assert said.count("a configuration of an earlier time") == 1


def test_what_is_anothers_under_our_names_stays(installer: Installer) -> None:
    installer.path(f"{BIN}/cni-bridge-py").write_text("somebody's own")
    installer.path(f"{BIN}/loopback").write_text("somebody's own")
    installer.write_conf("10-bridge.conf", ANOTHERS)
    before = installer.contents()
    assert "There was nothing to uninstall" in installer.uninstall()
    assert installer.contents() == before


def test_what_an_earlier_version_of_install_sh_put_there_goes(installer: Installer) -> None:
    installer.path(f"{BIN}/.cni-bridge-py-0123456789ab").mkdir()
    installer.path(f"{BIN}/cni-bridge-py").symlink_to(".cni-bridge-py-0123456789ab/cni-bridge-py")
    installer.path(f"{BIN}/host-local-py").symlink_to("cni-bridge-py")
    installer.uninstall()
    assert list(installer.path(BIN).iterdir()) == []


def test_it_works_without_anything_built_where_it_was_built_once(installer: Installer) -> None:
    installer.install()
    (installer.dist / "cni-bridge-py").unlink()
    (installer.dist / "command-line/command-line").unlink()
    installer.uninstall()
    assert list(installer.path(BIN).iterdir()) == []


@pytest.mark.parametrize("output", ["| true", ">/dev/full", ">&-"])
def test_it_is_done_whoever_reads_what_it_says(installer: Installer, output: str) -> None:
    before = installer.contents()
    command = f"{installer.checkout}/install.sh --bin-dir={BIN} --conf-dir={CONF}"
    installer.node.run("sh", "-c", f"{command} --no-build {output}", check=False)
    assert installer.version() == "one"
    assert installer.picked_up() == ["10-bridge.conf"]
    done = installer.node.run("sh", "-c", f"{command} --uninstall {output}", check=False)
    assert "Traceback" not in done.stderr
    assert installer.contents() == before


def test_purging_takes_root(installer: Installer) -> None:
    installer.node.run("install", "-d", "--owner=65534", "/opt/mine")
    where = [f"--{each}=/opt/mine/{each}" for each in ("bin-dir", "conf-dir", "prefix")]
    assert installer.run("--no-build", *where, user=65534).returncode == 0
    assert "run it as root" in installer.refuse("--uninstall", "--purge", *where, user=65534)
    assert installer.run("--uninstall", *where, user=65534).returncode == 0


# --- pods that run ---


def test_it_says_what_stays_and_why(real: Installer) -> None:
    pods = [start_pod(real, name) for name in ("red", "blue")]
    said = real.uninstall()
    assert "2 pods of the network podnet: they keep their network, but no runtime can stop them" in said
    for line in (
        "the bridge cni0",
        "the nftables table inet cni-bridge-py",
        f"the leases in {LEASES}",
        "what was removed",
    ):
        assert line in said
    assert "--purge" in said
    assert pods[0].ping("10.22.0.3")
    assert set(real.node.leases("podnet")) == {"10.22.0.2", "10.22.0.3"}


def test_an_installation_afterwards_finds_the_pods(real: Installer) -> None:
    pod = start_pod(real, "red")
    real.uninstall()
    real.install()
    assert start_pod(real, "blue").addresses() == ["10.22.0.3/16"]
    call(real, "DEL", pod)
    assert set(real.node.leases("podnet")) == {"10.22.0.3"}


@pytest.mark.parametrize("at_once", [True, False])
def test_purge_takes_all_of_it(real: Installer, at_once: bool) -> None:
    start_pod(real, "red")
    real.node.run("sh", "-c", f"echo '{ANOTHERS}' > {CONF}/20-other.conf")
    if not at_once:
        real.uninstall()
    said = real.uninstall("--purge")
    assert "1 pods of the network podnet no longer have a network" in said
    assert set(real.node.links()) == {"lo"}
    assert "cni-bridge-py" not in real.node.run("nft", "list", "ruleset").stdout
    assert real.node.leases("podnet") == {}
    assert real.confs() == ["20-other.conf"]
    assert not real.path(LEASES).exists()


def test_purge_leaves_a_bridge_that_others_use(real: Installer) -> None:
    start_pod(real, "red")
    real.node.run(*["ip", "link", "add", "vm0", "master", "cni0", "type", "veth", "peer", "name", "vm1"])
    said = real.uninstall("--purge")
    assert "The bridge cni0 stays: vm0 is plugged into it" in said
    assert set(real.node.links()) == {"lo", "cni0", "vm0", "vm1"}


def test_purge_leaves_a_bridge_that_was_never_ours(installer: Installer) -> None:
    installer.node.run(*["ip", "link", "add", "cni0", "type", "bridge"])
    assert "There was nothing to uninstall" in installer.uninstall("--purge")
    assert "cni0" in installer.node.links()
