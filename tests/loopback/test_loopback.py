"""Run under the name `loopback`, the executable answers as the reference's plugin of that name."""

from __future__ import annotations

import pytest

from tests.harness import REFERENCE_BIN_DIR, Json, Node, Plugin, Pod

CONF: Json = {"cniVersion": "1.0.0", "name": "cni-loopback", "type": "loopback"}
PREV_RESULT: Json = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/pod"}],
    "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 0}],
    "routes": [{"dst": "0.0.0.0/0"}],
    "dns": {"nameservers": ["10.1.0.1"]},
}


@pytest.fixture
def loopback(node: Node, plugin: Plugin) -> Plugin:
    """Our executable under the other name, beside its own."""
    plugin.install(node)
    node.run("ln", "-sfn", plugin.type, "/opt/cni/bin/loopback")
    return Plugin("/opt/cni/bin/loopback")


@pytest.fixture
def reference() -> Plugin:
    return Plugin(REFERENCE_BIN_DIR / "loopback")


def fresh_pod(node: Node, name: str) -> Pod:
    """A pod as a runtime makes it: its loopback is down."""
    node.run("ip", "netns", "add", name)
    return Pod(node, f"/run/netns/{name}")


def is_up(pod: Pod) -> bool:
    return "UP" in pod.link("lo")["flags"]


def without_version(result: Json) -> Json:
    """A result as the reference writes it: without what results before 1.0.0 say of each address, and with no DNS."""
    return {"dns": {}} | result | {"ips": [{key: ip[key] for key in ip if key != "version"} for ip in result["ips"]]}


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_add_answers_as_the_reference(node: Node, loopback: Plugin, reference: Plugin, version: str) -> None:
    answers = []
    for each in (loopback, reference):
        pod = fresh_pod(node, "pod")
        answers.append(each.add(node, CONF | {"cniVersion": version}, pod, ifname="lo"))
        assert is_up(pod)
        assert pod.ping("127.0.0.1")
        pod.close()
    assert without_version(answers[0]) == without_version(answers[1])


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_add_in_the_oldest_versions(node: Node, loopback: Plugin, version: str) -> None:
    # The reference writes newer results then, which these versions do not know.
    result = loopback.add(node, CONF | {"cniVersion": version}, fresh_pod(node, "pod"), ifname="lo")
    assert result == {"cniVersion": version, "ip4": {"ip": "127.0.0.1/8"}, "ip6": {"ip": "::1/128"}, "dns": {}}


def test_the_result_tells_what_the_kernel_has(node: Node, loopback: Plugin) -> None:
    pod = fresh_pod(node, "pod")
    result = loopback.add(node, CONF, pod, ifname="lo")
    assert result["interfaces"] == [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/netns/pod"}]
    assert [each["address"] for each in result["ips"]] == pod.addresses("lo") == ["127.0.0.1/8", "::1/128"]
    pod.run("sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=1")
    assert [each["address"] for each in loopback.add(node, CONF, pod, ifname="lo")["ips"]] == ["127.0.0.1/8"]


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_the_result_before_is_passed_on(node: Node, loopback: Plugin, reference: Plugin, version: str) -> None:
    pod = fresh_pod(node, "pod")
    conf = CONF | {"cniVersion": version, "prevResult": PREV_RESULT | {"cniVersion": version}}
    results = [each.add(node, conf, pod) for each in (loopback, reference)]
    assert without_version(results[0]) == without_version(results[1])
    assert is_up(pod)


def test_a_result_before_that_is_none_is_refused(node: Node, loopback: Plugin) -> None:
    pod = fresh_pod(node, "pod")
    error = loopback.call(node, "ADD", CONF | {"prevResult": {"ips": "none"}}, pod).error
    assert (error["code"], error["msg"].startswith("prevResult: ")) == (7, True)
    assert not is_up(pod)


def test_check(node: Node, loopback: Plugin) -> None:
    pod = fresh_pod(node, "pod")
    result = loopback.add(node, CONF, pod, ifname="lo")
    assert loopback.check(node, CONF, pod, result, ifname="lo").result == {}
    pod.run("ip", "link", "set", "lo", "down")
    error = loopback.check(node, CONF, pod, result, ifname="lo").error
    assert (error["code"], error["msg"]) == (105, "lo in /run/netns/pod is down")


def test_delete_sets_it_down_as_the_reference_does(node: Node, loopback: Plugin, reference: Plugin) -> None:
    for each in (loopback, reference):
        pod = fresh_pod(node, "pod")
        each.add(node, CONF, pod, ifname="lo")
        for _ in range(2):
            each.delete(node, CONF, pod, ifname="lo")
            assert not is_up(pod)
        pod.close()
        each.delete(node, CONF, pod, ifname="lo")
        each.delete(node, CONF, pod, ifname="lo", netns="")


def test_the_verbs_that_have_nothing_to_do(node: Node, loopback: Plugin) -> None:
    conf = CONF | {"cniVersion": "1.1.0"}
    assert loopback.status(node, conf).result == {}
    assert loopback.gc(node, conf).result == {}
    assert "1.1.0" in loopback.version(node)["supportedVersions"]


def test_a_namespace_that_is_gone_is_an_error_of_add_and_check(node: Node, loopback: Plugin) -> None:
    pod = fresh_pod(node, "pod")
    pod.close()
    for verb in ("ADD", "CHECK"):
        error = loopback.call(node, verb, CONF | {"prevResult": PREV_RESULT}, pod, ifname="lo").error
        assert error["code"] == 4
        assert "/run/netns/pod" in error["msg"]


def test_keys_of_any_case_are_read(node: Node, loopback: Plugin, reference: Plugin) -> None:
    """The answer has the request's version, and the results of earlier plugins."""
    conf: Json = {"CNIVersion": "1.0.0", "NAME": "cni-loopback", "PrevResult": PREV_RESULT}
    answers = [each.add(node, conf, node.pod(), ifname="lo") for each in (loopback, reference)]
    assert answers[0] == answers[1] == PREV_RESULT


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_a_network_without_name_is_refused(node: Node, loopback: Plugin, reference: Plugin, verb: str) -> None:
    conf = {key: value for key, value in CONF.items() if key != "name"}
    for each in (loopback, reference):
        error = each.call(node, verb, conf, node.pod(), ifname="lo").error
        assert (error["code"], "missing network name" in error["msg"]) == (7, True)


@pytest.mark.parametrize("prev_result", ["none", {"ips": [{"address": "ten"}]}, {"interfaces": [None]}], ids=str)
def test_a_prev_result_that_is_none_is_refused(node: Node, loopback: Plugin, prev_result: object) -> None:
    error = loopback.call(node, "ADD", CONF | {"prevResult": prev_result}, node.pod(), ifname="lo").error
    assert (error["code"], error["msg"].startswith("prevResult: ")) == (7, True), error
