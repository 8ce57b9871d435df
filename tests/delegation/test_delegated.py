"""`ipam.type` names another plugin: it is run from CNI_PATH, and its word is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.harness import REFERENCE_BIN_DIR, Json, Node, Plugin
from tests.kernel.networks import add_pod, assert_nothing_left, filter_left, masqueraded, network, veths

STATIC: Json = {
    "type": "static",
    "addresses": [{"address": "10.22.0.77/24", "gateway": "10.22.0.1"}, {"address": "fd00:22::77/64"}],
    "routes": [{"dst": "10.96.0.0/12"}],
    "dns": {"nameservers": ["10.96.0.10"]},
}
FAKE_DIR = "/run/fake"

# Writes down how it was called, and answers with what is prepared for the verb.
FAKE = """#!/bin/sh
cat > /run/fake/$CNI_COMMAND.stdin
env | sort > /run/fake/$CNI_COMMAND.env
cat /run/fake/$CNI_COMMAND.answer 2>/dev/null
exit $(cat /run/fake/$CNI_COMMAND.status 2>/dev/null || echo 0)
"""

ANSWERS: dict[str, Json] = {
    "0.2.0": {
        "ip4": {"ip": "10.40.0.5/24", "gateway": "10.40.0.1", "routes": [{"dst": "10.96.0.0/12"}]},
        "ip6": {"ip": "fd00:40::5/64"},
    },
    "0.3.1": {
        "ips": [
            {"version": "4", "address": "10.40.0.5/24", "gateway": "10.40.0.1"},
            {"version": "6", "address": "fd00:40::5/64"},
        ],
        "routes": [{"dst": "10.96.0.0/12"}],
    },
    "1.0.0": {
        "ips": [{"address": "10.40.0.5/24", "gateway": "10.40.0.1"}, {"address": "fd00:40::5/64"}],
        "routes": [{"dst": "10.96.0.0/12"}],
    },
    "1.1.0": {
        "ips": [{"address": "10.40.0.5/24", "gateway": "10.40.0.1"}, {"address": "fd00:40::5/64"}],
        "routes": [{"dst": "10.96.0.0/12", "mtu": 1300}],
    },
}


def conf(ipam: Json, **keys: Any) -> Json:
    return network(**{"isDefaultGateway": True, "ipMasq": True, "cniVersion": "1.0.0", **keys}) | {"ipam": ipam}


class Fake:
    """An IPAM plugin that answers what it is told to."""

    def __init__(self, node: Node, plugin: Plugin) -> None:
        self.node = node
        node.write(f"{FAKE_DIR}/fake-ipam", FAKE)
        node.run("chmod", "+x", f"{FAKE_DIR}/fake-ipam")
        self.plugin = Plugin(plugin.argv, cni_path=f"/none:{FAKE_DIR}:{REFERENCE_BIN_DIR}")
        self.plugin.type = plugin.type

    def answer(self, verb: str, answer: Json | str, status: int = 0) -> None:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self.node.write(f"{FAKE_DIR}/{verb}.answer", text)
        self.node.write(f"{FAKE_DIR}/{verb}.status", str(status))

    def seen(self, verb: str, what: str = "env") -> str | None:
        path = self.node.root / f"run/fake/{verb}.{what}"
        return path.read_text() if path.exists() else None


@pytest.fixture
def fake(node: Node, plugin: Plugin) -> Fake:
    return Fake(node, plugin)


def test_static(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, conf(STATIC))
    assert sorted(pod.addresses()) == ["10.22.0.77/24", "fd00:22::77/64"]
    assert node.addresses("cni0") == ["10.22.0.1/24", "fd00:22::1/64"]
    assert result["dns"] == STATIC["dns"]
    assert {"dst": "::/0", "gw": "fd00:22::1"} in result["routes"]
    assert pod.ping("10.22.0.1")
    assert plugin.check(node, conf(STATIC), pod, result).result == {}
    plugin.delete(node, conf(STATIC), pod)
    assert veths(node) == []


def test_the_reference_host_local(node: Node, plugin: Plugin, fake: Fake) -> None:
    """Under another name, since `host-local` is the store that is built in."""
    node.run("ln", "-s", REFERENCE_BIN_DIR / "host-local", f"{FAKE_DIR}/reference-local")
    network_ = conf({"type": "reference-local", "subnet": "10.22.0.0/24"})
    pod, result = add_pod(fake.plugin, node, network_)
    assert pod.addresses() == ["10.22.0.2/24"]
    assert node.leases("podnet") == {"10.22.0.2": (pod.container_id, "eth0")}
    assert fake.plugin.check(node, network_, pod, result).result == {}
    node.run("rm", "/var/lib/cni/networks/podnet/10.22.0.2")
    assert "reference-local" in fake.plugin.check(node, network_, pod, result).error["msg"]
    fake.plugin.delete(node, network_, pod)
    assert_nothing_left(node)


@pytest.mark.parametrize("version", ANSWERS)
def test_answers_of_every_version(node: Node, fake: Fake, version: str) -> None:
    fake.answer("ADD", {"cniVersion": version, **ANSWERS[version]})
    pod, result = add_pod(fake.plugin, node, conf({"type": "fake-ipam"}, cniVersion="1.1.0"))
    assert sorted(pod.addresses()) == ["10.40.0.5/24", "fd00:40::5/64"]
    assert [ip.get("gateway") for ip in result["ips"]] == ["10.40.0.1", "fd00:40::1"]
    (route,) = [each for each in result["routes"] if each["dst"] == "10.96.0.0/12"]
    assert ("mtu" in route) == ("mtu" in json.dumps(ANSWERS[version]))
    assert sorted(masqueraded(node)) == ["10.40.0.5", "fd00:40::5"]


def test_every_verb_is_passed_on_as_it_came(node: Node, fake: Fake) -> None:
    network_ = conf({"type": "fake-ipam", "colour": "red"}, cniVersion="1.1.0")
    fake.answer("ADD", {"cniVersion": "1.1.0", **ANSWERS["1.1.0"]})
    pod, result = add_pod(fake.plugin, node, network_, args="IgnoreUnknown=1;COLOUR=blue")
    assert fake.plugin.check(node, network_, pod, result).result == {}
    assert fake.plugin.status(node, network_).result == {}
    assert fake.plugin.gc(node, network_, [pod]).result == {}
    fake.plugin.delete(node, network_, pod)
    for verb in ("ADD", "CHECK", "DEL", "STATUS", "GC"):
        environment = dict(line.split("=", 1) for line in (fake.seen(verb) or "").splitlines())
        assert environment["CNI_COMMAND"] == verb
        assert environment["CNI_PATH"] == fake.plugin.cni_path
        # Nothing of ours: the executable's bootloader sets a path of libraries for itself.
        assert not [name for name in environment if name.startswith(("LD_", "_PYI"))], environment
        assert json.loads(fake.seen(verb, "stdin") or "")["ipam"] == network_["ipam"]
        if verb in ("ADD", "CHECK", "DEL"):
            assert environment["CNI_CONTAINERID"] == pod.container_id
            assert environment["CNI_NETNS"] == pod.path
            assert environment["CNI_IFNAME"] == "eth0"
    assert "COLOUR=blue" in (fake.seen("ADD") or "")


@pytest.mark.parametrize(("code", "ours"), [(50, 50), (51, 51), (11, 50)])
def test_it_may_say_no_to_status(node: Node, fake: Fake, code: int, ours: int) -> None:
    fake.answer("STATUS", {"code": code, "msg": "the server is away"}, status=1)
    error = fake.plugin.status(node, conf({"type": "fake-ipam"}, cniVersion="1.1.0")).error
    assert (error["code"], error["msg"]) == (ours, "plugin fake-ipam: the server is away")


def test_its_errors_are_passed_on(node: Node, fake: Fake) -> None:
    fake.answer("ADD", {"cniVersion": "1.0.0", "code": 11, "msg": "no lease yet", "details": "ask again"}, status=1)
    error = fake.plugin.call(node, "ADD", conf({"type": "fake-ipam"}), node.pod()).error
    assert (error["code"], error["msg"], error["details"]) == (11, "plugin fake-ipam: no lease yet", "ask again")
    assert veths(node) == []


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ("Traceback (most recent call last)", 1, "its answer is not JSON"),
        ("", 1, "netplugin failed with no error message: exit status 1"),
        ("[]", 0, "its answer is not a JSON object"),
        ('{"cniVersion": "1.0.0"}', 0, "its result has no addresses"),
        ('{"cniVersion": "1.0.0", "ips": [{"address": "ten"}]}', 0, "its result cannot be used"),
    ],
    ids=["crash", "silent failure", "a list", "no addresses", "no address"],
)
def test_what_cannot_be_used(node: Node, fake: Fake, answer: str, status: int, message: str) -> None:
    fake.answer("ADD", answer, status)
    error = fake.plugin.call(node, "ADD", conf({"type": "fake-ipam"}), node.pod()).error
    assert "plugin fake-ipam" in error["msg"]
    assert message in error["msg"]
    assert veths(node) == []


def test_its_lease_goes_back_when_our_add_fails(node: Node, fake: Fake) -> None:
    unreachable = ANSWERS["1.0.0"] | {"routes": [{"dst": "10.5.0.0/16", "gw": "10.99.0.1"}]}
    fake.answer("ADD", {"cniVersion": "1.0.0", **unreachable})
    pod = node.pod()
    error = fake.plugin.call(node, "ADD", conf({"type": "fake-ipam"}), pod).error
    assert error["code"] == 100
    assert f"CNI_CONTAINERID={pod.container_id}" in (fake.seen("DEL") or "")
    assert veths(node) == []


def test_a_second_add_does_not_release_the_firsts_lease(node: Node, fake: Fake) -> None:
    fake.answer("ADD", {"cniVersion": "1.0.0", **ANSWERS["1.0.0"]})
    pod, _ = add_pod(fake.plugin, node, conf({"type": "fake-ipam"}))
    assert fake.plugin.call(node, "ADD", conf({"type": "fake-ipam"}), pod).error["code"] == 103
    assert fake.seen("DEL") is None


def test_it_gives_back_before_the_pod_is_unwired_and_a_refusal_does_not_keep_the_pod(node: Node, fake: Fake) -> None:
    fake.answer("ADD", {"cniVersion": "1.0.0", **ANSWERS["1.0.0"]})
    pod, _ = add_pod(fake.plugin, node, conf({"type": "fake-ipam"}))
    fake.answer("DEL", {"code": 99, "msg": "the server is away"}, status=1)
    error = fake.plugin.call(node, "DEL", conf({"type": "fake-ipam"}), pod).error
    assert "the server is away" in error["msg"]
    assert veths(node) == []
    fake.answer("DEL", "")
    fake.plugin.delete(node, conf({"type": "fake-ipam"}), pod)


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [("/none:/run", 7, 'failed to find plugin "fake-ipam" in path [/none /run]'), ("", 4, "CNI_PATH")],
    ids=["not there", "no CNI_PATH"],
)
def test_there_is_none(node: Node, fake: Fake, path: str, code: int, message: str) -> None:
    error = fake.plugin.call(node, "ADD", conf({"type": "fake-ipam"}), node.pod(), env={"CNI_PATH": path}).error
    assert (error["code"], message in error["msg"]) == (code, True), error
    assert veths(node) == []


@pytest.mark.parametrize(("code", "told"), [(50, 50), (51, 51), (7, 50), (999, 50)])
def test_its_status_is_ours(node: Node, fake: Fake, code: int, told: int) -> None:
    """As one of the two codes that STATUS has."""
    network_ = conf({"type": "fake-ipam"}, cniVersion="1.1.0")
    fake.answer("STATUS", {"cniVersion": "1.1.0", "code": code, "msg": "the server is away"}, status=1)
    error = fake.plugin.status(node, network_).error
    assert (error["code"], "plugin fake-ipam: the server is away" in error["msg"]) == (told, True), error


def test_its_check_is_ours(node: Node, fake: Fake) -> None:
    fake.answer("ADD", {"cniVersion": "1.0.0", **ANSWERS["1.0.0"]})
    pod, result = add_pod(fake.plugin, node, conf({"type": "fake-ipam"}))
    fake.answer("CHECK", {"cniVersion": "1.0.0", "code": 42, "msg": "no such lease"}, status=1)
    error = fake.plugin.check(node, conf({"type": "fake-ipam"}), pod, result).error
    assert (error["code"], error["msg"]) == (42, "plugin fake-ipam: no such lease")


def test_its_gc_does_not_keep_ours(node: Node, fake: Fake) -> None:
    network_ = conf({"type": "fake-ipam"}, cniVersion="1.1.0")
    fake.answer("ADD", {"cniVersion": "1.1.0", **ANSWERS["1.1.0"]})
    add_pod(fake.plugin, node, network_)
    fake.answer("GC", {"cniVersion": "1.1.0", "code": 42, "msg": "the server is away"}, status=1)
    error = fake.plugin.gc(node, network_).error
    assert (error["code"], "the server is away" in error["msg"]) == (42, True), error
    assert veths(node) == []


@pytest.mark.slow
def test_each_pod_has_a_network_of_its_own_address(node: Node, fake: Fake) -> None:
    """What is sent to the kernel does not grow with the pods that were there before, and nothing of them is left."""
    network_ = conf({"type": "fake-ipam"}, isDefaultGateway=False)
    pod = node.pod()
    for number in range(400):
        address = f"10.40.{number // 250}.{number % 250 + 1}"
        fake.answer("ADD", {"cniVersion": "1.0.0", "ips": [{"address": f"{address}/32"}]})
        fake.plugin.add(node, network_, pod)
        assert list(masqueraded(node)) == [address]
        fake.plugin.delete(node, network_, pod)
    assert filter_left(node) == []
