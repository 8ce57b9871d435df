"""PyInstaller's executable: the command line for people, and the plugin where the static one cannot be built."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT, build_command_line
from tests.harness import Node, Plugin

CONF = json.loads((CHECKOUT / "conf/10-bridge.conf").read_text())


@pytest.fixture(scope="module")
def command_line() -> Path:
    return build_command_line()


@pytest.fixture
def plugin(command_line: Path, tmp_path: Path) -> Plugin:
    """The plugin, as install.sh puts it where there is no static library."""
    for name in ("cni-bridge-py", "host-local-py"):
        (tmp_path / name).symlink_to(command_line)
    return Plugin(tmp_path / "cni-bridge-py")


def run(*argv: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, env=env or {}, input="", capture_output=True, text=True)
    assert done.returncode == 0, done
    return done.stdout


# --- for people ---


def test_it_says_how_to_use_it(command_line: Path) -> None:
    said = run(command_line)
    assert "CNI_COMMAND" in said
    assert "demo" in said


def test_it_explains_the_shipped_configuration(command_line: Path) -> None:
    said = run(command_line, "explain", "--conf", CHECKOUT / "conf/10-bridge.conf")
    assert re.search(r"ip link add .*cni0.* type bridge", said)


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "en_US.ISO-8859-1"])
def test_it_reads_and_writes_utf8_in_every_locale(command_line: Path, tmp_path: Path, locale: str) -> None:
    conf = tmp_path / "Büro.conf"
    conf.write_text(json.dumps({**CONF, "bridge": "büro0"}, ensure_ascii=False))
    assert "büro0" in run(command_line, "explain", "--conf", conf, env={"LC_ALL": locale})


def test_its_demo_shows_two_pods_and_leaves_nothing(command_line: Path, root: None) -> None:
    links = run("ip", "-json", "link")
    said = run(command_line, "demo")
    assert "10.22.0.2" in said
    assert "10.22.0.3" in said
    assert run("ip", "-json", "link") == links


@pytest.mark.parametrize("library_path", [None, "/opt/lib"])
def test_its_children_inherit_the_environment_that_it_was_started_with(
    monkeypatch: pytest.MonkeyPatch, library_path: str | None
) -> None:
    # What PyInstaller's bootloader adds, in front of the program's own start.
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/lib/cni-bridge-py/_internal")
    if library_path:
        monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", library_path)
    for name in ("_PYI_ARCHIVE_FILE", "_PYI_APPLICATION_HOME_DIR", "_PYI_PARENT_PROCESS_LEVEL"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("cni_bridge_py.__main__.main", lambda: 3)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(CHECKOUT / "bundle/command_line.py"))
    assert ended.value.code == 3
    assert os.environ.get("LD_LIBRARY_PATH") == library_path
    assert [name for name in os.environ if name.startswith("_PYI") or name.endswith("_ORIG")] == []


# --- for a runtime ---


def test_an_attachment_lives_and_leaves_nothing(plugin: Plugin, node: Node) -> None:
    plugin.add(node, CONF, node.pod())  # which makes what pods share
    pod = node.pod()
    before = node.snapshot()
    result = plugin.add(node, CONF, pod)
    assert result["ips"][0]["address"] == "10.22.0.3/16"
    assert plugin.check(node, CONF, pod, result).result == {}
    assert plugin.status(node, {**CONF, "cniVersion": "1.1.0"}).result == {}
    plugin.delete(node, CONF, pod)
    assert node.snapshot() == before


def test_its_other_name_is_the_ipam_plugin(plugin: Plugin, node: Node) -> None:
    conf = {**CONF, "ipam": {**CONF["ipam"], "type": "host-local-py"}}
    pod = node.pod()
    assert plugin.add(node, conf, pod)["ips"][0]["address"] == "10.22.0.2/16"
    plugin.delete(node, conf, pod)


def test_an_error_is_an_answer(plugin: Plugin, node: Node) -> None:
    reply = plugin.call(node, "ADD", "{", node.pod())
    assert reply.error["code"] == 6
