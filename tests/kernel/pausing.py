"""Stopping a call half-way, to do something to the node meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tests.harness import Json, Node, Plugin, Pod, Reply


@contextlib.contextmanager
def paused(plugin: Plugin, node: Node, conf: Json, pod: Pod, occurrence: int) -> Iterator[Future[Reply]]:
    """An ADD that sends its nth netlink message and goes no further until the `with` is left.

    It is done already in the `with` where it has fewer messages to send.
    """
    trace = node.directory / "trace"
    trace.write_text("")  # a former call's
    inject = f"inject=sendto:signal=STOP:when={occurrence}"
    strace = ("strace", "--follow-forks", "-o", str(trace), "-e", "trace=sendto", "-e", inject)
    traced = plugin.under(*strace)
    with ThreadPoolExecutor() as pool:
        call = pool.submit(traced.call, node, "ADD", conf, pod)
        while not (call.done() or "stopped by SIGSTOP" in trace.read_text()):
            time.sleep(0.01)
        yield call
        if not call.done():
            *_, stopped = [line for line in trace.read_text().splitlines() if "stopped by SIGSTOP" in line]
            node.run("kill", "-CONT", stopped.split()[0])
