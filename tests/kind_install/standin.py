"""docker, kind or kubectl, by the name it is run under. What they know is in the file that $STANDIN names.

Commands for a node are really run in the namespaces that play its part; all else is answered in the real tools' words.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

State = dict[str, Any]

KUBECONFIG = """\
apiVersion: v1
clusters:
- cluster:
    server: https://127.0.0.1:43219
  name: kind-{name}
current-context: kind-{name}
kind: Config
"""
CLUSTER_CONFIGURATION = """\
apiServer:
  certSANs:
  - localhost
  - 127.0.0.1
apiVersion: kubeadm.k8s.io/v1beta4
clusterName: {name}
controlPlaneEndpoint: {name}-control-plane:6443
kind: ClusterConfiguration
kubernetesVersion: v1.36.1
networking:
  dnsDomain: cluster.local
{pod_subnet}  serviceSubnet: 10.96.0.0/16
"""


def fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(1)


def docker(state: State, arguments: list[str]) -> None:
    match arguments:
        case ["version", *_]:
            if state.get("daemon") is False:
                fail(
                    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
                )
            print("29.1.3")
        case ["image", "inspect", image]:
            if image not in state["images"]:
                print("[]")
                fail(f"Error response from daemon: No such image: {image}")
            print("[{}]")
        case ["pull", "--quiet", image]:
            if image not in state["registry"]:
                fail(f"Error response from daemon: failed to resolve reference {image}: not found")
            print(f"docker.io/library/{image}")
        case ["run", "--rm", "--interactive", image, "sh", "-euc", script]:
            if image in state["broken"]:
                fail("docker: Error response from daemon: No space left on device")
            if "prebuilt" in state:
                sys.stdin.buffer.read()
                script = f"tar -C {state['prebuilt']} -c -f - ."
            sys.exit(subprocess.run(["sh", "-euc", script]).returncode)
        case ["exec", "--interactive", node, *command]:
            execute(state, node, command, sys.stdin.buffer.read())
        case ["exec", node, *command]:
            execute(state, node, command, b"")
        case _:
            fail(f"docker: '{arguments}' is not known to the stand-in")


def execute(state: State, name: str, command: list[str], data: bytes) -> None:
    node = state["nodes"].get(name)
    if not node:
        fail(f"Error response from daemon: No such container: {name}")
    if command[0] == "getconf" and "glibc" in node:
        print(f"glibc {node['glibc']}")
        return
    if command[0] == "touch" and node.get("full"):
        fail(f"touch: cannot touch '{command[1]}': No space left on device")
    if command[0] == "tar" and node.pop("copy_fails", False):
        data = data[: len(data) // 2]
        save(state)
    enter = ["nsenter", "--target", str(node["pid"]), "--net", "--mount", "--pid", "--"]
    sys.exit(subprocess.run([*enter, *command], input=data).returncode)


def kind(state: State, arguments: list[str]) -> None:
    match arguments:
        case ["get", "clusters"]:
            if not state["clusters"]:
                print("No kind clusters found.", file=sys.stderr)
            for name in state["clusters"]:
                print(name)
        case ["create", "cluster", "--name", name, "--config", config, *_]:
            if not Path(config).exists():
                fail(f"ERROR: failed to create cluster: error reading file: open {config}: no such file or directory")
            print(f'Creating cluster "{name}" ...', file=sys.stderr)
            state["clusters"].append(name)
            save(state)
        case ["delete", "cluster", "--name", name]:
            print(f'Deleting cluster "{name}" ...', file=sys.stderr)
            state["clusters"].remove(name)
            save(state)
        case ["get", "nodes", "--name", name]:
            for node in [*state["nodes"], *state.get("proxies", [])]:
                print(node)
        case ["get", "kubeconfig", "--name", name]:
            if name not in state["clusters"]:
                fail(f'ERROR: could not locate any control plane nodes for cluster named "{name}".')
            print(KUBECONFIG.format(name=name))
        case _:
            fail(f"ERROR: unknown command {arguments} for the stand-in")


def kubectl(state: State, arguments: list[str]) -> None:
    if not countdown(state, "api_after"):
        save(state)
        fail("The connection to the server 127.0.0.1:43219 was refused - did you specify the right host or port?")
    match arguments:
        case [kubeconfig, "get", "nodes", "--output=json"] if kubeconfig.startswith("--kubeconfig="):
            if "current-context: kind-" not in Path(kubeconfig.partition("=")[2]).read_text():
                fail("error: no configuration has been provided")
            items = [node_object(name, node) for name, node in state["nodes"].items()]
            save(state)
            print(json.dumps({"apiVersion": "v1", "items": items, "kind": "List"}, indent=4))
        case [_, "--namespace=kube-system", "get", "configmap", "kubeadm-config", output]:
            assert output == "--output=jsonpath={.data.ClusterConfiguration}"
            subnet = ",".join(state["pod_subnet"])
            line = f"  podSubnet: {subnet}\n" if subnet else ""
            print(CLUSTER_CONFIGURATION.format(name=state["clusters"][0], pod_subnet=line))
        case _:
            fail(f"error: unknown command {arguments} for the stand-in")


def node_object(name: str, node: State) -> State:
    """A node as `kubectl get nodes -o json` shows it, shortened. What is not there yet comes with time."""
    spec: State = {"providerID": f"kind://docker/kind/{name}"}
    if countdown(node, "cidrs_after"):
        spec |= {"podCIDR": node["pod_cidrs"][0], "podCIDRs": node["pod_cidrs"]}
    ready = (
        countdown(node, "ready_after") and Path(f"/proc/{node['pid']}/root/etc/cni/net.d/10-bridge.conflist").exists()
    )
    message = "kubelet is posting ready status" if ready else "cni plugin not initialized"
    conditions = [
        {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
        {"type": "Ready", "status": str(ready), "reason": "KubeletReady", "message": message},
    ]
    known = node["addresses"] if countdown(node, "address_after") else node["former_addresses"]
    addresses = [{"address": each, "type": "InternalIP"} for each in known]
    status = {"addresses": [*addresses, {"address": name, "type": "Hostname"}], "conditions": conditions}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec, "status": status}


def countdown(node: State, key: str) -> bool:
    left = int(node.get(key, 0))
    node[key] = max(left - 1, 0)
    return left == 0


def save(state: State) -> None:
    Path(os.environ["STANDIN"]).write_text(json.dumps(state))


def main() -> None:
    tool = Path(sys.argv[0]).name
    state = json.loads(Path(os.environ["STANDIN"]).read_text())
    with Path(os.environ["STANDIN"] + ".log").open("a") as log:
        print(tool, *sys.argv[1:], file=log)
    {"docker": docker, "kind": kind, "kubectl": kubectl}[tool](state, sys.argv[1:])


main()
