"""What a call takes besides time: memory, disk, system calls, files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.contestants import Contestant
from bench.driver import Host, in_turn, make_pod
from bench.figures import OURS, Sample
from bench.setup import Setup
from bench.trace import read_trace

TITLE = "Footprint (ipMasq)"

MEMORY = Path("/run/memory")
TRACE = Path("/run/trace")

# Not wait4(2)'s answer to the driver: what it says of memory starts with the size of whoever made the process.
MEASURE_MEMORY = ("/usr/bin/time", "-f", "%M", "-o", str(MEMORY))
MEASURE_CALLS = ("/usr/bin/strace", "-f", "-o", str(TRACE))


def measure(setup: Setup) -> Iterator[Sample]:
    """Each of these for ADD and DEL, and the size on disk."""
    hosts = [Host(contestant) for contestant in setup.contestants]
    for host in hosts:
        host.call("ADD", make_pod())
    yield from in_turn(hosts, setup.sizes.traces, memory)
    yield from in_turn(hosts, setup.sizes.traces, calls)
    for contestant in setup.contestants:
        yield Sample("", "on disk", "MB", contestant.name, size(contestant) / 1e6)


def memory(host: Host) -> Iterator[Sample]:
    """The most memory that any one process of a call has."""
    pod = host.next_pod()
    for verb in ("ADD", "DEL"):
        host.call(verb, pod, under=MEASURE_MEMORY)
        yield Sample(verb, "peak memory", "MB", host.who, int(MEMORY.read_text()) * 1024 / 1e6)


def calls(host: Host) -> Iterator[Sample]:
    """How much a call and its children ask of the kernel."""
    pod = host.next_pod()
    for verb in ("ADD", "DEL"):
        host.call(verb, pod, under=MEASURE_CALLS)
        trace = read_trace(TRACE.read_text())
        yield Sample(verb, "system calls", "", host.who, trace.calls)
        yield Sample(verb, "files opened", "", host.who, trace.opened)
        yield Sample(verb, "files not found", "", host.who, trace.not_opened)


def size(contestant: Contestant) -> int:
    """Bytes of all that a node needs. Ours is one file; the reference's two run iptables or nft besides."""
    plugins = [contestant.plugin] if contestant.name == OURS else [contestant.plugin, contestant.host_local]
    return sum(Path(plugin).stat().st_size for plugin in plugins)
