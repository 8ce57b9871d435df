"""docker, kind or kubectl, by the name it is run under, in the real tools' words.

What they know is in the file that $STANDIN names, and what they were asked goes into another beside it.
"""

from __future__ import annotations

import json
import os
import sys
import time
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
        case ["build", "--quiet", "--file", file, "--target", "here", "--tag", tag, root]:
            if not Path(file).exists() or not Path(root, "built").exists():
                fail(f"ERROR: failed to build: failed to read {file} or {root}")
            state["images"].append(tag)
            save(state)
            print("sha256:0123")
        case ["inspect", "--format", "{{.State.Running}}", *nodes]:
            for node in nodes:
                print(str(state["nodes"][node].get("running", True)).lower())
        case ["cp", source, "-"]:
            node, _, path = source.partition(":")
            if path not in state["nodes"][node]["files"]:
                fail(f"Error response from daemon: Could not find the file {path} in container {node}")
        case ["exec", node, *command]:
            execute(state, node, command)
        case _:
            fail(f"docker: '{arguments}' is not known to the stand-in")


def execute(state: State, name: str, command: list[str]) -> None:
    node = state["nodes"][name]
    if not node.get("running", True):
        fail(f"Error response from daemon: container {name} is not running")
    match command:
        case ["touch", path]:
            if node.get("full"):
                fail(f"touch: cannot touch '{path}': No space left on device")
            node["files"].append(path)
        case ["sh", "-c", script] if "br_netfilter" in script:
            if node.get("netfilter", True):
                print("yes")
        case ["sh", "-c", script] if "crictl rmi" in script:
            node["undone"] = True
        case _:
            fail(f"docker exec: '{command}' is not known to the stand-in")
    save(state)


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
            state["contexts"].append(f"kind-{name}")
            save(state)
            if state.get("creating") == "hangs":
                time.sleep(60)
            if state.get("creating") == "fails":
                fail("ERROR: failed to create cluster: failed to init node with kubeadm")
        case ["delete", "cluster", "--name", name]:
            print(f'Deleting cluster "{name}" ...', file=sys.stderr)
            if not countdown(state, "containers_late"):
                save(state)
                return
            if name in state["clusters"]:
                state["clusters"].remove(name)
            save(state)
        case ["get", "nodes", "--name", name]:
            for node in [*state["nodes"], *state.get("proxies", [])]:
                print(node)
        case ["get", "kubeconfig", "--name", name]:
            if name not in state["clusters"]:
                fail(f'ERROR: could not locate any control plane nodes for cluster named "{name}".')
            print(KUBECONFIG.format(name=name))
        case ["export", "kubeconfig", "--name", name]:
            state["contexts"].append(f"kind-{name}")
            save(state)
        case ["load", "docker-image", "--name", name, image]:
            if image not in state["images"]:
                fail(f'ERROR: image: "{image}" not present locally')
            state["loaded"].append(image)
            save(state)
        case _:
            fail(f"ERROR: unknown command {arguments} for the stand-in")


def kubectl(state: State, arguments: list[str]) -> None:
    if arguments[:2] == ["config", "get-contexts"]:
        print("\n".join(state["contexts"]))
        return
    if not countdown(state, "api_after"):
        save(state)
        fail("The connection to the server 127.0.0.1:43219 was refused - did you specify the right host or port?")
    kubeconfig, *rest = arguments
    if "current-context: kind-" not in Path(kubeconfig.partition("=")[2]).read_text():
        fail("error: no configuration has been provided")
    match rest:
        case ["get", "nodes", "--output=json"]:
            known = {name: node for name, node in state["nodes"].items() if node.get("joined", True)}
            items = [node_object(state, name, node) for name, node in known.items()]
            save(state)
            print(json.dumps({"apiVersion": "v1", "items": items, "kind": "List"}, indent=4))
        case ["--namespace=kube-system", "get", "daemonset/cni-bridge-py", "--ignore-not-found", "--output=name"]:
            print("daemonset.apps/cni-bridge-py" if state["applied"] else "")
        case ["apply", filename]:
            assert Path(filename.removeprefix("--filename=")).exists()
            state["applied"] += 1
            save(state)
        case ["--namespace=kube-system", "rollout", "restart" | "status", "daemonset/cni-bridge-py", *_]:
            if not state["applied"]:
                fail('Error from server (NotFound): daemonsets.apps "cni-bridge-py" not found')
        case ["--request-timeout=10s", "delete", _, "--ignore-not-found", "--wait=false"]:
            state["applied"] = 0
            save(state)
        case _:
            fail(f"error: unknown command {rest} for the stand-in")


def node_object(state: State, name: str, node: State) -> State:
    """A node as `kubectl get nodes -o json` shows it, shortened. What is not there yet comes with time."""
    spec: State = {"providerID": f"kind://docker/kind/{name}"}
    if countdown(node, "cidrs_after"):
        spec |= {"podCIDR": node["pod_cidrs"][0], "podCIDRs": node["pod_cidrs"]}
    # It is Ready once its agent, whose image was loaded, has written the configuration.
    ready = countdown(node, "ready_after") and state["applied"] > 0 and len(state["loaded"]) > 0
    message = "kubelet is posting ready status" if ready else "cni plugin not initialized"
    conditions = [
        {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
        {"type": "Ready", "status": str(ready), "reason": "KubeletReady", "message": message},
    ]
    addresses = [{"address": each, "type": "InternalIP"} for each in node["addresses"]]
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
