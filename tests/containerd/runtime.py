"""A containerd of its own in a node of its own, and a CRI client for it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import grpc

from tests import image
from tests.harness import PATH, Node, Plugin, Pod

messages, services = grpc.protos_and_services("tests/containerd/cri.proto")

SYSTEM = Path("/usr/bin")
"""Where the system's containerd is."""

SOCKET = "run/containerd/containerd.sock"

# Settings of the version 2 format, which 1.6 to 2.x read; 2.x looks for the snapshotter elsewhere. That is one that
# works on any file system. runc may neither lower its OOM score nor load AppArmor profiles in a container. The section
# `cni` is the last one: a test may have more to say there.
CONFIGURATION = f"""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image.NAME}"
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
"""


class Sandbox(Pod):
    """A running pod sandbox; its `container_id` is the sandbox's id."""

    def __init__(self, runtime: Containerd, config: Mapping[str, Any]) -> None:
        """Run it. config: a CRI PodSandboxConfig."""
        self._runtime, self._config = runtime, config
        sandbox_id = runtime.call("RunPodSandbox", config=config).pod_sandbox_id
        reply = runtime.call("PodSandboxStatus", pod_sandbox_id=sandbox_id, verbose=True)
        namespaces = json.loads(reply.info["info"])["runtimeSpec"]["linux"]["namespaces"]
        (path,) = (entry["path"] for entry in namespaces if entry["type"] == "network")
        super().__init__(runtime.node, path.replace("/var/run/", "/run/"), sandbox_id)
        network = reply.status.network
        self.ips: list[str] = [network.ip, *(entry.ip for entry in network.additional_ips)]
        """The addresses that containerd reports to Kubernetes, the first one first."""

    def start_container(self, *command: str) -> Container:
        """Start a container of the test image in it."""
        return Container(self._runtime, self.container_id, self._config, command)


class Container:
    """A running container. It goes with its sandbox."""

    def __init__(
        self, runtime: Containerd, sandbox_id: str, sandbox_config: Mapping[str, Any], command: Sequence[str]
    ) -> None:
        config = {"metadata": {"name": "container"}, "image": {"image": image.NAME}, "command": command}
        created = runtime.call(
            "CreateContainer", pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox_config
        )
        self._runtime, self._id = runtime, created.container_id
        runtime.call("StartContainer", container_id=self._id)

    def exec(self, *command: str) -> tuple[int, str]:
        """Run a command in it, as `kubectl exec` does; exit status, and standard output."""
        reply = self._runtime.call("ExecSync", container_id=self._id, cmd=command, timeout=30)
        return reply.exit_code, reply.stdout.decode()


class Containerd:
    """containerd in a new node, with one network. Leaving it takes the node away."""

    def __init__(
        self,
        plugin: Plugin,
        network: Mapping[str, Any],
        bin_dir: Path = SYSTEM,
        *,
        settings: str = "",
        boot: Callable[[], Node] = Node,
    ) -> None:
        """Start it and wait until it can run pods.

        network: a network configuration list; the plugins' directory is the node's /opt/cni/bin.
        bin_dir: where containerd, its shim and ctr are.
        settings: more lines for the `cni` section of its configuration.
        boot: makes the node.
        """
        self.network: str = network["name"]
        self.bridge: str = network["plugins"][0]["bridge"]
        self._network = network
        self._plugin = plugin
        self._boot = boot
        self._bin_dir = bin_dir
        self._settings = settings
        self._numbers = itertools.count(1)
        self.node = boot()
        try:
            self.configure()
            self._set_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it and all its sandboxes, and take the node away."""
        self.node.close()

    def configure(self) -> None:
        """Have the network's configuration where containerd looks."""
        self.node.write("/etc/cni/net.d/10-bridge.conflist", json.dumps(self._network))

    def call(self, method: str, **fields: Any) -> Any:
        """Call a CRI method by name with the fields of its request message; its response."""
        stub = self._images if method.startswith("Image") else self._runtime
        return getattr(stub, method)(getattr(messages, f"{method}Request")(**fields), timeout=60)

    def run_pod(self, *, host_ports: Mapping[int, int] | None = None) -> Sandbox:
        """Run a sandbox. host_ports: TCP ports of the node -> ports of the pod."""
        return Sandbox(self, self.next_pod(host_ports))

    def next_pod(self, host_ports: Mapping[int, int] | None = None) -> dict[str, Any]:
        """The CRI PodSandboxConfig of another sandbox."""
        number = next(self._numbers)
        return {
            "metadata": {"name": f"pod-{number}", "uid": str(number), "namespace": "default"},
            "hostname": f"pod-{number}",
            "log_directory": "/run/pods",
            "linux": {"cgroup_parent": f"/{self.node.cgroup}"},
            "port_mappings": [
                {"host_port": host_port, "container_port": container_port}
                for host_port, container_port in (host_ports or {}).items()
            ],
        }

    def remove_pod(self, sandbox_id: str) -> None:
        """Stop a sandbox and remove it, as the kubelet does."""
        self.call("StopPodSandbox", pod_sandbox_id=sandbox_id)
        self.call("RemovePodSandbox", pod_sandbox_id=sandbox_id)

    def restart(self) -> None:
        """Kill containerd (SIGKILL), start it again and wait until it can run pods."""
        self._kill()
        self._start()

    def reboot(self, *kept: str) -> None:
        """Cut the node's power and start it again.

        kept: the directories that are on its disk; all else is gone, what the kernel knew and what ran.
        """
        self._kill()
        with tempfile.NamedTemporaryFile(suffix=".tar") as disk:
            # tar keeps hard links, which leases are.
            subprocess.run(["tar", "-C", self.node.root, "-cf", disk.name, *kept], check=True)
            self.node.close()
            self.node = self._boot()
            subprocess.run(["tar", "-C", self.node.root, "-xf", disk.name], check=True)
        self.node.reboot()
        self._set_up()

    def pods(self) -> list[str]:
        """The ids of the sandboxes that containerd knows."""
        return [pod.id for pod in self.call("ListPodSandbox").items]

    def leases(self) -> dict[str, tuple[str, str]]:
        """The network's leases: address -> (container id, interface name)."""
        return self.node.leases(self.network)

    def veths(self) -> list[str]:
        """The host's ends of the sandboxes' cables."""
        return [name for name, link in self.node.links().items() if link.get("master") == self.bridge]

    def _set_up(self) -> None:
        # containerd finds its own `loopback` plugin among the reference ones.
        self._plugin.install(self.node)
        self.node.write("/etc/containerd/config.toml", CONFIGURATION + self._settings)
        self._log = self.node.directory / "containerd.log"
        channel = grpc.insecure_channel(f"unix:{self.node.root / SOCKET}")
        self._runtime = services.RuntimeServiceStub(channel)
        self._images = services.ImageServiceStub(channel)
        self._start()
        if not self._has_image():
            self._import_image()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        with self._log.open("a") as log:
            # containerd takes the shim from its PATH.
            env = {**os.environ, "PATH": f"{self._bin_dir}:{PATH}"}
            self._process = self.node.popen(self._bin_dir / "containerd", stdout=log, stderr=log, env=env)
        self._wait("the network to be ready", self._is_ready)

    def _import_image(self) -> None:
        archive = self.node.directory / "image.tar"
        image.write_archive(archive, os.uname().machine)
        command = (self._bin_dir / "ctr", "--namespace", "k8s.io", "images", "import", "--no-unpack")
        self.node.run(*command, archive)
        self._wait("the image to be known", self._has_image)

    def has_network(self) -> bool:
        """Whether containerd has found a configuration, and can run pods."""
        return self._is({"NetworkReady"})

    def _is_ready(self) -> bool:
        return self._is(self._conditions_needed())

    def _conditions_needed(self) -> set[str]:
        return {"RuntimeReady", "NetworkReady"}

    def _is(self, wanted: set[str]) -> bool:
        try:
            conditions = self.call("Status").status.conditions
        except grpc.RpcError:
            return False
        return wanted <= {condition.type for condition in conditions if condition.status}

    def _has_image(self) -> bool:
        return bool(self.call("ImageStatus", image={"image": image.NAME}).image.id)

    def _wait(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not is_so():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"waited for {what}; log:\n{self._log.read_text()}")
            time.sleep(0.05)
