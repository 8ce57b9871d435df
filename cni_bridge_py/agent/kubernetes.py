"""Kubernetes: the cluster's nodes, listed once and then watched; and what the agent reports.

lightkube knows how a pod finds its API server and trusts it, and which token to use. Its own watch has no bookmarks,
and asks again at once when the server closes it. So the list and the watch are our own, as the API's documentation
describes them (https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""

from __future__ import annotations

import hashlib
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import msgspec
from lightkube.config.client_adapter import Client, ConnectionParams, verify_cluster
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError
from netaddr import AddrFormatError, IPAddress, IPNetwork

from cni_bridge_py.agent.model import Node, Problem

NODES = "/api/v1/nodes"
PAGE = 500
"""Nodes in one answer, so that the list of a large cluster is never in memory as a whole."""

ANSWER_SECONDS = 10
"""How long an answer may take, from one piece of it to the next."""

WATCH_SECONDS = 300
"""How long a watch lasts before the server ends it and the next one begins where it ended."""

PAUSE_SECONDS = (1, 30)
"""Seconds between attempts: at first (doubled with each attempt), and at most."""

CALM_SECONDS = 10
"""A watch that lasted this long did not fail."""

# A machine that lost power does not close its connections. With these, we notice after a minute (tcp(7)).
KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]

CONTINUE_AFTER = (429, 500, 502, 503)
"""After these answers, the watch can go on. After others, such as 410 Gone, we list the nodes again."""

COMPONENT = "cni-bridge-py"

log = logging.getLogger(__name__)


class Refused(Exception):
    """The API server's answer is unusable. `code` is HTTP's or a Status object's; 0 if the answer makes no sense."""

    def __init__(self, code: int, text: str, retry_after: float = 0) -> None:
        super().__init__(f"{code} {text}" if code else text)
        self.code = code
        self.retry_after = retry_after


class Cluster:
    """What we know of the cluster from the API server's last answer."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        """`changed` is called, from another thread, whenever `nodes` changes."""
        self.nodes: Mapping[str, Node] | None = None
        """The nodes by name; None until the first answer. The dict is replaced, never modified."""
        self.last_contact = 0.0
        """When the API server last answered, in seconds since the epoch."""
        self._changed = changed
        self._version = ""

    def follow(self) -> None:
        """Keep `nodes` up to date, for ever. While the server does not answer, `nodes` stays as it is."""
        shortest, longest = PAUSE_SECONDS
        pause: float = shortest
        while True:
            began = time.monotonic()
            least = 0.0
            try:
                self._follow_once()
            except Exception as error:  # the server, or something in its place, may send anything
                least = self._heed(error)
            if time.monotonic() - began > CALM_SECONDS:
                pause = shortest
            time.sleep(max(least, pause * random.uniform(0.5, 1)))
            pause = min(2 * pause, longest)

    def _follow_once(self) -> None:
        with connection() as http:
            if not self._version:
                nodes, version = list_nodes(http)
                self._heard(nodes, version)
            for kind, item in watch_nodes(http, self._version):
                self._heard(after(self.nodes or {}, kind, item), item.metadata.resourceVersion)

    def _heard(self, nodes: Mapping[str, Node], version: str) -> None:
        self.last_contact = time.time()
        self._version = version
        if nodes != self.nodes:
            self.nodes = nodes
            self._changed("nodes")

    def _heed(self, error: Exception) -> float:
        """Log what went wrong; return how many seconds to wait at least."""
        if isinstance(error, Refused):
            self.last_contact = time.time()
            if error.code not in CONTINUE_AFTER:
                self._version = ""
            if error.code == 410:
                log.info("the API server has forgotten what came since the last look: listing all nodes again")
                return 0
        log.warning("the API server: %s; what is there stays", error or type(error).__name__)
        return error.retry_after if isinstance(error, Refused) else 0


# --- requests ---


@contextmanager
def connection() -> Iterator[httpx.Client]:
    """A client of the API server, with the current certificates and token.

    In a pod it uses the service account, elsewhere $KUBECONFIG. Raises lightkube's ConfigError, OSError.
    """
    config = KubeConfig.from_env().get()
    if not config or not config.user:
        raise ConfigError("the kubeconfig names no context with a user")
    tls = verify_cluster(config.cluster, config.user, config.abs_file)
    # From 3.13 on, Python refuses CA certificates without certain extensions. MicroK8s and old clusters have such CAs.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    transport = httpx.HTTPTransport(verify=tls, socket_options=KEEPALIVE)
    timeout = httpx.Timeout(ANSWER_SECONDS)
    with Client(config, ConnectionParams(timeout=timeout, trust_env=False, transport=transport)) as http:
        http.headers["User-Agent"] = COMPONENT
        yield http


def list_nodes(http: httpx.Client) -> tuple[dict[str, Node], str]:
    """All nodes by name, and the resource version from which to watch. Raises Refused, or httpx's exceptions."""
    nodes: dict[str, Node] = {}
    params = {"limit": str(PAGE)}
    while True:
        page = decode(_checked(http.get(NODES, params=params)).content, NodeList)
        if page.kind != "NodeList":
            raise Refused(0, f"a {page.kind or 'nothing'} in place of a NodeList")
        nodes.update((item.metadata.name, node(item)) for item in page.items or ())
        if not page.metadata.continue_:
            return nodes, page.metadata.resourceVersion
        params["continue"] = page.metadata.continue_


def watch_nodes(http: httpx.Client, version: str) -> Iterator[tuple[str, NodeObject]]:
    """The changes of nodes after a resource version, as they happen. Ends when the server ends it.

    A BOOKMARK only has a newer resource version. Raises Refused, or httpx's exceptions.
    """
    params = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(WATCH_SECONDS),
    }
    timeout = httpx.Timeout(ANSWER_SECONDS, read=WATCH_SECONDS + ANSWER_SECONDS)
    with http.stream("GET", NODES, params=params, timeout=timeout) as answer:
        if answer.status_code != 200:
            answer.read()
        for line in _checked(answer).iter_lines():
            event = decode(line, WatchEvent)
            if event.type == "ERROR":
                status = decode(event.object, Status)
                raise Refused(status.code, status.message)
            if event.type not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
                raise Refused(0, f"an event {event.type!r}")
            yield event.type, decode(event.object, NodeObject)


def after(nodes: Mapping[str, Node], kind: str, item: NodeObject) -> Mapping[str, Node]:
    """The nodes after an event."""
    name = item.metadata.name
    if kind == "BOOKMARK":
        return nodes
    if kind == "DELETED":
        return {each: value for each, value in nodes.items() if each != name}
    known = node(item)
    return nodes if nodes.get(name) == known else {**nodes, name: known}


def set_network_available(name: str) -> None:
    """Set a node's condition NetworkUnavailable to False. Raises Refused, or httpx's exceptions."""
    now = _now()
    condition = {
        "type": "NetworkUnavailable",
        "status": "False",
        "reason": "RoutesThere",
        "message": "cni-bridge-py keeps the ways to the other nodes' pods",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    body = msgspec.json.encode({"status": {"conditions": [condition]}})
    kind = {"Content-Type": "application/strategic-merge-patch+json"}
    with connection() as http:
        _checked(http.patch(f"{NODES}/{name}/status", content=body, headers=kind))


def post_event(me: Node, problem: Problem) -> None:
    """Create an Event for a problem of this node. Raises Refused, or httpx's exceptions.

    The same problem always has the same name. If the Event is there already, that is enough. It expires after an hour.
    """
    now = _now()
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        # Nodes have no namespace, and events about them go into this one.
        "metadata": {"name": event_name(me, problem), "namespace": "default"},
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": me.name, "uid": me.uid},
        "type": "Warning",
        "reason": problem.reason,
        "message": problem.message,
        "source": {"component": COMPONENT, "host": me.name},
        "reportingComponent": COMPONENT,
        "reportingInstance": me.name,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    with connection() as http:
        answer = http.post(
            "/api/v1/namespaces/default/events",
            content=msgspec.json.encode(event),
            headers={"Content-Type": "application/json"},
        )
        if answer.status_code != 409:
            _checked(answer)


def event_name(me: Node, problem: Problem) -> str:
    """The name of a problem's Event."""
    what = "\n".join((me.name, me.uid, problem.reason, problem.about, problem.message))
    return f"{COMPONENT}.{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is usable. Raises Refused if not."""
    if answer.is_success:
        return answer
    try:
        text = decode(answer.content, Status).message
    except Refused:
        text = ""
    after = answer.headers.get("Retry-After", "")
    raise Refused(answer.status_code, text or answer.reason_phrase, float(after) if after.isdecimal() else 0)


# --- answers: the fields that we need; msgspec skips the rest ---


class Metadata(msgspec.Struct):
    """Of an object, or of a list of them."""

    name: str = ""
    uid: str = ""
    resourceVersion: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Spec(msgspec.Struct):
    """Of a node."""

    podCIDR: str = ""
    podCIDRs: list[str] | None = None


class Typed(msgspec.Struct):
    """An address, or a condition."""

    type: str = ""
    address: str = ""
    status: str = ""


class NodeStatus(msgspec.Struct):
    """Of a node."""

    addresses: list[Typed] | None = None
    conditions: list[Typed] | None = None


class NodeObject(msgspec.Struct):
    """A node."""

    metadata: Metadata
    spec: Spec = msgspec.field(default_factory=Spec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class NodeList(msgspec.Struct):
    """All nodes, or a page of them."""

    kind: str = ""
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    items: list[NodeObject] | None = None


class WatchEvent(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


class Status(msgspec.Struct):
    """What the API server answers if it has no object."""

    code: int = 0
    message: str = ""


def decode(data: bytes | str | msgspec.Raw, kind: type[Any]) -> Any:
    """An object of that type from JSON. Raises Refused if it is not one."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refused(0, f"no {kind.__name__}: {error}") from None


def node(item: NodeObject) -> Node:
    """The fields of a node that we need. Invalid addresses are left out."""
    cidrs = item.spec.podCIDRs or ([item.spec.podCIDR] if item.spec.podCIDR else [])
    internal = [each.address for each in item.status.addresses or () if each.type == "InternalIP"]
    conditions = {each.type: each.status for each in item.status.conditions or ()}
    return Node(
        item.metadata.name,
        tuple(each.cidr for each in _each(IPNetwork, cidrs)),
        tuple(_each(IPAddress, internal)),
        item.metadata.uid,
        conditions.get("NetworkUnavailable", "False") != "False",
    )


def _each(kind: type[Any], texts: list[str]) -> list[Any]:
    found = []
    for text in texts:
        try:
            found.append(kind(text))
        except (AddrFormatError, ValueError):
            log.warning("%r is no %s", text, kind.__name__)
    return found
