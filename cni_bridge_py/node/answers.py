"""What a question to a node gets for an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from cni_bridge_py.addresses import InterfaceAddress
from cni_bridge_py.config import NetworkConfig
from cni_bridge_py.node import attachments, runtimes
from cni_bridge_py.node.attachments import Attachment
from cni_bridge_py.node.networks import Network, configs, gateways
from cni_bridge_py.node.packetfilter import PacketFilter
from cni_bridge_py.node.runtimes import Runtime
from cni_bridge_py.node.state import State


class Answer(Enum):
    """Every question is put so that yes is well."""

    YES = "yes"
    NO = "no"
    NOT_APPLICABLE = "does not apply"
    UNKNOWN = "could not look"


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong: what was found, what it means for pods, and the commands that mend it."""

    found: str
    meaning: str
    commands: list[str]


@dataclass(frozen=True)
class Finding:
    """The answer to a question; `found` is what was seen where all is well, or why nothing was."""

    answer: Answer
    found: str = ""
    troubles: list[Trouble] = field(default_factory=list)


@dataclass(frozen=True)
class Question:
    """A question, by a short name for programs, and the function that asks it."""

    key: str
    text: str
    ask: Callable[[Node], Finding]


@dataclass
class Node:
    """What the questions are asked of. `program` is how this program is called; `conf` the file that was named."""

    networks: list[Network]
    program: str
    state: State = field(default_factory=State)
    filter: PacketFilter = field(default_factory=PacketFilter)

    @cached_property
    def configs(self) -> list[NetworkConfig]:
        """The configurations that the plugin accepts."""
        return configs(self.networks)

    @cached_property
    def runtimes(self) -> list[Runtime]:
        """The container runtimes."""
        return list(runtimes.find().runtimes)

    @cached_property
    def attachments(self) -> list[Attachment]:
        """What pods have of us and of the reference."""
        return attachments.find(self.state, self.networks)

    @property
    def pods(self) -> list[Attachment]:
        """The attachments that this plugin wired, and that are there."""
        return [each for each in self.attachments if each.host and each.is_ours]

    def of(self, config: NetworkConfig) -> list[Attachment]:
        """The pods of a network."""
        return [each for each in self.pods if each.network == config.name]

    def gateways(self, config: NetworkConfig) -> list[InterfaceAddress]:
        """The addresses that the bridge is to have for the pods that are there."""
        return gateways(config, [ip for each in self.of(config) for ip in each.ips])

    def path(self, config: NetworkConfig) -> str:
        """The file with a configuration."""
        return next(str(each.path) for each in self.networks if each.config is config)

    @property
    def mend(self) -> str:
        """The command that makes right what pods share."""
        return f"{self.program} mend"

    def raw(self, config: NetworkConfig) -> dict[str, Any]:
        """A configuration as it is written."""
        return next(each.raw for each in self.networks if each.config is config)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 lease, 2 leases, 3 addresses."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"


def yes(found: str) -> Finding:
    """It is so."""
    return Finding(Answer.YES, found)


def does_not_apply(why: str) -> Finding:
    """There is nothing that could be so."""
    return Finding(Answer.NOT_APPLICABLE, why)


def told(troubles: Iterable[Trouble], otherwise: str) -> Finding:
    """No, because of these; yes where there are none."""
    found = list(troubles)
    return Finding(Answer.NO, troubles=found) if found else yes(otherwise)
