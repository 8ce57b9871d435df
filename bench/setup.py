"""What a run is made of: who is compared, and how much of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import NamedTuple

from bench.contestants import Contestant


class Sizes(NamedTuple):
    """How much is measured."""

    rounds: int = 40
    """How often each thing is measured of each contestant."""
    pods: tuple[int, ...] = (1, 50, 100, 250)
    """How many pods are on the node while another one comes and goes."""
    burst: int = 100
    """How many pods come at once."""
    bursts: int = 5
    leases: tuple[int, ...] = (0, 1_000, 10_000, 60_000, 65_532)
    """How many addresses of a /16 are given out, which has 65,533."""
    traces: int = 5
    """How often memory and system calls are looked at, which hardly vary."""
    patience: int = 30
    """Seconds to wait for the machine to become idle, before each section."""
    sandboxes: int = 20
    """How often a runtime is asked for a pod."""


FULL = Sizes()
QUICK = Sizes(rounds=10, pods=(1, 50), burst=30, bursts=2, leases=(0, 10_000), traces=1, patience=3, sandboxes=5)


class Setup(NamedTuple):
    """What every section is given."""

    contestants: list[Contestant]
    sizes: Sizes

    def dumps(self) -> str:
        """As text, for a process in a node."""
        return json.dumps([[asdict(each) for each in self.contestants], self.sizes._asdict()])

    @classmethod
    def loads(cls, text: str) -> Setup:
        """The inverse of `dumps`."""
        contestants, sizes = json.loads(text)
        return cls([Contestant(**each) for each in contestants], Sizes(**sizes))
