"""Running another plugin: what it is given, and what becomes of what it answers."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cni_bridge_py.cni import delegate
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.cni.result import Result
from cni_bridge_py.ipam.delegated import Delegated
from tests.unit.support import ip_config, refusal, route_to

CONFIG = {"cniVersion": "1.0.0", "name": "net", "ipam": {"type": "other", "key": ["välue", None, True, 5]}}
DATA = json.dumps(CONFIG).encode()


class Plugins:
    """Two folders for plugins, which are shell scripts."""

    def __init__(self, directory: Path) -> None:
        self.folders = [directory / "first", directory / "second"]
        self.path = [str(folder) for folder in self.folders]
        for folder in self.folders:
            folder.mkdir()

    def write(self, script: str, folder: int = 0, mode: int = 0o755) -> None:
        executable = self.folders[folder] / "other"
        executable.write_text(f"#!/bin/sh\n{script}\n")
        executable.chmod(mode)

    def run(self, verb: str = "ADD") -> dict[str, Any]:
        return delegate.run("other", self.path, verb, DATA)


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    return Plugins(tmp_path)


def test_it_gets_the_configuration_our_parameters_and_the_verb(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNI_COMMAND", "CHECK")
    monkeypatch.setenv("CNI_CONTAINERID", "c1")
    plugins.write(f'cat > {tmp_path}/stdin; echo "$CNI_COMMAND $CNI_CONTAINERID" > {tmp_path}/environment')
    assert plugins.run("DEL") == {}
    assert (tmp_path / "stdin").read_bytes() == DATA
    assert (tmp_path / "environment").read_text() == "DEL c1\n"


def test_its_answer_is_returned(plugins: Plugins) -> None:
    plugins.write("""cat > /dev/null; echo '{"ips": [{"address": "10.1.0.2/16"}]}'""")
    assert plugins.run() == {"ips": [{"address": "10.1.0.2/16"}]}


def test_a_long_configuration_and_a_long_answer_pass(plugins: Plugins) -> None:
    # Longer than a pipe holds, and read only after all was written.
    plugins.write("sleep 0.05; cat; cat <&0 | wc -c >&2")
    config = {"x": ["y" * 100] * 5000}
    assert delegate.run("other", plugins.path, "ADD", json.dumps(config).encode()) == config


@pytest.mark.parametrize("status", [0, 1])
def test_what_it_says_on_standard_error_goes_to_ours(
    plugins: Plugins, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    plugins.write(f"echo 'a lease of one hour' >&2; echo '{{}}'; exit {status}")
    with suppress(CniError):
        plugins.run()
    assert capfd.readouterr().err == "a lease of one hour\n"


def test_its_errors_keys_are_found_whatever_their_case(plugins: Plugins) -> None:
    plugins.write("""echo '{"Code": 11, "Msg": "try again", "DETAILS": "later"}'; exit 1""")
    error = refusal(plugins.run)
    assert (error.code, error.msg, error.details) == (11, "plugin other: try again", "later")


def test_a_caller_that_ignores_the_end_of_children(plugins: Plugins) -> None:
    plugins.write("echo '{\"n\": 1}'")
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert plugins.run() == {"n": 1}
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_the_first_folder_that_has_it_is_meant(plugins: Plugins) -> None:
    plugins.write("echo '{\"n\": 2}'", folder=1)
    assert plugins.run() == {"n": 2}
    plugins.write("echo '{\"n\": 0}'", mode=0o644)
    assert plugins.run() == {"n": 2}, "what cannot be run is no plugin"
    plugins.write("echo '{\"n\": 1}'")
    assert plugins.run() == {"n": 1}


def test_a_plugin_that_is_nowhere_is_error_7(plugins: Plugins) -> None:
    error = refusal(plugins.run)
    assert (error.code, error.msg) == (
        7,
        f'ipam.type: failed to find plugin "other" in path [{" ".join(plugins.path)}]',
    )


def test_no_place_to_look_is_error_4() -> None:
    assert refusal(delegate.run, "other", [], "ADD", CONFIG).code == 4


@pytest.mark.parametrize(
    ("script", "code", "message", "details"),
    [
        (
            """echo '{"code": 11, "msg": "try again", "details": "in a while"}'; exit 1""",
            11,
            "plugin other: try again",
            "in a while",
        ),
        ("""echo '{"code": 100, "msg": "no"}'; exit 1""", 100, "plugin other: no", ""),
        ("""echo '{}'; exit 1""", 999, "plugin other: failed without a message", ""),
        (
            "echo nonsense; echo 'what happened' >&2; exit 2",
            999,
            "plugin other: ADD failed: what happened: exit status 2",
            "",
        ),
        ("echo 'what happened' >&2; exit 1", 999, "plugin other: ADD failed: what happened: exit status 1", ""),
        ("echo nonsense; exit 1", 999, "plugin other: ADD failed: its answer is not JSON: ", ""),
        (
            "kill -9 $$",
            999,
            "plugin other: ADD failed: netplugin failed with no error message: signal: killed",
            "",
        ),
        ("echo nonsense", 6, "plugin other: ADD failed: its answer is not JSON", ""),
        ("echo '[]'", 6, "plugin other: ADD failed: its answer is not a JSON object", ""),
        ("echo '\"ok\"'; exit 1", 999, "plugin other: ADD failed: its answer is not a JSON object", ""),
    ],
)
def test_its_errors_are_passed_on(plugins: Plugins, script: str, code: int, message: str, details: str) -> None:
    plugins.write(script)
    error = refusal(plugins.run)
    assert error.code == code
    assert error.msg.startswith(message)
    assert error.details == details


def test_a_program_that_cannot_be_run_is_an_error(plugins: Plugins) -> None:
    executable = plugins.folders[0] / "other"
    executable.write_text("#!/nonsense/interpreter\n")
    executable.chmod(0o755)
    error = refusal(plugins.run)
    assert (error.code, error.msg) == (5, f"cannot run {executable}: No such file or directory")


def test_a_program_that_is_being_written_is_tried_again(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels before 6.11 and from 6.13 on do not run such a file. An installer may be copying it into place."""
    plugins.write("echo '{\"n\": 1}'")
    with (plugins.folders[0] / "other").open("a") as half_written:
        monkeypatch.setattr("time.sleep", lambda _: half_written.close())
        assert plugins.run() == {"n": 1}


@pytest.mark.parametrize("version", ["0.2.0", "0.4.0", "1.0.0"])
def test_its_result_is_read_in_whatever_version_it_has(plugins: Plugins, version: str) -> None:
    route = {"dst": "0.0.0.0/0", "gw": "10.1.0.1"}
    ip = {"address": "10.1.0.2/16", "gateway": "10.1.0.1"}
    answers: dict[str, dict[str, Any]] = {
        "0.2.0": {"ip4": {"ip": "10.1.0.2/16", "gateway": "10.1.0.1", "routes": [route]}},
        "0.4.0": {"ips": [{"version": "4", **ip}], "routes": [route]},
        "1.0.0": {"ips": [ip], "routes": [route]},
    }
    answer = {"cniVersion": version, **answers[version], "dns": {"nameservers": ["10.0.0.1"]}}
    plugins.write(f"echo '{json.dumps(answer)}'")
    with Delegated("other", plugins.path, DATA) as ipam:
        result = ipam.add()
    ips = [ip_config("10.1.0.2/16", "10.1.0.1")]
    assert result == Result([], ips, [route_to("0.0.0.0/0", "10.1.0.1")], {"nameservers": ["10.0.0.1"]})


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"ips": []},
        {"ips": [{}]},
        {"ips": "x"},
        {"ips": [{"address": "nonsense"}]},
        {"ips": [{"address": "10.1.0.2/16", "gateway": "nonsense"}]},
        {"ips": [{"address": "10.1.0.2/16"}], "routes": [{"dst": "nonsense"}]},
        {"ips": [{"address": "10.1.0.2/16"}], "cniVersion": "1.2.0"},
    ],
    ids=str,
)
def test_a_result_that_cannot_be_used_is_error_6(plugins: Plugins, answer: dict[str, Any]) -> None:
    plugins.write(f"echo '{json.dumps(answer)}'")
    error = refusal(Delegated("other", plugins.path, DATA).add)
    assert error.code == 6
    assert error.msg.startswith("plugin other: its result cannot be used: ")


@pytest.mark.parametrize(
    ("call", "verb"),
    [
        (lambda ipam: ipam.delete([]), "DEL"),
        (lambda ipam: ipam.check([]), "CHECK"),
        (lambda ipam: ipam.gc(set()), "GC"),
        (lambda ipam: ipam.status(), "STATUS"),
    ],
)
def test_the_other_verbs_are_passed_on(plugins: Plugins, tmp_path: Path, call: Any, verb: str) -> None:
    plugins.write(f"echo $CNI_COMMAND >> {tmp_path}/verbs; echo 'what it prints is no answer'")
    call(Delegated("other", plugins.path, DATA))
    assert (tmp_path / "verbs").read_text() == f"{verb}\n"


@pytest.mark.parametrize(("code", "told"), [(50, 50), (51, 51), (4, 50), (999, 50)])
def test_status_is_of_the_specifications_codes(plugins: Plugins, code: int, told: int) -> None:
    plugins.write(f"""echo '{{"code": {code}, "msg": "not now"}}'; exit 1""")
    with pytest.raises(CniError) as caught:
        Delegated("other", plugins.path, DATA).status()
    assert (caught.value.code, caught.value.msg) == (told, "plugin other: not now")
