"""SPEC.md, section 4: delegation, as the plugin that delegates and as the one that is delegated to."""

from __future__ import annotations

import json

import pytest

from tests.delegation.test_delegated import ANSWERS, FAKE_DIR, Fake, conf
from tests.harness import Json, Node, Plugin
from tests.kernel.networks import assert_nothing_left, network, veths

CONF = conf({"type": "fake-ipam"}, cniVersion="1.1.0")
ANSWER = {"cniVersion": "1.1.0", **ANSWERS["1.1.0"]}

# Writes down what was there when it was called, says something, and answers.
WITNESS = """#!/bin/sh
cat > /run/fake/$CNI_COMMAND.stdin
interface=$(ip -n $(basename "$CNI_NETNS") -br link show eth0 2>/dev/null)
echo "$CNI_COMMAND: $interface $(bridge link | grep -c forwarding)" >> /run/fake/witness
echo "a word from $CNI_COMMAND" >&2
cat /run/fake/$CNI_COMMAND.answer 2>/dev/null
status=$(cat /run/fake/$CNI_COMMAND.status 2>/dev/null || echo 0)
[ $status != killed ] || kill -9 $$
exit $status
"""


@pytest.fixture
def fake(node: Node, plugin: Plugin) -> Fake:
    made = Fake(node, plugin)
    node.write(f"{FAKE_DIR}/fake-ipam", WITNESS)
    made.answer("ADD", ANSWER)
    return made


def witness(node: Node) -> list[str]:
    return (node.root / "run/fake/witness").read_text().splitlines()


def verbs(node: Node) -> list[str]:
    return [line.partition(":")[0] for line in witness(node)]


def test_it_gets_the_environment_that_we_got(node: Node, plugin: Plugin) -> None:
    fake = Fake(node, plugin)
    fake.answer("ADD", ANSWER)
    pod = node.pod()
    fake.plugin.add(node, CONF, pod, args="IgnoreUnknown=1;COLOUR=blue", env={"TRACEPARENT": "00-1"})
    environment = dict(line.split("=", 1) for line in (fake.seen("ADD") or "").splitlines())
    wanted = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": pod.container_id, "CNI_NETNS": pod.path, "CNI_IFNAME": "eth0"}
    wanted |= {"CNI_ARGS": "IgnoreUnknown=1;COLOUR=blue", "CNI_PATH": fake.plugin.cni_path, "TRACEPARENT": "00-1"}
    assert {key: environment.get(key) for key in wanted} == wanted


def test_it_gets_the_configuration_as_it_came(node: Node, fake: Fake) -> None:
    """To the byte: a number that Python would write otherwise is another number to a program in Go."""
    text = (
        json.dumps({"type": fake.plugin.type, **CONF})[:-1] + ', "big": 12345678901234567890, "one": 1.0, "e": 1E5 }\n'
    )
    assert fake.plugin.call(node, "ADD", text, node.pod()).status == 0
    assert fake.seen("ADD", "stdin") == text


def test_it_is_the_first_of_that_name_in_cni_path(node: Node, fake: Fake) -> None:
    node.write("/run/other/fake-ipam", "#!/bin/sh\nexit 1\n")
    node.run("chmod", "+x", "/run/other/fake-ipam")
    for path, status in ((f"/none:{FAKE_DIR}:/run/other", 0), (f"/run/other:{FAKE_DIR}", 1)):
        assert fake.plugin.call(node, "ADD", CONF, node.pod(), env={"CNI_PATH": path}).status == status


def test_its_standard_error_is_ours(node: Node, fake: Fake) -> None:
    pod = node.pod()
    reply = fake.plugin.call(node, "ADD", CONF, pod)
    assert (reply.status, reply.stderr) == (0, "a word from ADD\n")
    fake.answer("CHECK", {"code": 42, "msg": "no"}, status=1)
    reply = fake.plugin.check(node, CONF, pod, reply.result)
    assert (reply.error["code"], reply.stderr) == (42, "a word from CHECK\n")


@pytest.mark.parametrize("verb", ["CHECK", "DEL", "STATUS", "GC"])
def test_every_verb_runs_it_and_its_errors_are_ours(node: Node, fake: Fake, verb: str) -> None:
    pod = node.pod()
    result = fake.plugin.add(node, CONF, pod)
    fake.answer(verb, {"cniVersion": "1.1.0", "code": 51, "msg": "the server is away"}, status=1)
    keys: Json = {
        "prevResult": result,
        "cni.dev/valid-attachments": [{"containerID": pod.container_id, "ifname": "eth0"}],
    }
    error = fake.plugin.call(node, verb, CONF | keys, pod).error
    assert (error["code"], error["msg"]) == (51, "plugin fake-ipam: the server is away")
    assert verbs(node) == ["ADD", verb]


def test_a_del_that_it_refuses_leaves_its_addresses_alone(node: Node, fake: Fake) -> None:
    """Everything else of the attachment is removed all the same: a DEL does as much as it can."""
    pod, conf = node.pod(), CONF | {"ipMasq": True, "macspoofchk": True}
    fake.plugin.add(node, conf, pod)
    fake.answer("DEL", {"cniVersion": "1.1.0", "code": 51, "msg": "the server is away"}, status=1)
    assert fake.plugin.call(node, "DEL", conf, pod).error["code"] == 51
    assert_nothing_left(node)


@pytest.mark.parametrize("status", [1, "killed"])
def test_an_add_of_it_that_failed_is_followed_by_its_del(node: Node, fake: Fake, status: int | str) -> None:
    fake.answer("ADD", {"cniVersion": "1.1.0", "code": 11, "msg": "try again"}, status=status)  # type: ignore[arg-type]
    reply = fake.plugin.call(node, "ADD", CONF, node.pod())
    assert reply.error["msg"].startswith("plugin fake-ipam: ")
    assert reply.stderr == "a word from ADD\na word from DEL\n"
    assert verbs(node) == ["ADD", "DEL"]
    assert_nothing_left(node)


def test_an_answer_that_cannot_be_used_is_followed_by_its_del(node: Node, fake: Fake) -> None:
    fake.answer("ADD", {"cniVersion": "1.1.0", "ips": []})
    assert fake.plugin.call(node, "ADD", CONF, node.pod()).error["code"] == 6
    assert verbs(node) == ["ADD", "DEL"]


@pytest.mark.parametrize("verb", ["CHECK", "DEL", "STATUS", "GC"])
def test_what_it_prints_is_an_answer_to_add_alone(node: Node, fake: Fake, verb: str) -> None:
    """No other verb has a result. A plugin that prints `released` has still succeeded."""
    pod = node.pod()
    result = fake.plugin.add(node, CONF, pod)
    node.write(f"{FAKE_DIR}/{verb}.answer", "released\n")
    reply = fake.plugin.call(node, verb, CONF | {"prevResult": result, "cni.dev/valid-attachments": []}, pod)
    assert (reply.status, reply.stdout) == (0, "")
    assert verbs(node) == ["ADD", verb]


def test_nothing_to_give_back_no_del(node: Node, fake: Fake) -> None:
    """What was never asked gives nothing back: the lease may be another plugin's of the chain."""
    pod = node.pod()
    pod.run("ip", "link", "add", "eth0", "type", "bridge")
    assert fake.plugin.call(node, "ADD", CONF, pod).error["code"] == 103
    assert not (node.root / "run/fake/witness").exists()


def test_the_interface_is_there_when_addresses_are_asked_for(node: Node, fake: Fake) -> None:
    """Up and plugged in; and gone when they are given back."""
    pod = node.pod()
    result = fake.plugin.add(node, CONF, pod)
    [added] = witness(node)
    assert added.startswith("ADD: eth0@")
    assert added.endswith(" 1"), "the bridge forwards what comes out of it"
    fake.plugin.delete(node, CONF | {"prevResult": result}, pod)
    assert witness(node)[1:] == ["DEL:  0"]


def test_a_caller_that_ignores_sigchld(node: Node, fake: Fake) -> None:
    pod = node.pod()
    ignoring = fake.plugin.under("env", "--ignore-signal=CHLD")
    result = ignoring.add(node, CONF, pod)
    assert ignoring.check(node, CONF, pod, result).result == {}
    ignoring.delete(node, CONF, pod)
    assert veths(node) == []


def test_we_are_delegated_to(node: Node, plugin: Plugin) -> None:
    """Under the name host-local-py: what an IPAM plugin answers has neither interfaces nor indexes of them."""
    node.run("ln", "-s", plugin.argv[0], "/run/host-local-py")
    alone = Plugin("/run/host-local-py")
    alone.type = "ptp"
    result = alone.add(node, network(4, ipam={"routes": [{"dst": "0.0.0.0/0"}]}), node.pod())
    assert result == {
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.22.0.2/24", "gateway": "10.22.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
