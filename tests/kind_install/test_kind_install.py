"""What `install.sh --kind` does to nodes, and what it says where it cannot."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from cni_bridge_py.cli import kind
from tests.harness import Json, Node, Plugin
from tests.kind_install.conftest import IMAGE, V6, Machine

WORKER = "cni-bridge-py-worker"


def conflist(node: Node) -> Json:
    parsed: Json = json.loads((node.root / "etc/cni/net.d/10-bridge.conflist").read_text())
    return parsed


def installed(node: Node) -> bool:
    return node.run("test", "-x", "/opt/cni/bin/cni-bridge-py", check=False).returncode == 0


def pod_routes(node: Node, version: int = 4) -> dict[str, str]:
    """The routes to other nodes' pods."""
    return {r["dst"]: r["gateway"] for r in node.routes(version) if "gateway" in r and r["dst"] != "default"}


def test_a_fresh_cluster(machine: Machine) -> None:
    machine.start_nodes()
    said = machine.succeed("--kind", "--image", "kindest/node:v1.36.1")
    (created,) = machine.calls("kind create")
    config = machine.checkout / "kind-config.yaml"
    assert created == f"kind create cluster --name cni-bridge-py --config {config} --image kindest/node:v1.36.1"
    for number, (name, node) in enumerate(machine.nodes.items(), 1):
        (bridge, portmap) = conflist(node)["plugins"]
        assert bridge["ipam"]["ranges"] == [[{"subnet": f"10.244.{number}.0/24"}]]
        assert bridge["nonMasqueradeCIDRs"] == ["10.244.0.0/16"]
        assert (bridge["mtu"], bridge["bridgeNetfilter"], portmap["type"]) == (1450, True, "portmap")
        others = {f"10.244.{n}.0/24": f"172.18.0.{n + 1}" for n in (1, 2, 3) if n != number}
        assert pod_routes(node) == others
        assert name in said
    assert "Every node is Ready" in said


def test_the_command_to_go_on_with_can_be_copied_from_a_narrow_terminal(machine: Machine) -> None:
    machine.start_nodes()
    done = machine.run("--no-build", "--kind", "a-name-that-is-not-short", COLUMNS="60")
    command = "kubectl --context kind-a-name-that-is-not-short get pods --all-namespaces -o wide"
    assert any(line.endswith(f" {command}") for line in done.stdout.splitlines()), done


def test_what_was_installed_wires_a_pod(machine: Machine) -> None:
    machine.start_nodes()
    machine.succeed("--kind")
    node = machine.nodes[WORKER]
    conf = conflist(node)
    plugin = Plugin("/opt/cni/bin/cni-bridge-py")
    pod = node.pod()
    plugin.add(node, conf["plugins"][0] | {key: conf[key] for key in ("cniVersion", "name")}, pod)
    assert pod.addresses() == ["10.244.2.2/24"]
    assert pod.link("eth0")["mtu"] == 1450
    assert pod.ping("10.244.2.1")
    assert pod.ping("172.18.0.3")


def test_dual_stack(machine: Machine) -> None:
    machine.start_nodes(*V6)
    config = machine.checkout / "conf/kind-dual-stack.yaml"
    machine.succeed("--kind", "dual", "--config", str(config))
    assert machine.calls("kind create") == [f"kind create cluster --name dual --config {config}"]
    node = machine.nodes[WORKER]
    bridge = conflist(node)["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.2.0/24"}], [{"subnet": "fd00:10:244:2::/64"}]]
    assert bridge["nonMasqueradeCIDRs"] == V6
    assert pod_routes(node, 6) == {f"fd00:10:244:{n}::/64": f"fc00:f853:ccd:e793::{n + 1}" for n in (1, 3)}


def test_a_cluster_that_exists_is_used(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["clusters"] = ["other", "mine"]
    machine.succeed("--kind", "mine")
    assert machine.calls("kind create") == []
    assert all(installed(node) for node in machine.nodes.values())


def test_again_repairs_a_node_that_was_restarted_and_takes_in_one_that_joined(machine: Machine) -> None:
    machine.start_nodes()
    machine.succeed("--kind")
    node = machine.nodes[WORKER]
    before = pod_routes(node)
    for route in before:
        node.run("ip", "route", "del", route)
    late = machine.add_node("cni-bridge-py-worker3")
    machine.succeed("--kind")
    assert pod_routes(node) == before | {"10.244.4.0/24": "172.18.0.5"}
    assert installed(late)
    assert len(machine.calls("kind create")) == 1
    assert len(list((node.root / "etc/cni/net.d").iterdir())) == 1, "the same configuration needs no backup"


def test_it_waits_for_what_comes_with_time(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["nodes"][WORKER] |= {"cidrs_after": 2, "ready_after": 2}
    said = machine.succeed("--kind")
    assert "Waiting for every node to be Ready" in said
    assert machine.state["nodes"][WORKER]["cidrs_after"] == machine.state["nodes"][WORKER]["ready_after"] == 0
    assert installed(machine.nodes[WORKER])


def test_again_while_a_restarted_control_plane_does_not_answer_yet(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["clusters"] = ["mine"]
    machine.state["api_after"] = 2
    machine.succeed("--kind", "mine")
    assert all(installed(node) for node in machine.nodes.values())


def test_routes_lead_to_the_address_that_a_restarted_node_has_now(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["nodes"][WORKER] |= {"address_after": 2, "former_addresses": ["172.18.0.99"]}
    machine.succeed("--kind")
    assert pod_routes(machine.nodes["cni-bridge-py-control-plane"])["10.244.2.0/24"] == "172.18.0.3"


@pytest.mark.parametrize(
    ("constant", "key", "message"),
    [
        ("CIDRS_SECONDS", "cidrs_after", f"no podCIDR for {WORKER}: is podSubnet set"),
        (
            "READY_SECONDS",
            "ready_after",
            f"not Ready: {WORKER}. Look at: kubectl --context kind-c describe node {WORKER}",
        ),
    ],
)
def test_it_does_not_wait_for_ever(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    constant: str,
    key: str,
    message: str,
) -> None:
    machine.start_nodes()
    machine.state["nodes"][WORKER][key] = 1000
    for name, value in machine.environment().items():
        monkeypatch.setenv(name, value)
    Path(machine.environment()["STANDIN"]).write_text(json.dumps(machine.state))
    monkeypatch.setattr(kind, constant, 1)
    config = f"--config={machine.checkout / 'kind-config.yaml'}"
    monkeypatch.setattr(sys, "argv", ["kind", "install", f"--checkout={machine.checkout}", "--name=c", config])
    assert kind.main() == 1
    assert message in capsys.readouterr().err


def test_a_cluster_without_pod_range(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["pod_subnet"] = []
    assert "the cluster has no podSubnet" in machine.fail("--kind")
    assert not any(installed(node) for node in machine.nodes.values())


def test_a_dual_stack_cluster_whose_node_has_no_ipv6_address(machine: Machine) -> None:
    machine.start_nodes(*V6)
    del machine.state["nodes"][WORKER]["addresses"][1]
    said = machine.fail("--kind")
    assert f"node {WORKER} has pods in fd00:10:244:2::/64, but no IPv6 address to reach them at" in said
    assert not any(installed(node) for node in machine.nodes.values())


def test_a_node_with_an_older_glibc_is_refused_before_anything_is_copied(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["nodes"][WORKER]["glibc"] = "2.17"
    said = machine.fail("--kind")
    assert f"node {WORKER} has glibc 2.17" in said
    assert "--image" in said
    assert not any(installed(node) for node in machine.nodes.values())


def test_a_copy_that_fails_halfway_leaves_the_node_as_it_was(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["nodes"][WORKER]["copy_fails"] = True
    assert "tar" in machine.fail("--kind")
    node = machine.nodes[WORKER]
    assert not installed(node)
    assert not (node.root / "etc/cni/net.d/10-bridge.conflist").exists()
    machine.succeed("--kind")
    assert installed(node)


def test_another_configuration_that_comes_first_is_told(machine: Machine) -> None:
    machine.start_nodes()
    machine.nodes[WORKER].write("/etc/cni/net.d/05-other.conf", "{}")
    said = machine.succeed("--kind")
    assert f"{WORKER}: WARNING: the runtime will pick /etc/cni/net.d/05-other.conf" in said


@pytest.mark.parametrize("tool", ["docker", "kind", "kubectl"])
def test_a_tool_that_is_missing(machine: Machine, tmp_path: Path, tool: str) -> None:
    (machine.path / tool).unlink()
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("bash", "dirname", "cat", "sh"):
        (commands / name).symlink_to(f"/bin/{name}" if name != "dirname" else "/usr/bin/dirname")
    done = machine.run("--kind", PATH=f"{machine.path}:{commands}")
    assert done.returncode == 1
    assert f"missing: {tool}" in done.stderr
    assert machine.calls() == []


def test_a_docker_that_does_not_answer(machine: Machine) -> None:
    machine.state["daemon"] = False
    said = machine.fail("--kind")
    assert "Is the docker daemon running?" in said
    assert "docker does not answer" in said
    assert machine.calls("kind") == []


def test_a_configuration_that_is_not_there(machine: Machine) -> None:
    assert "--config /none: there is no such file" in machine.fail("--kind", "--config", "/none")


def test_uninstall_deletes_a_cluster_that_was_made_here(machine: Machine) -> None:
    machine.start_nodes()
    machine.succeed("--kind")
    machine.succeed("--uninstall", "--kind")
    assert machine.state["clusters"] == []


def test_uninstall_deletes_it_also_where_the_nodes_were_refused(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["nodes"][WORKER]["glibc"] = "2.17"
    machine.fail("--kind")
    machine.succeed("--uninstall", "--kind")
    assert machine.state["clusters"] == []


def test_a_cluster_that_cannot_be_marked_as_made_here_does_not_stay(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["nodes"][WORKER]["full"] = True
    said = machine.fail("--kind")
    assert "No space left on device" in said
    assert "the cluster cni-bridge-py, which had just been made, was deleted" in said
    assert machine.state["clusters"] == []


def assert_clean(node: Node) -> None:
    assert pod_routes(node) == {}
    assert list((node.root / "opt/cni/bin").iterdir()) == []
    assert list((node.root / "etc/cni/net.d").iterdir()) == []
    assert not (node.root / "opt/cni-bridge-py").exists()


def test_uninstall_leaves_other_clusters_as_they_were(machine: Machine) -> None:
    machine.start_nodes(*V6)
    machine.state["clusters"] = ["mine"]
    machine.succeed("--kind", "mine")
    said = machine.succeed("--uninstall", "--kind", "mine")
    assert machine.state["clusters"] == ["mine"]
    for name, node in machine.nodes.items():
        assert_clean(node)
        assert pod_routes(node, 6) == {}
        assert f"{name}: the plugin, its configuration and its routes are gone" in said
    assert "waits for another CNI plugin" in said


def test_uninstall_leaves_routes_that_others_made(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["clusters"] = ["mine"]
    machine.succeed("--kind", "mine")
    node = machine.nodes[WORKER]
    node.run(*["ip", "route", "replace", "10.244.1.0/24", "via", "172.18.0.9"])
    machine.succeed("--uninstall", "--kind", "mine")
    assert pod_routes(node) == {"10.244.1.0/24": "172.18.0.9"}


def test_uninstall_where_kubernetes_does_not_answer(machine: Machine) -> None:
    machine.start_nodes()
    machine.state["clusters"] = ["mine"]
    machine.succeed("--kind", "mine")
    machine.state["api_after"] = 1000
    machine.succeed("--uninstall", "--kind", "mine")
    assert machine.state["clusters"] == ["mine"]
    for node in machine.nodes.values():
        assert_clean(node)


def test_uninstall_deletes_a_cluster_that_was_made_here_where_kubernetes_does_not_answer(machine: Machine) -> None:
    machine.start_nodes()
    machine.succeed("--kind")
    machine.state["api_after"] = 1000
    machine.succeed("--uninstall", "--kind")
    assert machine.state["clusters"] == []


def test_the_proxy_before_several_control_planes_is_no_node(machine: Machine) -> None:
    """It has neither a shell nor pods."""
    machine.start_nodes()
    machine.state["proxies"] = ["cni-bridge-py-external-load-balancer"]
    machine.succeed("--kind")
    machine.succeed("--uninstall", "--kind")
    assert machine.state["clusters"] == []


def test_uninstall_of_no_cluster(machine: Machine) -> None:
    assert "there is no kind cluster cni-bridge-py" in machine.fail("--uninstall", "--kind")


@pytest.fixture
def without_build_tools(machine: Machine, tmp_path: Path) -> str:
    """A PATH without what only building takes, nor apt-get to get it; and a venv without PyInstaller."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for file in Path(directory).iterdir():
            if file.name not in ("objdump", "apt-get") and not (commands / file.name).is_symlink():
                (commands / file.name).symlink_to(file)
    venv = machine.checkout / ".build/venv"
    venv.unlink()
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin/python"
    python.write_text(f'#!/bin/sh\ncase $* in *PyInstaller*) exit 1 ;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return f"{machine.path}:{commands}"


def test_a_container_builds_without_build_tools_here(machine: Machine, without_build_tools: str) -> None:
    machine.start_nodes()
    machine.state |= {"images": [IMAGE], "prebuilt": str(machine.checkout / ".build/dist")}
    done = machine.run("--kind", PATH=without_build_tools)
    assert done.returncode == 0, done
    assert f"Building cni-bridge-py in a container of {IMAGE}" in done.stdout
    assert all(installed(node) for node in machine.nodes.values())


def test_build_tools_are_asked_for_where_no_container_builds(machine: Machine, without_build_tools: str) -> None:
    machine.start_nodes()
    done = machine.run("--kind", PATH=without_build_tools)
    assert done.returncode == 1
    assert f"Not built in a container of {IMAGE}" in done.stdout
    assert "building takes these packages" in done.stderr
    assert "binutils" in done.stderr
    assert machine.calls("kind create") == []


def test_uninstall_takes_neither_build_tools_nor_kubectl(machine: Machine, without_build_tools: str) -> None:
    machine.state["clusters"] = ["mine"]
    (machine.path / "kubectl").unlink()
    done = machine.run("--uninstall", "--kind", "mine", PATH=without_build_tools)
    assert done.returncode == 0, done


@pytest.mark.slow
@pytest.mark.parametrize("where", ["images", "registry", "broken", ""])
def test_it_builds_in_a_container_where_it_can(machine: Machine, where: str) -> None:
    """Else with this machine's Python, which also plays the container's part."""
    machine.start_nodes()
    shutil.rmtree(machine.checkout / ".build/dist")
    for name in ("cni-bridge-py.spec", "bundle", "README.md", "LICENSE"):
        (machine.checkout / name).symlink_to(Path(__file__).parents[2] / name)
    (machine.checkout / ".build/venv").unlink()
    if where:
        machine.state[where] = [IMAGE]
    if where == "broken":
        machine.state["images"] = [IMAGE]
    done = machine.run("--kind")
    assert done.returncode == 0, done
    here = f"Not built in a container of {IMAGE}: building with the Python of this machine"
    assert (f"Building cni-bridge-py in a container of {IMAGE}" in done.stdout) == bool(where)
    assert (here in done.stdout) == (where in ("broken", ""))
    # What came out belongs to who ran install.sh, whoever the container's user was.
    owners = {file.owner() for file in (machine.checkout / ".build/dist").rglob("*")}
    assert owners == {machine.checkout.owner()}
    for node in machine.nodes.values():
        assert "supportedVersions" in node.run("env", "CNI_COMMAND=VERSION", "/opt/cni/bin/cni-bridge-py").stdout
