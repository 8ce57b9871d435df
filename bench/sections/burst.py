"""Many pods at once: a node that boots, a deployment that is scaled."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from bench.driver import Call, Host, Pod, in_turn, make_pod
from bench.figures import Sample
from bench.setup import Setup

TITLE = "Many pods at once (ipMasq)"


def measure(setup: Setup) -> Iterator[Sample]:
    """As many ADDs at once as there are pods, then as many DELs."""
    hosts = [Host(contestant) for contestant in setup.contestants]
    for host in hosts:
        host.call("ADD", make_pod())
    pods = [make_pod() for _ in range(setup.sizes.burst)]
    yield from in_turn(hosts, setup.sizes.bursts, partial(come_and_go, pods), warm_up=1)


def come_and_go(pods: Sequence[Pod], host: Host) -> Iterator[Sample]:
    """Two bursts."""
    results: list[Any] = [None] * len(pods)
    for verb in ("ADD", "DEL"):
        case = f"{len(pods)} {verb}s at once"
        wall, calls = at_once(verb, host, pods, results)
        results = [None if call.status else json.loads(call.output or "null") for call in calls]
        yield Sample(case, "all of them", "ms", host.who, wall)
        yield Sample(case, "all of them", "ms CPU", host.who, sum(call.cpu for call in calls))
        yield Sample(case, "the slowest", "ms", host.who, max(call.wall for call in calls))
        yield Sample(case, "failures", "", host.who, sum(call.status != 0 for call in calls))


def at_once(verb: str, host: Host, pods: Sequence[Pod], results: Sequence[Any]) -> tuple[float, list[Call]]:
    """Start a call for each pod, then wait for all; milliseconds until the last one ended, and the calls."""
    calls: dict[int, Call] = {}
    with host.inside():
        began = time.perf_counter()
        processes = [host.start(verb, pod, result) for pod, result in zip(pods, results, strict=True)]
        running = {process.pid: process for process in processes}
        while len(calls) < len(running):
            pid, status, usage = os.wait4(-1, 0)
            calls[pid] = running[pid].ended(status, usage)
        wall = time.perf_counter() - began
    return wall * 1000, [calls[process.pid] for process in processes]
