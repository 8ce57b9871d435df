"""One more pod on a node that has many."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bench.driver import Host, in_turn, make_pod
from bench.figures import Sample
from bench.quiet import wait_until_idle
from bench.setup import Setup

TITLE = "With many pods on the node (ipMasq)"

ONE_POD = "1 pod"


def measure(setup: Setup) -> Iterator[Sample]:
    """ADD and DEL of a pod with ever more others there, and of ours against itself with one other there."""
    hosts = [Host(contestant) for contestant in setup.contestants]
    few = Host(replace(setup.contestants[0], name=ONE_POD))
    few.call("ADD", make_pod())
    there = 0
    for pods in sorted(setup.sizes.pods):
        for host in hosts:
            for _ in range(there, pods):
                host.call("ADD", make_pod())
        there = pods
        wait_until_idle(setup.sizes.patience)  # new pods have much to say to their neighbours
        case = ONE_POD if pods == 1 else f"{pods} pods"
        yield from in_turn(hosts, setup.sizes.rounds, partial(come_and_go, case, "{}"))
        yield from in_turn([hosts[0], few], setup.sizes.rounds, partial(come_and_go, case, "{} beside them"))


def come_and_go(case: str, what: str, host: Host) -> Iterator[Sample]:
    """ADD and DEL of one pod; `what` has room for the verb."""
    pod = host.next_pod()
    added = host.call("ADD", pod)
    yield from added.samples(case, what.format("ADD"), host.who)
    yield from host.call("DEL", pod, json.loads(added.output)).samples(case, what.format("DEL"), host.who)
