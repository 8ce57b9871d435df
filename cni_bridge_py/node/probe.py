"""Tries the network: two temporary pods on each network, and what they reach."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from netaddr import IPAddress

from cni_bridge_py.addresses import parse_address
from cni_bridge_py.cni.errors import KERNEL_REFUSED, CniError
from cni_bridge_py.config import NetworkConfig
from cni_bridge_py.node import networks
from cni_bridge_py.node.answers import Answer, Finding, Node, Question, Trouble, does_not_apply, told, yes
from cni_bridge_py.node.confdir import PLUGIN
from cni_bridge_py.node.doctor import Asked
from cni_bridge_py.node.pods import SECONDS, Pod
from cni_bridge_py.node.runtimes import BIN_DIR

PORT = 8080
SERVICE: dict[int, str] = {4: "198.18.0.1", 6: "2001:2::1"}
"""Addresses for benchmarks (RFC 2544, RFC 5180), which nobody has: the packet filter sends them to the other pod."""

TABLE = "cni-bridge-py-doctor"


def try_out(node: Node) -> list[Asked]:
    """Make two pods on each network of ours, see what they reach, and remove them."""
    found: list[Asked] = []
    for config in node.configs:
        try:
            for each in _try_network(node, config):
                found.append(each)
        except (CniError, OSError) as error:
            text = f"Was all of that tried on network {config.name}, and taken back?"
            reason = error.msg if isinstance(error, CniError) else str(error)
            trouble = Trouble(reason, "what was made to try it may be left behind", [node.mend])
            found.append(Asked(Question("ping-end", text, lambda _: does_not_apply("")), told([trouble], "")))
    return found


def _try_network(node: Node, config: NetworkConfig) -> Iterator[Asked]:
    made = Question(
        "ping-add", f"Do two pods of network {config.name} get their network?", lambda _: does_not_apply("")
    )
    with ExitStack() as pods:
        try:
            one, other = (pods.enter_context(_attached(node, config)) for _ in range(2))
        except (CniError, OSError) as error:
            reason = error.msg if isinstance(error, CniError) else str(error)
            meaning = "a runtime's pod would fail in the same way"
            yield Asked(made, told([Trouble(reason, meaning, [f"{node.program} doctor"])], ""))
            return
        (first, ips), (_, others) = one, other
        yield Asked(made, yes(", ".join(map(str, ips + others))))
        for target in others:
            wanted = not config.port_isolation
            yield _pinged(
                "ping-pod", "Does a pod reach another pod?", first, target, "pods do not reach one another", wanted
            )
        for gateway in networks.gateways(config, ips):
            meaning = "pods reach nothing beyond their network"
            yield _pinged("ping-gateway", "Does a pod reach its gateway?", first, gateway.ip, meaning)
        if config.is_default_gateway:
            for version in sorted({ip.version for ip in ips}):
                for hop in node.state.next_hops(version)[:1]:
                    if not IPAddress(hop).is_link_local():
                        text = "Does a pod reach the next hop of the node's default route?"
                        meaning = "pods reach nothing beyond the node"
                        yield _pinged("ping-uplink", text, first, IPAddress(hop), meaning)
            for target in others if not config.port_isolation else []:
                yield _service(first, other[0], target)


def _pinged(key: str, text: str, pod: Pod, target: IPAddress, meaning: str, wanted: bool = True) -> Asked:
    question = Question(f"{key}{target.version}", text, lambda _: does_not_apply(""))
    try:
        took = pod.ping(str(target))
    except OSError as error:
        if not wanted:
            return Asked(question, does_not_apply("portIsolation: it must not"))
        found = f"no answer from {target}: {error.strerror or error}"
        return Asked(question, told([Trouble(found, meaning, [])], ""))
    if not wanted:
        return Asked(question, told([Trouble(f"{target} answers", "portIsolation does not isolate", [])], ""))
    return Asked(question, yes(f"{target} answers in {took:.2f} ms"))


def _service(client: Pod, server: Pod, target: IPAddress) -> Asked:
    """Try what a Service does: the packet filter sends the pod's packets back to a pod of the same bridge."""
    text = "Does a pod reach a Service whose backend is on this node?"
    question = Question(f"ping-service{target.version}", text, lambda _: does_not_apply(""))
    if not shutil.which("nft"):
        return Asked(question, Finding(Answer.UNKNOWN, "there is no nft command here to make a Service with"))
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    address = SERVICE[target.version]
    with _dnat(address, target), server.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(("", PORT))
        listener.listen()
        with client.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            try:
                connection.connect((address, PORT))
            except OSError as error:
                found = f"{address}, which leads to {target}, does not answer: {error.strerror or error}"
                meaning = "pods do not reach Services with a backend on their own node"
                # If the answers bypass the packet filter, the question about br_netfilter says so.
                mend = ["modprobe br_netfilter", "sysctl -w net.bridge.bridge-nf-call-iptables=1"]
                return Asked(question, told([Trouble(found, meaning, mend)], ""))
    return Asked(question, yes(f"{address}, which leads to {target}, answers"))


@contextmanager
def _dnat(address: str, target: IPAddress) -> Iterator[None]:
    """A temporary Service, in a table of its own."""
    ip = "ip" if target.version == 4 else "ip6"
    to = f"{target}" if target.version == 4 else f"[{target}]"
    rule = f"{ip} daddr {address} tcp dport {PORT} dnat {ip} to {to}:{PORT}"
    _nft(
        f"add table inet {TABLE}\n"
        f"add chain inet {TABLE} prerouting {{ type nat hook prerouting priority dstnat; }}\n"
        f"add rule inet {TABLE} prerouting {rule}\n"
    )
    try:
        yield
    finally:
        _nft(f"delete table inet {TABLE}")


def _nft(text: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=text, text=True, capture_output=True)
    if done.returncode != 0:
        raise CniError(KERNEL_REFUSED, f"nft: {' '.join(done.stderr.split()) or f'exit status {done.returncode}'}")


@contextmanager
def _attached(node: Node, config: NetworkConfig) -> Iterator[tuple[Pod, list[IPAddress]]]:
    """A pod on the network, made as a runtime does it, and its addresses. Raises CniError if the plugin refuses."""
    pod = Pod("doctor", f"doctor-{secrets.token_hex(8)}")
    raw = node.raw(config)
    with closing(pod):
        try:
            result = _call(node, "ADD", pod, raw)
        except CniError:
            with suppress(CniError):  # the ADD's error matters more than the DEL's
                _call(node, "DEL", pod, raw)
            raise
        try:
            yield pod, [parse_address(ip["address"]).ip for ip in result.get("ips", [])]
        finally:
            _call(node, "DEL", pod, raw)


def _call(node: Node, verb: str, pod: Pod, raw: dict[str, Any]) -> dict[str, Any]:
    folders = [folder for runtime in node.runtimes for folder in runtime.bin_dirs] + [BIN_DIR]
    own = Path(node.program)
    program = next((f / PLUGIN for f in folders if os.access(f / PLUGIN, os.X_OK)), own)
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": pod.netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": ":".join(map(str, dict.fromkeys([*folders, program.parent]))),
        "CNI_ARGS": "K8S_POD_NAMESPACE=cni-bridge-py;K8S_POD_NAME=doctor;IgnoreUnknown=1",
        "PATH": os.environ.get("PATH", ""),
    }
    done = subprocess.run([program], input=json.dumps(raw), env=environment, capture_output=True, text=True)
    try:
        answer: dict[str, Any] = json.loads(done.stdout or "{}")
    except ValueError:
        answer = {"msg": done.stdout}
    if done.returncode != 0:
        raise CniError(answer.get("code", 999), f"{verb}: {answer.get('msg') or done.stderr.strip()}")
    return answer
