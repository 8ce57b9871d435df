"""An API server that is slow, away, out of its mind: what is there stays, and what comes afterwards is taken in."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cni_bridge_py.agent.kubernetes import connection, list_nodes
from tests.agent.apiserver import PORT, Handler, Refusal, cluster_role
from tests.agent.conftest import Agents
from tests.agent.ground import always, eventually, our_routes, routes_to, spec, subnets

ONE, TWO, THREE, FOUR = (spec(number) for number in (1, 2, 3, 4))


def slow(handler: Handler) -> None:
    time.sleep(2)


def closing(handler: Handler) -> None:
    handler.close_connection = True
    raise ConnectionResetError


def ending(handler: Handler) -> None:
    """Every watch ends at once, as properly as can be."""
    if "watch" in handler.path:
        handler.send_stream()
        handler.send_chunk(b"")
        raise ConnectionResetError


def ending_halfway(handler: Handler) -> None:
    if "watch" in handler.path:
        handler.send_stream()
        handler.send_chunk(b'{"type":"ADDED","object":{"kind":"Node","metadata":{"name":"worker9","resourceV')
        handler.close_connection = True
        raise ConnectionResetError


def too_many(handler: Handler) -> None:
    handler.send(429, {"kind": "Status", "code": 429, "message": "Too many requests"}, Retry_After="1")
    raise ConnectionResetError


def internal_error(handler: Handler) -> None:
    raise Refusal(500, "InternalError", "etcdserver: request timed out")


def forbidden(handler: Handler) -> None:
    raise Refusal(403, "Forbidden", 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes"')


def another_program(handler: Handler) -> None:
    """A captive portal, say."""
    page = b"<html>Welcome! Please log in.</html>"
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", str(len(page)))
    handler.end_headers()
    handler.wfile.write(page)
    raise ConnectionResetError


def no_list(handler: Handler) -> None:
    handler.send(200, {})
    raise ConnectionResetError


def empty_list(handler: Handler) -> None:
    handler.send(200, {"kind": "NodeList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []})
    raise ConnectionResetError


def no_node(handler: Handler) -> None:
    if "watch" in handler.path:
        handler.send_stream()
        handler.send_event("MODIFIED", {"kind": "Node", "metadata": 5})
        handler.send_chunk(b"")
        raise ConnectionResetError


def unheard_of(handler: Handler) -> None:
    if "watch" in handler.path:
        handler.send_stream()
        handler.send_event("EXPLODED", {"kind": "Node", "metadata": {"name": "worker2"}})
        handler.send_chunk(b"")
        raise ConnectionResetError


def from_the_future(handler: Handler) -> None:
    """As after a restore of etcd: the version to go on from has not been yet."""
    if "watch" in handler.path:
        raise Refusal(504, "Timeout", "Too large resource version: 9999, current: 12")


FAULTS = [
    slow, closing, ending, ending_halfway, too_many, internal_error, forbidden, another_program, no_list, empty_list,
    no_node, unheard_of, from_the_future,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.__name__))
def test_what_is_there_stays_and_what_comes_is_taken_in(agents: Agents, fault: Callable[[Handler], None]) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO, THREE)
    agent = agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    before = len(agents.api.calls)
    agents.api.fault = fault
    agents.api.drop_connections()
    always(lambda: our_routes(node), routes_to(TWO, THREE), seconds=4)
    assert subnets(node) == ONE.pod_cidrs
    # It asks again, but not as fast as it can.
    assert len(agents.api.calls) - before < 20
    agents.api.fault = None
    agents.know(FOUR)
    agents.api.delete(TWO.name)
    eventually(lambda: our_routes(node), routes_to(THREE, FOUR), seconds=60)
    assert agent.get("/healthz") == "ok\n"
    assert "Traceback" not in agent.log


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.__name__))
def test_an_agent_that_starts_meanwhile_leaves_what_it_finds(agents: Agents, fault: Callable[[Handler], None]) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO, THREE)
    agent = agents.start()
    eventually(lambda: subnets(node), ONE.pod_cidrs)
    agent.kill()
    agents.api.fault = fault
    agent = agents.start()
    always(lambda: our_routes(node), routes_to(TWO, THREE), seconds=3)
    assert subnets(node) == ONE.pod_cidrs
    agents.api.fault = None
    agents.know(FOUR)
    eventually(lambda: our_routes(node), routes_to(TWO, THREE, FOUR), seconds=60)
    assert "Traceback" not in agent.log


def test_a_server_that_is_away(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    agent = agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO))
    contact = agent.metric("api_last_contact_timestamp_seconds")
    agents.api.stop()
    # The node is kept in order all the same.
    node.run("ip", "route", "flush", "protocol", "152")
    eventually(lambda: our_routes(node), routes_to(TWO))
    always(lambda: agent.get("/healthz"), "ok\n", seconds=2)
    agents.know(THREE)
    agents.api.start()
    eventually(lambda: our_routes(node), routes_to(TWO, THREE), seconds=60)
    eventually(lambda: (agent.metric("api_last_contact_timestamp_seconds") or 0) > (contact or 0))


def test_a_server_that_is_away_when_the_agent_starts(agents: Agents) -> None:
    """A node that was restarted together with its control plane keeps its configuration, and is not ready."""
    (node,) = agents.boot(ONE)
    agents.api.stop()
    agent = agents.start()
    eventually(lambda: "what is there stays" in agent.log)
    assert agent.get("/healthz") == "ok\n"
    assert agent.get("/readyz") == ""
    agents.api.start()
    eventually(lambda: agent.get("/readyz"), "ok\n", seconds=60)
    assert subnets(node) == ONE.pod_cidrs


@pytest.mark.slow
def test_a_server_whose_machine_lost_its_power(agents: Agents) -> None:
    """It closes nothing; that it answers no more is noticed after a minute."""
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO))
    connections = node.run("ss", "-tnH", "state", "established", "dport", "=", "6443").stdout.split()
    ports = {each.rpartition(":")[2] for each in connections if each.startswith("172.18.0.2:")}
    rules = "add table ip cut; add chain ip cut in { type filter hook prerouting priority 0; };"
    rules += f"add rule ip cut in tcp sport 6443 tcp dport {{ {', '.join(ports)} }} drop"
    node.run("nft", rules)
    agents.know(THREE)
    eventually(lambda: our_routes(node), routes_to(TWO, THREE), seconds=120)


def test_the_server_forgot_what_happened(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO, THREE)
    agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    agents.api.stop()
    agents.api.delete(TWO.name)
    agents.know(FOUR)
    agents.api.forget()
    lists = agents.api.count("list")
    agents.api.start()
    eventually(lambda: our_routes(node), routes_to(THREE, FOUR), seconds=60)
    assert agents.api.count("list") == lists + 1


def test_bookmarks_spare_a_list(agents: Agents) -> None:
    """What happened long ago was forgotten, but a bookmark told a newer version to go on from."""
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO))
    agents.api.forget()
    time.sleep(2)  # of which the next bookmark tells
    agents.api.drop_connections()
    agents.know(THREE)
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    assert agents.api.count("list") == 1
    assert {call.query["allowWatchBookmarks"] for call in agents.api.calls if call.verb == "watch"} == {"true"}


@pytest.mark.parametrize("days", [(1, 2), (-2, -1)], ids=["not yet", "no more"])
def test_a_clock_that_is_off(agents: Agents, days: tuple[int, int]) -> None:
    """The server's certificate is not valid then, here or there."""
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    agent = agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO))
    agents.api.use_certificate(days=days)
    agents.api.drop_connections()
    eventually(lambda: "certificate" in agent.log)
    assert our_routes(node) == routes_to(TWO)
    agents.api.use_certificate()
    agents.know(THREE)
    eventually(lambda: our_routes(node), routes_to(TWO, THREE), seconds=60)


def test_a_token_that_is_rotated(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO))
    agents.api.tokens = {"token-2"}
    agents.api.write_service_account(node.root / "run/secrets/kubernetes.io/serviceaccount", "token-2")
    agents.api.drop_connections()
    agents.know(THREE)
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))


def test_an_authority_that_is_replaced(agents: Agents) -> None:
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    agent = agents.start()
    eventually(lambda: our_routes(node), routes_to(TWO))
    agents.api.new_authority()
    agents.api.drop_connections()
    eventually(lambda: "certificate" in agent.log)
    agents.api.write_service_account(node.root / "run/secrets/kubernetes.io/serviceaccount")
    agents.know(THREE)
    eventually(lambda: our_routes(node), routes_to(TWO, THREE), seconds=60)


def test_an_event_that_is_there_already_is_no_error(agents: Agents) -> None:
    agents.boot(ONE)
    agents.know(spec(9, name="far"))
    agents.api.put("far", ["10.244.9.0/24"], ["10.99.0.5"])
    agent = agents.start()
    eventually(agents.api.problems, {("worker1", "NodeNotOnLink")})
    agent.kill()
    agent = agents.start()
    eventually(lambda: agents.api.count("create", "events"), 2)
    assert len(agents.api.events) == 1
    assert agent.metric("failures_total") is None


def test_every_right_of_the_manifest_is_needed(agents: Agents) -> None:
    """`get` is what `kubectl auth can-i` and people ask for; the rest is what an agent did."""
    agents.boot(ONE)
    agents.api.put(ONE.name, ONE.pod_cidrs, ONE.addresses, network_unavailable=True)
    agents.api.put("far", ["10.244.9.0/24"], ["10.99.0.5"])
    agents.start()
    asked = {("list", "nodes"), ("watch", "nodes"), ("patch", "nodes/status"), ("create", "events")}
    eventually(lambda: {(call.verb, call.resource) for call in agents.api.calls}, asked)
    allowed = {
        (verb, resource) for rule in cluster_role()["rules"] for verb in rule["verbs"] for resource in rule["resources"]
    }
    assert allowed - asked == {("get", "nodes")}


def test_an_authority_of_few_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The CAs of MicroK8s and of old clusters lack extensions that Python requires from 3.13 on."""
    usual = ssl.create_default_context

    def strict(cafile: str) -> ssl.SSLContext:
        context = usual(cafile=cafile)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    write_bare_certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer_once, args=(listening, tls), daemon=True).start()
        server = f"https://127.0.0.1:{listening.getsockname()[1]}"
        cluster = {"server": server, "certificate-authority": str(tmp_path / "ca.pem")}
        kubeconfig = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "token"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        with connection() as http:
            assert list_nodes(http) == ({}, "7")


def answer_once(listening: socket.socket, tls: ssl.SSLContext) -> None:
    """Answer one request with an empty list of nodes."""
    body = b'{"kind":"NodeList","metadata":{"resourceVersion":"7"},"items":[]}'
    tcp, _ = listening.accept()
    with tls.wrap_socket(tcp, server_side=True) as client:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def write_bare_certificates(directory: Path) -> None:
    """Write ca.pem, and server.pem with its key, both with only the extensions that a client needs."""
    now = datetime.now(UTC)
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = {key: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, key)]) for key in ("authority", "server")}
    extensions = {
        "authority": (x509.BasicConstraints(ca=True, path_length=None), authority),
        "server": (x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), server),
    }
    pem = serialization.Encoding.PEM
    for key, file in (("authority", "ca.pem"), ("server", "server.pem")):
        extension, private = extensions[key]
        made = x509.CertificateBuilder().subject_name(names[key]).issuer_name(names["authority"])
        made = made.public_key(private.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        made = made.add_extension(extension, critical=key == "authority")
        secret = private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (directory / file).write_bytes(made.sign(authority, hashes.SHA256()).public_bytes(pem) + secret)


def test_a_server_whose_service_address_leads_nowhere_at_first(agents: Agents) -> None:
    """After a node restarts, the agent runs a moment before kube-proxy makes its rules."""
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    node.run("nft", "add table ip late; add chain ip late out { type filter hook output priority 0; }")
    node.run("nft", f"add rule ip late out tcp dport {PORT} drop")
    agent = agents.start()
    eventually(lambda: agent.get("/healthz"), "ok\n")
    eventually(lambda: "what is there stays" in agent.log)
    node.run("nft", "delete table ip late")
    eventually(lambda: our_routes(node), routes_to(TWO))
    eventually(lambda: subnets(node), ONE.pod_cidrs)
