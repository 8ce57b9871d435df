"""The bundle starts on any node, from any place, without leaving anything, and is no different from the package."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundle import freeze
from tests.bundle import CHECKOUT, build_bundle
from tests.harness import Node, Plugin
from tests.unit.test_imports import OURS

CONF = json.loads((CHECKOUT / "conf/10-bridge.conf").read_text())


@pytest.fixture(scope="module")
def executable() -> Path:
    return build_bundle() / "cni-bridge-py"


def run(*argv: str | Path, env: dict[str, str] | None = None, stdin: str = "") -> str:
    done = subprocess.run(argv, env=env or {}, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


def supported_versions(*argv: str | Path) -> Sequence[str]:
    """What the plugin answers to VERSION when it is started by this command."""
    answer = run(*argv, env={"CNI_COMMAND": "VERSION"}, stdin='{"cniVersion": "1.0.0"}')
    versions: Sequence[str] = json.loads(answer)["supportedVersions"]
    return versions


# --- where it starts ---


def test_it_starts_where_there_is_nothing_but_the_c_library(executable: Path, tmp_path: Path, root: None) -> None:
    libraries = re.findall(r"/\S*/lib\S+|/lib64/ld-\S+", run("ldd", executable))
    python = next(executable.parent.glob(".cni-bridge-py/libpython*"))
    libraries += re.findall(r"/lib/\S*/lib[cm]\.\S+", run("ldd", python))
    for library in libraries:
        (tmp_path / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, tmp_path / library[1:])
    shutil.copytree(executable.parent, tmp_path / "opt/cni/bin")
    (tmp_path / "proc").mkdir()
    in_it = 'mount -t proc proc "$0/proc" && exec /usr/sbin/chroot "$0" /opt/cni/bin/cni-bridge-py'
    assert "1.0.0" in supported_versions("unshare", "--mount", "--pid", "--fork", "sh", "-c", in_it, tmp_path)


@pytest.mark.parametrize("name", ["cni-bridge-py", "host-local-py"])
def test_it_starts_through_a_link_in_another_directory(executable: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(executable)
    assert "1.0.0" in supported_versions(tmp_path / name)


def test_it_starts_through_a_relative_link_beside_it(executable: Path, tmp_path: Path) -> None:
    bin_dir = shutil.copytree(executable.parent, tmp_path / "bin")
    (bin_dir / "host-local-py").symlink_to("cni-bridge-py")
    assert "1.0.0" in supported_versions(bin_dir / "host-local-py")


def test_it_starts_where_it_may_not_write(executable: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(executable.parent, tmp_path / "bin")
    subprocess.run(["chmod", "-R", "a-w", directory], check=True)
    assert "1.0.0" in supported_versions(directory / "cni-bridge-py")


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "en_US.ISO-8859-1"])
def test_it_reads_and_writes_utf8_in_every_locale(executable: Path, tmp_path: Path, locale: str) -> None:
    conf = tmp_path / "Büro.conf"
    conf.write_text(json.dumps({**CONF, "bridge": "büro0"}, ensure_ascii=False))
    assert "büro0" in run(executable, "explain", "--conf", conf, env={"LC_ALL": locale})


# --- what it leaves ---


def test_starting_it_writes_no_file_and_reads_none_of_another_python(executable: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    supported_versions("strace", "-f", "-e", "trace=%file", "-o", trace, executable)
    calls = trace.read_text().splitlines()
    assert len(calls) > 10
    assert [call for call in calls if re.search(r"O_CREAT|O_WRONLY|O_RDWR|mkdir|rename|unlink|symlink", call)] == []
    found = [call for call in calls if "/python3" in call and str(executable.parent) not in call and "= -1" not in call]
    assert found == []


@pytest.mark.parametrize("library_path", [None, "/opt/lib"])
def test_children_of_the_command_line_inherit_the_environment_that_it_was_started_with(
    monkeypatch: pytest.MonkeyPatch, library_path: str | None
) -> None:
    # What PyInstaller's bootloader adds, in front of the program's own start.
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/cni/bin/.cni-bridge-py")
    if library_path:
        monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", library_path)
    for name in ("_PYI_ARCHIVE_FILE", "_PYI_APPLICATION_HOME_DIR", "_PYI_PARENT_PROCESS_LEVEL"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("cni_bridge_py.cli.main", lambda: 3)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(CHECKOUT / "bundle/command_line.py"))
    assert ended.value.code == 3
    assert os.environ.get("LD_LIBRARY_PATH") == library_path
    assert [name for name in os.environ if name.startswith("_PYI") or name.endswith("_ORIG")] == []


def test_it_weighs_a_few_megabytes(executable: Path) -> None:
    files = [file for file in executable.parent.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 15e6


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
    """Its interpreter starts without the codecs, the standard streams and the finding of modules in files."""
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


def test_every_call_makes_the_modules_of_an_add_and_no_other() -> None:
    made = {name for name, _, _ in freeze.modules_of(freeze.AT_ONCE)}
    assert made == OURS | {"__future__", "cni_bridge_py.__main__"}


def test_without_a_runtime_it_says_how_to_use_it(executable: Path) -> None:
    said = run(executable)
    assert "CNI_COMMAND" in said
    assert "demo" in said


def test_it_explains_the_shipped_configuration(executable: Path) -> None:
    said = run(executable, "explain", "--conf", CHECKOUT / "conf/10-bridge.conf")
    assert re.search(r"ip link add .*cni0.* type bridge", said)


def test_its_demo_shows_two_pods_and_leaves_nothing(executable: Path, root: None) -> None:
    links = run("ip", "-json", "link")
    said = run(executable, "demo")
    assert "10.22.0.2" in said
    assert "10.22.0.3" in said
    assert run("ip", "-json", "link") == links


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
