"""What `install.sh --kind` does: a kind cluster whose every pod is wired by this plugin.

Each node gets the bundle, install.sh and its own configuration, and runs install.sh itself, so that a node is installed
like any other machine. All of it can be done again, which repairs a node that was restarted or joined later.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cni_bridge_py.cli.cluster import FLUSH_ROUTES, ClusterNode, NodeRoute, conflist, routes

STAGE = "/opt/cni-bridge-py"
"""Where a node keeps what it is installed from. Not /tmp, which is lost with a restart."""

MADE_HERE = "/opt/cni-bridge-py.made-here"
"""A file on the nodes of a cluster that was made here, and is taken away by --uninstall.

On the nodes, because they can be asked and told also where Kubernetes does not answer.
"""

PLACES = ("--bin-dir", "/opt/cni/bin", "--conf-dir", "/etc/cni/net.d")
"""Where the containerd of a kind node looks."""

UPLINK_MTU = "/sys/class/net/eth0/mtu"
"""Of a kind node's link to the others."""

BRIDGE_NETFILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"
CIDRS_SECONDS = 120
READY_SECONDS = 300
GLIBC = re.compile(rb"GLIBC_(\d+)\.(\d+)")

T = TypeVar("T")

show = Console(highlight=False)


class KindError(Exception):
    """Something that a person has to see to; the text says what."""


class Cluster:
    """A kind cluster, asked and told through docker, kind and kubectl."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._kubeconfig = tempfile.NamedTemporaryFile(prefix="cni-bridge-py-")  # noqa: SIM115 (lives as long as this)

    def exists(self) -> bool:
        """Whether there is a cluster of that name."""
        return self.name in run("kind", "get", "clusters").split()

    def create(self, config: Path, image: str | None) -> None:
        """Make the cluster, and mark it as made here, or leave none. kind shows its own progress."""
        command = ["kind", "create", "cluster", "--name", self.name, "--config", str(config)]
        command += ["--image", image] if image else []
        if subprocess.run(command).returncode != 0:
            raise KindError(f"{' '.join(command)} failed; what it said is above")
        try:
            for node in self.node_names():
                on_node(node, "touch", MADE_HERE)
        except KindError as error:
            self.delete()
            raise KindError(f"{error}; so the cluster {self.name}, which had just been made, was deleted") from None

    def was_made_here(self) -> bool:
        """Whether `create` made the cluster, in this run or an earlier one."""
        return any(is_there(node, MADE_HERE) for node in self.node_names())

    def delete(self) -> None:
        """Take the cluster away."""
        run("kind", "delete", "cluster", "--name", self.name)

    def kubectl(self, *arguments: str, data: bytes | None = None) -> str:
        """Run kubectl on this cluster, whatever the user's own configuration points at."""
        if not Path(self._kubeconfig.name).stat().st_size:
            Path(self._kubeconfig.name).write_text(run("kind", "get", "kubeconfig", "--name", self.name))
        return run("kubectl", f"--kubeconfig={self._kubeconfig.name}", *arguments, data=data)

    def node_names(self) -> list[str]:
        """The nodes as kind has them, whether or not Kubernetes answers."""
        names = run("kind", "get", "nodes", "--name", self.name).split()
        # kind counts the proxy before several control planes among them.
        return [name for name in names if name != f"{self.name}-external-load-balancer"]

    def node_objects(self) -> list[dict[str, Any]]:
        """The nodes as Kubernetes has them."""
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", "nodes", "--output=json"))["items"]
        return items

    def nodes(self) -> list[ClusterNode]:
        """The nodes, once Kubernetes knows the pod range and the present addresses of each."""
        return wait("Waiting for Kubernetes to know each node's podCIDR and address", CIDRS_SECONDS, self._known_nodes)

    def _known_nodes(self) -> list[ClusterNode]:
        nodes = [cluster_node(each) for each in self.node_objects()]
        without = [node.name for node in nodes if not node.pod_cidrs]
        if without:
            raise KindError(f"no podCIDR for {', '.join(without)}: is podSubnet set in the cluster's configuration?")
        for node in nodes:
            # docker may give a node that was restarted another address; the kubelet tells it a little later.
            if not set(node.addresses) <= set(on_node(node.name, "hostname", "-I").split()):
                raise KindError(f"{node.name} has other addresses now than {', '.join(node.addresses)}")
        return [replace(node, mtu=int(on_node(node.name, "cat", UPLINK_MTU))) for node in nodes]

    def pod_cidrs(self) -> list[str]:
        """The whole cluster's pod range, of each IP version."""
        path = "jsonpath={.data.ClusterConfiguration}"
        configuration = self.kubectl(
            "--namespace=kube-system", "get", "configmap", "kubeadm-config", f"--output={path}"
        )
        found = re.search(r"^\s*podSubnet:\s*\"?([^\s\"]+)", configuration, re.MULTILINE)
        if not found:
            raise KindError("the cluster has no podSubnet: name one in its configuration, as kind-config.yaml does")
        return found[1].split(",")

    def wait_ready(self) -> None:
        """Wait until every node is Ready."""
        wait("Waiting for every node to be Ready", READY_SECONDS, self._refuse_unready)

    def _refuse_unready(self) -> None:
        names = [each["metadata"]["name"] for each in self.node_objects() if not is_ready(each)]
        if names:
            look = f"kubectl --context kind-{self.name} describe node {names[0]}"
            raise KindError(f"not Ready: {', '.join(names)}. Look at: {look}")


def cluster_node(node: dict[str, Any]) -> ClusterNode:
    """What matters here of a node as Kubernetes has it."""
    spec, status = node["spec"], node["status"]
    cidrs = spec.get("podCIDRs") or [cidr for cidr in [spec.get("podCIDR")] if cidr]
    addresses = [each["address"] for each in status.get("addresses", []) if each["type"] == "InternalIP"]
    return ClusterNode(node["metadata"]["name"], cidrs, addresses)


def is_ready(node: dict[str, Any]) -> bool:
    """Whether the node's condition Ready is true."""
    conditions = node["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def wait(what: str, seconds: float, attempt: Callable[[], T]) -> T:
    """Try until `attempt` raises no KindError, showing its complaint meanwhile; raise it when time is up."""
    deadline = time.monotonic() + seconds
    show.print(what)
    with show.status("") as status:
        while True:
            try:
                return attempt()
            except KindError as complaint:
                if time.monotonic() > deadline:
                    raise KindError(f"{what}: {complaint}") from None
                status.update(Text(str(complaint)))
            time.sleep(1)


def run(*command: str, data: bytes | None = None) -> str:
    """Run a command and return what it prints. Raises KindError with what it says when it fails."""
    done = subprocess.run(command, input=data, capture_output=True)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
        raise KindError(f"{' '.join(command)} failed: {said}")
    return done.stdout.decode()


def on_node(node: str, *command: str, data: bytes | None = None) -> str:
    """Run a command on a node."""
    interactive = ["--interactive"] if data is not None else []
    return run("docker", "exec", *interactive, node, *command, data=data)


def is_there(node: str, path: str) -> bool:
    """Whether a node has a file of that path."""
    return on_node(node, "sh", "-c", f"test ! -e {path} || echo yes").strip() == "yes"


def say(text: str) -> None:
    """Print a line, which only the terminal may break: a command in it is to be copied."""
    show.print(text, soft_wrap=True)


def glibc_needed(bundle: Path) -> tuple[int, int]:
    """The newest glibc that a file of the bundle asks for."""
    found = (GLIBC.findall(file.read_bytes()) for file in bundle.rglob("*") if file.is_file())
    return max((int(major), int(minor)) for versions in found for major, minor in versions)


def refuse_old_glibc(node: str, needed: tuple[int, int]) -> None:
    """Raise KindError when the bundle cannot run on the node."""
    has = re.search(r"(\d+)\.(\d+)", on_node(node, "getconf", "GNU_LIBC_VERSION"))
    if not has or (int(has[1]), int(has[2])) < needed:
        version = has[0] if has else "unknown"
        raise KindError(
            f"node {node} has glibc {version}, and the executable was built for {needed[0]}.{needed[1]} or newer. "
            "Build it on an older system (docker run of an older Debian, which --kind tries first), or take a newer "
            "node image with --image"
        )


def stage(checkout: Path, bundle: Path, configuration: dict[str, Any]) -> bytes:
    """What a node is installed from, as a tar file: install.sh, and what it expects beside it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(checkout / "install.sh", "install.sh")
        tar.add(bundle, ".build/dist")
        content = json.dumps(configuration, indent=2).encode() + b"\n"
        entry = tarfile.TarInfo("conf/10-bridge.conflist")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def install_on(node: str, files: bytes) -> bool:
    """Install the plugin on a node; return whether the node has bridge netfilter."""
    on_node(node, "sh", "-c", f"rm -rf {STAGE}.new && mkdir -p {STAGE}.new")
    on_node(node, "tar", "-x", "-f", "-", "--no-same-owner", "-C", f"{STAGE}.new", data=files)
    on_node(node, "sh", "-c", f"rm -rf {STAGE} && mv {STAGE}.new {STAGE}")
    said = on_node(node, f"{STAGE}/install.sh", "--no-build", "--conf", "10-bridge.conflist", *PLACES)
    for warning in (line for line in said.splitlines() if line.startswith("WARNING")):
        say(f"[yellow]{node}: {warning}")
    on_node(node, "sh", "-c", f"test -e {BRIDGE_NETFILTER} || modprobe br_netfilter || true")
    return is_there(node, BRIDGE_NETFILTER)


def ways(nodes: list[ClusterNode]) -> dict[str, list[NodeRoute]]:
    """Each node's routes, by its name. Raises KindError where there is no way to a node's pods."""
    try:
        return {node.name: routes(node, nodes) for node in nodes}
    except ValueError as error:
        raise KindError(f"{error}. Look at: docker network inspect kind") from None


def install(checkout: Path, bundle: Path, cluster: Cluster, config: Path, image: str | None) -> None:
    """Have a cluster whose every pod is wired by this plugin."""
    if not cluster.exists():
        cluster.create(config, image)
    nodes = cluster.nodes()
    needed = glibc_needed(bundle)
    for node in nodes:
        refuse_old_glibc(node.name, needed)
    cluster_cidrs, ways_of = cluster.pod_cidrs(), ways(nodes)
    table = Table("node", "pods", "address", "Services from the same node")
    for node in nodes:
        with show.status(f"Installing on {node.name}"):
            netfilter = install_on(node.name, stage(checkout, bundle, conflist(node, cluster_cidrs)))
            for route in ways_of[node.name]:
                on_node(node.name, *route.command)
        works = "yes" if netfilter else "[yellow]no: the kernel has no br_netfilter"
        table.add_row(node.name, ", ".join(node.pod_cidrs), ", ".join(node.addresses), works)
    cluster.wait_ready()
    show.print(table)
    say(f"Every node is Ready. Try: kubectl --context kind-{cluster.name} get pods --all-namespaces -o wide")


def uninstall(cluster: Cluster) -> None:
    """Undo it: take away the cluster if it was made here, else the plugin and the routes from its nodes."""
    if not cluster.exists():
        raise KindError(f"there is no kind cluster {cluster.name}")
    if cluster.was_made_here():
        cluster.delete()
        say(f"Deleted the cluster {cluster.name}, which was made by ./install.sh --kind")
        return
    for node in cluster.node_names():
        for command in FLUSH_ROUTES:
            on_node(node, *command)
        on_node(
            node,
            "sh",
            "-c",
            f"test ! -e {STAGE} || {{ {STAGE}/install.sh --uninstall {' '.join(PLACES)} && rm -rf {STAGE}; }}",
        )
        say(f"{node}: the plugin, its configuration and its routes are gone")
    say("Pods keep their network until they are deleted, and that waits for another CNI plugin, as new ones do.")


def main() -> int:
    """Run as `python -m cni_bridge_py.cli.kind` by install.sh; return the exit status."""
    parser = argparse.ArgumentParser(prog="install.sh --kind")
    parser.add_argument("action", choices=("install", "uninstall"))
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--image")
    arguments = parser.parse_args()
    try:
        if arguments.action == "install":
            bundle = arguments.checkout / ".build" / "dist"
            cluster = Cluster(arguments.name)
            install(arguments.checkout, bundle, cluster, arguments.config, arguments.image)
        else:
            uninstall(Cluster(arguments.name))
    except KindError as error:
        print(f"install.sh: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
