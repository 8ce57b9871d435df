"""The plugin, and the command for people: what is put where, and what becomes of what was there."""

from __future__ import annotations

import json
import subprocess
import threading

import pytest

from tests.harness import Pod
from tests.install.conftest import BIN, CONF, PREFIX, Installer

PLUGIN = f"{BIN}/cni-bridge-py"
COMMAND = f"{PREFIX}/bin/cni-bridge-py"


def test_the_plugin_is_one_file(installer: Installer) -> None:
    installer.install()
    file = installer.path(PLUGIN)
    assert file.is_file()
    assert not file.is_symlink()
    assert installer.version() == "one"
    assert sorted(each.name for each in installer.path(BIN).iterdir()) == ["cni-bridge-py", "loopback"]


def test_the_command_for_people_is_in_the_path(installer: Installer) -> None:
    installer.install()
    assert installer.node.run("sh", "-c", "command -v cni-bridge-py").stdout.strip() == COMMAND
    assert installer.version(COMMAND) == "one"


@pytest.mark.parametrize("umask", ["0000", "0077", "0777"])
def test_whatever_the_umask_others_may_read_and_start_it_and_only_root_may_write(
    installer: Installer, umask: str
) -> None:
    installer.node.run("rm", "-r", "/opt/cni", "/etc/cni")
    command = f"umask {umask}; {installer.checkout}/install.sh --no-build --bin-dir={BIN} --conf-dir={CONF}"
    installer.node.run("sh", "-c", command)
    mode = ("-printf", "%m %y\n", "-not", "-type", "l")
    tops = ("/opt/cni", "/etc/cni", f"{PREFIX}/lib/cni-bridge-py")
    modes = installer.node.run("find", *tops, "-not", "-type", "l", *mode[:2]).stdout.split("\n")
    assert set(filter(None, modes)) == {"755 d", "755 f", "644 f"}
    assert installer.node.run("find", *tops, "-not", "-uid", "0").stdout == ""


def test_a_new_version_takes_the_place_of_the_old(installer: Installer) -> None:
    installer.install()
    installer.build("two")
    assert f"{PLUGIN}: replaced" in installer.install()
    assert installer.version() == installer.version(COMMAND) == "two"


def test_versions_do_not_pile_up(installer: Installer) -> None:
    for version in ("one", "two", "three"):
        installer.build(version)
        installer.install()
    assert len(list(installer.path(f"{PREFIX}/lib/cni-bridge-py").iterdir())) == 1
    assert len(list(installer.path(BIN).iterdir())) == 2


def test_installing_twice_changes_nothing_and_says_so(installer: Installer) -> None:
    installer.install()
    before = installer.contents()
    said = installer.install()
    assert "already the version that was built" in said
    assert f"{CONF}/10-bridge.conf: as it was" in said
    assert installer.contents() == before


def test_what_earlier_versions_of_install_sh_left_goes(installer: Installer) -> None:
    folder = installer.path(f"{BIN}/.cni-bridge-py-0123456789ab")
    (folder / ".cni-bridge-py").mkdir(parents=True)
    (folder / "cni-bridge-py").write_text("the old launcher")
    installer.path(f"{BIN}/.cni-bridge-py-ba9876543210").mkdir()
    installer.path(PLUGIN).symlink_to(".cni-bridge-py-0123456789ab/cni-bridge-py")
    installer.install()
    assert sorted(each.name for each in installer.path(BIN).iterdir()) == ["cni-bridge-py", "loopback"]
    assert not installer.path(PLUGIN).is_symlink()


def test_an_old_version_that_still_runs_is_waited_for(installer: Installer) -> None:
    folder = f"{BIN}/.cni-bridge-py-0123456789ab"
    installer.node.run("mkdir", folder)
    installer.node.run("cp", "/bin/busybox", f"{folder}/sleep")
    running = installer.node.popen(f"{folder}/sleep", "1", stdin=subprocess.DEVNULL)
    # It is the one of nsenter and setpriv that is looked for: until then the old program does not run.
    while f"{folder}/sleep" not in installer.node.run("sh", "-c", "readlink /proc/[0-9]*/exe || true").stdout:
        pass
    installer.install()
    assert running.wait() == 0
    assert not installer.path(folder).exists()


def test_an_executable_of_that_name_is_replaced(installer: Installer) -> None:
    installer.path(PLUGIN).write_text("something else")
    installer.install()
    assert installer.version() == "one"


@pytest.mark.parametrize(
    "path",
    [PLUGIN, "/usr/local/bin/cni-bridge-py", "/usr/local/share/man/man1/cni-bridge-py.1", f"{CONF}/10-bridge.conf"],
)
def test_a_directory_of_that_name_is_refused(installer: Installer, path: str) -> None:
    installer.node.run("mkdir", "-p", f"{path}/somebody's")
    (installer.dist / "cni-bridge-py.1").write_text("a manual page")
    assert f"{path} is a directory: move it away first" in installer.refuse_install()
    assert "There was nothing to uninstall" in installer.uninstall()
    installer.node.run("test", "-d", f"{path}/somebody's")


def test_a_runtime_that_starts_the_plugin_while_it_is_replaced_notices_nothing(installer: Installer) -> None:
    installer.install()
    answers: list[subprocess.CompletedProcess[str]] = []
    done = threading.Event()

    def start_again_and_again() -> None:
        while not done.is_set():
            call = installer.node.run(PLUGIN, env={"CNI_COMMAND": "VERSION"}, input="{}", check=False)
            answers.append(call)

    runtimes = [threading.Thread(target=start_again_and_again) for _ in range(2)]
    for runtime in runtimes:
        runtime.start()
    try:
        for version in ("1", "2", "3", "4", "5"):
            installer.build(version)
            installer.install()
    finally:
        done.set()
        for runtime in runtimes:
            runtime.join()
    assert len(answers) > 5
    assert [answer for answer in answers if answer.returncode or "supportedVersions" not in answer.stdout] == []


def test_without_a_static_executable_the_command_for_people_is_the_plugin(installer: Installer) -> None:
    (installer.dist / "cni-bridge-py").unlink()
    said = installer.install()
    assert f"{PLUGIN} -> {PREFIX}/lib/cni-bridge-py/" in said
    assert installer.version() == "one"
    installer.build("two")
    (installer.dist / "cni-bridge-py").unlink()
    installer.install()
    assert installer.version() == "two"
    installer.uninstall()
    assert list(installer.path(BIN).iterdir()) == []


# --- where it does not start ---


def test_it_does_not_install_what_does_not_start(installer: Installer) -> None:
    (installer.dist / "cni-bridge-py").write_text("#!/bin/sh\necho out of order >&2\nexit 127\n")
    assert "does not start here: out of order" in installer.refuse_install()


def test_an_upgrade_that_does_not_start_leaves_the_old_version(installer: Installer) -> None:
    installer.install()
    installer.build("two")
    (installer.dist / "cni-bridge-py").write_text("#!/bin/sh\nexit 1\n")
    installer.refuse_install("--subnet=10.99.0.0/16")
    assert installer.version() == installer.version(COMMAND) == "one"


def test_where_no_program_may_be_started(installer: Installer) -> None:
    installer.node.run("mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", BIN)
    complaint = installer.refuse_install()
    assert f"{BIN}: the file system runs no programs (noexec)" in complaint
    assert "choose another place with --bin-dir" in complaint


@pytest.mark.parametrize(("folder", "option"), [(BIN, "--bin-dir"), (CONF, "--conf-dir"), (PREFIX, "--prefix")])
def test_a_read_only_file_system(installer: Installer, folder: str, option: str) -> None:
    installer.node.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder)
    complaint = installer.refuse_install()
    assert f"{folder} is on a read-only file system" in complaint
    assert f"choose another place with {option}" in complaint


def test_a_program_for_another_processor(installer: Installer) -> None:
    program = installer.dist / "cni-bridge-py"
    elf = bytearray(installer.path("/bin/true").read_bytes())
    elf[18:20] = (243).to_bytes(2, "little")  # RISC-V
    program.write_bytes(elf)
    assert "was built for riscv64, and this machine is" in installer.refuse_install()


# --- loopback ---


def test_a_node_without_loopback_gets_ours(installer: Installer) -> None:
    installer.build_source()
    assert "loopback -> cni-bridge-py, because there was no plugin of that name" in installer.install()
    installer.node.run("ip", "netns", "add", "pod")
    call = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_NETNS": "/run/netns/pod", "CNI_IFNAME": "lo"}
    conf = {"cniVersion": "1.0.0", "name": "cni-loopback", "type": "loopback"}
    result = json.loads(installer.node.run(f"{BIN}/loopback", env=call, input=json.dumps(conf)).stdout)
    assert [each["address"] for each in result["ips"]] == ["127.0.0.1/8", "::1/128"]
    assert Pod(installer.node, "/run/netns/pod").ping("127.0.0.1")


def test_the_loopback_that_is_there_stays(installer: Installer) -> None:
    loopback = installer.path(f"{BIN}/loopback")
    loopback.write_text("the reference's")
    installer.install()
    assert loopback.read_text() == "the reference's"
    installer.uninstall()
    assert loopback.read_text() == "the reference's"


def test_a_loopback_that_leads_nowhere_is_none(installer: Installer) -> None:
    installer.path(f"{BIN}/loopback").symlink_to("gone")
    installer.install()
    assert installer.version(f"{BIN}/loopback") == "one"


def test_ours_goes_when_we_go(installer: Installer) -> None:
    installer.install()
    installer.install()
    assert "loopback" in installer.uninstall()
    assert list(installer.path(BIN).iterdir()) == []
