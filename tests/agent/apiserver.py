"""A stand-in for kube-apiserver: nodes to list and watch over HTTPS, a status to patch, Events to create.

It answers in the real one's shapes, lets nobody do what the manifest's ClusterRole does not allow, and fails as told.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

import trustme
import yaml

from tests.bundle import CHECKOUT
from tests.harness import Json, Node, in_network_of

MANIFEST = CHECKOUT / "deploy" / "cni-bridge-py.yaml"
PORT = 6443
BOOKMARK_SECONDS = 1.0
"""The real one sends a bookmark every minute."""


class Call(NamedTuple):
    """A request in the words of RBAC."""

    verb: str
    resource: str
    name: str
    query: Mapping[str, str]
    user_agent: str = ""


def node_object(
    name: str, pod_cidrs: list[str], addresses: list[str], *, network_unavailable: bool | None = None
) -> Json:
    """A node as a kubelet and a controller manager leave it, of a usual size."""
    spec: Json = {"providerID": f"kind://docker/kind/{name}"}
    if pod_cidrs:
        spec |= {"podCIDR": pod_cidrs[0], "podCIDRs": pod_cidrs}
    now = "2026-01-01T00:00:00Z"
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    conditions = [
        {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory", **times},
        {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "cni plugin not initialized"},
    ]
    if network_unavailable is not None:
        unavailable = {"type": "NetworkUnavailable", "status": str(network_unavailable), "reason": "NoRouteCreated"}
        conditions.append({**unavailable, **times})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "labels": {"kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name},
            "creationTimestamp": now,
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}}],
        },
        "spec": spec,
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in addresses),
                {"type": "Hostname", "address": name},
            ],
            "capacity": {"cpu": "8", "memory": "32768Mi", "pods": "110"},
            "conditions": conditions,
            "images": [
                {"names": [f"registry.example/image-{n}@sha256:{'ab' * 32}", f"registry.example/image-{n}:v1"]}
                for n in range(30)
            ],
            "nodeInfo": {"kernelVersion": "6.18.0", "containerRuntimeVersion": "containerd://2.3.4"},
        },
    }


def status(code: int, reason: str, message: str) -> Json:
    """What the API server says where it has no object to give."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


class Refusal(Exception):
    """An answer that is no object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status(code, reason, message)


class ApiServer:
    """The stand-in. A context manager: leaving it ends it.

    fault: called with the handler before each answer; what it raises or sends is in the answer's place.
    """

    def __init__(self, machine: Node, address: str) -> None:
        """Serve on an address of a machine, by that machine's network."""
        self.address = address
        self.fault: Callable[[Handler], None] | None = None
        self.calls: list[Call] = []
        self.events: dict[str, Json] = {}
        self.tokens = {"token-1"}
        self.page = 500
        self._machine = machine
        self._nodes: dict[str, Json] = {}
        self._version = itertools.count(1000)
        self._latest = next(self._version)
        self._forgotten = 0
        self._log: list[tuple[int, str, Json]] = []
        self._changed = threading.Condition()
        self._generation = 0
        """Connections of an earlier one are to end."""
        self._rules = cluster_role()["rules"]
        self.new_authority()
        self._server: Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- being there, and not ---

    def start(self) -> None:
        """Answer."""
        self._server = Server(self, in_network_of(self._machine, lambda: listen(self.address)))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Be away: new connections are refused, the others end."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.drop_connections()

    def drop_connections(self) -> None:
        """End every connection."""
        with self._changed:
            self._generation += 1
            self._changed.notify_all()

    def new_authority(self) -> None:
        """Be known by a certificate of another authority."""
        self.authority = trustme.CA()
        self.use_certificate()

    def use_certificate(self, *, days: tuple[int, int] = (-1, 1)) -> None:
        """Be known by a certificate that is valid for these days, counted from now."""
        start, end = (datetime.now(UTC) + timedelta(days=each) for each in days)
        certificate = self.authority.issue_cert(self.address, not_before=start, not_after=end)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._tls)

    def write_service_account(self, directory: Path, token: str = "token-1") -> None:
        """What the kubelet mounts into a pod."""
        directory.mkdir(parents=True, exist_ok=True)
        self.authority.cert_pem.write_to_path(str(directory / "ca.crt"))
        (directory / "namespace").write_text("kube-system")
        new = directory / "token.new"
        new.write_text(token)
        new.rename(directory / "token")

    # --- the nodes ---

    def put(self, name: str, pod_cidrs: list[str], addresses: list[str], **more: Any) -> None:
        """Have a node, or have it otherwise."""
        self._put(node_object(name, pod_cidrs, addresses, **more))

    def put_all(self, nodes: Mapping[str, tuple[list[str], list[str]]]) -> None:
        """Have many nodes."""
        for name, (cidrs, addresses) in nodes.items():
            self.put(name, cidrs, addresses)

    def delete(self, name: str) -> None:
        """Have a node no more."""
        with self._changed:
            self._record("DELETED", self._nodes.pop(name))

    def node(self, name: str) -> Json:
        """A node as it is now."""
        with self._changed:
            return copy.deepcopy(self._nodes[name])

    def condition(self, name: str, kind: str) -> str | None:
        """What a condition of a node is."""
        conditions = self.node(name)["status"]["conditions"]
        return next((each["status"] for each in conditions if each["type"] == kind), None)

    def forget(self) -> None:
        """Forget what happened: who asks for what came since an earlier version gets 410 Gone."""
        with self._changed:
            self._latest = next(self._version)
            self._forgotten = self._latest
            self._log.clear()

    def count(self, verb: str, resource: str = "nodes") -> int:
        """How many requests of a kind there were."""
        return sum(call.verb == verb and call.resource == resource for call in self.calls)

    def problems(self) -> set[tuple[str, str]]:
        """The Events: of which node, and the reason."""
        return {(each["involvedObject"]["name"], each["reason"]) for each in self.events.values()}

    def _put(self, item: Json) -> None:
        name = item["metadata"]["name"]
        with self._changed:
            self._record("MODIFIED" if name in self._nodes else "ADDED", item)
            self._nodes[name] = item

    def _record(self, kind: str, item: Json) -> None:
        self._latest = next(self._version)
        item["metadata"]["resourceVersion"] = str(self._latest)
        self._log.append((self._latest, kind, copy.deepcopy(item)))
        self._changed.notify_all()

    # --- the answers ---

    def serve(self, handler: Handler) -> None:
        """Answer a request."""
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        path = urlsplit(handler.path)
        query = {key: values[-1] for key, values in parse_qs(path.query).items()}
        agent = handler.headers.get("User-Agent", "")
        match handler.command, path.path.removeprefix("/api/v1/").split("/"):
            case "GET", ["nodes"] if query.get("watch") in ("true", "1"):
                self._allow(Call("watch", "nodes", "", query, agent))
                self._watch(handler, query)
            case "GET", ["nodes"]:
                self._allow(Call("list", "nodes", "", query, agent))
                handler.send(200, self._list(query))
            case "PATCH", ["nodes", name, "status"]:
                self._allow(Call("patch", "nodes/status", name, query, agent))
                handler.send(200, self._patch_status(name, handler))
            case "POST", ["namespaces", namespace, "events"]:
                self._allow(Call("create", "events", namespace, query, agent))
                handler.send(201, self._create_event(namespace, handler.json()))
            case _:
                raise Refusal(404, "NotFound", "the server could not find the requested resource")

    def _allow(self, call: Call) -> None:
        self.calls.append(call)
        for rule in self._rules:
            if "" in rule["apiGroups"] and call.resource in rule["resources"] and call.verb in rule["verbs"]:
                return
        user = "system:serviceaccount:kube-system:cni-bridge-py"
        message = f'{call.resource} is forbidden: User "{user}" cannot {call.verb} resource "{call.resource}"'
        raise Refusal(403, "Forbidden", message)

    def _list(self, query: Mapping[str, str]) -> Json:
        with self._changed:
            version, start = str(self._latest), 0
            if "continue" in query:
                version, _, offset = query["continue"].partition(":")
                start = int(offset)
                if int(version) < self._forgotten:
                    message = "The provided continue parameter is too old to display a consistent list result."
                    raise Refusal(410, "Expired", message)
            limit = min(int(query.get("limit", 0)) or len(self._nodes), self.page)
            names = sorted(self._nodes)
            metadata: Json = {"resourceVersion": version}
            if start + limit < len(names):
                metadata |= {"continue": f"{version}:{start + limit}", "remainingItemCount": len(names) - start - limit}
            items = [self._nodes[name] for name in names[start : start + limit]]
            # Items of a list say neither what they are nor of which version.
            bare = [{key: value for key, value in item.items() if key not in ("apiVersion", "kind")} for item in items]
            return {"kind": "NodeList", "apiVersion": "v1", "metadata": metadata, "items": bare}

    def _watch(self, handler: Handler, query: Mapping[str, str]) -> None:
        since = int(query["resourceVersion"])
        seconds = float(query.get("timeoutSeconds", 1800))
        bookmarks = query.get("allowWatchBookmarks") == "true"
        handler.send_stream()
        if since < self._forgotten:
            message = f"too old resource version: {since} ({self._forgotten})"
            handler.send_event("ERROR", status(410, "Expired", message))
            handler.send_chunk(b"")
            return
        generation, end = self._generation, time.monotonic() + seconds
        while self._generation == generation and time.monotonic() < end:
            with self._changed:
                news = [entry for entry in self._log if entry[0] > since]
                if not news:
                    self._changed.wait(BOOKMARK_SECONDS)
                    news = [entry for entry in self._log if entry[0] > since]
                latest = self._latest
            if self._generation != generation:
                raise ConnectionResetError
            for version, kind, item in news:
                handler.send_event(kind, item)
                since = version
            if not news and bookmarks:
                since = latest
                metadata = {"resourceVersion": str(since), "creationTimestamp": None}
                handler.send_event("BOOKMARK", {"kind": "Node", "apiVersion": "v1", "metadata": metadata, "spec": {}})
        handler.send_chunk(b"")

    def _patch_status(self, name: str, handler: Handler) -> Json:
        kind = handler.headers["Content-Type"]
        if kind != "application/strategic-merge-patch+json":
            raise Refusal(415, "UnsupportedMediaType", f"{kind} would replace all other conditions")
        body = handler.json()
        assert set(body) == {"status"}
        assert set(body["status"]) == {"conditions"}
        item = self.node(name)
        for new in body["status"]["conditions"]:
            assert set(new) == {"type", "status", "reason", "message", "lastHeartbeatTime", "lastTransitionTime"}
            others = [each for each in item["status"]["conditions"] if each["type"] != new["type"]]
            item["status"]["conditions"] = [*others, new]
        self._put(item)
        return item

    def _create_event(self, namespace: str, event: Json) -> Json:
        """What validation.ValidateEventCreate asks of an Event of version v1."""
        involved, name = event["involvedObject"], event["metadata"]["name"]
        if involved.get("namespace", "") == "" and namespace not in ("default", "kube-system"):
            raise Refusal(422, "Invalid", "involvedObject.namespace: does not match event.namespace")
        assert event["metadata"]["namespace"] == namespace
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name)
        assert len(name) < 254
        assert event["type"] in ("Normal", "Warning")
        assert 0 < len(event["message"]) <= 1024
        assert re.fullmatch(r"[A-Z][A-Za-z]{0,127}", event["reason"])
        datetime.fromisoformat(event["firstTimestamp"])
        if name in self.events:
            raise Refusal(409, "AlreadyExists", f'events "{name}" already exists')
        self.events[name] = event
        return event


class Handler(BaseHTTPRequestHandler):
    """One connection to the stand-in."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        self.request.settimeout(60)
        self.request.do_handshake()
        super().setup()

    def handle(self) -> None:
        # What happens to connections is the tests' business.
        with contextlib.suppress(OSError):
            super().handle()

    def do_GET(self) -> None:
        api = self.server.api
        try:
            if api.fault:
                api.fault(self)
            api.serve(self)
        except Refusal as refusal:
            self.send(refusal.status["code"], refusal.status)
        except ConnectionError:
            self.close_connection = True

    do_PATCH = do_POST = do_GET

    def json(self) -> Json:
        parsed: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return parsed

    def send(self, code: int, body: Json, **headers: str) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def send_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_event(self, kind: str, item: Json) -> None:
        self.send_chunk(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    def send_chunk(self, data: bytes) -> None:
        """A piece of a stream; an empty one ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """The stand-in's socket; each connection has a thread."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, api: ApiServer, listening: socket.socket) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.api = api

    def get_request(self) -> tuple[Any, Any]:
        connection, peer = self.socket.accept()
        tls = self.api._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return tls, peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def cluster_role() -> Json:
    """The ClusterRole of the manifest."""
    documents: Iterator[Json] = yaml.safe_load_all(MANIFEST.read_text())
    (role,) = (each for each in documents if each["kind"] == "ClusterRole")
    return role


def listen(address: str) -> socket.socket:
    """A listening socket of the network that the thread is in."""
    return socket.create_server((address, PORT), backlog=128, reuse_port=False)
