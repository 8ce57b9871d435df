"""The executable starts on any node, from any place, without leaving anything, and is no different from the package."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT, build_executable
from tests.harness import Node, Plugin

CONF = json.loads((CHECKOUT / "conf/10-bridge.conf").read_text())
ASK = {"CNI_COMMAND": "VERSION"}


@pytest.fixture(scope="module")
def executable() -> Path:
    return build_executable()


def run(*argv: str | Path, env: dict[str, str] | None = None, stdin: str = "") -> str:
    done = subprocess.run(argv, env=env or {}, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


def supported_versions(*argv: str | Path, env: dict[str, str] = ASK) -> Sequence[str]:
    """What the plugin answers to VERSION when it is started by this command."""
    answer = run(*argv, env=env, stdin='{"cniVersion": "1.0.0"}')
    versions: Sequence[str] = json.loads(answer)["supportedVersions"]
    return versions


# --- where it starts ---


def test_it_starts_where_there_is_nothing_else_at_all(executable: Path, tmp_path: Path, root: None) -> None:
    shutil.copy(executable, tmp_path / "plugin")
    assert list(tmp_path.iterdir()) == [tmp_path / "plugin"]
    assert "1.0.0" in supported_versions("/usr/sbin/chroot", tmp_path, "/plugin")


@pytest.mark.parametrize("name", ["cni-bridge-py", "host-local-py"])
def test_it_starts_through_a_link_in_another_directory(executable: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(executable)
    assert "1.0.0" in supported_versions(tmp_path / name)


def test_it_starts_wherever_a_file_may_be_executed(executable: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(executable, tmp_path / "any name"))
    copy.chmod(0o111)
    assert "1.0.0" in supported_versions(copy)


@pytest.mark.parametrize(
    "limit",
    [
        "ulimit -v 40000",
        "ulimit -s 256",
        "ulimit -n 5",
        "exec 0</dev/null",
        "exec 2>&-",
        "trap '' HUP INT TERM CHLD",
        "umask 0777",
        "cd / && export PATH=",
    ],
)
def test_it_starts_under_any_circumstances(executable: Path, limit: str) -> None:
    assert "1.0.0" in supported_versions("/bin/sh", "-c", f'{limit}; exec "$0"', executable)


@pytest.mark.parametrize("flag", ["--addr-no-randomize", "--addr-compat-layout", "--read-implies-exec"])
def test_it_starts_wherever_the_kernel_puts_its_stack(executable: Path, flag: str) -> None:
    assert "1.0.0" in supported_versions("/usr/bin/setarch", flag, executable)


@pytest.mark.parametrize("fault", ["madvise:error=EINVAL", "getrandom:error=ENOSYS", "rseq:error=ENOSYS"])
def test_it_starts_on_a_kernel_that_lacks_what_newer_ones_have(executable: Path, tmp_path: Path, fault: str) -> None:
    """Debian 11's is 5.10; madvise(MADV_POPULATE_WRITE) came with 5.14."""
    trace = ("-o", tmp_path / "trace", "-e", f"inject={fault}")
    assert "1.0.0" in supported_versions("/usr/bin/strace", *trace, executable)
    assert fault.startswith("getrandom") or "(INJECTED)" in (tmp_path / "trace").read_text()


def test_many_at_once_start_the_same(executable: Path) -> None:
    with ThreadPoolExecutor(20) as runtime:
        answers = set(runtime.map(lambda _: run(executable, env=ASK), range(500)))
    assert len(answers) == 1


@pytest.mark.parametrize(
    "variable",
    [
        {"LC_ALL": "en_US.ISO-8859-1"},
        {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere"},
        {"PYTHONMALLOC": "debug", "PYTHONDEVMODE": "1", "PYTHONFAULTHANDLER": "1"},
        {"PYTHONVERBOSE": "1", "PYTHONSTARTUP": "/nowhere", "PYTHONHASHSEED": "7"},
        {"LD_PRELOAD": "/nowhere", "LD_LIBRARY_PATH": "/nowhere"},
        {"TZ": "America/New_York", "HOME": ""},
        {"LARGE": "x" * 100_000},
    ],
)
def test_no_variable_makes_it_start_in_another_way(executable: Path, variable: dict[str, str]) -> None:
    done = subprocess.run(executable, env=ASK | variable, input="", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(executable, env=ASK)


# --- what is in it ---


def program_headers(executable: Path) -> Iterator[tuple[int, int]]:
    """Type and flags of each segment (elf(5), Elf64_Phdr)."""
    data = executable.read_bytes()
    offset, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    for number in range(count):
        kind, flags = struct.unpack_from("<II", data, offset + number * size)
        yield kind, flags


def test_no_page_is_both_writable_and_executable(executable: Path) -> None:
    load, stack, execute, write = 1, 0x6474E551, 1, 2
    segments = list(program_headers(executable))
    assert {kind for kind, _ in segments} >= {load, stack}
    assert [flags for kind, flags in segments if kind == load and flags & execute and flags & write] == []
    assert [flags for kind, flags in segments if kind == stack and flags & execute] == []


def test_no_memory_is_made_executable(executable: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    supported_versions("strace", "-f", "-e", "trace=mmap,mprotect,pkey_mprotect", "-o", trace, executable)
    assert "PROT_READ" in trace.read_text()
    assert "PROT_EXEC" not in trace.read_text()


def test_it_wants_no_other_file(executable: Path) -> None:
    interpreter, dynamic = 3, 2
    assert {kind for kind, _ in program_headers(executable)} & {interpreter, dynamic} == set()


def test_nothing_of_the_machine_that_built_it_is_in_it(executable: Path) -> None:
    data = executable.read_bytes()
    for each in (CHECKOUT, sys.prefix, "/usr/lib/python3.", "/tmp/cni-bridge-py", "dist-packages/netaddr"):
        assert str(each).encode() not in data, each


def test_it_weighs_a_few_megabytes(executable: Path) -> None:
    assert executable.stat().st_size < 12.5e6


# --- what it leaves ---


def test_starting_it_opens_no_file(executable: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    supported_versions("strace", "-f", "-e", "trace=%file", "-o", trace, executable)
    calls = [line for line in trace.read_text().splitlines() if "(" in line and "execve(" not in line]
    # libc asks for its own name, and what it can of its standard streams.
    assert [call for call in calls if "readlink" not in call and "fstat" not in call] == []


def signals(text: str, name: str) -> set[int]:
    """The signals that a line of proc_pid_status(5) has."""
    mask = int(re.findall(rf"^{name}:\s*(\w+)$", text, re.MULTILINE)[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_its_signals_are_its_callers_but_for_two(executable: Path) -> None:
    """SIGPIPE is ignored and SIGCHLD is not, whatever they were; and nothing is caught."""
    hangup, interrupt, child, pipe = 1, 2, 17, 13
    script = 'trap "" HUP INT CHLD; exec "$0"'
    with subprocess.Popen(["bash", "-c", script, executable], env=ASK, stdin=subprocess.PIPE) as waiting:
        status = Path(f"/proc/{waiting.pid}/status")
        while Path(f"/proc/{waiting.pid}/exe").resolve() != executable or "S (sleeping)" not in status.read_text():
            pass
        text = status.read_text()
    ignored = signals(text, "SigIgn")
    assert ignored >= {hangup, interrupt, pipe}
    assert child not in ignored
    assert signals(text, "SigCgt") == set()
    assert signals(text, "SigBlk") == set()


# --- what it does ---


def test_errors_are_answered_with_an_exit_status(executable: Path) -> None:
    done = subprocess.run(executable, env={"CNI_COMMAND": "ADD"}, input="{", capture_output=True, text=True)
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == 4


@pytest.mark.parametrize(
    "text",
    [
        b'{"name" 1}',
        b'{"name": "a"} and more',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"cniVersion": "1.0.0", "name": "a", "bridge": "\\ud800"}',
        b'{"cniVersion": "1.0.0", "name": "a", "ipam": {"subnet": "\\ud800/8"}}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("name", ["cni-bridge-py", "host-local-py"])
def test_it_says_of_a_text_what_the_package_says(executable: Path, tmp_path: Path, text: bytes, name: str) -> None:
    """Codecs and messages are there, too, though nothing can be imported."""
    (tmp_path / name).symlink_to(executable)
    netns = "/proc/self/ns/net"
    parameters: dict[str, str | bytes] = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": netns,
    }
    script = f"import sys; sys.argv[0] = {name!r}; from cni_bridge_py.__main__ import main; sys.exit(main())"
    package = (sys.executable, "-c", script)
    for env in (parameters, {**parameters, "CNI_ARGS": b"IP=\xff"}, {**parameters, "CNI_CONTAINERID": b"\xff"}):
        answers = [
            subprocess.run(argv, env=env | {"PYTHONPATH": str(CHECKOUT)}, input=text, capture_output=True)
            for argv in ((tmp_path / name,), package)
        ]
        assert json.loads(answers[0].stdout)["code"] < 999
        assert answers[0].stdout == answers[1].stdout
        assert answers[0].stderr == b""


def test_it_reads_resolv_conf(executable: Path, node: Node) -> None:
    node.write("/run/resolv.conf", "nameserver 192.0.2.53\n# \xff: Düsseldorf\nsearch a.example b.example\n")
    conf = {**CONF, "ipam": {**CONF["ipam"], "resolvConf": "/run/resolv.conf"}}
    dns = Plugin(executable).add(node, conf, node.pod())["dns"]
    assert dns == {"nameservers": ["192.0.2.53"], "search": ["a.example", "b.example"]}


def test_without_a_runtime_it_says_what_it_is_and_where_the_command_line_is(
    executable: Path, tmp_path: Path, root: None
) -> None:
    shutil.copy(executable, tmp_path / "plugin")
    # Where the command line is not installed.
    done = subprocess.run(["/usr/sbin/chroot", tmp_path, "/plugin", "demo"], env={}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    for word in ("CNI plugin", "CNI_COMMAND", "demo", "explain", "/usr/local/bin/cni-bridge-py"):
        assert word in done.stderr


def test_without_a_runtime_it_becomes_the_command_line(executable: Path, tmp_path: Path, root: None) -> None:
    command_line = tmp_path / "usr/local/bin/cni-bridge-py"
    command_line.parent.mkdir(parents=True)
    shutil.copy("/bin/busybox", command_line)  # which goes by the name that it is started with
    shutil.copy(executable, tmp_path / "echo")
    assert run("/usr/sbin/chroot", tmp_path, "/echo", "demo", "10") == "demo 10\n"


def test_a_burst_of_a_hundred_pods_leaves_the_node_as_it_was(executable: Path, node: Node) -> None:
    plugin = Plugin(executable)
    pods = [node.pod() for _ in range(100)]
    first = plugin.add(node, CONF, pods[0])
    plugin.delete(node, CONF, pods[0])
    before = node.snapshot()
    assert first["ips"][0]["address"] == "10.22.0.2/16"
    with ThreadPoolExecutor(10) as runtime:
        results = list(runtime.map(lambda pod: plugin.add(node, CONF, pod), pods))
        assert len({result["ips"][0]["address"] for result in results}) == 100
        assert len(node.leases("podnet")) == 100
        checks = runtime.map(lambda pod, result: plugin.check(node, CONF, pod, result), pods, results)
        assert [check for check in checks if check.status != 0] == []
        list(runtime.map(lambda pod: plugin.delete(node, CONF, pod), pods))
    assert node.snapshot() == before
