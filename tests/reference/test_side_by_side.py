"""The same configurations through the reference's `bridge` and `host-local` and through ours: what each makes of them.

Each runs in two fresh nodes, one for each plugin, which must look alike afterwards: links, addresses, routes, bridge
ports, sysctls, leases, the result, and what a runtime is told of refused input. What may differ is in `MEANT`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import newest
from tests.harness import Json, Node, Outside, Plugin, Pod
from tests.kernel.networks import GATEWAY
from tests.reference import picture
from tests.reference.cases import ANSWERED, ATTACHED, BRIDGE, HAVE_CHECK, KERNEL, REFUSED, SERVED, VAGUE, Case
from tests.reference.differences import MEANT, Difference, differences_at
from tests.reference.releases import NEWEST, RELEASES, reference

Look = Callable[[str, Case], tuple[Json, Json]]


@pytest.fixture(scope="session")
def look(root: None, plugin: Plugin) -> Look:
    """A function that has the pictures of a case: that release's of the reference, and ours. It takes them once."""
    taken: dict[tuple[str, str], Json] = {}

    def pictures(release: str, case: Case) -> tuple[Json, Json]:
        plugins = {(release, case.name): reference(release), ("ours", case.name): plugin}
        missing = [key for key in plugins if key not in taken]
        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda key: outcome(plugins[key], case), missing)
        taken.update(zip(missing, found, strict=True))
        theirs, ours = (taken[key] for key in plugins)
        return theirs, ours

    return pictures


def outcome(plugin: Plugin, case: Case) -> Json:
    """What a plugin makes of a case."""
    with Node() as node:
        # Whether a bridge's address has passed its detection yet is a matter of time.
        node.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        node.run("sh", "-ec", case.prepare)
        if case in SERVED:
            return {case.name: _life(plugin, case, node, node.pod())}
        return {case.name: {"answer": _answer(plugin, case, node, node.pod())}}


def _answer(plugin: Plugin, case: Case, node: Node, pod: Pod) -> Json:
    """What one call has to say, and what it leaves."""
    before, pods = node.snapshot(), picture.of_pods(node)
    reply = plugin.call(node, case.verb, case.conf, pod, **case.call)
    after = node.snapshot()
    changed = [key for key in after if after[key] != before[key]]
    left = [each for each in picture.of_pods(node) if each not in pods]
    return {**picture.of_reply(reply), "left on the node": changed, "left of the pod": left}


def _life(plugin: Plugin, case: Case, node: Node, pod: Pod) -> Json:
    """What there is from an ADD until after a second DEL."""
    assert isinstance(case.conf, dict)
    if case.conf.get("isDefaultGateway"):
        Outside(node)
        node.run("ip", "link", "set", "uplink0", "address", "02:00:00:00:00:01")
    added = plugin.call(node, "ADD", case.conf, pod, **case.call)
    if added.status:
        return {"answer": picture.of_reply(added)}
    found = picture.of_success(node, pod, added.result)
    found["traffic"] = _traffic(pod, case.conf)
    conf = case.conf
    if conf.get("cniVersion") in HAVE_CHECK:
        conf = {**conf, "prevResult": added.result}
        found["CHECK"] = picture.of_reply(plugin.call(node, "CHECK", conf, pod, **case.call))
    for verb in ("DEL", "DEL again"):
        found[verb] = picture.of_reply(plugin.call(node, "DEL", conf, pod, **case.call))
        found[f"after {verb}"] = {"node": picture.of_node(node), "pod": picture.of_machine(pod)}
    return found


def _traffic(pod: Pod, conf: Json) -> Json:
    """What the pod reaches, and as whom."""
    seen: Json = {}
    if conf.get("isGateway") or conf.get("isDefaultGateway"):
        seen["gateways"] = [pod.ping(gateway) for gateway in GATEWAY.values()]
    if conf.get("isDefaultGateway"):
        seen["outside"] = [pod.seen_as(address) for address in (Outside.address, Outside.address6)]
    return seen


def unexpected(release: str, theirs: Json, ours: Json) -> list[str]:
    """The differences between that release's picture and ours that are not in the lists."""
    found = picture.differences(theirs, ours)
    return [f"{path}: {one!r} is {other!r} here" for path, one, other in found if not differences_at(release, path)]


def each_release(*lists: Sequence[Case] | Sequence[Difference]) -> pytest.MarkDecorator:
    """Run a test for each release and every entry that is about it."""
    pairs = [(release, each) for release in RELEASES for entries in lists for each in entries]
    return pytest.mark.parametrize(
        ("release", "entry"),
        [pytest.param(*pair, id=f"{pair[0]}-{pair[1].name}") for pair in pairs if pair[0] in pair[1].releases],
    )


@each_release(SERVED)
def test_served(look: Look, release: str, entry: Case) -> None:
    theirs, ours = look(release, entry)
    assert "answer" not in ours[entry.name], ours
    assert unexpected(release, theirs, ours) == []


@each_release(REFUSED)
def test_refused(look: Look, release: str, entry: Case) -> None:
    theirs, ours = look(release, entry)
    assert unexpected(release, theirs, ours) == []
    answer = ours[entry.name]["answer"]
    assert answer["code"] == entry.code
    assert theirs[entry.name]["answer"].get("code", 0) in (entry.code, *VAGUE)
    assert not answer["left of the pod"]
    # A delegated plugin's answer comes when the bridge is already there.
    is_late = entry.code in (KERNEL, ATTACHED, BRIDGE) or entry.name.endswith("from a plugin")
    assert not answer["left on the node"] or is_late


@each_release(ANSWERED)
def test_answered(look: Look, release: str, entry: Case) -> None:
    theirs, ours = look(release, entry)
    assert unexpected(release, theirs, ours) == []
    assert ours[entry.name]["answer"]["status"] == 0


@each_release(MEANT)
def test_difference_is_there(look: Look, release: str, entry: Difference) -> None:
    """What is no more must not be listed, in docs neither."""
    (case,) = (case for case in SERVED + REFUSED + ANSWERED if case.name == entry.example)
    found = picture.differences(*look(release, case))
    assert any(entry in differences_at(release, path) for path, _, _ in found)


def test_the_newest_release_is_the_one_that_is_fetched() -> None:
    assert newest.require("containernetworking-plugins").pinned == NEWEST
