"""What `install.sh --kind` does: a kind cluster in which this plugin wires every pod.

The cluster gets the agent's image and its manifest. The agents do the rest on each node, also on nodes that restart or
join later.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cni_bridge_py.agent.model import CONFIGURATION, PROTOCOL

MADE_HERE = "/opt/cni-bridge-py.made-here"
"""A file on the nodes of a cluster that install.sh made, and that --uninstall may delete.

It is on the nodes, because there we can read it even if Kubernetes does not answer, or the nodes are stopped.
"""

BRIDGE_NETFILTER = "/proc/sys/net/bridge/bridge-nf-call-iptables"
DAEMON_SET = "daemonset/cni-bridge-py"
LABEL = "app.kubernetes.io/name=cni-bridge-py"
SETTLE_SECONDS = 2
ANSWER_SECONDS = 120
READY_SECONDS = 300
INTERRUPTED = 130
"""The exit status after an interrupt, as in shells: 128 plus the signal's number."""

T = TypeVar("T")

show = Console(highlight=False)


class KindError(Exception):
    """Something that a person must fix; the text says what."""


@dataclass(frozen=True)
class ClusterNode:
    """A node as Kubernetes has it: its name, its podCIDRs, and its addresses."""

    name: str
    pod_cidrs: list[str]
    addresses: list[str]


class Cluster:
    """A kind cluster, which we control through docker, kind and kubectl."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.context = f"kind-{name}"
        self._kubeconfig = tempfile.NamedTemporaryFile(prefix="cni-bridge-py-")  # noqa: SIM115 (lives as long as this object)

    def exists(self) -> bool:
        """Whether there is a cluster of that name."""
        return self.name in run("kind", "get", "clusters").split()

    def create(self, config: Path, image: str | None) -> None:
        """Make the cluster, and mark it as ours. If that fails, delete it. kind shows its own progress."""
        command = ["kind", "create", "cluster", "--name", self.name, "--config", str(config)]
        command += ["--image", image] if image else []
        try:
            if subprocess.run(command).returncode != 0:
                raise KindError(f"{' '.join(command)} failed; what it said is above")
            for node in self.node_names():
                on_node(node, "touch", MADE_HERE)
        except KindError as error:
            self.delete()
            raise KindError(f"{error}; deleted what there was of the cluster {self.name}") from None
        except KeyboardInterrupt:
            # kind was interrupted, too, and leaves what it has made so far.
            say(f"Interrupted: deleting what there is of the cluster {self.name}")
            self.delete()
            # docker may still have been making a node's container.
            time.sleep(SETTLE_SECONDS)
            if self.exists():
                self.delete()
            raise

    def was_made_here(self) -> bool:
        """Whether `create` made the cluster, in this run or in an earlier one."""
        # docker can also read files of stopped containers.
        return any(run_ok("docker", "cp", f"{node}:{MADE_HERE}", "-") for node in self.node_names())

    def delete(self) -> None:
        """Delete the cluster."""
        run("kind", "delete", "cluster", "--name", self.name)

    def kubectl(self, *arguments: str, data: bytes | None = None) -> str:
        """Run kubectl on this cluster, whatever cluster the user's own configuration selects."""
        if not Path(self._kubeconfig.name).stat().st_size:
            Path(self._kubeconfig.name).write_text(run("kind", "get", "kubeconfig", "--name", self.name))
        return run("kubectl", f"--kubeconfig={self._kubeconfig.name}", *arguments, data=data)

    def ensure_context(self) -> None:
        """Add the cluster to the user's own kubectl configuration, so that the commands that we print work."""
        if self.context not in run("kubectl", "config", "get-contexts", "--output=name").split():
            run("kind", "export", "kubeconfig", "--name", self.name)

    def node_names(self) -> list[str]:
        """The nodes as kind has them, whether or not Kubernetes answers."""
        names = run("kind", "get", "nodes", "--name", self.name).split()
        # kind also lists the load balancer of several control planes.
        return [name for name in names if name != f"{self.name}-external-load-balancer"]

    def refuse_stopped(self) -> None:
        """If a node's container does not run, raise KindError with the command that starts it."""
        names = self.node_names()
        states = run("docker", "inspect", "--format", "{{.State.Running}}", *names).split()
        stopped = [name for name, state in zip(names, states, strict=True) if state != "true"]
        if stopped:
            raise KindError(f"stopped: {', '.join(stopped)}. Start first: docker start {' '.join(stopped)}")

    def node_objects(self) -> list[dict[str, Any]]:
        """The nodes as Kubernetes has them."""
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", "nodes", "--output=json"))["items"]
        return items

    def apply(self, manifest: Path) -> None:
        """Run an agent on each node, with the image that was loaded last."""
        ask = ("--namespace=kube-system", "get", DAEMON_SET, "--ignore-not-found", "--output=name")
        what = "Waiting for Kubernetes to answer"
        known = wait(what, ANSWER_SECONDS, lambda: self.kubectl(*ask).strip())
        self.kubectl("apply", f"--filename={manifest}")
        if known:
            # The image has the same name as before, so Kubernetes sees no change.
            self.kubectl("--namespace=kube-system", "rollout", "restart", DAEMON_SET)

    def wait_ready(self) -> list[ClusterNode]:
        """Wait until every node of the cluster is Ready, with an agent of the newest image; return the nodes."""
        nodes = wait("Waiting for every node to be Ready", READY_SECONDS, self._ready_nodes)
        rollout = ("rollout", "status", DAEMON_SET, f"--timeout={READY_SECONDS}s")
        self.kubectl("--namespace=kube-system", *rollout)
        return nodes

    def _ready_nodes(self) -> list[ClusterNode]:
        objects = self.node_objects()
        nodes = [cluster_node(each) for each in objects]
        missing = sorted(set(self.node_names()) - {node.name for node in nodes})
        if missing:
            raise KindError(
                f"kind has {', '.join(missing)}, but Kubernetes does not know it. If that cluster was never "
                f"finished: kind delete cluster --name {self.name}"
            )
        without = [node.name for node in nodes if not node.pod_cidrs]
        if without:
            raise KindError(f"no podCIDR for {', '.join(without)}: is podSubnet set in the cluster's configuration?")
        names = [each["metadata"]["name"] for each in objects if not is_ready(each)]
        if names:
            look = f"kubectl --context {self.context} describe node {names[0]}"
            raise KindError(f"not Ready: {', '.join(names)}. Look at: {look}")
        return nodes


def cluster_node(node: dict[str, Any]) -> ClusterNode:
    """The fields that we need of a node as Kubernetes has it."""
    spec, status = node["spec"], node["status"]
    cidrs = spec.get("podCIDRs") or [cidr for cidr in [spec.get("podCIDR")] if cidr]
    addresses = [each["address"] for each in status.get("addresses", []) if each["type"] == "InternalIP"]
    return ClusterNode(node["metadata"]["name"], cidrs, addresses)


def is_ready(node: dict[str, Any]) -> bool:
    """Whether the node's condition Ready is true."""
    conditions = node["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def wait(what: str, seconds: float, attempt: Callable[[], T]) -> T:
    """Repeat `attempt` until it raises no KindError, and show its message meanwhile; raise it after the timeout."""
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
    """Run a command and return its output. If it fails, raises KindError with its message."""
    done = subprocess.run(command, input=data, capture_output=True)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
        raise KindError(f"{' '.join(command)} failed: {said}")
    return done.stdout.decode()


def run_ok(*command: str) -> bool:
    """Run a command; return whether it succeeds."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def on_node(node: str, *command: str) -> str:
    """Run a command on a node."""
    return run("docker", "exec", node, *command)


def say(text: str) -> None:
    """Print a line without wrapping it, so that a command in it can be copied."""
    show.print(text, soft_wrap=True)


def image_name(manifest: Path) -> str:
    """The image that the manifest names."""
    documents = yaml.safe_load_all(manifest.read_text())
    (daemon_set,) = (each for each in documents if each["kind"] == "DaemonSet")
    return str(daemon_set["spec"]["template"]["spec"]["containers"][0]["image"])


def build_image(checkout: Path, name: str) -> None:
    """Build the agent's image from what this machine has, without a registry."""
    plugin, root = checkout / ".build/dist/cni-bridge-py", checkout / ".build/image"
    if not plugin.is_file():
        raise KindError(
            "the image needs the plugin as a static file, which the Python of this machine cannot build: "
            "install Debian's libpython3-dev, or try ./install.sh --kind --build-in-container"
        )
    show.print(f"Building the image {name}")
    make = (sys.executable, "-m", "deploy.image", "--plugin", str(plugin), "--output", str(root))
    done = subprocess.run(make, cwd=checkout, capture_output=True, text=True)
    if done.returncode != 0:
        raise KindError(f"the image's files could not be made: {done.stderr.strip()}")
    dockerfile = str(checkout / "deploy/Dockerfile")
    run("docker", "build", "--quiet", "--file", dockerfile, "--target", "here", "--tag", name, str(root))


def picture(name: str, nodes: list[ClusterNode]) -> Table:
    """The nodes, in a table that fits 80 columns."""
    table = Table(title=f"cluster {name}", title_justify="left")
    for heading in ("node", "pods", "address"):
        table.add_column(heading, overflow="fold")
    for node in nodes:
        table.add_row(node.name.removeprefix(f"{name}-"), "\n".join(node.pod_cidrs), "\n".join(node.addresses))
    return table


def load_bridge_netfilter(node: str) -> bool:
    """Load the kernel's br_netfilter, which the agent may not do; return whether it is there."""
    load = f"test -e {BRIDGE_NETFILTER} || modprobe br_netfilter || true; test ! -e {BRIDGE_NETFILTER} || echo yes"
    return on_node(node, "sh", "-c", load).strip() == "yes"


def install(checkout: Path, cluster: Cluster, config: Path, image: str | None) -> None:
    """Make or update a cluster in which this plugin wires every pod."""
    if cluster.exists():
        cluster.refuse_stopped()
    manifest = checkout / "deploy/cni-bridge-py.yaml"
    name = image_name(manifest)
    build_image(checkout, name)
    if not cluster.exists():
        cluster.create(config, image)
    with show.status(f"Loading {name} into the nodes"):
        run("kind", "load", "docker-image", "--name", cluster.name, name)
    without = [node for node in cluster.node_names() if not load_bridge_netfilter(node)]
    cluster.apply(manifest)
    nodes = cluster.wait_ready()
    cluster.ensure_context()
    show.print(picture(cluster.name, nodes))
    if without:
        say("[yellow]The kernel has no br_netfilter: a pod does not reach a Service whose backend is on its own node.")
        say("[yellow]Run this on the machine that runs docker: modprobe br_netfilter")
    say(f"Every node is Ready. Try: kubectl --context {cluster.context} get pods --all-namespaces -o wide")


def uninstall(checkout: Path, cluster: Cluster) -> None:
    """Undo it: delete the cluster if we made it; else remove the agents, and what they did, from its nodes."""
    if not cluster.exists():
        raise KindError(f"there is no kind cluster {cluster.name}")
    if cluster.was_made_here():
        cluster.delete()
        say(f"Deleted the cluster {cluster.name}, which ./install.sh --kind had made")
        return
    cluster.refuse_stopped()
    manifest = checkout / "deploy/cni-bridge-py.yaml"
    delete = ("delete", f"--filename={manifest}", "--ignore-not-found")
    try:
        cluster.kubectl("--request-timeout=10s", *delete, "--wait=false")
    except KindError as error:
        say(f"[yellow]Kubernetes does not answer ({error}).")
        say(f"[yellow]When it answers again, run: kubectl --context {cluster.context} {' '.join(delete)}")
    for node in cluster.node_names():
        on_node(node, "sh", "-c", undo(image_name(manifest)))
        say(f"{node}: the agent, the plugin, its configuration and its routes are gone")
    say(
        "Running pods keep the network of their own node, and lose the pods of other nodes. "
        "Kubernetes needs another CNI plugin to delete them, and to start new ones."
    )


def undo(image: str) -> str:
    """A shell script that removes the agent from a node, and what it did there.

    It removes the image first: without it, the kubelet cannot start the agent again if Kubernetes does not answer.
    """
    flush = [f"ip -{version} route flush protocol {PROTOCOL}" for version in (4, 6)]
    return "\n".join(
        [
            f"crictl rmi {shlex.quote(image)} >/dev/null 2>&1",
            f"for pod in $(crictl pods --quiet --label {LABEL}); do crictl rmp --force $pod >/dev/null; done",
            f"rm -f /etc/cni/net.d/{CONFIGURATION} /opt/cni/bin/cni-bridge-py",
            *flush,
            "true",
        ]
    )


def main() -> int:
    """Run as `python -m cni_bridge_py.cli.kind` by install.sh; return the exit status."""
    parser = argparse.ArgumentParser(prog="install.sh --kind")
    parser.add_argument("action", choices=("install", "uninstall"))
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--image")
    arguments = parser.parse_args()
    # Treat these signals like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = Cluster(arguments.name)
    try:
        if arguments.action == "install":
            install(arguments.checkout, cluster, arguments.config, arguments.image)
        else:
            uninstall(arguments.checkout, cluster)
    except KindError as error:
        print(f"install.sh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("install.sh: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
