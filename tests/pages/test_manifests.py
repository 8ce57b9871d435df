"""The manifests of docs/learn: valid, used by their pages, and the proxy does what its page says, without a cluster."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.bundle import CHECKOUT
from tests.harness import Json, Node
from tests.pages.markdown import blocks
from tests.pages.shell import Shell

FOLDER = CHECKOUT / "docs/learn"
MANIFESTS = sorted(FOLDER.glob("*.yaml"))
VERSION = "1.36"
"""Of Kubernetes; its schemas are in the library."""

IMAGE = "busybox:1.37"


def documents(manifest: Path) -> list[Json]:
    return list(yaml.safe_load_all(manifest.read_text()))


@pytest.mark.parametrize("manifest", [*MANIFESTS, CHECKOUT / "deploy/cni-bridge-py.yaml"], ids=lambda path: path.name)
def test_kubernetes_would_take_it(manifest: Path) -> None:
    for document in documents(manifest):
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_a_page_applies_it_and_takes_it_away(manifest: Path) -> None:
    typed = "\n".join(block.text for page in FOLDER.glob("*.md") for block in blocks(page))
    assert f"kubectl apply -f {manifest.name}\n" in typed
    if manifest.name != "quota-too-big.yaml":  # which is refused
        assert f"kubectl delete -f {manifest.name}" in typed


def pod_specs(manifest: Path) -> list[Json]:
    """What its pods are to be, also those of a Deployment."""
    specs = [each.get("spec", {}) for each in documents(manifest)]
    return [spec for spec in (each.get("template", {}).get("spec", each) for each in specs) if "containers" in spec]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_pods_need_one_image_and_are_gone_quickly(manifest: Path) -> None:
    """A first process does not hear SIGTERM: without the grace period a reader waits for half a minute."""
    for spec in pod_specs(manifest):
        assert {container["image"] for container in spec["containers"]} == {IMAGE}
        assert spec["terminationGracePeriodSeconds"] == 1


PROXIED = {
    ("192.0.2.9:18080", "/shop/"): "welcome to the shop",
    ("192.0.2.9:18080", "/blog/"): "welcome to the blog",
    ("shop.example", "/"): "welcome to the shop",
    ("blog.example", "/"): "welcome to the blog",
    ("other.example", "/"): "no rule for other.example/",
}


def test_the_proxy(node: Node) -> None:
    """As its pod runs it. Names in /etc/hosts stand for the Services."""
    found = documents(FOLDER / "ingress.yaml")
    pods = {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "Pod"}
    node.write("/run/rules/index.cgi", next(each["data"]["index.cgi"] for each in found if each["kind"] == "ConfigMap"))
    node.write("/etc/hosts", "127.0.0.1 shop\n127.0.0.2 blog\n")
    with Shell(node, "/run", {"PATH": "/run/bin:/usr/bin:/bin"}) as shell:
        shell.type("mkdir bin shop blog; for each in sh wget httpd; do ln -s /bin/busybox bin/$each; done")
        for name, listen in (("shop", "127.0.0.1:80"), ("blog", "127.0.0.2:80"), ("proxy", "127.0.0.3:8080")):
            script: str = pods[name]["containers"][0]["command"][-1]
            moved = re.sub(r"-p \d+", f"-p {listen}", script.replace("/tmp", f"/run/{name}"))
            moved = moved.replace("/www", "/run/www").replace("/rules", "/run/rules")
            shell.type(f"({moved}) >/dev/null 2>&1 &")
            shell.type(f"until wget -q -O /dev/null http://{listen}/; do sleep 0.1; done")
        for (host, path), answer in PROXIED.items():
            asked = shell.type(f"wget -q -O - --header 'Host: {host}' http://127.0.0.3:8080{path}")
            assert asked == (f"{answer}\n", 0)
