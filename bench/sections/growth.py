"""One more pod on a node that has many."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from bench.driver import Host, in_turn, make_pod
from bench.figures import Sample
from bench.quiet import wait_until_idle
from bench.setup import Setup

TITLE = "With many pods on the node (ipMasq)"


def measure(setup: Setup) -> Iterator[Sample]:
    """ADD and DEL of a pod with ever more others there."""
    hosts = [Host(contestant) for contestant in setup.contestants]
    there = 0
    for pods in sorted(setup.sizes.pods):
        for host in hosts:
            for _ in range(there, pods):
                host.call("ADD", make_pod())
        there = pods
        wait_until_idle(setup.sizes.patience)  # new pods have much to say to their neighbours
        case = "1 pod" if pods == 1 else f"{pods} pods"
        yield from in_turn(hosts, setup.sizes.rounds, partial(come_and_go, case))


def come_and_go(case: str, host: Host) -> Iterator[Sample]:
    """ADD and DEL of one pod."""
    pod = host.next_pod()
    added = host.call("ADD", pod)
    yield from added.samples(case, "ADD", host.who)
    yield from host.call("DEL", pod, json.loads(added.output)).samples(case, "DEL", host.who)
