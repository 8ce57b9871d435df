"""What install.sh puts where, what it says, and what it takes away again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT
from tests.install.conftest import Installer

NOBODY = 65534
SUBNETS = ["10.99.0.0/16", "10.99.4.0/30", "fd00:99::/64"]
NO_SUBNETS = [
    "10.99.0.0",
    "10.99.0.1/16",
    "10.99.0.0/33",
    "10.99.0.0/31",
    "10.299.0.0/16",
    "pods",
    '10.0.0.0/8", "x": "',
]
OURS_EDITED = '{"name": "edited", "type": "cni-bridge-py"}'
ANOTHERS = '{"name": "another", "type": "bridge"}'


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def shipped(name: str) -> dict[str, object]:
    conf: dict[str, object] = json.loads((CHECKOUT / "conf" / name).read_text())
    return conf


# --- the plugin ---


def test_the_plugin_starts_where_it_was_installed(installer: Installer) -> None:
    installer.install()
    assert run(installer.plugin) == "one"


def test_only_its_owner_may_write_to_what_was_installed(installer: Installer) -> None:
    installer.install()
    assert run("find", installer.bin_dir, "-not", "-type", "l", "-perm", "/022") == ""
    assert run("find", installer.bin_dir, "-not", "-uid", str(os.geteuid())) == ""


def test_a_new_version_takes_over_and_the_one_before_stays_for_who_still_runs_it(installer: Installer) -> None:
    installer.install()
    first = installer.plugin.resolve()
    installer.build_fake("two")
    installer.install()
    assert run(installer.plugin) == "two"
    assert run(first) == "one"


def test_versions_do_not_pile_up(installer: Installer) -> None:
    for version in ("one", "two", "three", "four"):
        installer.build_fake(version)
        installer.install()
    names = {file.name for file in installer.bin_dir.iterdir()}
    assert len(names) == 3, "the link, this version, and the one before"
    assert run(installer.plugin) == "four"


def test_installing_twice_changes_nothing(installer: Installer) -> None:
    installer.install()
    before = installer.contents()
    installer.install()
    assert installer.contents() == before


def test_an_executable_of_that_name_is_replaced(installer: Installer) -> None:
    installer.bin_dir.mkdir()
    installer.plugin.write_text("something else")
    installer.install()
    assert run(installer.plugin) == "one"


def test_a_runtime_that_starts_the_plugin_while_it_is_replaced_notices_nothing(installer: Installer) -> None:
    installer.build_real("0")
    installer.install()
    answers: list[subprocess.CompletedProcess[str]] = []
    done = threading.Event()

    def start_again_and_again() -> None:
        while not done.is_set():
            answers.append(
                subprocess.run(
                    installer.plugin, env={"CNI_COMMAND": "VERSION"}, input="{}", capture_output=True, text=True
                )
            )

    runtimes = [threading.Thread(target=start_again_and_again) for _ in range(2)]
    for runtime in runtimes:
        runtime.start()
    try:
        for version in ("1", "2", "3", "4", "5"):
            installer.build_real(version)
            installer.install()
    finally:
        done.set()
        for runtime in runtimes:
            runtime.join()
    assert len(answers) > 5
    assert [answer for answer in answers if answer.returncode or "supportedVersions" not in answer.stdout] == []


# --- the configuration ---


@pytest.mark.parametrize("name", ["10-bridge.conf", "10-bridge.conflist"])
def test_the_configuration_asked_for_is_installed(installer: Installer, name: str) -> None:
    installer.install("--conf", name)
    assert installer.confs() == [name]
    assert installer.conf(name) == shipped(name)


@pytest.mark.parametrize("subnet", SUBNETS)
@pytest.mark.parametrize("name", ["10-bridge.conf", "10-bridge.conflist"])
def test_the_subnet_is_the_only_thing_that_is_changed(installer: Installer, name: str, subnet: str) -> None:
    installer.install("--conf", name, "--subnet", subnet)
    conf = installer.conf(name)
    plugin = conf["plugins"][0] if "plugins" in conf else conf
    assert plugin["ipam"].pop("subnet") == subnet
    plugin["ipam"]["subnet"] = "10.22.0.0/16"
    assert conf == shipped(name)


@pytest.mark.parametrize("existing", [OURS_EDITED, ANOTHERS])
def test_a_configuration_with_other_contents_is_kept_as_a_backup(installer: Installer, existing: str) -> None:
    installer.write_conf("10-bridge.conf", existing)
    said = installer.install()
    assert installer.conf() == shipped("10-bridge.conf")
    assert installer.backups() == [existing]
    assert "Kept" in said
    picked_up = (".conf", ".conflist", ".json")
    assert [name for name in installer.confs() if name.endswith(picked_up)] == ["10-bridge.conf"]


def test_two_backups_within_a_second_are_both_kept(installer: Installer) -> None:
    for existing in (OURS_EDITED, ANOTHERS):
        installer.write_conf("10-bridge.conf", existing)
        installer.install()
    assert sorted(installer.backups()) == sorted([OURS_EDITED, ANOTHERS])


def test_the_other_configuration_of_ours_makes_way(installer: Installer) -> None:
    installer.install("--conf", "10-bridge.conf")
    said = installer.install("--conf", "10-bridge.conflist")
    assert "will now pick" in said
    assert not (installer.conf_dir / "10-bridge.conf").exists()
    assert [json.loads(backup) for backup in installer.backups()] == [shipped("10-bridge.conf")]


@pytest.mark.parametrize("other", ["20-other.conf", "10-bridge.conflist", "99.json", "0-other.txt", "0-other.conf.bak"])
def test_it_says_that_the_runtime_picks_ours(installer: Installer, other: str) -> None:
    installer.write_conf(other, ANOTHERS)
    said = installer.install()
    assert f"will now pick {installer.conf_dir}/10-bridge.conf" in said
    assert "WARNING" not in said
    assert (installer.conf_dir / other).read_text() == ANOTHERS


@pytest.mark.parametrize("other", ["05-other.conf", "05-other.conflist", "1.json", "00-Other.conflist"])
def test_it_warns_when_another_configuration_sorts_before_ours(installer: Installer, other: str) -> None:
    installer.write_conf(other, ANOTHERS)
    said = installer.install()
    assert f"WARNING: the runtime will pick {installer.conf_dir}/{other}" in said
    assert (installer.conf_dir / other).read_text() == ANOTHERS


# --- what is refused ---


@pytest.mark.parametrize("subnet", NO_SUBNETS)
def test_a_subnet_that_is_none_is_refused(installer: Installer, subnet: str) -> None:
    assert f"--subnet {subnet}: " in installer.fail("--no-build", "--subnet", subnet)


@pytest.mark.parametrize("name", ["nothing.conf", "../conf/10-bridge.conf", "/etc/passwd"])
def test_a_configuration_that_is_not_shipped_is_refused(installer: Installer, name: str) -> None:
    complaint = installer.fail("--no-build", "--conf", name)
    assert f"conf/ has no {name}" in complaint
    assert "10-bridge.conf 10-bridge.conflist" in complaint


def test_an_unknown_option_is_refused(installer: Installer) -> None:
    assert "there is no option --subnets" in installer.fail("--no-build", "--subnets", "10.0.0.0/8")


def test_an_option_without_its_value_is_refused(installer: Installer) -> None:
    assert "--subnet needs a value" in installer.fail("--no-build", "--subnet")


def test_it_says_when_nothing_has_been_built(installer: Installer) -> None:
    shutil.rmtree(installer.checkout / ".build")
    assert "nothing has been built yet" in installer.fail("--no-build")


def test_it_does_not_install_what_does_not_start(installer: Installer) -> None:
    (installer.checkout / ".build/dist/cni-bridge-py/cni-bridge-py").write_text("#!/bin/sh\nexit 127\n")
    assert "does not start here" in installer.fail("--no-build")


def test_it_says_when_it_may_not_write_there(installer: Installer) -> None:
    complaint = installer.fail("--no-build", user=NOBODY)
    assert "may not write to" in complaint
    assert "run it as root" in complaint


def test_it_says_that_the_demo_takes_root(installer: Installer) -> None:
    assert "takes root" in installer.fail("--no-build", "--demo", user=NOBODY)


def test_it_says_when_there_is_no_python(installer: Installer, commands: Path) -> None:
    complaint = installer.fail(path=commands)
    assert "Python 3.11 or newer" in complaint
    assert "there is none here" in complaint


def test_it_says_when_python_is_too_old(installer: Installer, commands: Path) -> None:
    script = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit\nexit 1\n'
    (commands / "python3").write_text(script)
    (commands / "python3").chmod(0o755)
    complaint = installer.fail(path=commands)
    assert "Python 3.11 or newer" in complaint
    assert "Python 3.9.2 here" in complaint


@pytest.mark.parametrize(
    ("lacking", "package"),
    [("ensurepip", "python3-venv"), ("INSTSONAME", "libpython3.")],
    ids=["venv", "the shared library"],
)
def test_it_names_the_packages_that_building_lacks(
    installer: Installer, commands: Path, lacking: str, package: str
) -> None:
    # A Python that has everything except what a program with `lacking` in its text asks for.
    script = f"""#!/bin/sh
program=$2
[ "$1" != - ] || program=$(cat)
case $program in *{lacking}*) exit 1 ;; esac
exec {sys.executable} -c "$program"
"""
    (commands / "python3").write_text(script)
    (commands / "python3").chmod(0o755)
    assert f"apt-get install {package}" in installer.fail(path=commands)


def test_help_tells_every_option(installer: Installer) -> None:
    said = installer.succeed("--help")
    options = ("--bin-dir", "--conf-dir", "--subnet", "--conf ", "--no-build", "--uninstall", "--demo", "--help")
    assert [option for option in options if option not in said] == []
    assert installer.contents() == {}


# --- taking it away ---


def test_uninstall_takes_away_what_install_put_there_and_nothing_else(installer: Installer) -> None:
    installer.bin_dir.mkdir()
    (installer.bin_dir / "portmap").write_text("another plugin")
    installer.write_conf("20-other.conf", ANOTHERS)
    before = installer.contents()
    installer.install("--subnet", "10.99.0.0/16")
    installer.build_fake("two")
    installer.install("--subnet", "10.99.0.0/16")
    installer.succeed("--uninstall")
    assert installer.contents() == before


def test_uninstall_keeps_an_edited_configuration_where_no_runtime_picks_it_up(installer: Installer) -> None:
    installer.install()
    installer.write_conf("10-bridge.conf", OURS_EDITED)
    said = installer.succeed("--uninstall")
    assert "has been changed" in said
    assert not (installer.conf_dir / "10-bridge.conf").exists()
    assert installer.backups() == [OURS_EDITED]


def test_uninstall_leaves_what_is_anothers_under_our_names(installer: Installer) -> None:
    installer.bin_dir.mkdir()
    installer.plugin.write_text("somebody's own")
    installer.write_conf("10-bridge.conf", ANOTHERS)
    before = installer.contents()
    installer.succeed("--uninstall")
    assert installer.contents() == before


def test_uninstall_where_nothing_is_installed(installer: Installer) -> None:
    installer.succeed("--uninstall")
    assert installer.contents() == {}


# --- all of it ---


@pytest.mark.slow
def test_a_checkout_builds_installs_and_shows_itself(installer: Installer, root: None) -> None:
    for name in ("README.md", "LICENSE", "pyproject.toml", "cni-bridge-py.spec"):
        shutil.copy(CHECKOUT / name, installer.checkout)
    for name in ("bundle", "cni_bridge_py"):
        shutil.copytree(CHECKOUT / name, installer.checkout / name)
    shutil.rmtree(installer.checkout / ".build")
    said = installer.succeed("--demo")
    assert "Nothing is left behind." in said
    assert (installer.checkout / ".build/venv").is_dir()
    assert "supportedVersions" in run("env", "CNI_COMMAND=VERSION", installer.plugin)
