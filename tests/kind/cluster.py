"""A kind cluster as the tests use it: pods and Services by manifest, and what a node has, by docker exec."""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from cni_bridge_py.agent.model import NETWORK, PROTOCOL
from cni_bridge_py.cli.kind import Cluster, ClusterNode, KindError, cluster_node, on_node

Json = dict[str, Any]
T = TypeVar("T")

PORT = 8080
LEASES = f"/var/lib/cni/networks/{NETWORK}"
CGI = "printf '%s\\n' '#!/bin/sh' 'echo Content-Type: text/plain' echo 'echo $REMOTE_ADDR'"

RUNS = {
    "serve": f"mkdir -p /www/cgi-bin && hostname > /www/index.html && {CGI} > /www/cgi-bin/peer"
    f" && chmod +x /www/cgi-bin/peer && exec httpd -f -p {PORT} -h /www",
    "wait": "exec sleep 100000",
    "fetch": "timeout 5 wget -q -O - http://{target}/{path}",
    # Its status is of no use: it may fail for want of an IPv6 address, or succeed without any.
    "resolve": "nslookup {name} || true",
    "ping": "ping -c 1 -W 5 {target}",
}
"""What pods run. Any image will do that has busybox's commands; a server says its name, and who asks."""


AGENTS = ("--namespace=kube-system", "--selector=app.kubernetes.io/name=cni-bridge-py")
SHOWN = [
    ("get", "nodes,pods", "--all-namespaces", "--output=wide"),
    ("get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"),
    ("describe", "nodes"),
    ("describe", "pods", *AGENTS),
    ("logs", *AGENTS, "--prefix", "--tail=60"),
]
"""The kubectl commands of a diagnosis."""

LOOK = f"""
ls -l /opt/cni/bin /etc/cni/net.d
cat /etc/cni/net.d/*
ip address
ip route
ip -6 route
bridge link
nft list table inet cni-bridge-py
head -v {LEASES}/*
crictl ps --all
journalctl --no-pager --unit=containerd | grep -iE 'cni|sandbox' | tail -n 30
"""
"""A shell script for a diagnosis of a node."""


class KindCluster:
    """The cluster under test, and a namespace in it that goes with the tests."""

    def __init__(self, name: str, image: str, *, is_new: bool = False) -> None:
        """is_new: whether the problems that agents have reported so far count, too."""
        self.cluster = Cluster(name)
        self.image = image
        self._told_before = set() if is_new else set(self._told())
        self.namespace = f"cni-bridge-py-{secrets.token_hex(3)}"
        self.kubectl("create", "namespace", self.namespace)
        # Pods need the namespace's default service account, which is made a moment later.
        self.eventually(lambda: self.kubectl("get", "serviceaccount", "default", "--output=name"))

    def close(self) -> None:
        self.kubectl("delete", "namespace", self.namespace, "--wait=true", "--timeout=180s")

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments)

    def get(self, *arguments: str) -> Json:
        parsed: Json = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return parsed

    def nodes(self) -> list[ClusterNode]:
        return [cluster_node(each) for each in self.cluster.node_objects()]

    def workers(self) -> list[ClusterNode]:
        """The nodes that pods may go to of their own; a cluster of one node has that one."""
        label = "node-role.kubernetes.io/control-plane"
        objects = self.cluster.node_objects()
        workers = [each for each in objects if label not in each["metadata"]["labels"]] or objects
        return [cluster_node(each) for each in workers]

    def manifest(self, name: str, node: str, run: str = "wait", **spec: Any) -> Json:
        """A pod on a node; `spec` goes over its specification."""
        container = {
            "name": "main",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", RUNS[run]],
            **spec.pop("container", {}),
        }
        tolerations = [{"operator": "Exists"}]
        pod_spec: Json = {"nodeName": node, "containers": [container], "tolerations": tolerations}
        pod_spec |= {"terminationGracePeriodSeconds": 1, **spec}
        metadata = {"name": name, "labels": {"app": name}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec}

    def create(self, *manifests: Json) -> None:
        """Make what the manifests say, all at once. Does not wait."""
        data = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}).encode()
        self.cluster.kubectl("create", f"--namespace={self.namespace}", "--filename=-", data=data)

    def wait_ready(self, *names: str) -> None:
        pods = [f"pod/{name}" for name in names]
        self.kubectl("wait", "--for=condition=Ready", "--timeout=180s", *pods)

    def pod(self, name: str, node: str, run: str = "wait", **spec: Any) -> str:
        """Have a pod on a node and wait for it; its address."""
        self.create(self.manifest(name, node, run, **spec))
        self.wait_ready(name)
        return self.addresses(name)[0]

    def name_servers(self) -> list[str]:
        """The Deployments of the cluster's name servers, if it has any."""
        found = ("get", "deployments", "--selector=k8s-app=kube-dns", "--output=name")
        return self.cluster.kubectl("--namespace=kube-system", *found).split()

    def wait_for_dns(self) -> None:
        """Wait until the cluster's name servers run, if it has any."""
        for each in self.name_servers():
            self.cluster.kubectl("--namespace=kube-system", "rollout", "status", each, "--timeout=180s")

    def addresses(self, name: str) -> list[str]:
        return [each["ip"] for each in self.get("pod", name)["status"]["podIPs"]]

    def delete(self, *names: str, force: bool = False) -> None:
        more = ["--force", "--grace-period=0"] if force else []
        self.kubectl("delete", "pod", *names, "--wait=true", "--timeout=180s", *more)

    def service(self, name: str, app: str, kind: str = "ClusterIP") -> Json:
        """Make a Service of all IP versions that the cluster has; return its specification from Kubernetes."""
        spec: Json = {"type": kind, "selector": {"app": app}, "ports": [{"port": 80, "targetPort": PORT}]}
        spec["ipFamilyPolicy"] = "PreferDualStack"
        self.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
        found: Json = self.get("service", name)["spec"]
        return found

    def run(self, pod: str, what: str, **words: str) -> str:
        """Run something of the table in a pod; what it prints."""
        command = RUNS[what].format(**words)
        return self.kubectl("exec", pod, "--", "sh", "-c", command).strip()

    def fetch(self, pod: str, target: str, path: str = "", seconds: float = 60) -> str:
        """Fetch a page, which a server, or a rule of kube-proxy's, may take a moment to give."""
        return self.eventually(lambda: self.run(pod, "fetch", target=target, path=path), seconds)

    def resolve(self, pod: str, name: str) -> set[str]:
        """The addresses that a pod is told of a name."""
        return answers(self.run(pod, "resolve", name=name))

    def peer(self, pod: str, target: str) -> str:
        """By which address a server knows a pod."""
        seen = self.fetch(pod, target, "cgi-bin/peer").strip("[]")
        return seen.removeprefix("::ffff:")

    def eventually(self, attempt: Callable[[], T], seconds: float = 60) -> T:
        """Try until it works."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return attempt()
            except (KindError, AssertionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    @staticmethod
    def leases(node: str) -> set[str]:
        """The addresses that are given out on a node, by the store's files."""
        names = on_node(node, "sh", "-c", f"ls {LEASES} 2>/dev/null || true").split()
        return {name for name in names if _is_address(name)}

    @staticmethod
    def routes(node: str) -> dict[str, str]:
        """A node's routes of our protocol: destination -> gateway."""
        found = [
            each
            for version in (4, 6)
            for each in json.loads(on_node(node, "ip", "-j", f"-{version}", "route", "show", "protocol", str(PROTOCOL)))
        ]
        return {each["dst"]: each.get("gateway", "") for each in found}

    def wanted_routes(self, node: str) -> dict[str, str]:
        """The routes to the pods of all other nodes, as Kubernetes has these."""
        others = [each for each in self.nodes() if each.name != node]
        return {
            cidr: next(each for each in other.addresses if (":" in each) == (":" in cidr))
            for other in others
            for cidr in other.pod_cidrs
        }

    @staticmethod
    def metric(node: str, name: str) -> float:
        """A metric of the node's agent; the sum of all that are of that name."""
        page = on_node(node, "curl", "--silent", "--show-error", "--fail", "http://127.0.0.1:9809/metrics")
        found = re.findall(rf"^cni_bridge_py_{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE)
        return sum(map(float, found))

    def problems(self) -> set[tuple[str, str]]:
        """The problems that agents reported: the node and the reason of each."""
        return {problem for event, problem in self._told().items() if event not in self._told_before}

    def _told(self) -> dict[str, tuple[str, str]]:
        """The problems of the last hour, by their Events' names."""
        events = json.loads(self.cluster.kubectl("--namespace=default", "get", "events", "--output=json"))["items"]
        ours = [each for each in events if each.get("source", {}).get("component") == "cni-bridge-py"]
        return {each["metadata"]["name"]: (each["involvedObject"]["name"], each["reason"]) for each in ours}

    def agent(self, node: str) -> Json:
        """The pod that is the node's agent."""
        selector = ("--selector=app.kubernetes.io/name=cni-bridge-py", f"--field-selector=spec.nodeName={node}")
        pods = json.loads(self.cluster.kubectl("--namespace=kube-system", "get", "pods", *selector, "--output=json"))
        found: list[Json] = [each for each in pods["items"] if "deletionTimestamp" not in each["metadata"]]
        assert len(found) == 1, found
        return found[0]

    def replace_node(self, name: str, pod_cidrs: list[str]) -> None:
        """Have Kubernetes forget a node, and know it again with other podCIDRs; its kubelet goes on meanwhile."""
        node = json.loads(self.cluster.kubectl("get", "node", name, "--output=json"))
        metadata = {key: node["metadata"][key] for key in ("name", "labels", "annotations") if key in node["metadata"]}
        spec = {**node["spec"], "podCIDR": pod_cidrs[0], "podCIDRs": pod_cidrs}
        new = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}
        self.cluster.kubectl("delete", "node", name)
        self.cluster.kubectl("create", "--filename=-", data=json.dumps(new).encode())

    @staticmethod
    def veths(node: str) -> set[str]:
        """The ports of a node's bridge, which comes with its first pod."""
        ports = on_node(node, "sh", "-c", "test ! -e /sys/class/net/cni0 || ls /sys/class/net/cni0/brif")
        return set(ports.split())

    def pods_on(self, node: str) -> list[set[str]]:
        """The addresses of each pod on a node that is not over and has some of its own."""
        selector = f"--field-selector=spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"
        pods = json.loads(self.cluster.kubectl("get", "pods", "--all-namespaces", selector, "--output=json"))
        own = [pod["status"].get("podIPs", []) for pod in pods["items"] if not pod["spec"].get("hostNetwork")]
        return [{each["ip"] for each in addresses} for addresses in own if addresses]

    def restarts(self, name: str) -> int:
        """How often a pod's container was started again."""
        return restarts(self.get("pod", name))

    def diagnosis(self) -> str:
        """What a person would look at."""
        return f"{diagnosis(self.cluster)}\n" + _say(lambda: self.kubectl("describe", "pods"))


def restarts(pod: Json) -> int:
    """How often Kubernetes restarted the pod's container."""
    (status,) = pod["status"]["containerStatuses"]
    return int(status["restartCount"])


def diagnosis(cluster: Cluster) -> str:
    """The state of a cluster for a person who looks for a fault. Parts that do not answer do not stop the others."""
    parts = [_say(partial(cluster.kubectl, *each)) for each in SHOWN]
    for node in _say(lambda: "\n".join(cluster.node_names())).splitlines():
        parts += [f"== {node}", _say(partial(on_node, node, "sh", "-c", f"exec 2>&1{LOOK}"))]
    return "\n".join(parts)


def _say(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except KindError as error:
        return str(error)


def answers(said: str) -> set[str]:
    """The addresses in what nslookup printed, without the name server's own."""
    _, _, rest = said.partition("Name:")
    return set(re.findall(r"^Address(?: \d+)?:\s*([0-9a-fA-F.:]+)", rest, re.MULTILINE))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
