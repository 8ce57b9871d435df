"""What `install.sh --kind` does to a cluster, and what it says where it cannot."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cni_bridge_py.cli import kind
from tests.harness import Node
from tests.kind_install.conftest import NAMES, V6, Machine

WORKER = NAMES[1]
IMAGE = "cni-bridge-py:0.2.0"


def steps(machine: Machine) -> list[str]:
    """What changed something, in order."""
    words = ("kind create", "docker build", "kind load", "apply", "rollout", "kind delete")
    found = [(call, word) for call in machine.calls() for word in words if word in call]
    return [word if word != "rollout" else f"rollout {call.split('rollout ')[1].split()[0]}" for call, word in found]


def test_a_fresh_cluster(machine: Machine) -> None:
    machine.add_nodes()
    said = machine.succeed("install", "cni-bridge-py", "--image=kindest/node:v1.36.1")
    (created,) = machine.calls("kind create")
    config = machine.config
    assert created == f"kind create cluster --name cni-bridge-py --config {config} --image kindest/node:v1.36.1"
    assert steps(machine) == ["docker build", "kind create", "kind load", "apply", "rollout status"]
    assert machine.state["loaded"] == [IMAGE]
    assert all(kind.MADE_HERE in node["files"] for node in machine.state["nodes"].values())
    assert "Every node is Ready. Try: kubectl --context kind-cni-bridge-py get pods" in said


def test_again_takes_the_new_image(machine: Machine) -> None:
    machine.add_nodes()
    machine.succeed("install")
    machine.succeed("install")
    again = ["docker build", "kind load", "apply", "rollout restart", "rollout status"]
    assert steps(machine)[5:] == again


def test_a_cluster_that_exists_is_used(machine: Machine) -> None:
    machine.add_nodes()
    machine.have_cluster("other")
    machine.have_cluster("mine")
    machine.succeed("install", "mine")
    assert machine.calls("kind create") == []
    assert machine.calls("kind export") == ["kind export kubeconfig --name mine"]
    assert machine.state["applied"] == 1


def test_a_context_that_is_known_stays_as_it_is(machine: Machine) -> None:
    machine.add_nodes()
    machine.succeed("install")
    assert machine.calls("kind export") == []


@pytest.mark.parametrize("versions", [1, 2])
def test_the_table_is_legible_in_80_columns(machine: Machine, versions: int) -> None:
    machine.add_nodes(versions)
    done = machine.run("install", columns=80)
    assert done.returncode == 0, done
    table = [line for line in done.stdout.splitlines() if line.startswith(("│", "┃"))]
    assert all(len(line) <= 80 for line in table)
    words = " ".join(table).split()
    for name, node in machine.state["nodes"].items():
        assert {name.removeprefix("cni-bridge-py-"), *node["pod_cidrs"], *node["addresses"]} <= set(words)


def test_the_command_to_go_on_with_can_be_copied_from_a_narrow_terminal(machine: Machine) -> None:
    machine.add_nodes()
    done = machine.run("install", "a-name-that-is-not-short", columns=60)
    command = "kubectl --context kind-a-name-that-is-not-short get pods --all-namespaces -o wide"
    assert any(line.endswith(f" {command}") for line in done.stdout.splitlines()), done


def test_a_kernel_without_br_netfilter_is_told(machine: Machine) -> None:
    machine.add_nodes(netfilter=False)
    assert "modprobe br_netfilter" in machine.succeed("install")


def test_it_waits_for_what_comes_with_time(machine: Machine) -> None:
    machine.add_nodes(cidrs_after=1, ready_after=2)
    machine.state["api_after"] = 2
    assert "Waiting for every node to be Ready" in machine.succeed("install")


def test_the_proxy_before_several_control_planes_is_no_node(machine: Machine) -> None:
    """It has neither a shell nor pods."""
    machine.add_nodes()
    machine.state["proxies"] = ["cni-bridge-py-external-load-balancer"]
    machine.succeed("install")
    machine.succeed("uninstall")
    assert machine.state["clusters"] == []


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("cidrs_after", f"no podCIDR for {WORKER}: is podSubnet set"),
        ("ready_after", f"not Ready: {WORKER}. Look at: kubectl --context kind-c describe node {WORKER}"),
        (
            "joined",
            f"kind has {WORKER}, but Kubernetes does not know it. If that cluster was never finished: kind del",
        ),
    ],
)
def test_it_does_not_wait_for_ever(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, message: str
) -> None:
    machine.add_nodes()
    machine.state["nodes"][WORKER][key] = False if key == "joined" else 1000
    machine.save()
    for name, value in machine.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(kind, "READY_SECONDS", 1)
    monkeypatch.setattr(sys, "argv", machine.command("install", "c")[2:])
    assert kind.main() == 1
    assert message in capsys.readouterr().err


def test_a_plugin_that_could_not_be_built_as_one_file(machine: Machine) -> None:
    machine.add_nodes()
    machine.plugin.unlink()
    assert "the image needs the plugin as a static file" in machine.fail("install")
    assert steps(machine) == []


# --- interrupted, halfway, stopped ---


def test_ctrl_c_while_kind_creates_is_undone(machine: Machine) -> None:
    machine.add_nodes()
    machine.state["creating"] = "hangs"
    done = machine.interrupt("install", when="kind create")
    assert done.returncode == 130, done
    assert done.stderr.endswith("install.sh: interrupted\n")
    assert machine.state["clusters"] == []
    assert machine.calls("kind delete") == ["kind delete cluster --name cni-bridge-py"]


def test_a_container_that_docker_makes_after_ctrl_c_does_not_stay(machine: Machine) -> None:
    machine.add_nodes()
    machine.state |= {"creating": "hangs", "containers_late": 1}
    assert machine.interrupt("install", when="kind create").returncode == 130
    assert machine.state["clusters"] == []


def test_a_cluster_that_kind_could_not_make_does_not_stay(machine: Machine) -> None:
    machine.add_nodes()
    machine.state["creating"] = "fails"
    said = machine.fail("install")
    assert "deleted what there was of the cluster cni-bridge-py" in said
    assert machine.state["clusters"] == []


def test_a_cluster_that_cannot_be_marked_as_made_here_does_not_stay(machine: Machine) -> None:
    machine.add_nodes(full=True)
    said = machine.fail("install")
    assert "No space left on device" in said
    assert machine.state["clusters"] == []


@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_stopped_nodes_are_told_at_once(machine: Machine, action: str) -> None:
    machine.add_nodes()
    machine.have_cluster("mine")
    for name in NAMES[1:]:
        machine.state["nodes"][name]["running"] = False
    said = machine.fail(action, "mine")
    assert f"Start first: docker start {NAMES[1]} {NAMES[2]}\n" in said
    assert steps(machine) == []
    assert machine.calls("kubectl") == []


def test_uninstall_of_a_stopped_cluster_that_was_made_here(machine: Machine) -> None:
    machine.add_nodes()
    machine.succeed("install")
    for node in machine.state["nodes"].values():
        node["running"] = False
    machine.succeed("uninstall")
    assert machine.state["clusters"] == []


# --- uninstall ---


def test_uninstall_deletes_a_cluster_that_was_made_here(machine: Machine) -> None:
    machine.add_nodes()
    machine.succeed("install")
    machine.state["api_after"] = 1000  # whether or not Kubernetes answers
    machine.succeed("uninstall")
    assert machine.state["clusters"] == []


def test_uninstall_leaves_other_clusters_as_they_were(machine: Machine) -> None:
    machine.add_nodes(V6)
    machine.have_cluster("mine")
    machine.succeed("install", "mine")
    said = machine.succeed("uninstall", "mine")
    assert machine.state["clusters"] == ["mine"]
    assert machine.state["applied"] == 0
    for name, node in machine.state["nodes"].items():
        assert node["undone"]
        assert f"{name}: the agent, the plugin, its configuration and its routes are gone" in said
    assert "keep the network of their own node, and lose the pods of other nodes" in said


def test_uninstall_where_kubernetes_does_not_answer(machine: Machine) -> None:
    machine.add_nodes()
    machine.have_cluster("mine")
    machine.succeed("install", "mine")
    machine.state["api_after"] = 1000
    said = machine.succeed("uninstall", "mine")
    assert "When it answers again, run: kubectl --context kind-mine delete --filename=" in said
    assert all(node["undone"] for node in machine.state["nodes"].values())


def test_uninstall_of_no_cluster(machine: Machine) -> None:
    assert "there is no kind cluster nosuch" in machine.fail("uninstall", "nosuch")


CRICTL = """\
#!/bin/sh
echo "$@" >>"$0.log"
[ "$1" != pods ] || echo 0123456789abc
"""


def test_what_is_undone_on_a_node(node: Node, tmp_path: Path) -> None:
    """The agent goes before what it would put back; others' routes, plugins and configurations stay."""
    node.run(*["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire"])
    for link in ("eth0", "wire"):
        node.run("ip", "link", "set", link, "up")
    node.run("ip", "address", "add", "172.18.0.2/16", "dev", "eth0")
    node.run(*["ip", "route", "add", "10.244.2.0/24", "via", "172.18.0.3", "protocol", "152"])
    node.run(*["ip", "route", "add", "10.244.3.0/24", "via", "172.18.0.4"])
    for path in ("net.d/10-bridge.conflist", "net.d/20-other.conflist"):
        node.write(f"/etc/cni/{path}", "{}")
    for path in ("cni-bridge-py", "portmap"):
        node.write(f"/opt/cni/bin/{path}", "")
    crictl = tmp_path / "crictl"
    crictl.write_text(CRICTL)
    crictl.chmod(0o755)
    node.run("sh", "-c", kind.undo(IMAGE), env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    asked = (tmp_path / "crictl.log").read_text().splitlines()
    assert asked == [f"rmi {IMAGE}", f"pods --quiet --label {kind.LABEL}", "rmp --force 0123456789abc"]
    assert [each["dst"] for each in node.routes() if "gateway" in each] == ["10.244.3.0/24"]
    assert os.listdir(node.root / "etc/cni/net.d") == ["20-other.conflist"]
    assert os.listdir(node.root / "opt/cni/bin") == ["portmap"]
