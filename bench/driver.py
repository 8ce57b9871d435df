"""Calling plugins in a node, and timing them with as little of our own in it as can be.

A process is started by posix_spawn(3), which does not copy this one's memory; its input and output are memory
files, so that neither side waits for a pipe; and wait4(2) tells what it and its children used.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pyroute2.netns import setns

from bench.contestants import Config, Contestant
from bench.figures import Sample

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


T = TypeVar("T")


class CallFailed(Exception):
    """A plugin failed where it should not; the text has what it said."""


class Call(NamedTuple):
    """A finished call."""

    wall: float
    """Milliseconds from before the process is made until it is waited for."""
    cpu: float
    """Milliseconds of processor time, in the kernel and out of it, of the process and its children."""
    status: int
    output: bytes

    def samples(self, case: str, what: str, who: str) -> Iterator[Sample]:
        """What it took."""
        yield Sample(case, what, "ms", who, self.wall)
        yield Sample(case, what, "ms CPU", who, self.cpu)


class Process:
    """A command that was started: `pid`, and `started`, the time before it was."""

    def __init__(self, argv: list[str], environment: Mapping[str, str], stdin: bytes = b"") -> None:
        source, self._output = os.memfd_create("stdin"), os.memfd_create("stdout")
        os.write(source, stdin)
        os.lseek(source, 0, os.SEEK_SET)
        actions = [
            (os.POSIX_SPAWN_DUP2, source, 0),
            (os.POSIX_SPAWN_DUP2, self._output, 1),
            (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
        ]
        self.started = time.perf_counter()
        self.pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions)
        os.close(source)

    def wait(self) -> Call:
        """Wait for it."""
        _, status, usage = os.wait4(self.pid, 0)
        return self.ended(status, usage)

    def ended(self, status: int, usage: Any) -> Call:
        """Make a call of what wait4 said just now."""
        wall = time.perf_counter() - self.started
        output = os.pread(self._output, 1 << 20, 0)
        os.close(self._output)
        cpu = usage.ru_utime + usage.ru_stime
        return Call(wall * 1000, cpu * 1000, os.waitstatus_to_exitcode(status), output)


class Pod(NamedTuple):
    """An attachment to be."""

    netns: str
    container_id: str


class Host:
    """One contestant's place: a network namespace that its plugin takes for the node's, and one network."""

    _numbers = itertools.count(1)

    def __init__(self, contestant: Contestant, **keys: Any) -> None:
        """`keys` go over the shipped configuration."""
        number = next(self._numbers)
        self.who = contestant.name
        self.plugin = contestant.plugin
        self.cni_path = str(contestant.directory)
        # Where there are iptables, too, the reference's DEL looks for chains there, and Debian 12's iptables says
        # of one that is not there what the reference takes for a failure.
        self.path = _path_to("nft") if contestant.masquerades_otherwise else PATH
        self.network = f"network-{number}"
        self.config: Config = contestant.config(self.network, **keys)
        self._netns = _make_namespace(f"host-{number}")
        self._free = make_pod().netns

    def next_pod(self) -> Pod:
        """Another container in always the same namespace, for pods that come and go one after the other."""
        return Pod(self._free, secrets.token_hex(32))

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This process is in the namespace."""
        with open("/proc/self/ns/net") as home, open(self._netns) as netns:
            setns(netns.fileno())
            try:
                yield
            finally:
                setns(home.fileno())

    def start(
        self, verb: str, pod: Pod, prev_result: Any = None, plugin: str | None = None, under: Sequence[str] = ()
    ) -> Process:
        """Start a call of the plugin, or of another. `under`: a command to run it under. To be used `inside`."""
        config = self.config | {"prevResult": prev_result} if prev_result else self.config
        argv = [*under, plugin or self.plugin]
        return Process(argv, self.environment(verb, pod), json.dumps(config).encode())

    def environment(self, verb: str, pod: Pod) -> dict[str, str]:
        """What containerd gives a plugin."""
        return {
            "PATH": self.path,
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod.container_id,
            "CNI_NETNS": pod.netns,
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=example;"
            f"K8S_POD_INFRA_CONTAINER_ID={pod.container_id}",
            "CNI_PATH": self.cni_path,
        }

    def call(self, verb: str, pod: Pod, *args: Any, **kwargs: Any) -> Call:
        """Make a call, which must succeed. The rest is `start`'s."""
        with self.inside():
            call = self.start(verb, pod, *args, **kwargs).wait()
        if call.status:
            raise CallFailed(f"{self.who}: {verb} failed with status {call.status}: {call.output.decode()}")
        return call


def make_pod() -> Pod:
    """A pod with a namespace of its own."""
    return Pod(_make_namespace(f"pod-{secrets.token_hex(4)}"), secrets.token_hex(32))


def _path_to(command: str) -> str:
    """A directory with that command alone."""
    directory = Path(f"/run/only-{command}")
    if not directory.exists():
        directory.mkdir()
        (directory / command).symlink_to(str(shutil.which(command, path=PATH)))
    return str(directory)


def _make_namespace(name: str) -> str:
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-netns", name, "link", "set", "lo", "up"], check=True)
    return f"/run/netns/{name}"


def in_turn(
    contestants: Sequence[T], rounds: int, take: Callable[[T], Iterable[Sample]], warm_up: int = 3
) -> Iterator[Sample]:
    """A B A B ...: what `take` measures of each. The rounds to warm up, when caches fill, do not count."""
    for number in range(-warm_up, rounds):
        for each in contestants:
            samples = list(take(each))
            if number >= 0:
                yield from samples
