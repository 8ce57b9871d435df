"""docs/configuration.md: its examples work when they are pasted, and its tables have every key and no other."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cni_bridge_py.config import NetworkConfig
from cni_bridge_py.ipam.host_local import IpamConfig
from tests.bundle import CHECKOUT
from tests.harness import REFERENCE_BIN_DIR, Json, Node, Plugin
from tests.pages.markdown import blocks

PAGE = CHECKOUT / "docs/configuration.md"
EXAMPLES = {conf["name"]: conf for conf in (json.loads(each.text) for each in blocks(PAGE) if each.language == "json")}

ONLY_OURS = {"mac", "prevresult", "requested", "rangesets"}
"""Fields of the parsed configuration that are no keys of it."""

RENAMED = {"macspoofcheck": "macspoofchk"}
OF_RANGES = {"subnet", "rangestart", "rangeend", "gateway", "ranges"}


def keys(title: str) -> list[str]:
    """The keys in the first column of a section's table."""
    section = PAGE.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [key for row in rows for key in re.findall(r"`(\w+)`", row.split(" | ")[0])]


def marks(conf: Json) -> list[pytest.MarkDecorator]:
    return [pytest.mark.vlan_filtering] if "vlan" in conf else []


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(conf)) for name, conf in EXAMPLES.items()])
def test_an_example_works_as_it_is(name: str, node: Node, plugin: Plugin, tmp_path: Path) -> None:
    conf = EXAMPLES[name]
    tested = _plugin_of(conf, plugin, tmp_path)
    pod = node.pod()
    added = tested.call(node, "ADD", json.dumps(conf), pod)
    assert added.status == 0, added
    assert "UP" in pod.link("eth0")["flags"]
    assert pod.addresses() == [ip["address"] for ip in added.json.get("ips", [])]
    checked = tested.call(node, "CHECK", json.dumps({**conf, "prevResult": added.json}), pod)
    assert checked.status == 0, checked
    assert tested.call(node, "DEL", json.dumps(conf), pod).status == 0
    assert "eth0" not in pod.links()
    assert node.leases(name) == {}


def _plugin_of(conf: Json, plugin: Plugin, tmp_path: Path) -> Plugin:
    if conf["type"] == plugin.type:
        return plugin
    (tmp_path / "host-local-py").symlink_to(plugin.argv[0])
    return Plugin(REFERENCE_BIN_DIR / conf["type"], cni_path=f"{tmp_path}:{REFERENCE_BIN_DIR}")


def test_the_tables_have_every_key_and_no_other() -> None:
    def read(config: type[Any]) -> set[str]:
        names = {field.name.replace("_", "") for field in fields(config)} - ONLY_OURS
        return {RENAMED.get(name, name) for name in names}

    network = {key.lower() for key in keys("Keys of the network")}
    assert network == read(NetworkConfig) | {"type", "ipmasqbackend"}
    assert {key.lower() for key in keys("Keys of `ipam`")} == read(IpamConfig) | OF_RANGES


REFUSED = [*keys("Keys of the network"), *(f"ipam.{key}" for key in keys("Keys of `ipam`"))]
REFUSED.remove("type")  # a runtime finds the plugin by it, before the plugin reads it


@pytest.mark.parametrize("key", REFUSED)
def test_a_wrong_value_of_a_key_is_refused_by_its_name(key: str, node: Node, plugin: Plugin) -> None:
    ipam: Json = {"type": "host-local", "subnet": "10.9.0.0/24"}
    conf: Json = {"cniVersion": "1.0.0", "name": "n", "ipMasq": True, "ipam": ipam}
    section, _, last = key.rpartition(".")
    (ipam if section else conf)[last] = [[7.5]]
    error = plugin.call(node, "ADD", conf, node.pod()).error
    assert error["code"] in (6, 7)
    assert last in error["msg"] + error.get("details", "")
