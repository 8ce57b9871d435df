"""The plugin as a runtime sees it: a process with an environment, a standard input, and an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_bridge_py.cni.result import VERSIONS
from tests.unit.support import CHECKOUT

MODULE = ["-m", "cni_bridge_py"]

PARAMETERS = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/there-is-no-such-pod",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}

UNPRIVILEGED = """
import os, sys
from cni_bridge_py import plugin
if os.geteuid() == 0:
    os.seteuid(65534)
sys.exit(plugin.main())
"""


def run(
    verb: str, stdin: bytes | dict[str, Any], argv: list[str] = MODULE, **parameters: str | None
) -> subprocess.CompletedProcess[bytes]:
    """Run the plugin with the usual parameters but for those given; None takes one away."""
    environment = {"CNI_COMMAND": verb, **PARAMETERS, **parameters}
    return subprocess.run(
        [sys.executable, *argv],
        input=stdin if isinstance(stdin, bytes) else json.dumps(stdin).encode(),
        env={name: value for name, value in environment.items() if value is not None},
        cwd=CHECKOUT,
        capture_output=True,
        timeout=60,
    )


def error_of(done: subprocess.CompletedProcess[bytes], code: int) -> dict[str, Any]:
    """The error on standard output, of that code, and nothing else anywhere."""
    assert done.returncode == 1, done
    assert done.stderr == b""
    error: dict[str, Any] = json.loads(done.stdout)
    assert set(error) <= {"cniVersion", "code", "msg", "details"}
    assert error["cniVersion"] in VERSIONS
    assert error["msg"]
    assert error["code"] == code, error
    return error


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A dataDir, in which nothing may be left by what these tests do."""
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def configuration(data_dir: Path, **keys: Any) -> dict[str, Any]:
    ipam = {"type": "host-local", "subnet": "10.1.0.0/16", "dataDir": str(data_dir)}
    return {"cniVersion": "1.0.0", "name": "net", "type": "cni-bridge-py", "ipam": ipam, **keys}


# VERSION


@pytest.mark.parametrize("version", [*VERSIONS, None, "0.5.0", "2.0.0", "", 1, []])
def test_version_is_answered_in_the_version_that_was_asked_in(version: object) -> None:
    done = run("VERSION", {} if version is None else {"cniVersion": version})
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout) == {
        "cniVersion": version if version and isinstance(version, str) else "1.1.0",
        "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


@pytest.mark.parametrize("stdin", [b"", b"\n"])
def test_version_needs_neither_configuration_nor_parameters(stdin: bytes) -> None:
    done = run("VERSION", stdin, CNI_CONTAINERID=None, CNI_NETNS=None, CNI_IFNAME=None, CNI_PATH=None)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["cniVersion"] == "1.1.0"


# The version that is spoken


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
@pytest.mark.parametrize("version", ["0.5.0", "1.2.0", "2.0.0", "1.0", "v1.0.0", "latest"])
def test_versions_that_it_does_not_speak_are_error_1(data_dir: Path, verb: str, version: str) -> None:
    error = error_of(run(verb, configuration(data_dir, cniVersion=version)), 1)
    assert error["msg"] == f"incompatible CNI versions: cniVersion {version} is not supported"
    spoken = " ".join(map(json.dumps, VERSIONS))
    assert error["details"] == f'config is "{version}", plugin supports [{spoken}]'


@pytest.mark.parametrize("version", [*VERSIONS[:4], None])
def test_check_before_0_4_0_is_error_1(data_dir: Path, version: str | None) -> None:
    error = error_of(run("CHECK", configuration(data_dir, cniVersion=version)), 1)
    version = version or "0.1.0"
    assert error["msg"] == f"config version does not allow CHECK: it came with 0.4.0, cniVersion is {version}"
    assert error["cniVersion"] == version


@pytest.mark.parametrize("verb", ["STATUS", "GC"])
@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_status_and_gc_before_1_1_0_are_error_1(data_dir: Path, verb: str, version: str) -> None:
    error = error_of(run(verb, configuration(data_dir, cniVersion=version)), 1)
    assert error["msg"] == f"config version does not allow {verb}: it came with 1.1.0, cniVersion is {version}"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_is_of_the_version_that_was_asked_for(data_dir: Path, version: str) -> None:
    done = run("ADD", configuration(data_dir, cniVersion=version, mtu="x"))
    assert error_of(done, 7)["cniVersion"] == version


def test_a_version_that_is_no_string_is_error_7(data_dir: Path) -> None:
    assert error_of(run("ADD", configuration(data_dir, cniVersion=1.0)), 7)["msg"].startswith("cniVersion: ")


def test_the_version_is_found_whatever_its_keys_case(data_dir: Path) -> None:
    conf = configuration(data_dir, cniVersion=None)
    del conf["cniVersion"]
    assert error_of(run("STATUS", {**conf, "CNIVersion": "1.1.0", "name": ""}), 7)["cniVersion"] == "1.1.0"
    assert error_of(run("ADD", {**conf, "CNIVersion": "9.9"}), 1)["msg"].startswith("incompatible CNI versions")
    assert json.loads(run("VERSION", {"CNIVersion": "0.4.0"}).stdout)["cniVersion"] == "0.4.0"


# What is refused


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "STATUS", "GC"])
@pytest.mark.parametrize("key", ["plugins", "Plugins"])
def test_a_configuration_list_is_error_7(data_dir: Path, verb: str, key: str) -> None:
    conf = {"cniVersion": "1.1.0", "name": "net", key: [configuration(data_dir)]}
    message = error_of(run(verb, conf), 7)["msg"]
    assert message == "plugins: this is a network configuration list, but a plugin gets one entry of a list"


def test_a_key_of_that_name_in_a_plugins_own_configuration_is_one_that_is_not_known(data_dir: Path) -> None:
    assert error_of(run("ADD", configuration(data_dir, plugins=[])), 4)["msg"].startswith("CNI_NETNS")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"CNI_CONTAINERID": None}, "required env variables [CNI_CONTAINERID] missing"),
        ({"CNI_CONTAINERID": ""}, "required env variables [CNI_CONTAINERID] missing"),
        ({"CNI_NETNS": None}, "required env variables [CNI_NETNS] missing"),
        ({"CNI_IFNAME": None}, "required env variables [CNI_IFNAME] missing"),
        (
            {"CNI_CONTAINERID": "../../etc/cron.d"},
            "CNI_CONTAINERID: invalid characters in containerID '../../etc/cron.d': it must start",
        ),
        (
            {"CNI_CONTAINERID": "a/../../b"},
            "CNI_CONTAINERID: invalid characters in containerID 'a/../../b': it must start",
        ),
        ({"CNI_IFNAME": "../eth0"}, "CNI_IFNAME: '../eth0': interface name contains / or :"),
        ({"CNI_IFNAME": "a" * 16}, "CNI_IFNAME: 'aaaaaaaaaaaaaaaa': interface name is too long"),
        ({"CNI_IFNAME": "eth\udcff"}, "CNI_IFNAME: 'eth\\udcff': interface name contains"),
        ({"CNI_ARGS": "FOO=1"}, "CNI_ARGS: unknown args FOO"),
        ({"CNI_ARGS": "\udcff"}, "CNI_ARGS: invalid pair '\\udcff': it is not KEY=VALUE"),
        ({"CNI_COMMAND": ""}, "required env variables [CNI_COMMAND] missing"),
        ({"CNI_COMMAND": "add"}, "unknown CNI_COMMAND: add: expected one of ADD, "),
    ],
)
def test_parameters_are_error_4(data_dir: Path, parameters: dict[str, str | None], message: str) -> None:
    done = run(**{"verb": "ADD", "stdin": configuration(data_dir), **parameters})  # type: ignore[arg-type]
    assert error_of(done, 4)["msg"].startswith(message)


@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b" ",
        b"{",
        b'{"cniVersion": "1.0.0", "name": "net",}',
        b'{"name": "net"} {"name": "net"}',
        b"[]",
        b"null",
        b'"net"',
        b"5",
        b'{"mtu": NaN}',
        b'{"name": "\xff"}',
        pytest.param(b'{"mtu": ' + b"9" * 5000 + b"}", id="a number of 5000 digits"),
        pytest.param(b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="100,000 deep"),
        pytest.param(b'{"x": ' * 100_000, id="100,000 objects deep, no end"),
        pytest.param(b"\0" * 100, id="zeros"),
    ],
)
def test_configurations_that_are_none_are_error_6(stdin: bytes) -> None:
    message = error_of(run("ADD", stdin), 6)["msg"]
    assert "network configuration on standard input" in message
    assert len(message) < 500


@pytest.mark.parametrize("end", [b"", b'"}'], ids=["no end", "whole"])
def test_a_configuration_that_is_enormous_is_error_6(end: bytes) -> None:
    done = run("ADD", b'{"name": "' + b"x" * (16 << 20) + end)
    assert error_of(done, 6)["msg"] == "the network configuration on standard input exceeds 16777216 bytes"


def test_an_enormous_version_request_is_error_6() -> None:
    error_of(run("VERSION", b" " * ((16 << 20) + 1)), 6)


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
@pytest.mark.parametrize("name", ["../../etc/cron.d", "..", "a/b", "/etc", ""])
def test_names_that_leave_the_data_dir_are_error_7(data_dir: Path, verb: str, name: str) -> None:
    done = run(verb, configuration(data_dir / "networks", name=name))
    assert error_of(done, 7)["msg"].startswith(
        "name: missing network name" if not name else f"name: invalid characters found in network name {name!r}"
    )


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_keys_are_error_7(data_dir: Path, verb: str) -> None:
    configuration_ = configuration(data_dir, isGateway="yes")
    assert error_of(run(verb, configuration_), 7)["msg"] == "isGateway: expected true or false, got 'yes'"


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC"])
def test_it_needs_root(data_dir: Path, verb: str) -> None:
    error = error_of(run(verb, configuration(data_dir, cniVersion="1.1.0"), ["-c", UNPRIVILEGED]), 101)
    assert error["msg"] == "wiring pods needs root"
    assert error["details"]


@pytest.mark.parametrize(
    ("before", "reason"),
    [("os.close(0)", "Bad file descriptor"), ("os.dup2(os.open('/', os.O_RDONLY), 0)", "Is a directory")],
)
def test_a_standard_input_that_cannot_be_read_is_error_5(before: str, reason: str) -> None:
    code = f"import os, sys; from cni_bridge_py import plugin; {before}; sys.exit(plugin.main())"
    message = error_of(run("ADD", b"", ["-c", code]), 5)["msg"]
    assert message == f"cannot read the network configuration from standard input: {reason}"


# What verbs may come to


def with_verb(body: str) -> list[str]:
    """The plugin's frame around a verb of the test's own."""
    verb = f"def add(request, config):\n    {body}\n"
    return [
        "-c",
        f"import sys\nfrom cni_bridge_py.cni import runner, errors\n{verb}sys.exit(runner.run({{'ADD': add}}))",
    ]


def test_a_verb_gets_the_request_and_the_configuration(data_dir: Path) -> None:
    config = configuration(data_dir)
    body = "return {'command': request.command, 'ifname': request.ifname, 'config': config}"
    done = run("ADD", config, with_verb(body))
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout) == {"command": "ADD", "ifname": "eth0", "config": config}
    assert done.stdout.endswith(b"}\n")


def test_a_verb_without_an_answer_prints_nothing(data_dir: Path) -> None:
    done = run("ADD", configuration(data_dir), with_verb("return None"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_add_whose_result_cannot_be_told_is_taken_back(data_dir: Path) -> None:
    code = """
import os, sys
from cni_bridge_py.cni import runner
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
verbs = {"ADD": lambda request, config: {}, "DEL": lambda request, config: print("taken back", file=sys.stderr)}
sys.exit(runner.run(verbs))
"""
    done = run("ADD", configuration(data_dir), ["-c", code])
    reason = b"cni-bridge-py: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, b"taken back\n" + reason)


@pytest.mark.parametrize(
    ("failure", "code", "message", "details"),
    [
        ("raise errors.CniError(105, 'no', 'do')", 105, "no", "do"),
        ("raise errors.CniError(105, 'n\\xf6 \"\\n')", 105, 'nö "\n', None),
        ("raise ValueError('boom')", 999, "ValueError: boom", "unexpected at <string>:4"),
        ("[][0]", 999, "IndexError: list index out of range", "unexpected at <string>:4"),
        ("raise KeyboardInterrupt", 999, "KeyboardInterrupt: ", "unexpected at <string>:4"),
        ("raise MemoryError", 999, "MemoryError: ", "unexpected at <string>:4"),
        ("sys.exit(3)", 999, "SystemExit: 3", "unexpected at <string>:4"),
        ("raise ValueError('\\udcff')", 999, "ValueError: \udcff", "unexpected at <string>:4"),
    ],
)
def test_whatever_a_verb_raises_is_an_error_on_standard_output(
    data_dir: Path, failure: str, code: int, message: str, details: str | None
) -> None:
    error = error_of(run("ADD", configuration(data_dir), with_verb(failure)), code)
    assert (error["msg"], error.get("details")) == (message, details)


def test_a_long_answer_is_written_whole(data_dir: Path) -> None:
    # A pipe takes 64 KiB at a time.
    done = run("ADD", configuration(data_dir), with_verb("return {'x': ['y' * 100] * 5000}"))
    assert json.loads(done.stdout) == {"x": ["y" * 100] * 5000}


def test_without_cni_command_it_says_what_it_is() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CNI_")}
    done = subprocess.run(
        [sys.executable, *MODULE], env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert "A CNI plugin that wires pods to a Linux bridge" in done.stdout
    assert "usage:" in done.stdout
    assert done.stderr == ""
