"""The image and the manifest: the agent in a container of containerd's, with what the manifest gives it and no more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cni_bridge_py.agent.model import BRIDGE, NETWORK
from deploy import image
from tests.agent.apiserver import MANIFEST, PORT
from tests.agent.ground import CONFLIST, OUTSIDE, SERVICE_ACCOUNT, Ground, eventually, our_routes, routes_to, spec
from tests.containerd.conftest import containerd
from tests.containerd.runtime import Containerd
from tests.harness import Json, Node, Plugin
from tests.image import directory, write_archive

__all__ = ["containerd"]

ONE, TWO = (spec(number, dual_stack=True) for number in (1, 2))

# What the kubelet says of a container whose procMount is Default.
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def documents(kind: str) -> list[Json]:
    found: list[Json] = [each for each in yaml.safe_load_all(MANIFEST.read_text()) if each["kind"] == kind]
    return found


def pod_spec() -> Json:
    (daemon_set,) = documents("DaemonSet")
    found: Json = daemon_set["spec"]["template"]["spec"]
    return found


def container() -> Json:
    (found,) = pod_spec()["containers"]
    result: Json = found
    return result


@pytest.fixture(scope="module")
def archive(plugin: Plugin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image, as `docker save` would write it."""
    top = tmp_path_factory.mktemp("image")
    image.make(Path(plugin.argv[0]), top / "root")
    name, entrypoint = container()["image"], ["/agent/cni-bridge-py"]
    write_archive(
        top / "image.tar", os.uname().machine, name=name, layer=directory(top / "root"), entrypoint=entrypoint
    )
    return top / "image.tar"


class Kubelet(Containerd):
    """A node whose containerd does what a kubelet asks of it for the DaemonSet's pod."""

    def __init__(self, ground: Ground, plugin: Plugin, archive: Path, containerd: Path) -> None:
        self._ctr = (containerd / "ctr", "--namespace", "k8s.io")
        network = {"name": NETWORK, "plugins": [{"bridge": BRIDGE}]}
        super().__init__(plugin, network, containerd, boot=lambda: ground.boot(ONE))
        self.node.run(*self._ctr, "images", "import", "--no-unpack", archive)

    def configure(self) -> None:
        """Nothing: the agent does."""

    def _conditions_needed(self) -> set[str]:
        # A pod in the node's network runs before the node's pods have one.
        return {"RuntimeReady"}

    def run_agent(self, capabilities: list[str]) -> str:
        """Run the DaemonSet's pod as the manifest says, but for its capabilities; its container's id."""
        spec, main = pod_spec(), container()
        namespaces = {"network": "NODE" if spec["hostNetwork"] else "POD"}
        seccomp = {"profile_type": spec["securityContext"]["seccompProfile"]["type"]}
        pod = self.next_pod()
        pod["linux"] |= {"security_context": {"namespace_options": namespaces, "seccomp": seccomp}}
        pod["hostname"] = ""  # the node's own
        sandbox = self.call("RunPodSandbox", config=pod).pod_sandbox_id
        context = main["securityContext"]
        security = {
            "capabilities": {"add_capabilities": capabilities, "drop_capabilities": context["capabilities"]["drop"]},
            "namespace_options": namespaces,
            "run_as_user": {"value": context["runAsUser"]},
            "readonly_rootfs": context["readOnlyRootFilesystem"],
            "no_new_privs": not context["allowPrivilegeEscalation"],
            "masked_paths": MASKED,
            "readonly_paths": READ_ONLY,
            "seccomp": seccomp,
        }
        service = {"KUBERNETES_SERVICE_HOST": OUTSIDE[0], "KUBERNETES_SERVICE_PORT": str(PORT)}
        environment = {each["name"]: ONE.name for each in main["env"]} | service
        config = {
            "metadata": {"name": main["name"]},
            "image": {"image": main["image"]},
            "args": main["args"],
            "envs": [{"key": key, "value": value} for key, value in environment.items()],
            "mounts": self._mounts(spec, main),
            "log_path": "agent.log",
            "linux": {"security_context": security},
        }
        created: Any = self.call("CreateContainer", pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
        self.call("StartContainer", container_id=created.container_id)
        return str(created.container_id)

    def _mounts(self, spec: Json, main: Json) -> list[Json]:
        paths = {each["name"]: each["hostPath"] for each in spec["volumes"]}
        for each in paths.values():
            if each["type"] == "DirectoryOrCreate":
                self.node.run("mkdir", "-p", each["path"])
        mounts = [
            {"container_path": each["mountPath"], "host_path": paths[each["name"]]["path"]}
            for each in main["volumeMounts"]
        ]
        account = {"container_path": f"/var/{SERVICE_ACCOUNT}", "host_path": f"/{SERVICE_ACCOUNT}", "readonly": True}
        return [*mounts, account]

    def runs(self, container: str) -> bool:
        """Whether a container runs."""
        listed = self.node.run(*self._ctr, "tasks", "list").stdout.splitlines()
        return any(container in line and "RUNNING" in line for line in listed)

    def terminate(self, container: str) -> None:
        """Tell a container to stop, as the kubelet does first."""
        self.node.run(*self._ctr, "tasks", "kill", "--signal", "SIGTERM", container)

    @property
    def log(self) -> str:
        """What the agent said."""
        file = self.node.root / "run/pods/agent.log"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def kubelet(root: None, plugin: Plugin, archive: Path, containerd: Path) -> Iterator[Kubelet]:
    with Ground() as ground:
        ground.join(ONE)
        ground.api.put(TWO.name, TWO.pod_cidrs, TWO.addresses)
        with Kubelet(ground, plugin, archive, containerd) as kubelet:
            yield kubelet
            print(kubelet.log)


def forwarding(node: Node) -> list[str]:
    return node.run("sysctl", "-n", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding").stdout.split()


def test_with_the_manifests_rights_it_does_all_that_it_should(kubelet: Kubelet) -> None:
    node = kubelet.node
    kubelet.run_agent(container()["securityContext"]["capabilities"]["add"])
    eventually(lambda: (node.root / CONFLIST).exists())
    assert our_routes(node) == routes_to(TWO)
    eventually(kubelet.has_network)
    pod = kubelet.run_pod()
    assert pod.ping(OUTSIDE[0], count=3)
    # What it mends takes sysctls and the ruleset; the first is read-only for it, but for the network's part.
    node.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    node.run("nft", "flush", "ruleset")
    eventually(lambda: forwarding(node), ["1", "1"])
    eventually(lambda: "masquerade" in node.run("nft", "list", "ruleset").stdout)
    assert "WARNING" not in kubelet.log, kubelet.log


def test_each_capability_of_the_manifest_is_needed(kubelet: Kubelet) -> None:
    assert container()["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    kubelet.run_agent([])
    eventually(lambda: "Operation not permitted" in kubelet.log)
    assert our_routes(kubelet.node) == {}


def test_the_container_stops_when_it_is_told_to(kubelet: Kubelet) -> None:
    """As the first process of its container, it has to heed the signal on its own. What it made stays."""
    agent = kubelet.run_agent(["NET_ADMIN"])
    eventually(lambda: (kubelet.node.root / CONFLIST).exists())
    assert kubelet.runs(agent)
    kubelet.terminate(agent)
    eventually(lambda: kubelet.runs(agent), False)
    assert our_routes(kubelet.node) == routes_to(TWO)
