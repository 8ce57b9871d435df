"""Tests that this machine's kernel has no part for, in one that has: Debian's user-mode-linux, a kernel as a program.

It boots in two seconds, needs nothing but the package, and has VLAN filtering on bridges.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT
from tests.harness import UNSHARE, Plugin, filters_vlans

SECONDS = 1500


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.skipif(filters_vlans(), reason="this machine's kernel filters VLANs itself")
@pytest.mark.usefixtures("root")
def test_vlan_filtering(request: pytest.FixtureRequest, plugin: Plugin, tmp_path: Path) -> None:
    choice = request.config.getoption("--plugin")
    arguments = ["--plugin", "source" if choice == "source" else plugin.argv[0], "-m", "vlan_filtering"]
    console = boot(tmp_path, *arguments, "tests/cli", "tests/options", "tests/pages")
    assert "uml: pytest ended with 0" in console, console
    assert "skipped" not in console, console


def boot(directory: Path, *arguments: str) -> str:
    """Run pytest with these arguments in a user-mode Linux; what it has written to its console.

    Skips the test where there is none, or it does not start.
    """
    missing = [command for command in ("linux.uml", "modprobe") if not shutil.which(command)]
    if missing:
        pytest.skip(f"there is no {' and no '.join(missing)} (Debian's packages user-mode-linux and kmod)")
    kernel = ["linux.uml", "mem=1536M", f"uml_dir={directory}", "quiet", "con=null", "con0=fd:0,fd:1"]
    root = ["rootfstype=hostfs", "rootflags=/", "ro", f"init={CHECKOUT / 'tests/uml/init'}"]
    python = CHECKOUT / ".venv/bin/python"
    done = subprocess.run(
        [*UNSHARE, *kernel, *root, "--", str(CHECKOUT), str(python), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        check=False,
    )
    console = done.stdout.decode(errors="replace")
    if "uml: started" not in console:
        pytest.skip(f"user-mode Linux does not start here: {console.strip()[-500:]}")
    return console
