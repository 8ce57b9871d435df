"""Questions to a node, and their answers."""

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
    """The answer. Every question is phrased so that yes means all is well."""

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
    """The answer to a question. `found` is what was seen if all is well, or why there is no answer."""

    answer: Answer
    found: str = ""
    troubles: list[Trouble] = field(default_factory=list)


@dataclass(frozen=True)
class Question:
    """A question: a short name for programs, its text, and the function that answers it."""

    key: str
    text: str
    ask: Callable[[Node], Finding]


@dataclass
class Node:
    """The node that is examined. `program` is how this program was called; `conf` is the file from --conf."""

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
        """The attachments, ours and the reference's."""
        return attachments.find(self.state, self.networks)

    @property
    def pods(self) -> list[Attachment]:
        """The attachments that this plugin wired and that exist."""
        return [each for each in self.attachments if each.host and each.is_ours]

    def of(self, config: NetworkConfig) -> list[Attachment]:
        """The pods of a network."""
        return [each for each in self.pods if each.network == config.name]

    def gateways(self, config: NetworkConfig) -> list[InterfaceAddress]:
        """The gateway addresses that the bridge needs for the present pods."""
        return gateways(config, [ip for each in self.of(config) for ip in each.ips])

    def path(self, config: NetworkConfig) -> str:
        """The file with a configuration."""
        return next(str(each.path) for each in self.networks if each.config is config)

    @property
    def mend(self) -> str:
        """The command that mends what pods share."""
        return f"{self.program} mend"

    def raw(self, config: NetworkConfig) -> dict[str, Any]:
        """A configuration as it is written."""
        return next(each.raw for each in self.networks if each.config is config)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 lease, 2 leases, 3 addresses."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"


def yes(found: str) -> Finding:
    """Yes."""
    return Finding(Answer.YES, found)


def does_not_apply(why: str) -> Finding:
    """The question does not apply."""
    return Finding(Answer.NOT_APPLICABLE, why)


def told(troubles: Iterable[Trouble], otherwise: str) -> Finding:
    """No, because of these troubles; yes if there are none."""
    found = list(troubles)
    return Finding(Answer.NO, troubles=found) if found else yes(otherwise)
