"""Hostile input: whatever the plugin is given, it succeeds or says why not, and writes nowhere but to its leases."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bundle import CHECKOUT
from tests.faults.fence import Trial, judge_trial
from tests.faults.inputs import Grammar, Input
from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import BRIDGE, NAME, add_pod, assert_nothing_left, dual_stack

T = TypeVar("T")

INTERNAL = 999
CONF = dual_stack()

# Examples are new in each run; what fails is printed as a line that repeats it.
EXAMPLES = settings(
    deadline=None,
    max_examples=400,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


class Drawn:
    """Makes choices as hypothesis has them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def pick(self, options: Sequence[T]) -> T:
        return self._draw(st.sampled_from(options))

    def number(self, lowest: int, highest: int) -> int:
        return self._draw(st.integers(lowest, highest))

    def text(self) -> str:
        return self._draw(st.text(st.characters(exclude_categories=()), max_size=20))

    def noise(self) -> bytes:
        return self._draw(st.binary(max_size=40))


@st.composite
def inputs(draw: st.DrawFn) -> Input:
    return Grammar(Drawn(draw)).input()


class Prober:
    """The fence, at work in a node."""

    def __init__(self, node: Node) -> None:
        # Whatever it may come to, it cannot write into this machine's own files.
        script = 'mount -o remount,bind,ro / && exec "$@"'
        serve = "import sys; from tests.faults import fence; fence.serve(sys.stdin.buffer, sys.stdout.buffer)"
        argv = ("unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", serve)
        self._process = subprocess.Popen(
            [*node._enter, *argv],
            env={"PYTHONPATH": str(CHECKOUT), "PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def trial(self, given: Input) -> Trial:
        assert self._process.stdin
        assert self._process.stdout
        data = pickle.dumps(given)
        self._process.stdin.write(struct.pack("=I", len(data)) + data)
        self._process.stdin.flush()
        (size,) = struct.unpack("=I", self._process.stdout.read(4))
        trial = pickle.loads(self._process.stdout.read(size))
        assert isinstance(trial, Trial), f"it ended with status {trial}"
        return trial


@pytest.fixture(scope="module")
def prober(root: None) -> Iterator[Prober]:
    with Node() as node:
        yield Prober(node)


@EXAMPLES
@given(given=inputs())
def test_any_input(prober: Prober, given: Input) -> None:
    judge_trial(given, prober.trial(given))


# Streams


class TestStreams:
    """Standard input, output and error that are closed, endless or full."""

    @pytest.fixture
    def state(self, node: Node, plugin: Plugin) -> tuple[Pod, Json]:
        """A pod, and the node as it is without it."""
        add_pod(plugin, node, CONF)
        pod = node.pod()
        return pod, node.snapshot()

    def redirected(self, plugin: Plugin, redirection: str) -> Plugin:
        return plugin.under("sh", "-c", f'exec "$0" "$@" {redirection}')

    @pytest.mark.parametrize(
        ("redirection", "code"),
        [("<&-", 5), ("< /dev/null", 6), ("< /dev/zero", 6), ("< /dev/urandom", 6)],
    )
    @pytest.mark.parametrize("verb", ["ADD", "DEL"])
    def test_no_configuration_comes(
        self, node: Node, plugin: Plugin, state: tuple[Pod, Json], verb: str, redirection: str, code: int
    ) -> None:
        pod, before = state
        reply = self.redirected(plugin, redirection).call(node, verb, CONF, pod)
        assert reply.error["code"] == code
        assert "standard input" in reply.error["msg"]
        assert node.snapshot() == before

    @pytest.mark.parametrize("redirection", [">&-", "> /dev/full", ">&- 2>&-", "> /dev/full 2> /dev/full"])
    def test_result_cannot_be_written(
        self, node: Node, plugin: Plugin, state: tuple[Pod, Json], redirection: str
    ) -> None:
        """The runtime knows nothing of a pod whose result it has not got: it is as if no ADD had been."""
        pod, before = state
        reply = self.redirected(plugin, redirection).call(node, "ADD", CONF, pod)
        assert (reply.status, reply.stdout) == (1, "")
        assert ("cannot write to standard output" in reply.stderr) != ("2>" in redirection)
        assert "Traceback" not in reply.stderr
        assert set(pod.links()) == {"lo"}
        assert node.snapshot() == before

    def test_nobody_reads_the_result(self, node: Node, plugin: Plugin, state: tuple[Pod, Json]) -> None:
        """The runtime died while the plugin was at work."""
        pod, before = state
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write) as pipe:
            environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_NETNS": pod.path, "CNI_IFNAME": "eth0"}
            added = node.popen(
                *plugin.argv, env=environment, stdin=subprocess.PIPE, stdout=pipe, stderr=subprocess.PIPE
            )
            _, errors = added.communicate(json.dumps(CONF))
        assert (added.returncode, errors) == (1, "cni-bridge-py: cannot write to standard output: Broken pipe\n")
        assert set(pod.links()) == {"lo"}
        assert node.snapshot() == before

    @pytest.mark.parametrize("redirection", ["> /dev/full", ">&-", "2>&-", ">&- 2>&-", "2> /dev/full"])
    def test_delete_has_nothing_to_say(self, node: Node, plugin: Plugin, redirection: str) -> None:
        pod, _ = add_pod(plugin, node, CONF)
        assert self.redirected(plugin, redirection).call(node, "DEL", CONF, pod).status == 0
        assert_nothing_left(node)

    def test_standard_error_is_closed(self, node: Node, plugin: Plugin) -> None:
        pod = node.pod()
        result = self.redirected(plugin, "2>&-").add(node, CONF, pod)
        assert plugin.check(node, CONF, pod, result).result == {}


# Size


def ip(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


ENORMOUS: dict[str, Callable[[], Json]] = {
    "a string": lambda: {"x": "y" * 10_000_000},
    "keys": lambda: {f"k{n}": n for n in range(100_000)},
    "lists": lambda: {"x": [[[[n]]] for n in range(100_000)]},
    "dns": lambda: {"dns": {"search": [f"{n}.example" for n in range(200_000)]}},
    "name": lambda: {"name": "y" * 10_000_000},
    "a value of the wrong type": lambda: {"mtu": ["x" * 100] * 50_000},
    "a number": lambda: {"mtu": 10**4299},
    "ranges": lambda: {
        "ipam": {"type": "host-local", "ranges": [[{"subnet": f"{ip(4 * n)}/30"} for n in range(30_000)]]}
    },
    "requested addresses": lambda: {"runtimeConfig": {"ips": [ip(n) for n in range(200_000)]}},
    "exceptions": lambda: {"ipMasq": True, "nonMasqueradeCIDRs": [f"{ip(n)}/32" for n in range(30_000)]},
    "a result": lambda: {"prevResult": result_of(20_000)},
}


def result_of(size: int) -> Json:
    pods = [{"name": "eth0", "sandbox": "/run/netns/pod"}] * size
    return {
        "interfaces": [{"name": BRIDGE}, *pods],
        "ips": [{"address": f"{ip(n)}/8", "interface": n} for n in range(size)],
        "routes": [{"dst": f"{ip(n)}/32"} for n in range(size)],
    }


@pytest.mark.parametrize("enormous", ENORMOUS)
def test_enormous_configuration(node: Node, plugin: Plugin, enormous: str) -> None:
    """It is served or refused, within a minute and a GiB, and a refusal does not repeat all of it."""
    conf, pod = {**CONF, **ENORMOUS[enormous]()}, node.pod("pod")
    limited = plugin.under("prlimit", f"--as={1 << 30}")
    for verb in ("ADD", "CHECK", "DEL"):
        reply = limited.call(node, verb, conf, pod)
        assert reply.stderr == ""
        if reply.status:
            assert reply.error["code"] != INTERNAL
            assert len(reply.stdout) < 10_000
    assert_nothing_left(node)


def test_gc_of_many(node: Node, plugin: Plugin) -> None:
    """A node of 100,000 attachments does not exist, but their list is no reason to fail."""
    pod, result = add_pod(plugin, node, CONF)
    valid = [{"containerID": f"{n:064x}", "ifname": "eth0"} for n in range(100_000)]
    valid.append({"containerID": pod.container_id, "ifname": "eth0"})
    reply = plugin.call(node, "GC", {**CONF, "cni.dev/valid-attachments": valid}, ifname=None)
    assert reply.result == {}
    assert plugin.check(node, CONF, pod, result).result == {}


# Files


WRITING = re.compile(
    r"O_(WRONLY|RDWR|CREAT|TRUNC)|^(mkdir|mknod|unlink|rmdir|link|rename|symlink|chmod|chown|truncate)"
)
WRITTEN = (
    r"/proc/sys/net/ipv[46]/(conf/\S+/(forwarding|accept_ra|accept_dad|disable_ipv6|arp_notify|keep_addr_on_down)|ip_forward)",
    r"/proc/sys/net/ipv6/conf/\S+/ndisc_notify",
    r"/run/leases",
    rf"/run/leases/{NAME}(/lock|/last_reserved_ip\.[01]|/[0-9a-f.:]+)?",
    rf"/run/leases/{NAME}/\.attachments(/veth[0-9a-f]{{11}}(/[0-9a-f.:]+@[0-9a-f-]+\.[0-9]+)?)?",
)
"""All that is opened for writing, made or removed."""


def test_what_is_written(node: Node, frozen: Plugin) -> None:
    """strace sees every file that is opened for writing: the list of what they are is short."""
    conf = dual_stack(macspoofchk=True, ipam={"dataDir": "/run/leases"})
    traced = frozen.under("strace", "--follow-forks", "--trace=%file", "--output=/run/trace", "--output-append-mode")
    pod = node.pod()
    result = traced.add(node, conf, pod, args="MAC=02:00:00:00:00:01")
    assert traced.check(node, conf, pod, result).result == {}
    assert traced.status(node, conf).result == {}
    traced.delete(node, conf, pod)
    assert traced.gc(node, conf).result == {}
    calls = [line.split(maxsplit=1)[1] for line in (node.root / "run/trace").read_text().splitlines()]
    writing = [call for call in calls if WRITING.search(call)]
    paths = {path for call in writing for path in re.findall(r'"([^"]*)"', call)}
    assert [path for path in sorted(paths) if not any(re.fullmatch(each, path) for each in WRITTEN)] == []
    assert len(paths) > 10
