"""How the executable is built: the same bytes everywhere, or a word about what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import netaddr
import pytest

from bundle.build import NO_STATIC_LIBRARY
from tests.bundle import CHECKOUT, SYSTEM_PYTHON, build_executable, make_executable


def checkout_in(directory: Path) -> Path:
    """A copy of what the executable is made of."""
    for name in ("bundle", "cni_bridge_py"):
        shutil.copytree(CHECKOUT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def test_two_builds_in_different_places_are_the_same_bytes(tmp_path: Path, root: None) -> None:
    """The second build has another directory, time, environment, host name, locale, umask and address space layout.

    It also ignores signals, and lacks the privileges that wiring a pod needs.
    """
    other = checkout_in(tmp_path / "a longer name than it was" / "und Umlaute: ä")
    script = tmp_path / "python"  # what make_executable() runs in place of a Python
    script.write_text(
        "#!/bin/sh\n"
        "hostname elsewhere; umask 077; trap '' PIPE HUP CHLD; ulimit -s 65536; ulimit -n 200\n"
        'exec nice setpriv --bounding-set=-sys_admin,-net_admin setarch --addr-no-randomize "$@"\n'
    )
    script.chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nowhere",
        "LC_ALL": "tr_TR.UTF-8",
        "TZ": "Asia/Kathmandu",
        "PYTHONHASHSEED": "4711",
        "SOURCE_DATE_EPOCH": "1",
        "PADDING": "x" * 9999,
    }
    make_executable(tmp_path / "again", other, environment, under=["unshare", "--uts", str(script)])
    assert (tmp_path / "again").read_bytes() == build_executable().read_bytes()
    assert (tmp_path / "again").stat().st_mode & 0o777 == 0o755


def test_another_source_is_another_executable(tmp_path: Path) -> None:
    other = checkout_in(tmp_path / "other")
    module = other / "cni_bridge_py/__init__.py"
    module.write_text(module.read_text() + "\nCHANGED = 1\n")
    make_executable(tmp_path / "changed", other)
    assert (tmp_path / "changed").read_bytes() != build_executable().read_bytes()


def test_a_build_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    other = checkout_in(tmp_path / "other")
    (other / "cni_bridge_py/__main__.py").write_text(
        "def main():\n    return 7\n"
    )  # no answer: it does not pass its test
    (tmp_path / "executable").write_text("before")
    with pytest.raises(subprocess.CalledProcessError):
        make_executable(tmp_path / "executable", other)
    assert (tmp_path / "executable").read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["executable", "other"]


def test_a_plugin_that_cannot_be_imported_is_no_fault_of_pythons(tmp_path: Path) -> None:
    """Otherwise install.sh would install the slow executable instead, and nobody would notice."""
    other = checkout_in(tmp_path / "other")
    module = other / "cni_bridge_py/__init__.py"
    module.write_text(module.read_text() + "\nimport ssl\n")
    done = build_of(other, tmp_path / "executable")
    assert done.returncode == 1, done
    assert "_ssl" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "executable").exists()


def test_an_old_netaddr_is_refused(tmp_path: Path) -> None:
    """Debian 12 has 0.8, whose IPNetwork has its arguments in another order."""
    (tmp_path / "old/netaddr").mkdir(parents=True)
    (tmp_path / "old/netaddr/__init__.py").write_text("__version__ = '0.8.0'\n")
    argv = [SYSTEM_PYTHON, "-m", "bundle.build", "--output", str(tmp_path / "executable")]
    env = os.environ | {"PYTHONPATH": str(tmp_path / "old")}
    done = subprocess.run(argv, cwd=CHECKOUT, env=env, capture_output=True, text=True)
    assert done.returncode == 1, done
    assert done.stderr.splitlines()[-1] == "bundle: netaddr 0.8.0 is too old: the plugin needs 1.3 or newer"
    assert not (tmp_path / "executable").exists()


def build_of(checkout: Path, output: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(Path(netaddr.__file__).parent.parent)}
    argv = [SYSTEM_PYTHON, "-m", "bundle.build", "--output", str(output)]
    return subprocess.run(argv, cwd=checkout, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ("build.sysconfig.get_config_var = lambda name: '/nowhere'", "install libpython"),
        ("build.PYTHONS = ('3.99',)", "3.99"),
        ("build.THREAD_LOCALS.clear(); build.WRITABLE.remove('.bss')", ".bss"),
        ("build.Symbols.missing_modules = lambda self: ['_struct']", "_struct"),
    ],
)
def test_a_python_that_cannot_become_an_executable_is_told_apart(tmp_path: Path, lacking: str, said: str) -> None:
    script = (
        f"import sys; sys.argv[1:] = ['--output', 'made']; from bundle import build; {lacking}; sys.exit(build.main())"
    )
    env = os.environ | {"PYTHONPATH": f"{CHECKOUT}:{Path(netaddr.__file__).parent.parent}"}
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", script, "--output", "made"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == NO_STATIC_LIBRARY, done
    assert said in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
