"""The lease store as an IPAM plugin of its own, for main plugins that are not ours; it needs no root."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cni_bridge_py import ipam_plugin, plugin
from cni_bridge_py.cni.request import Request
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.rtnetlink import Rtnetlink
from tests.unit.support import CHECKOUT, refusal


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "networks"


def conf(data_dir: Path, **keys: Any) -> dict[str, Any]:
    ipam = {"type": "host-local-py", "subnet": "10.1.0.0/29", "dataDir": str(data_dir)}
    return {"cniVersion": "1.1.0", "name": "net", "type": "ptp", "ipam": ipam, **keys}


def request(verb: str, container_id: str = "c1", ifname: str = "eth0") -> Request:
    return Request(verb, container_id, "/run/netns/pod", ifname, {}, [])


def leases(data_dir: Path) -> set[str]:
    return {path.name for path in (data_dir / "net").glob("10.*")}


def test_the_executable_is_it_under_another_name(tmp_path: Path, data_dir: Path) -> None:
    executable = tmp_path / "host-local-py"
    executable.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n"
        "from cni_bridge_py.__main__ import main\nsys.exit(main())\n"
    )
    executable.chmod(0o755)

    def run(verb: str) -> str:
        environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/none", "CNI_IFNAME": "eth0"}
        stdin = json.dumps(conf(data_dir))
        done = subprocess.run([executable], input=stdin, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    assert json.loads(run("ADD")) == {
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.1.0.2/29", "gateway": "10.1.0.1"}],
    }
    assert run("CHECK") == run("STATUS") == ""
    assert leases(data_dir) == {"10.1.0.2"}
    assert run("DEL") == run("DEL") == ""
    assert leases(data_dir) == set()


@pytest.mark.parametrize("version", ["0.2.0", "0.3.1", "1.0.0"])
def test_answers_in_the_version_that_was_asked_for(data_dir: Path, version: str) -> None:
    answers: dict[str, dict[str, Any]] = {
        "0.2.0": {"ip4": {"ip": "10.1.0.2/29", "gateway": "10.1.0.1"}, "dns": {}},
        "0.3.1": {"ips": [{"version": "4", "address": "10.1.0.2/29", "gateway": "10.1.0.1"}], "dns": {}},
        "1.0.0": {"ips": [{"address": "10.1.0.2/29", "gateway": "10.1.0.1"}]},
    }
    answer = ipam_plugin.add(request("ADD"), conf(data_dir, cniVersion=version))
    assert answer == {"cniVersion": version, **answers[version]}


def test_a_second_add_leaves_the_first_as_it_was(data_dir: Path) -> None:
    ipam_plugin.add(request("ADD"), conf(data_dir))
    error = refusal(ipam_plugin.add, request("ADD"), conf(data_dir))
    assert (error.code, error.msg) == (
        103,
        "10.1.0.2 has been allocated to c1, interface eth0, duplicate allocation is not allowed",
    )
    assert leases(data_dir) == {"10.1.0.2"}


def test_nothing_is_ever_reclaimed(data_dir: Path) -> None:
    for number in range(5):
        ipam_plugin.add(request("ADD", f"c{number}"), conf(data_dir))
    assert refusal(ipam_plugin.add, request("ADD", "c9"), conf(data_dir)).code == 102
    assert refusal(ipam_plugin.status, request("STATUS"), conf(data_dir)).code == 50
    assert len(leases(data_dir)) == 5


def test_check_tells_a_lease_that_is_missing(data_dir: Path) -> None:
    prev_result = ipam_plugin.add(request("ADD"), conf(data_dir))
    ipam_plugin.check(request("CHECK"), conf(data_dir, prevResult=prev_result))
    (data_dir / "net/10.1.0.2").unlink()
    error = refusal(ipam_plugin.check, request("CHECK"), conf(data_dir, prevResult=prev_result))
    assert (error.code, error.msg) == (
        105,
        f"host-local: Failed to find address added by container c1: lease {data_dir}/net/10.1.0.2 is missing",
    )


def test_gc_keeps_what_is_valid(data_dir: Path) -> None:
    for ifname in ("eth0", "net1"):
        ipam_plugin.add(request("ADD", ifname=ifname), conf(data_dir))
    valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "net1"}]}
    ipam_plugin.gc(request("GC", "", ""), conf(data_dir, **valid))
    assert leases(data_dir) == {"10.1.0.3"}
    error = refusal(ipam_plugin.gc, request("GC", "", ""), conf(data_dir))
    assert error.code == 7
    assert leases(data_dir) == {"10.1.0.3"}


def test_the_bridge_plugins_gc_keeps_what_is_valid_too(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A node whose network came to us from another main plugin still has that one's pods.
    ipam_plugin.add(request("ADD"), conf(data_dir))

    class NoLinks(Rtnetlink):
        def __init__(self) -> None:
            pass

        def links(self) -> list[Any]:
            return []

    monkeypatch.setattr(plugin, "_need_root", lambda: None)
    monkeypatch.setattr(Kernel, "host", NoLinks())
    valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    plugin.gc(request("GC", "", ""), conf(data_dir, type="cni-bridge-py", **valid))
    assert leases(data_dir) == {"10.1.0.2"}
