"""Which runtimes are found on a node, and what is installed where each of them looks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.install.conftest import Installer, put_command, shipped

CONTAINERD_2 = """
version = 3
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dir = ""
  bin_dirs = ["{bin_dir}", "/opt/second/bin"]
  conf_dir = "{conf_dir}"
"""
CRIO = """
[crio.network]
network_dir = "/etc/cni/crio.d"
plugin_dirs = ["/opt/crio/bin", "/usr/libexec/cni"]
"""
PODMAN = """
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/podman/cni"]
network_config_dir = "/etc/cni/podman.d"
"""


@pytest.fixture
def bare(installer: Installer, commands: Path) -> Path:
    """A PATH without container runtimes, and no configuration of any."""
    installer.node.run("rm", "-rf", "/etc/containerd", "/etc/containers", "/etc/cni")
    (commands / "python3").symlink_to(shutil.which("python3") or "")
    return commands


def prints(commands: Path, name: str, text: str) -> None:
    """Put a command there that prints a configuration."""
    file = commands / f"{name}.toml"
    file.write_text(text)
    put_command(commands, name, f"cat {file}")


def test_debians_containerd(installer: Installer, bare: Path) -> None:
    (bare / "containerd").symlink_to("/usr/bin/containerd")
    config = '[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "/usr/lib/cni"\n  conf_dir = "/etc/cni/net.d"\n'
    installer.node.write("/etc/containerd/config.toml", f"version = 2\n{config}")
    said = installer.succeed("--no-build", path=bare)
    assert "containerd: plugins in /usr/lib/cni, configurations in /etc/cni/net.d" in said
    assert installer.version("/usr/lib/cni/cni-bridge-py") == "one"
    assert installer.picked_up() == ["10-bridge.conf"]


def test_containerd_without_a_configuration(installer: Installer, bare: Path) -> None:
    (bare / "containerd").symlink_to("/usr/bin/containerd")
    assert "containerd: plugins in " in installer.succeed("--no-build", path=bare)


def test_a_containerd_that_cannot_read_its_configuration(installer: Installer, bare: Path) -> None:
    config = '[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "/usr/lib/cni"\n'
    put_command(bare, "containerd", f"[ $# = 2 ] || exit 1; cat <<'END'\n{config}END")
    installer.node.write("/etc/containerd/config.toml", "version = [")
    said = installer.succeed("--no-build", path=bare)
    assert "containerd: it cannot read /etc/containerd/config.toml" in said
    assert "containerd: plugins in /usr/lib/cni, configurations in /etc/cni/net.d" in said


@pytest.mark.parametrize(
    "prints",
    [
        "head -c 100 /dev/urandom",
        "printf 'plugins = 3\\ndisabled_plugins = 7'",
        "printf '[plugins]\\n\"io.containerd.grpc.v1.cri\" = 7'",
        "printf '[plugins.\"io.containerd.grpc.v1.cri\".cni]\\nbin_dir = 7\\nconf_dir = [1]\\nbin_dirs = {}'",
        "exit 1",
        "kill -9 $$",
    ],
)
def test_a_containerd_that_tells_no_sense_has_the_usual_places(installer: Installer, bare: Path, prints: str) -> None:
    put_command(bare, "containerd", prints)
    said = installer.succeed("--no-build", path=bare)
    assert "containerd: plugins in /opt/cni/bin, configurations in /etc/cni/net.d" in said


def test_containerd_2(installer: Installer, bare: Path) -> None:
    prints(bare, "containerd", CONTAINERD_2.format(bin_dir="/opt/first/bin", conf_dir="/etc/cni/two.d"))
    said = installer.succeed("--no-build", path=bare)
    assert "containerd: plugins in /opt/first/bin, configurations in /etc/cni/two.d" in said
    assert installer.version("/opt/first/bin/cni-bridge-py") == "one"
    assert installer.path("/etc/cni/two.d/10-bridge.conf").exists()


def test_the_plugin_is_upgraded_where_it_is(installer: Installer, bare: Path) -> None:
    prints(bare, "containerd", CONTAINERD_2.format(bin_dir="/opt/first/bin", conf_dir="/etc/cni/net.d"))
    installer.node.run("mkdir", "-p", "/opt/second/bin")
    installer.path("/opt/second/bin/cni-bridge-py").write_text("an old one")
    installer.succeed("--no-build", path=bare)
    assert installer.version("/opt/second/bin/cni-bridge-py") == "one"
    assert not installer.path("/opt/first").exists()


def test_a_containerd_that_runs_with_another_configuration(installer: Installer, bare: Path) -> None:
    config = installer.node.directory / "other.toml"
    config.write_text(
        f'version = 2\nroot = "{config.parent}/root"\nstate = "{config.parent}/state"\n'
        f'[grpc]\n  address = "{config.parent}/containerd.sock"\n'
        '[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "/opt/other/bin"\n  conf_dir = "/etc/cni/other.d"\n'
    )
    running = installer.node.popen(
        *("/usr/bin/containerd", "--config", config), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while "containerd" not in installer.node.run("sh", "-c", "cat /proc/[0-9]*/comm").stdout.split():
            assert running.poll() is None
        said = installer.succeed("--no-build", path=bare)
    finally:
        running.kill()
        running.wait()
    assert "containerd: plugins in /opt/other/bin, configurations in /etc/cni/other.d" in said


def test_the_containerd_of_docker_runs_no_pods(installer: Installer, bare: Path) -> None:
    prints(bare, "containerd", 'version = 2\ndisabled_plugins = ["cri"]\n')
    said = installer.succeed("--no-build", path=bare)
    assert "containerd: runs no pods, its CRI plugin is disabled" in said
    assert "No container runtime was found" in said


def test_crio(installer: Installer, bare: Path) -> None:
    prints(bare, "crio", CRIO)
    said = installer.succeed("--no-build", path=bare)
    assert "CRI-O: plugins in /opt/crio/bin, configurations in /etc/cni/crio.d" in said
    assert installer.version("/opt/crio/bin/cni-bridge-py") == "one"


def test_k3s(installer: Installer, bare: Path) -> None:
    installer.node.run("mkdir", "-p", "/var/lib/rancher/k3s/data/cni", "/var/lib/rancher/k3s/agent/etc/cni/net.d")
    said = installer.succeed("--no-build", path=bare)
    assert "k3s: plugins in /var/lib/rancher/k3s/data/cni" in said
    assert installer.path("/var/lib/rancher/k3s/agent/etc/cni/net.d/10-bridge.conf").exists()


def test_podman_takes_lists_alone(installer: Installer, bare: Path) -> None:
    put_command(bare, "podman", "exit 1")
    installer.node.write("/etc/containers/containers.conf", PODMAN)
    installer.node.run("install", "-D", "/usr/lib/cni/portmap", "/opt/podman/cni/portmap")
    said = installer.succeed("--no-build", path=bare)
    assert "podman takes only lists: 10-bridge.conflist" in said
    assert [each.name for each in installer.path("/etc/cni/podman.d").iterdir()] == ["10-bridge.conflist"]
    assert "WARNING: podman takes only lists" in installer.succeed("--no-build", "--conf=10-bridge.conf", path=bare)


def test_podman_beside_a_configuration_that_is_no_list(installer: Installer, bare: Path) -> None:
    put_command(bare, "podman", "exit 1")
    installer.node.write("/etc/containers/containers.conf", PODMAN)
    installer.node.run("install", "-D", "/usr/lib/cni/portmap", "/opt/podman/cni/portmap")
    installer.node.write("/etc/cni/podman.d/10-bridge.conf", (installer.checkout / "conf/10-bridge.conf").read_text())
    installer.succeed("--no-build", "--subnet=10.99.0.0/16", path=bare)
    names = [each.name for each in installer.path("/etc/cni/podman.d").iterdir() if ".bak-" not in each.name]
    assert names == ["10-bridge.conflist"]


def test_podman_without_cni(installer: Installer, bare: Path) -> None:
    put_command(bare, "podman", "exit 1")
    installer.node.write("/etc/containers/containers.conf", '[network]\nnetwork_backend = "netavark"\n')
    said = installer.succeed("--no-build", path=bare)
    assert "podman: uses no CNI plugins" in said
    assert "No container runtime was found" in said


def test_several_runtimes_each_where_it_looks(installer: Installer, bare: Path) -> None:
    prints(bare, "containerd", CONTAINERD_2.format(bin_dir="/opt/first/bin", conf_dir="/etc/cni/net.d"))
    prints(bare, "crio", CRIO)
    said = installer.succeed("--no-build", "--subnet=10.99.0.0/16", path=bare)
    assert [line.partition(":")[0] for line in said.splitlines() if ": plugins in" in line] == ["containerd", "CRI-O"]
    for folder in ("/opt/first/bin", "/opt/crio/bin"):
        assert installer.version(f"{folder}/cni-bridge-py") == "one"
    for folder in ("net.d", "crio.d"):
        assert "10.99.0.0/16" in installer.path(f"/etc/cni/{folder}/10-bridge.conf").read_text()
    said = installer.succeed("--uninstall", path=bare)
    assert "Removed /opt/first/bin/cni-bridge-py" in said
    assert "Removed /opt/crio/bin/cni-bridge-py" in said


def test_no_runtime(installer: Installer, bare: Path) -> None:
    said = installer.succeed("--no-build", path=bare)
    assert "No container runtime was found: most look for plugins in /opt/cni/bin" in said
    assert installer.version() == "one"
    assert installer.conf() == shipped()


@pytest.mark.parametrize("option", ["--bin-dir=/opt/mine", "--conf-dir=/opt/mine"])
def test_a_directory_that_is_named_takes_the_place_of_the_runtimes(
    installer: Installer, bare: Path, option: str
) -> None:
    prints(bare, "crio", CRIO)
    said = installer.succeed("--no-build", option, path=bare)
    bins = "/opt/mine" if "bin" in option else "/opt/crio/bin"
    confs = "/opt/mine" if "conf" in option else "/etc/cni/crio.d"
    looks = "plugins in /opt/crio/bin:/usr/libexec/cni" if "bin" in option else "configurations in /etc/cni/crio.d"
    assert f"WARNING: CRI-O looks for {looks} until its own configuration says otherwise" in said
    assert installer.version(f"{bins}/cni-bridge-py") == "one"
    assert installer.path(f"{confs}/10-bridge.conf").exists()


def test_what_needs_a_restart_is_said(installer: Installer, bare: Path) -> None:
    prints(bare, "crio", CRIO)
    said = installer.succeed("--no-build", path=bare)
    assert "it needs a restart (/etc/cni/crio.d was not there before): systemctl restart crio" in said
    assert "it needs no restart" in installer.succeed("--no-build", path=bare)
    assert os.path.exists(bare)
