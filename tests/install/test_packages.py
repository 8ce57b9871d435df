"""What building needs, asked before anything is installed; with stand-ins for apt-get and Python."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.install.conftest import Installer, put_command

NOBODY = 65534

# A Python that has everything except what a program with `lacking` in its text asks for.
LACKING = f"""
for program; do :; done
case $program in *{{lacking}}*) exit 1 ;; esac
exec {sys.executable} "$@"
"""
# A Python that logs when install.sh chooses it. Its static library may lack modules.
OF_ITS_OWN = f"""
for program; do :; done
case $program in *builtin_module_names*) exit {{lacks}} ;; esac
case $* in -VV) echo "$0" >>{{log}} ;; esac
exec {sys.executable} "$@"
"""
APT = """
echo "apt-get $*" >>{log}
case $* in
*update) exit 0 ;;
esac
{then}
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "apt.log"


def apt(commands: Path, log: Path, python: str = "3.11.2-1", then: str = "exit 0") -> None:
    """Stand-ins for apt-get and for apt-cache, which knows a python3 of that version."""
    put_command(commands, "apt-get", APT.format(log=log, then=then))
    put_command(commands, "apt-cache", f"echo 'Package: python3'; echo 'Version: {python}'")


def asked_for(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_without_python_and_apt_it_says_what_it_takes(installer: Installer, commands: Path) -> None:
    complaint = installer.refuse(path=commands)
    assert "Python 3.11 or newer; this machine has none" in complaint
    assert "--build-in-container" in complaint


def test_an_old_python_is_refused_before_anything_is_installed(installer: Installer, commands: Path, log: Path) -> None:
    put_command(commands, "python3", '[ "$1" = --version ] && echo Python 3.9.2 && exit\nexit 1')
    apt(commands, log, python="3.9.2-3")
    complaint = installer.refuse(path=commands)
    assert "Python 3.11 or newer; this machine has Python 3.9.2" in complaint
    assert "Debian 12" in complaint
    assert [line for line in asked_for(log) if "install " in line] == []


@pytest.mark.parametrize(
    ("lacking", "package"),
    [("ensurepip", "python3-venv"), ("INSTSONAME", "libpython3."), ("LIBPL", "libpython3.")],
    ids=["venv", "the shared library", "the static library"],
)
def test_what_is_missing_is_named(installer: Installer, commands: Path, log: Path, lacking: str, package: str) -> None:
    put_command(commands, "python3", LACKING.format(lacking=lacking))
    apt(commands, log)
    complaint = installer.refuse(path=commands, user=NOBODY)
    assert f"apt-get install {package}" in complaint
    assert asked_for(log) == []


def test_a_python_whose_library_lacks_modules_is_passed_over(
    installer: Installer, commands: Path, log: Path, tmp_path: Path
) -> None:
    """It could only build the slow executable, which cannot go into the agent's image."""
    later = tmp_path / "later"
    later.mkdir()
    for folder, lacks in ((commands, 1), (later, 0)):
        put_command(folder, "python3", OF_ITS_OWN.format(lacks=lacks, log=log))
    installer.run(path=Path(f"{commands}:{later}"))
    assert asked_for(log) == [f"{later}/python3"]


def test_all_that_is_missing_is_installed_at_once(installer: Installer, commands: Path, log: Path) -> None:
    for name in ("cc", "objdump"):
        (commands / name).unlink()
    apt(commands, log)
    done = installer.run(path=commands)
    missing = "binutils gcc libc6-dev python3 python3-venv libpython3-dev"
    assert f"Building needs these Debian packages: {missing}" in done.stdout
    installs = [line for line in asked_for(log) if " install " in line]
    assert len(installs) == 1
    assert installs[0].endswith(f"install {missing}")
    assert "what they should provide is missing" in done.stderr, "the stand-in installs nothing"


def test_the_lock_of_another_package_manager_is_waited_for(installer: Installer, commands: Path, log: Path) -> None:
    (commands / "cc").unlink()
    busy = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (apt-get)"
    then = f'[ "$(grep -c " install " {log})" -gt 2 ] || {{ echo "{busy}" >&2; exit 100; }}'
    apt(commands, log, then=then)
    done = installer.run(path=commands)
    assert done.stdout.count("Waiting for another package manager to finish") == 1
    assert len([line for line in asked_for(log) if " install " in line]) == 3


def test_what_apt_says_is_passed_on(installer: Installer, commands: Path, log: Path) -> None:
    (commands / "cc").unlink()
    apt(commands, log, then='echo "E: Unable to locate package gcc" >&2; exit 100')
    done = installer.run(path=commands)
    assert done.returncode == 1
    assert "E: Unable to locate package gcc" in done.stderr


@pytest.mark.parametrize(
    ("answer", "options", "installs"), [("n", [], 0), ("y", [], 1), ("", [], 1), ("", ["--yes"], 1)]
)
def test_who_sits_at_a_terminal_is_asked(
    installer: Installer, commands: Path, log: Path, answer: str, options: list[str], installs: int
) -> None:
    (commands / "cc").unlink()
    apt(commands, log)
    ours, theirs = pty.openpty()
    command = ["nsenter", "--target", str(installer.node.pid), "--net", "--mount", "--pid", "--"]
    running = subprocess.Popen(
        [*command, installer.checkout / "install.sh", *options],
        env={**os.environ, "PATH": str(commands)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:
        pass  # the terminal was hung up
    running.wait()
    os.close(ours)
    assert (b"Install them? [Y/n]" in said) is (options == [])
    assert len([line for line in asked_for(log) if " install " in line]) == installs
