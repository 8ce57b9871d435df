"""Other services of the node leave pods' links alone, and `mend` runs after them."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.install.conftest import CONF, PREFIX, Installer

NETWORKD = "/etc/systemd/network/05-cni-bridge-py.network"
NETWORK_MANAGER = "/etc/NetworkManager/conf.d/05-cni-bridge-py.conf"
UNIT = "/etc/systemd/system/cni-bridge-py-mend.service"
RELOAD = "/etc/systemd/system/nftables.service.d/50-cni-bridge-py-mend.conf"
ALL = (NETWORKD, NETWORK_MANAGER, UNIT, RELOAD)


@pytest.fixture
def installer(installer: Installer) -> Installer:
    """On a node with these services, where nothing of ours is yet."""
    installer.build("1")
    installer.node.run(
        "sh", "-ec", "mkdir -p /etc/systemd/network /etc/systemd/system /etc/NetworkManager; rm -f " + " ".join(ALL)
    )
    return installer


def test_links_of_pods_are_left_alone(installer: Installer) -> None:
    said = installer.install()
    assert f"{NETWORKD}: new" in said
    text = installer.path(NETWORKD).read_text()
    assert text == "[Match]\nName=veth??????????? cni0 cni0.*\n\n[Link]\nUnmanaged=yes\n"
    (devices,) = re.findall(r"unmanaged-devices\+=(.*)", installer.path(NETWORK_MANAGER).read_text())
    assert devices.split(";") == [f"interface-name:{name}" for name in ("veth???????????", "cni0", "cni0.*")]


def test_mend_runs_after_what_breaks_pods(installer: Installer) -> None:
    installer.install()
    assert f"ExecStart={PREFIX}/bin/cni-bridge-py mend" in installer.path(UNIT).read_text()
    assert "cni-bridge-py-mend.service" in installer.path(RELOAD).read_text()
    if shutil.which("systemctl"):
        wants = installer.path("/etc/systemd/system/nftables.service.wants/cni-bridge-py-mend.service")
        assert wants.is_symlink()


def test_the_bridge_is_the_installed_one(installer: Installer) -> None:
    installer.install()
    installer.write_conf("10-bridge.conf", installer.conf() | {"bridge": "pods0"})
    assert f"{NETWORKD}: new" in installer.install()
    assert "pods0" in installer.path(NETWORKD).read_text()
    assert f"{NETWORKD}: as it was" in installer.install()


def test_services_that_are_not_there_get_nothing(installer: Installer) -> None:
    installer.node.run("rm", "-r", "/etc/systemd", "/etc/NetworkManager")
    installer.install()
    assert installer.path(f"{CONF}/10-bridge.conf").exists()
    assert not any(installer.path(path).exists() for path in ALL)


def test_uninstalling_takes_it_away(installer: Installer) -> None:
    installer.install()
    said = installer.uninstall()
    assert all(f"Removed {path}" in said for path in ALL)
    assert not any(installer.path(path).exists() for path in ALL)
    left = [*installer.path("/etc/systemd/system").glob("*/cni-bridge-py*")]
    assert [path for path in left if path.is_symlink()] == []


def test_the_manual_page_and_completion_are_where_they_are_looked_for(installer: Installer) -> None:
    """install.sh builds them beside the command; here they stand for what that is."""
    share = f"{PREFIX}/share"
    places = {
        "cni-bridge-py.1": f"{share}/man/man1/cni-bridge-py.1",
        "completion.bash": f"{share}/bash-completion/completions/cni-bridge-py",
        "completion.zsh": f"{share}/zsh/site-functions/_cni-bridge-py",
        "completion.fish": f"{share}/fish/vendor_completions.d/cni-bridge-py.fish",
    }
    for name in places:
        (installer.dist / name).write_text(name)
    installer.install()
    # /usr/local of the node is seen through its own root alone.
    assert installer.node.run("cat", *places.values()).stdout == "".join(places)
    installer.uninstall()
    assert installer.node.run("ls", *places.values(), check=False).stdout == ""


def test_a_service_that_cannot_be_told_is_a_warning(installer: Installer) -> None:
    installer.path(NETWORKD).mkdir()
    said = installer.install()
    assert f"WARNING: systemd and NetworkManager were not told of pods' links: {NETWORKD} is a directory" in said
    assert installer.version() == "1"
    installer.uninstall()
    assert installer.path(NETWORKD).is_dir()


def test_uninstalling_elsewhere_leaves_the_services_alone(installer: Installer) -> None:
    installer.install()
    elsewhere = [f"--{each}=/opt/elsewhere" for each in ("bin-dir", "conf-dir", "prefix")]
    installer.succeed("--no-build", *elsewhere[:2], f"--prefix={PREFIX}")
    assert "Removed /etc" not in installer.succeed("--uninstall", *elsewhere)
    assert all(installer.path(path).exists() for path in ALL)
