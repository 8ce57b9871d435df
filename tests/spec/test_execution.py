"""SPEC.md, sections 1 and 2: configuration, parameters, exit status, VERSION."""

from __future__ import annotations

import json

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import add_pod, dual_stack, network, veths

VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


@pytest.mark.parametrize("name", ["", ".net", "-net", "a/b", "../net", "a\\b", "a b", "nét"])
def test_names_that_could_leave_a_directory_are_refused(node: Node, plugin: Plugin, name: str) -> None:
    error = plugin.call(node, "ADD", network(4, name=name), node.pod()).error
    assert (error["code"], error["msg"].startswith("name: ")) == (7, True)


@pytest.mark.parametrize("kind", ["a/b", "../host-local", "/bin/true"])
def test_an_ipam_type_that_is_no_file_name_is_refused(node: Node, plugin: Plugin, kind: str) -> None:
    error = plugin.call(node, "ADD", network() | {"ipam": {"type": kind}}, node.pod()).error
    assert (error["code"], error["msg"].startswith("ipam.type: ")) == (7, True)


def test_well_known_keys_mean_what_they_always_mean(node: Node, plugin: Plugin) -> None:
    dns = {"nameservers": ["10.22.0.1"], "domain": "a.test", "search": ["b.test"], "options": ["ndots:2"]}
    pod, result = add_pod(plugin, node, dual_stack(dns=dns))
    assert result["dns"] == dns
    assert "masquerade" in node.run("nft", "list", "ruleset").stdout
    assert sorted(pod.addresses()) == [ip["address"] for ip in result["ips"]]


def test_unknown_keys_are_no_error(node: Node, plugin: Plugin) -> None:
    keys: Json = {
        "keyA": ["some", 1, None],
        "capabilities": {"mac": True},
        "cniVersions": ["1.1.0"],
        "disableCheck": True,
    }
    pod, result = add_pod(plugin, node, network(4, **keys))
    assert plugin.check(node, network(4, **keys), pod, result).result == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_configurations_of_every_version_are_served(node: Node, plugin: Plugin, version: str) -> None:
    pod, result = add_pod(plugin, node, network(4, cniVersion=version))
    assert result["cniVersion"] == version
    plugin.delete(node, network(4, cniVersion=version), pod)


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
@pytest.mark.parametrize("container_id", ["", "-a", "a/b", "a b", "ä"])
def test_container_ids_that_are_none_are_refused(node: Node, plugin: Plugin, verb: str, container_id: str) -> None:
    pod = node.pod()
    reply = plugin.call(node, verb, network(4), pod, env={"CNI_CONTAINERID": container_id})
    assert (reply.error["code"], "CNI_CONTAINERID" in reply.error["msg"]) == (4, True)


@pytest.mark.parametrize("ifname", ["a" * 16, "a/b", "a:b", "a b", ".", "..", "all", "default"])
def test_an_interface_name_that_cannot_be_used_is_an_error(node: Node, plugin: Plugin, ifname: str) -> None:
    error = plugin.call(node, "ADD", network(4), node.pod(), ifname=ifname).error
    assert (error["code"], "CNI_IFNAME" in error["msg"]) == (4, True)
    assert veths(node) == []


@pytest.mark.parametrize("verb", ["VERSION", "STATUS", "GC"])
def test_a_verb_that_is_about_no_attachment_looks_at_none(node: Node, plugin: Plugin, verb: str) -> None:
    """The variables may be from another call, because a plugin that delegates passes all of them on."""
    env: dict[str, str | None] = {
        "CNI_CONTAINERID": "a/b",
        "CNI_IFNAME": "a/b",
        "CNI_NETNS": "/none",
        "CNI_ARGS": "COLOUR=blue;junk",
    }
    conf = network(4) | {"cni.dev/valid-attachments": []}
    assert plugin.call(node, verb, conf, env=env).status == 0


def test_the_exit_status_tells_success_from_failure(node: Node, plugin: Plugin) -> None:
    pod = node.pod()
    assert plugin.call(node, "ADD", network(4), pod).status == 0
    assert plugin.call(node, "ADD", network(4), pod).status != 0
    assert plugin.call(node, "DEL", network(4), pod).status == 0
    assert plugin.call(node, "NONSENSE", network(4), pod).status != 0


@pytest.mark.parametrize("version", [*VERSIONS, "1.2.0"])
def test_version_tells_what_it_was_asked_in_and_what_is_spoken(node: Node, plugin: Plugin, version: str) -> None:
    assert plugin.version(node, version) == {"cniVersion": version, "supportedVersions": VERSIONS}


def test_version_needs_no_parameter_but_the_command(node: Node, plugin: Plugin) -> None:
    nothing = {"CNI_PATH": None, "CNI_CONTAINERID": None, "CNI_NETNS": None}
    reply = plugin.call(node, "VERSION", json.dumps({"cniVersion": "1.0.0"}), ifname=None, env=nothing)
    assert reply.result["supportedVersions"] == VERSIONS
