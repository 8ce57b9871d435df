"""The system calls of each verb, which are the same on every machine. If you raise a figure, say why.

We count from the read of the configuration on. The process's start comes before that, and depends on the build of
Python and of the C library. For the start, as for memory, there is only an upper limit.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.bundle import CHECKOUT, build_executable
from tests.harness import Node, Plugin

CONF = json.loads((CHECKOUT / "conf/10-bridge.conf").read_text())
MEMORY = ("brk", "mmap", "mremap", "munmap", "madvise")

# First the calls on files: the pod's namespace, the lock, the leases, sysctls. Then the calls on sockets: in the host's
# namespace, to its packet filter, and in the pod's namespace.
COST = {
    "ADD": """
        read 6 openat 11 close 13 newfstatat 4 ioctl 1 mkdir 1 umask 2 flock 1 pread64 1 write 4 link 1
        geteuid 1 exit_group 1
        socket 3 setsockopt 8 setns 2 sendto 25 recvfrom 37
    """,
    "CHECK": """
        read 4 openat 5 close 8 newfstatat 3 ioctl 1 umask 2 flock 1 geteuid 1 exit_group 1
        socket 3 setsockopt 8 setns 2 sendto 19 recvfrom 25
    """,
    "DEL": """
        read 2 openat 5 close 8 newfstatat 10 ioctl 1 umask 2 flock 1 getdents64 4 unlink 2 rmdir 1
        geteuid 1 exit_group 1
        socket 3 setsockopt 8 setns 2 sendto 18 recvfrom 19
    """,
}
"""System calls of the shipped configuration, for the second pod of a node."""


@pytest.mark.parametrize("verb", COST)
def test_system_calls(node: Node, verb: str) -> None:
    plugin = Plugin(build_executable())
    trace = node.directory / "trace"
    traced = Plugin(["strace", "-f", "-o", str(trace), *plugin.argv])
    plugin.add(node, CONF, node.pod())  # which makes what pods share
    pod = node.pod()
    conf = CONF if verb == "ADD" else {**CONF, "prevResult": plugin.add(node, CONF, pod)}
    assert traced.call(node, verb, conf, pod).status == 0
    lines = trace.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if " read(0, " in line)
    names = [line.split()[1].partition("(")[0] for line in lines[start:] if "(" in line]
    names = ["newfstatat" if name == "fstat" else name for name in names]  # fstat(2) is the one or other, as glibc is
    words = COST[verb].split()
    assert Counter(name for name in names if name not in MEMORY) == dict(
        zip(words[::2], map(int, words[1::2]), strict=True)
    )
    assert start < 60, "the start has grown"


@pytest.mark.parametrize("verb", COST)
def test_memory(node: Node, verb: str) -> None:
    """The memory that calls use is in one place (bundle/README.md), so 300 to 400 page faults are usual, not 800."""
    plugin = Plugin(build_executable())
    measured = node.directory / "measured"
    timed = Plugin(["/usr/bin/time", "-f", "%R %M", "-o", str(measured), *plugin.argv])
    plugin.add(node, CONF, node.pod())
    pod = node.pod()
    conf = CONF if verb == "ADD" else {**CONF, "prevResult": plugin.add(node, CONF, pod)}
    assert timed.call(node, verb, conf, pod).status == 0
    faults, kilobytes = map(int, measured.read_text().split())
    assert faults < 550
    assert kilobytes < 10_500
