"""Errors of the command line are one line with the way out, and never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cni_bridge_py import cli
from tests.bundle import CHECKOUT
from tests.harness import PATH, Node, Plugin
from tests.node.conftest import CONF, FILE, PROGRAM, Patient, make_patient, patient

__all__ = ["make_patient", "patient"]

WITHOUT_ADMIN = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


SUBCOMMANDS = ("list", "list --json", "map", "map --svg -", "doctor", "doctor --json", "mend", "explain", "--help")


ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8"}


def refused(node: Node, *argv: str) -> str:
    done = node.run(*argv, check=False, env=ENVIRONMENT)
    assert done.returncode == 2  # doctor exits with 1 if a node has a problem
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
    assert cli.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "run it with sudo" in said.err


@pytest.mark.parametrize("argv", ["list", "list --json", "map", "mend", "explain --pod default/web-0"])
def test_a_root_that_may_not_see_the_packet_filter(argv: str, patient: Patient) -> None:
    """Without the right to look, `list` would call each pod unguarded."""
    confined = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert "needs CAP_NET_ADMIN" in refused(patient.node, *confined, PROGRAM, *argv.split())


def test_the_demo_without_what_it_takes(patient: Patient) -> None:
    assert "CAP_SYS_ADMIN" in refused(patient.node, *WITHOUT_ADMIN, PROGRAM, "demo")


@pytest.mark.parametrize("subcommand", ["doctor", "explain"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("---\nname: podnet\ntype: cni-bridge-py\n", "YAML"),
        ("name: podnet\n", "JSON"),
        ("[]", "it is not a JSON object"),
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


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("list --watch never", "'never': expected 0.1 to 86400 seconds"),
        ("list --watch 0", "'0': expected 0.1 to 86400 seconds"),
        ("list --watch --json", "not allowed with"),
        ("list --conf=", "expected a name"),
        ("list --nosuch", "--nosuch"),
        ("map --svg=", "expected a name"),
        ("explain --pod=", "expected a name"),
        ("explain --verb GC", "'GC'"),
        ("nosuch", "'nosuch'"),
        ("completion tcsh", "'tcsh'"),
        ("demo --plugin /nosuch", "/nosuch"),
    ],
)
def test_arguments_that_are_wrong(argv: str, says: str, node: Node, plugin: Plugin) -> None:
    plugin.install(node)
    done = node.run(PROGRAM, *argv.split(), check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert says in line
    assert line.startswith("cni-bridge-py")
    assert "install" not in line  # a subcommand that is only for install.sh


@pytest.mark.parametrize("executable", ["/bin/true", "/bin/false", "/bin/cat"])
def test_a_demo_of_what_is_no_plugin(executable: str, node: Node, plugin: Plugin) -> None:
    plugin.install(node)
    done = node.run(PROGRAM, "demo", "--plugin", executable, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{executable} does not answer as a CNI plugin does" in line


def test_who_reads_may_have_enough(patient: Patient) -> None:
    for each in SUBCOMMANDS:
        done = patient.node.run("bash", "-c", f"{PROGRAM} {each} | true; echo ${{PIPESTATUS[0]}}", env=ENVIRONMENT)
        assert (done.stdout, done.stderr) == (f"{128 + signal.SIGPIPE}\n", ""), each


def test_nobody_may_read(patient: Patient) -> None:
    for each in SUBCOMMANDS:
        for closed in (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
            done = patient.node.run("sh", "-c", f"{PROGRAM} {each} {closed}", check=False)
            assert (done.returncode, done.stderr) == (0, ""), (each, closed)


def test_a_full_disk_is_said(patient: Patient) -> None:
    for each in SUBCOMMANDS:
        line = refused(patient.node, "sh", "-c", f"{PROGRAM} {each} >/dev/full")
        assert line.endswith("No space left on device"), each


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_locale_without_our_letters(encoding: str, patient: Patient) -> None:
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C", "PATH": PATH}
    for each in SUBCOMMANDS:
        assert patient.node.run("sh", "-c", f"{PROGRAM} {each} >/dev/null", env=env).stderr == "", each


def test_names_that_are_not_utf_8_are_shown_as_they_are(patient: Patient) -> None:
    """doctor prints a command that moves such a file. A person must be able to paste it."""
    patient.sh(r"""printf '{"name": "\377"}' > "$(printf '/etc/cni/net.d/05-\377.conf')" """)
    patient.sh(f"{PROGRAM} doctor > /run/said || true; tail -n 1 /run/said > /run/command; sh /run/command")
    assert "All is well" in patient.node.run(PROGRAM, "doctor").stdout


@pytest.mark.parametrize("columns", ["0", "1", "20", "none"])
def test_a_narrow_terminal(columns: str, patient: Patient) -> None:
    env = {**ENVIRONMENT, "COLUMNS": columns, "TERM": "xterm"}
    patient.sh("ip link set cni0 down")
    for each in ("list", "doctor", "map"):
        for command in (f"{PROGRAM} {each}", f"script -qefc '{PROGRAM} {each}' /dev/null"):
            assert "10.22" in patient.node.run("sh", "-c", command, env=env, check=False).stdout, command


def test_a_command_is_not_broken_where_a_terminal_ends(patient: Patient) -> None:
    patient.sh(
        f"mv {FILE} /etc/cni/net.d/10-bridge-with-a-name-that-is-rather-long.conf; echo {{}} >/etc/cni/net.d/1.conf"
    )
    env = {**ENVIRONMENT, "COLUMNS": "40", "TERM": "dumb"}
    shown = patient.node.run("script", "-qefc", f"{PROGRAM} doctor", "/dev/null", env=env, check=False).stdout
    assert "mv /etc/cni/net.d/1.conf /etc/cni/net.d/1.conf.bak-doctor" in shown


def test_a_pods_name_keeps_to_its_line(patient: Patient) -> None:
    host = next(name for name, link in patient.node.links().items() if link.get("ifalias") == "default/web-0")
    patient.node.run("ip", "link", "set", host, "alias", "shop/a\nb\x1b[31m[bold]c")
    shown = patient.node.run(PROGRAM, "list").stdout
    assert "shop/a?b?[31m[bold]c " in shown
    assert len(shown.splitlines()) == 3


@pytest.mark.parametrize("number", ["TERM", "HUP", "INT"])
def test_a_signal_leaves_nothing_of_the_demo(number: str, node: Node, plugin: Plugin) -> None:
    plugin.install(node)
    node.run("mkdir", "/run/tmp")
    # The plugin hangs, so the signal certainly comes while it runs.
    script = f"""TMPDIR=/run/tmp {PROGRAM} demo --plugin /run/hangs >/dev/null &
        until [ -e /run/begun ]; do sleep 0.1; done
        ls /run/tmp; kill -{number} $!; wait $!; echo $?; ls /run/tmp"""
    node.write("/run/hangs", "#!/bin/sh\n: > /run/begun\nexec sleep 1000\n")
    node.run("chmod", "+x", "/run/hangs")
    # A non-interactive shell makes its background jobs ignore SIGINT.
    script = script if number != "INT" else f"set -m; {script}"
    made, status = node.run("bash", "-c", script).stdout.split()
    assert made.startswith("cni-bridge-py-demo-")
    assert int(status) == 128 + signal.Signals[f"SIG{number}"]


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
