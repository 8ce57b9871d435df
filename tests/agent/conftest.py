"""Clusters of nodes that run agents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.ground import AgentProcess, Ground, Spec
from tests.agent.plugins import write_plugins
from tests.harness import Node, Plugin


@pytest.fixture(scope="session")
def plugins(plugin: Plugin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the agent's image has for the node: the plugin under test, and portmap."""
    directory = tmp_path_factory.mktemp("plugins")
    write_plugins(directory, plugin)
    return directory


class Agents:
    """Nodes of a ground, and the agents on them."""

    def __init__(self, ground: Ground, plugins: Path) -> None:
        self.ground = ground
        self.api = ground.api
        self.plugins = plugins
        self.nodes: dict[str, Node] = {}
        self.running: list[AgentProcess] = []

    def boot(self, *specs: Spec) -> list[Node]:
        """Boot nodes and join them; no agents yet."""
        for each in specs:
            self.nodes[each.name] = self.ground.node(each)
            self.ground.join(each)
        return [self.nodes[each.name] for each in specs]

    def know(self, *specs: Spec) -> None:
        """Have the API server know nodes that are not really there, or know them otherwise."""
        for each in specs:
            self.api.put(each.name, each.pod_cidrs, each.addresses)

    def start(self, name: str = "worker1", *, command: tuple[str, ...] = (), port: int = 9809) -> AgentProcess:
        """Start an agent on a node."""
        agent = AgentProcess(self.nodes[name], name, self.plugins, command=command, port=port)
        self.running.append(agent)
        return agent

    @property
    def logs(self) -> str:
        """What all agents said."""
        return "\n".join(f"--- {each.log_file.name}\n{each.log}" for each in self.running)


@pytest.fixture
def agents(root: None, plugins: Path) -> Iterator[Agents]:
    """A ground with a switch, an API server, and no nodes yet."""
    with Ground() as ground:
        running = Agents(ground, plugins)
        yield running
        print(running.logs)
