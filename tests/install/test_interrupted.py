"""Nothing in between: whatever interrupts install.sh, a node has the old installation or the new one."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.bundle import CHECKOUT
from tests.harness import Json
from tests.install.conftest import BIN, CONF, PREFIX, Installer

CHANGES = ("rename", "link", "symlink", "unlink", "unlinkat", "mkdir", "chmod", "fsync")
"""The system calls by which Python changes files, those with which an installation begins and ends a step."""


def module(installer: Installer, *options: str) -> list[str]:
    """The command that install.sh runs once it has built: the part that changes a node."""
    python = str(installer.checkout / ".build/venv/bin/python")
    places = [f"--shipped={installer.checkout}/conf", f"--bin-dir={BIN}", f"--conf-dir={CONF}", f"--prefix={PREFIX}"]
    return ["env", f"PYTHONPATH={CHECKOUT}", python, "-m", "cni_bridge_py", "install", *places, *options]


def state(installer: Installer) -> tuple[str, Json]:
    """What a runtime would find now: the version of the plugin, and the configuration that comes first."""
    first = min(installer.picked_up())
    return installer.version(), installer.conf(first)


def staged(installer: Installer) -> list[str]:
    tops = [installer.path(top) for top in (BIN, CONF, f"{PREFIX}/lib/cni-bridge-py", f"{PREFIX}/bin")]
    return [file.name for top in tops for file in top.glob(".cni-bridge-py-*")]


def struck(signal: str, call: str, number: int) -> list[str]:
    """A command that sends the signal when what is run makes that system call for the time of that number."""
    return ["strace", "-qq", "-o", "/dev/null", f"--inject={call}:signal={signal}:when={number}"]


def moments(signal: str, upgrade: list[str], installer: Installer) -> Iterator[str]:
    """Run an upgrade of the same node again and again, each time ended by the signal at another of its changes."""
    saved = installer.node.directory / "before.tar"
    tops = (BIN, CONF, f"{PREFIX}/lib/cni-bridge-py", f"{PREFIX}/bin/cni-bridge-py")
    installer.node.run("tar", "-cf", saved, *tops)
    for call in CHANGES:
        for number in itertools.count(1):
            installer.node.run("rm", "-rf", *tops)
            installer.node.run("tar", "-C", "/", "-xf", saved)
            done = installer.node.run(*struck(signal, call, number), *upgrade, check=False)
            if done.returncode == 0:
                break  # it made that call less often
            yield f"{call} {number}: status {done.returncode}"


def test_killed_at_any_moment(installer: Installer) -> None:
    portmap = installer.path(f"{BIN}/portmap")
    portmap.write_text("a plugin")
    portmap.chmod(0o755)
    installer.install("--subnet=10.98.0.0/16")
    old = state(installer)
    installer.build("two")
    upgrade = module(installer, f"--built={installer.dist}", "--conf=10-bridge.conflist", "--subnet=10.99.0.0/16")
    seen = []
    for moment in moments("KILL", upgrade, installer):
        assert moment.endswith(("-9", "137"))
        version, conf = state(installer)
        seen.append(conf)
        assert (version, conf) == old or version == "two", moment
        part = conf["plugins"][0] if "plugins" in conf else conf
        assert part["ipam"]["subnet"] == ("10.99.0.0/16" if "plugins" in conf else "10.98.0.0/16"), moment
        assert set(installer.picked_up()) <= {"10-bridge.conf", "10-bridge.conflist"}
    assert len(seen) > 12, "the sweep reaches the changes"
    assert old[1] in seen
    # The last one ended by itself; one that was killed is healed by the next.
    installer.node.run(*struck("KILL", "fsync", 1), *upgrade[:-1], "--subnet=10.97.0.0/16", check=False)
    assert staged(installer) != []
    installer.node.run(*upgrade)
    assert staged(installer) == []
    assert installer.picked_up() == ["10-bridge.conflist"]


def test_ended_by_a_signal_it_takes_back_what_it_began(installer: Installer) -> None:
    installer.install()
    before = installer.contents()
    installer.build("two")
    upgrade = module(installer, f"--built={installer.dist}", "--subnet=10.99.0.0/16")
    for number in (1, 2):
        done = installer.node.run(*struck("TERM", "fsync", number), *upgrade, check=False)
        assert done.returncode == 143
        assert installer.contents() == before


@pytest.mark.parametrize("folder", [BIN, CONF, f"{PREFIX}/lib"])
def test_a_full_disk(installer: Installer, folder: str) -> None:
    installer.install()
    old = installer.node.directory / "old.tar"
    installer.node.run("tar", "-C", folder, "-cf", old, ".")
    installer.node.run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
    if folder != f"{PREFIX}/lib":
        installer.node.run("tar", "-C", folder, "-xf", old)
    installer.node.run("sh", "-c", f"cat /dev/zero > {folder}/full 2>/dev/null || true")
    before = installer.contents()
    installer.build("two")
    (installer.dist / "command-line/library").write_bytes(bytes(100_000))
    with (installer.dist / "cni-bridge-py").open("a") as program:
        program.write("#" * 100_000)
    done = installer.run("--no-build", f"--bin-dir={BIN}", f"--conf-dir={CONF}", "--subnet=10.99.0.0/16")
    assert done.returncode == 1, done
    assert "No space left on device" in done.stderr
    assert f"install.sh: {folder}" in done.stderr
    assert ".new" not in done.stderr
    assert "Traceback" not in done.stderr
    assert installer.contents() == before


def test_several_at_once_make_all_their_changes(installer: Installer) -> None:
    installer.install()
    other = Installer(installer.node, "other")
    other.build("one")
    options = ["--subnet=10.99.0.0/16", "--mtu=1400"]
    places = ["--no-build", f"--bin-dir={BIN}", f"--conf-dir={CONF}"]
    running = [
        installer.node.popen(each.checkout / "install.sh", *places, option, stdout=subprocess.PIPE)
        for each in (installer, other, installer)
        for option in options
    ]
    said = [each.communicate()[0] for each in running]
    assert [each.returncode for each in running] == [0] * len(running), said
    conf = installer.conf()
    assert (conf["mtu"], conf["ipam"]["subnet"]) == (1400, "10.99.0.0/16")
    assert staged(installer) == []
    assert any("Another install.sh is running" in each for each in said)
    assert all(json.loads(each) for each in installer.backups())
