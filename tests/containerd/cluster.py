"""A cluster of two nodes, as close to kind's as namespaces come: each a containerd and an agent, joined by a switch."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Self

from cni_bridge_py.agent.model import BRIDGE, NETWORK
from tests.agent.ground import CONFLIST, OUTSIDE, AgentProcess, Ground, Spec, eventually, spec
from tests.agent.plugins import write_plugins
from tests.containerd.runtime import Containerd
from tests.harness import Node, Plugin

__all__ = ["OUTSIDE", "Cluster", "Worker"]

CLUSTER_CIDRS = ("10.244.0.0/16", "fd00:10:244::/56")


class Worker(Containerd):
    """A node of a cluster. Its agent is what configures it."""

    def __init__(self, cluster: Cluster, spec: Spec, plugin: Plugin, containerd: Path) -> None:
        self.spec = spec
        self.agent: AgentProcess
        self._cluster = cluster
        network = {"name": NETWORK, "plugins": [{"bridge": BRIDGE}]}
        super().__init__(plugin, network, containerd, boot=self._boot_with_agent)

    @property
    def gateways(self) -> list[str]:
        """Its pods' gateways: the bridge's addresses."""
        return [address.partition("/")[0] for address in self.node.addresses(self.bridge)]

    def configure(self) -> None:
        """Wait until the agent has."""
        eventually(lambda: self.agent.get("/readyz"), "ok\n", why=self.agent.log)

    def _boot_with_agent(self) -> Node:
        node = self._cluster.ground.boot(self.spec)
        self._cluster.ground.join(self.spec)
        self.agent = AgentProcess(node, self.spec.name, self._cluster.plugins)
        return node


class Cluster:
    """Two nodes and the outside. A context manager: leaving it takes everything away again."""

    def __init__(
        self,
        plugin: Plugin,
        containerd: Path,
        *,
        dual_stack: bool = False,
        pod_prefix: int = 24,
        mtu: int = 1500,
        without: Sequence[str] = (),
    ) -> None:
        """Start it and wait until it can run pods.

        containerd: where the nodes' containerd is.
        pod_prefix: the length of the nodes' IPv4 podCIDRs.
        mtu: of the network that joins the nodes, bytes.
        without: keys to take out of the plugin's configuration, whose agents then go.
        """
        self.cidrs = CLUSTER_CIDRS[: 1 + dual_stack]
        self.workers: list[Worker] = []
        with contextlib.ExitStack() as running:
            self.plugins = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="plugins-")))
            write_plugins(self.plugins, plugin)
            self.ground = running.enter_context(Ground(mtu=mtu))
            self.outside = self.ground.outside
            self.outside.serve()
            for number in (1, 2):
                each = spec(number, dual_stack=dual_stack, pod_prefix=pod_prefix)
                self.workers.append(running.enter_context(Worker(self, each, plugin, containerd)))
            for worker in self.workers:
                eventually(partial(worker.agent.metric, "routes_there"), 1.0 + dual_stack)
                if without:
                    worker.agent.kill()
                    _take_out(worker.node, without)
            self._running = running.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


def _take_out(node: Node, keys: Sequence[str]) -> None:
    network = json.loads((node.root / CONFLIST).read_text())
    for key in keys:
        del network["plugins"][0][key]
    node.write(CONFLIST, json.dumps(network))
