"""The agent: one loop. It looks at the host, decides, makes the changes, and waits until something happens."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from netaddr import IPNetwork
from pyroute2 import IPRoute, NetlinkError

from cni_bridge_py.agent import kubernetes, notices
from cni_bridge_py.agent.host import Host
from cni_bridge_py.agent.metrics import Metrics, server
from cni_bridge_py.agent.model import BRIDGE, CONFIGURATION, AddRoute, Change, Node, Problem, Wanted, WriteConfiguration
from cni_bridge_py.agent.reconcile import changes, subnets, wanted
from cni_bridge_py.agent.shared import mend
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.kernel import sysctl

HOST_SYSCTLS = Path("/host/proc/sys/net")
"""Where the manifest mounts the host's /proc/sys/net."""

LOOK_SECONDS = 60
"""How often to look at the host if nothing happens."""

SETTLE_SECONDS = 0.1
"""The least time between two looks, so that changes at the same time count as one."""

REST = 10
"""The agent rests at least this many times as long as its last look took of a processor."""

HANGS_SECONDS = 5 * LOOK_SECONDS
"""An agent that has not finished a look for so long is not healthy."""

LASTS_SECONDS = 5
"""A problem that lasts this long is reported to Kubernetes. A flapping uplink or a late podCIDR is not."""

EVENTS = 10
"""Problems that become Events; the metric counts all."""

EVENT_SECONDS = 3600
"""How long Kubernetes remembers an Event."""

log = logging.getLogger(__name__)


class Agent:
    """What the agent knows. It could find all of it again."""

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        self.bell = notices.Bell()
        self.cluster = kubernetes.Cluster(self.bell.ring)
        self.metrics = Metrics(self)
        self.problems: Mapping[Problem, float] = {}
        """What the agent cannot put right, and since when (time.monotonic)."""
        self.routes_wanted = 0
        self.routes_there = 0
        self.ranges: list[IPNetwork] = []
        self._looked = time.monotonic()
        self._ready = False
        self._check_plugins_at = 0.0
        self._told: dict[str, float] = {}
        self._teller = ThreadPoolExecutor(1, "teller")
        self._telling: Future[None] | None = None

    def run(self, metrics_address: str) -> None:
        """Run as the node's agent, for ever. Raises OSError if the metrics' address is not available."""
        httpd = server(metrics_address, self.metrics, self.is_well, self.is_ready)
        for name, run in self._threads(httpd.serve_forever):
            threading.Thread(target=run, name=name, daemon=True).start()
        reasons = {"start"}
        while True:
            began = time.thread_time()
            try:
                self.look(reasons)
            except Exception:
                log.exception("looking at the host")
                self.metrics.failures.labels("Look").inc()
            self._looked = time.monotonic()
            time.sleep(max(SETTLE_SECONDS, REST * (time.thread_time() - began)))
            reasons = self.bell.wait(LASTS_SECONDS if self._is_any_new() else LOOK_SECONDS) or {"time"}

    def look(self, reasons: set[str]) -> None:
        """Look once, and mend everything. Raises NetlinkError or OSError if looking fails."""
        if time.monotonic() >= self._check_plugins_at:
            for done in self.host.install_plugins():
                self._say("InstallPlugin", done, reasons)
            self._check_plugins_at = time.monotonic() + LOOK_SECONDS
        nodes = self.cluster.nodes
        found = self.host.find()
        aim = Wanted(keeps_others=True) if nodes is None else wanted(self.name, nodes, found)
        undone = self._make(changes(aim, found), reasons)
        configuration = aim.configuration or found.configuration
        problems = (*aim.problems, *(self._mend(reasons) if configuration else ()))
        self.ranges = subnets(configuration)
        self.routes_wanted = len(aim.routes)
        self.routes_there = len(aim.routes) - sum(isinstance(each, AddRoute) for each in undone)
        self._ready = aim.configuration is not None and not any(isinstance(each, WriteConfiguration) for each in undone)
        self._tell_problems(problems)
        if nodes is not None and self.name in nodes:
            self._tell_kubernetes(nodes[self.name])

    def is_well(self) -> bool:
        """Whether the loop is running. An API server that does not answer is not the agent's fault."""
        return time.monotonic() - self._looked < HANGS_SECONDS

    def is_ready(self) -> bool:
        """Whether everything was as wanted when the agent last looked."""
        return self._ready

    def attachments(self) -> int:
        """How many cables are plugged into the bridge."""
        try:
            return len(os.listdir(f"/sys/class/net/{BRIDGE}/brif"))
        except OSError:
            return 0

    def _threads(self, serve: Callable[[], None]) -> Iterator[tuple[str, Callable[[], None]]]:
        yield "cluster", self.cluster.follow
        yield "links", lambda: notices.listen_to_links(self.bell)
        yield "ruleset", lambda: notices.listen_to_ruleset(self.bell)
        yield "metrics", serve

    def _make(self, todo: list[Change], reasons: set[str]) -> list[Change]:
        """Make the changes; return those that failed. If one fails, the others are still made."""
        undone = []
        with IPRoute() as ip:
            for change in todo:
                try:
                    self.host.apply(ip, change)
                except (NetlinkError, OSError) as error:
                    log.warning("%s: FAILED: %s", change, error)
                    self.metrics.failures.labels(type(change).__name__).inc()
                    undone.append(change)
                else:
                    self._say(type(change).__name__, str(change), reasons)
        return undone

    def _mend(self, reasons: set[str]) -> Iterator[Problem]:
        """Mend what pods share; yield a problem if that fails."""
        wrong = f"what the pods of {self.name} share is not as it should be: "
        try:
            for done in mend(self.host.conf_dir / CONFIGURATION):
                if done.error:
                    yield Problem("NotMended", self.name, f"{wrong}{done.what}: {done.error}")
                else:
                    self._say("Mend", f"{done.what}: mended", reasons)
        except (CniError, NetlinkError, OSError) as error:
            yield Problem("NotMended", self.name, wrong + (error.msg if isinstance(error, CniError) else str(error)))

    def _say(self, what: str, done: str, reasons: set[str]) -> None:
        log.info("%s", done)
        self.metrics.mends.labels(what, "+".join(sorted(reasons))).inc()

    def _tell_problems(self, problems: tuple[Problem, ...]) -> None:
        for problem in problems:
            if problem not in self.problems:
                log.warning("%s: %s", problem.reason, problem.message)
        for problem in self.problems:
            if problem not in problems:
                log.info("%s of %s: no more", problem.reason, problem.about)
        now = time.monotonic()
        self.problems = {problem: self.problems.get(problem, now) for problem in problems}

    def _is_any_new(self) -> bool:
        """Whether the last look found a problem that was still too new to report."""
        return any(self._looked - since < LASTS_SECONDS for since in self.problems.values())

    def _tell_kubernetes(self, me: Node) -> None:
        """Report to Kubernetes, in a thread of its own: the API server may not answer."""
        if self._telling and not self._telling.done():
            return
        now = time.monotonic()
        self._told = {name: at for name, at in self._told.items() if now - at < EVENT_SECONDS}
        lasting = [problem for problem, since in self.problems.items() if now - since >= LASTS_SECONDS]
        events = {kubernetes.event_name(me, each): each for each in lasting[:EVENTS]}
        news = {name: problem for name, problem in events.items() if name not in self._told}
        available = self._ready and me.network_unavailable
        if news or available:
            self._telling = self._teller.submit(self._tell, me, news, available)

    def _tell(self, me: Node, news: dict[str, Problem], available: bool) -> None:
        try:
            if available:
                kubernetes.set_network_available(me.name)
                log.info("condition NetworkUnavailable of %s: set to False", me.name)
            for name, problem in news.items():
                kubernetes.post_event(me, problem)
                self._told[name] = time.monotonic()
        except Exception as error:  # it is reported again after the next look
            log.warning("the API server was not told: %s", error)
            self.metrics.failures.labels("TellKubernetes").inc()


def run(arguments: argparse.Namespace) -> int:
    """`cni-bridge-py agent`: run as the node's agent until killed; return the exit status."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.Formatter.converter = time.gmtime
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    if not arguments.node_name:
        print("cni-bridge-py agent: NODE_NAME: the name of this node is needed", file=sys.stderr)
        return 2
    # The first process of a container ignores signals by default. There is nothing to clean up.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: os._exit(0))
    # In a pod, /proc/sys is read-only. The manifest mounts the part for the network a second time.
    if HOST_SYSCTLS.is_dir():
        sysctl.net = str(HOST_SYSCTLS)
    try:
        Agent(arguments.node_name, Host(plugins=arguments.plugins)).run(arguments.metrics)
    except OSError as error:
        print(f"cni-bridge-py agent: {arguments.metrics}: {error}", file=sys.stderr)
    return 1
