"""Errors of the command line are one line with the way out, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cni_bridge_py import cli
from tests.bundle import CHECKOUT
from tests.harness import Node, Plugin
from tests.node.conftest import CONF, FILE, PROGRAM, Patient, make_patient, patient

__all__ = ["make_patient", "patient"]

WITHOUT_ADMIN = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


def refused(node: Node, *argv: str) -> str:
    done = node.run(*argv, check=False)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("cni-bridge-py: ")
    return line


@pytest.mark.parametrize("argv", ["list", "doctor", "mend", "map", "demo", "explain --pod default/web"])
def test_not_root(
    argv: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "10-bridge.conf"
    file.write_text(json.dumps(CONF))
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setattr(
        sys, "argv", ["cni-bridge-py", *argv.split(), *(["--conf", str(file)] if "explain" in argv else [])]
    )
    assert cli.main() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "run it with sudo" in said.err


def test_the_demo_without_what_it_takes(patient: Patient) -> None:
    assert "CAP_SYS_ADMIN" in refused(patient.node, *WITHOUT_ADMIN, PROGRAM, "demo")


@pytest.mark.parametrize("subcommand", ["doctor", "explain"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("---\nname: podnet\ntype: cni-bridge-py\n", "YAML"),
        ("name: podnet\n", "JSON"),
        ("[]", "no JSON object"),
        ('{"name": "x", "plugins": [{"type": "bridge"}]}', "no plugin of type cni-bridge-py"),
        ("\x00\xff", "JSON"),
    ],
)
def test_a_file_that_is_no_configuration(subcommand: str, content: str, says: str, node: Node, plugin: Plugin) -> None:
    plugin.install(node)
    node.write("/etc/some.conf", content)
    assert says in refused(node, PROGRAM, subcommand, "--conf", "/etc/some.conf")


@pytest.mark.parametrize("path", ["/etc/nosuch.conf", "/etc"])
def test_a_file_that_cannot_be_read(path: str, node: Node, plugin: Plugin) -> None:
    plugin.install(node)
    assert path in refused(node, PROGRAM, "list", "--conf", path)


def test_a_directory_that_cannot_be_read(patient: Patient) -> None:
    # A link in a circle is what even root cannot read.
    patient.sh(f"rm {FILE}; ln -s loop.conf /etc/cni/net.d/loop.conf; rm -r /var/lib/cni/networks")
    patient.sh("ln -s networks /var/lib/cni/networks")
    assert "/var/lib/cni/networks" in refused(patient.node, PROGRAM, "list")


def test_a_picture_that_cannot_be_written(patient: Patient) -> None:
    assert "/proc/map.svg" in refused(patient.node, PROGRAM, "map", "--svg", "/proc/map.svg")


def test_a_pod_that_is_not_here(patient: Patient) -> None:
    line = refused(patient.node, PROGRAM, "explain", "--pod", "default/nosuch")
    assert "default/web-0" in line


@pytest.mark.parametrize("argv", [("list", "--watch", "never"), ("nosuch",), ("explain", "--verb", "GC")])
def test_arguments_that_are_wrong(argv: tuple[str, ...], patient: Patient) -> None:
    done = patient.node.run(PROGRAM, *argv, check=False)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_who_reads_may_have_enough(patient: Patient) -> None:
    done = patient.node.run("sh", "-c", f"{PROGRAM} doctor --json | head -n 1")
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("subcommand", ["list", "doctor", "mend", "map", "explain", "completion"])
def test_help_has_examples(subcommand: str, plugin: Plugin) -> None:
    said = subprocess.run(
        [*plugin.argv, subcommand, "--help"], capture_output=True, text=True, check=True, env={}
    ).stdout
    assert "examples:" in said
    assert f"cni-bridge-py {subcommand}" in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, patient: Patient, tmp_path: Path) -> None:
    code = patient.node.run(PROGRAM, "completion", shell).stdout
    assert "cni-bridge-py" in code
    if patient.node.run("which", shell, check=False).returncode:
        pytest.skip(f"there is no {shell} here")
    if shell == "bash":
        script = (
            f"{code}\nPATH=/opt/cni/bin:$PATH\n"
            'complete_line() { COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=($1); COMP_TYPE=9;'
            ' COMP_KEY=9; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _python_argcomplete cni-bridge-py "$2";'
            ' echo "${COMPREPLY[@]}"; }\n'
            'complete_line "cni-bridge-py do" do\n'
            'complete_line "cni-bridge-py explain --pod default/web-1" default/web-1\n'
        )
        said = patient.node.run("bash", "-c", script).stdout
        assert "doctor" in said
        assert "default/web-1" in said
    else:
        patient.node.run(shell, "-n" if shell == "zsh" else "--no-execute", "/dev/stdin", input=code)


def test_the_man_page(node: Node) -> None:
    if node.run("which", "man", check=False).returncode:
        pytest.skip("there is no man here")
    made = subprocess.run(
        [sys.executable, "-m", "bundle.man"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    env = {"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}
    node.write("/opt/cni-bridge-py.1", made.stdout)
    done = node.run("man", "--warnings", "-l", "/opt/cni-bridge-py.1", env=env)
    assert done.stderr == ""
    for word in ("NAME", "doctor", "--dry-run", "pods have no network"):
        assert word in done.stdout


def test_json_is_one_object(patient: Patient) -> None:
    assert json.loads(patient.node.run(PROGRAM, "doctor", "--json").stdout)["version"]
