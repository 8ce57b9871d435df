"""Nothing is imported once the executable is made: there is nothing in it to import from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import netaddr
import pytest

from bundle.build import FOR_PEOPLE, STAND_INS, plugin_modules
from tests.bundle import CHECKOUT, build_executable
from tests.harness import Node, Plugin

CONF = json.loads((CHECKOUT / "conf/10-bridge.conf").read_text())
HOST_LOCAL = CONF["ipam"]

# The package, brought to where the executable is: all is imported, nothing can be. What is looked for is written down.
GUARDED = f"""#!{sys.executable} -IS
import sys
sys.path += [{str(CHECKOUT)!r}, {str(Path(netaddr.__file__).parent.parent)!r}]
for name in {plugin_modules()}:
    __import__(name)
class Guard:
    def find_spec(name, path=None, target=None):
        with open({{record!r}}, "a") as record:
            record.write(name + "\\n")
for places in (sys.path, sys.path_hooks):
    places.clear()
sys.meta_path[:] = [Guard]
{{more}}
sys.exit(sys.modules["cni_bridge_py.__main__"].main())
"""

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "shipped": {},
    "plain": {"ipMasq": False, "isGateway": False, "isDefaultGateway": False, "hairpinMode": False},
    "nftables": {"ipMasqBackend": "nftables", "macspoofchk": True, "mtu": 1400, "promiscMode": True},
    "two families": {
        "enabledad": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.22.0.0/24", "gateway": "10.22.0.9"}], [{"subnet": "2001:db8::/64"}]],
            "routes": [{"dst": "192.0.2.0/24", "gw": "10.22.0.7", "mtu": 1300}, {"dst": "::/0"}],
            "resolvConf": "/etc/resolv.conf",
        },
    },
    "delegated": {"ipam": {**HOST_LOCAL, "type": "static", "addresses": [{"address": "10.22.0.8/16"}]}},
    "no addresses": {"ipam": {}, "isGateway": False, "isDefaultGateway": False, "ipMasq": False},
    "no such plugin": {"ipam": {"type": "nobody"}},
    "nobody's key": {"bridge": 7},
    "no subnet": {"ipam": {"type": "host-local", "subnet": "10.22.0.0/33"}},
    "a long range": {"ipam": {"type": "host-local", "subnet": "10.22.0.0/16", "rangeStart": "10.23.0.1"}},
    "no name": {"name": ""},
    "no version": {"cniVersion": "9.0.0"},
    "full": {"ipam": {"type": "host-local", "subnet": "10.22.0.0/30"}},
}


def all_verbs(plugin: Plugin, node: Node, conf: dict[str, Any]) -> None:
    """Every verb where it succeeds and where it fails, whatever it answers."""
    pod, other = node.pod(), node.pod()
    plugin.call(node, "VERSION", conf)
    result = plugin.call(node, "ADD", conf, pod, args="IgnoreUnknown=1;K8S_POD_NAME=p;K8S_POD_NAMESPACE=n")
    plugin.call(node, "ADD", conf, pod)
    plugin.call(node, "ADD", conf, other)
    plugin.call(node, "ADD", conf, other, netns="/nowhere")
    plugin.call(node, "ADD", conf, other, ifname="../x", args="IP=x")
    previous = {**conf, "prevResult": result.json if result.status == 0 else {"ips": 7}}
    plugin.call(node, "CHECK", previous, pod)
    plugin.call(node, "CHECK", previous, other)
    plugin.call(node, "CHECK", conf, pod)
    newest = {**conf, "cniVersion": "1.1.0"}
    plugin.call(node, "STATUS", newest)
    plugin.call(
        node, "GC", {**newest, "cni.dev/valid-attachments": [{"containerID": pod.container_id, "ifname": "eth0"}]}
    )
    plugin.call(node, "GC", {**newest, "cni.dev/valid-attachments": 7})
    plugin.call(node, "DEL", previous, pod)
    plugin.call(node, "DEL", conf, pod, netns="")
    plugin.call(node, "DEL", conf, other)
    plugin.call(node, "NOTHING", conf, pod)
    for text in ("", "{", "[]", '{"name": "\\ud800"}', '{"a": ' + "9" * 5000 + "}", "[" * 9999):
        plugin.call(node, "ADD", text, pod)


def guarded(directory: Path, record: Path, more: str = "") -> Plugin:
    directory.mkdir()
    for name in ("cni-bridge-py", "host-local-py"):
        executable = directory / name
        executable.write_text(GUARDED.format(record=str(record), more=more))
        executable.chmod(0o755)
    return Plugin(directory / "cni-bridge-py")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_verb_and_no_error_imports_anything(node: Node, tmp_path: Path, name: str) -> None:
    record = tmp_path / "looked for"
    plugin = guarded(tmp_path / "bin", record)
    all_verbs(plugin, node, {**CONF, **CONFIGURATIONS[name]})
    assert not record.exists(), record.read_text()


def test_nor_does_it_as_an_ipam_plugin(node: Node, tmp_path: Path) -> None:
    record = tmp_path / "looked for"
    plugin = guarded(tmp_path / "bin", record)
    all_verbs(plugin, node, {**CONF, "ipam": {**HOST_LOCAL, "type": "host-local-py"}})
    all_verbs(Plugin(plugin.bin_dir / "host-local-py"), node, CONF)
    assert not record.exists(), record.read_text()


def test_an_import_would_be_seen(node: Node, tmp_path: Path) -> None:
    record = tmp_path / "looked for"
    plugin = guarded(tmp_path / "bin", record, more="try:\n    import wave\nexcept ImportError:\n    pass")
    plugin.call(node, "VERSION", CONF)
    assert record.read_text() == "wave\n"


def test_what_takes_a_module_s_place_has_all_that_is_asked_of_it() -> None:
    """Each name that the plugin takes from a module with a stand-in is one that the stand-in has."""
    package = CHECKOUT / "cni_bridge_py"
    files = [file for file in package.rglob("*.py") if file.relative_to(package).parts[0] not in FOR_PEOPLE]
    for name, source in STAND_INS.items():
        made: dict[str, Any] = {}
        exec(source, made)
        for file in files:
            text = file.read_text()
            assert f"import {name}\n" not in text, file
            for line in text.splitlines():
                if line.startswith(f"from {name} import "):
                    names = line.partition(" import ")[2].partition("#")[0].split(",")
                    assert {each.strip() for each in names} <= set(made), file


@pytest.mark.parametrize("name", ["shipped", "two families", "delegated", "full"])
def test_the_executable_answers_without_a_word_on_standard_error(node: Node, tmp_path: Path, name: str) -> None:
    plugin = Plugin(build_executable())
    conf = {**CONF, **CONFIGURATIONS[name]}
    pod = node.pod()
    for verb in ("ADD", "CHECK", "STATUS", "GC", "DEL"):
        reply = plugin.call(node, verb, {**conf, "cniVersion": "1.1.0"}, pod)
        assert reply.stderr == ""
        assert reply.status == 0 or "Error" not in reply.error["msg"], reply
