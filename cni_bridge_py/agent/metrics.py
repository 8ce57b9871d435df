"""Serves the agent's metrics, in Prometheus' format, and its health."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from netaddr import IPAddress, IPNetwork
from prometheus_client import CollectorRegistry, Counter, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from cni_bridge_py.agent.agent import Agent

PREFIX = "cni_bridge_py_"


class Metrics:
    """The counters. All other metrics are computed when somebody asks."""

    def __init__(self, agent: Agent) -> None:
        self.registry = CollectorRegistry()
        self.mends = Counter(
            f"{PREFIX}mends_total",
            "What was put right, and what woke the agent",
            ["what", "reason"],
            registry=self.registry,
        )
        self.failures = Counter(
            f"{PREFIX}failures_total", "What the agent tried and could not do", ["what"], registry=self.registry
        )
        self.registry.register(Lookup(agent))


class Lookup(Collector):
    """The metrics that are computed on request."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        """Read leases and links; the rest is from the agent's last look."""
        agent = self._agent
        yield from ranges(agent.ranges, agent.host.used())
        yield gauge("attachments", "Pods' cables that are plugged into the bridge", agent.attachments())
        yield gauge("routes_wanted", "Routes to other nodes' pods that should be there", agent.routes_wanted)
        yield gauge("routes_there", "Of these, the ones that are there", agent.routes_there)
        yield gauge("nodes", "Nodes of the cluster, this one included", len(agent.cluster.nodes or ()))
        name = "api_last_contact_timestamp_seconds"
        yield gauge(name, "When the API server last answered, in seconds since the epoch", agent.cluster.last_contact)
        problems = GaugeMetricFamily(f"{PREFIX}problems", "What the agent cannot put right", labels=["reason"])
        reasons = [problem.reason for problem in agent.problems]
        for reason in sorted(set(reasons)):
            problems.add_metric([reason], reasons.count(reason))
        yield problems


def gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    """A metric that is one number."""
    return GaugeMetricFamily(PREFIX + name, what, value=value)


def ranges(subnets: Iterable[IPNetwork], given: list[IPAddress]) -> Iterator[Metric]:
    """How many addresses of each range are used, and how many are free."""
    used = GaugeMetricFamily(f"{PREFIX}addresses_used", "Addresses that are given out", labels=["range"])
    free = GaugeMetricFamily(f"{PREFIX}addresses_free", "Addresses that are left", labels=["range"])
    for subnet in subnets:
        count = sum(address in subnet for address in given)
        # The first address is the network's, the next the gateway's. In IPv4, the last is for broadcasts.
        size = subnet.size - (3 if subnet.version == 4 else 2)
        used.add_metric([str(subnet)], count)
        free.add_metric([str(subnet)], max(size - count, 0))
    yield used
    yield free


class Quiet(WSGIRequestHandler):
    """Serves requests, without a log line for each, and with a timeout."""

    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def server(address: str, metrics: Metrics, well: Callable[[], bool], ready: Callable[[], bool]) -> WSGIServer:
    """A server of /metrics, /healthz and /readyz at `address`, as 127.0.0.1:9809 or [::1]:9809. Raises OSError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    pages = {"/metrics": make_wsgi_app(metrics.registry), "/healthz": page(well), "/readyz": page(ready)}

    def application(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        return pages.get(environment["PATH_INFO"], not_found)(environment, start)

    class Server(ThreadingWSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return make_server(host, int(port), application, Server, Quiet)


def page(is_so: Callable[[], bool]) -> WSGIApplication:
    """A page that says ok, or 503."""

    def application(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        return answer(start, HTTPStatus.OK if is_so() else HTTPStatus.SERVICE_UNAVAILABLE)

    return application


def not_found(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """The page that is not there."""
    return answer(start, HTTPStatus.NOT_FOUND)


def answer(start: StartResponse, status: HTTPStatus) -> Iterable[bytes]:
    """An answer that is its status in words."""
    start(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
    return [status.phrase.lower().encode() + b"\n"]
