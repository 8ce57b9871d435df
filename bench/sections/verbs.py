"""One pod after the other, on a node that has one pod already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from bench.contestants import DUAL_STACK
from bench.driver import Host, in_turn, make_pod
from bench.figures import Sample
from bench.setup import Setup

TITLE = "Each verb"

CASES: dict[str, dict[str, Any]] = {
    "ipMasq": {},
    "no ipMasq": {"ipMasq": False},
    "dual stack": {"ipam": {"type": "host-local", "ranges": DUAL_STACK}},
}


def measure(setup: Setup) -> Iterator[Sample]:
    """ADD, CHECK and DEL of a pod, and VERSION, for each configuration."""
    for case, keys in CASES.items():
        masquerades = keys.get("ipMasq", True)
        contestants = [each for each in setup.contestants if masquerades or not each.masquerades_otherwise]
        hosts = [Host(contestant, **keys) for contestant in contestants]
        for host in hosts:
            host.call("ADD", make_pod())
        yield from in_turn(hosts, setup.sizes.rounds, partial(life, case))
    hosts = [Host(contestant) for contestant in setup.contestants if not contestant.masquerades_otherwise]
    yield from in_turn(hosts, setup.sizes.rounds, version)


def life(case: str, host: Host) -> Iterator[Sample]:
    """A pod comes, is looked at, and goes."""
    pod = host.next_pod()
    added = host.call("ADD", pod)
    yield from added.samples(case, "ADD", host.who)
    result = json.loads(added.output)
    for verb in ("CHECK", "DEL"):
        yield from host.call(verb, pod, result).samples(case, verb, host.who)


def version(host: Host) -> Iterator[Sample]:
    """What a runtime may ask before all else."""
    yield from host.call("VERSION", host.next_pod()).samples("any", "VERSION", host.who)
