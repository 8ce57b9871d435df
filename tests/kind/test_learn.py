"""docs/ on a real cluster: every manifest is applied, and every command prints what its page shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT
from tests.kind.cluster import KindCluster
from tests.pages.markdown import Block, blocks
from tests.pages.shell import Shell
from tests.pages.test_commands import type_block

pytestmark = [pytest.mark.kind, pytest.mark.timeout(1800)]

NAME = "cni-bridge-py"
"""What pages call the cluster."""

LESSON = CHECKOUT / "docs/learn"
PAGES = [
    CHECKOUT / "README.md",
    CHECKOUT / "docs/kubernetes.md",
    CHECKOUT / "docs/learn.md",
    *sorted(LESSON.glob("*.md")),
]
IMAGE = "busybox:1.37"
PATIENCE = 240.0
"""Seconds. Pages wait up to three minutes for pods, because their image may have to be pulled."""
NOT_TYPED = (
    "$ ./install.sh --kind\n...\n",
    "$ ./install.sh --uninstall --kind\n...\n",
    "$ cd docs/learn\n",
    "$ cd ../..\n",
)
"""The cluster is there, other tests use it, too, and the shell is in the lesson's folder."""


@pytest.fixture
def shell(cluster: KindCluster, tmp_path: Path) -> Iterator[Shell]:
    """A shell in a copy of docs/learn, whose names are the cluster's."""
    folder = tmp_path / "learn"
    shutil.copytree(LESSON, folder)
    for file in folder.glob("*.yaml"):
        file.write_text(_of_this_cluster(file.read_text(), cluster))
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(cluster.cluster.kubectl("config", "view", "--raw", "--minify"))
    with Shell(None, str(folder), {**os.environ, "KUBECONFIG": str(kubeconfig)}, PATIENCE) as opened:
        yield opened


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_what_is_typed_and_seen(page: Path, shell: Shell, cluster: KindCluster) -> None:
    on_kind = [each for each in blocks(page) if "kind" in each.words]
    faults = [fault for block in on_kind for fault in type_block(shell, _here(block, cluster))]
    assert not faults, "\n\n".join(faults)


def _here(block: Block, cluster: KindCluster) -> Block:
    text = block.text
    for each in NOT_TYPED:
        text = text.replace(each, "")
    return replace(block, text=_of_this_cluster(text, cluster))


def _of_this_cluster(text: str, cluster: KindCluster) -> str:
    name = cluster.cluster.name
    for node in ("control-plane", "worker2", "worker"):
        text = text.replace(f"{NAME}-{node}", f"{name}-{node}")
    return text.replace(f"kind-{NAME}", f"kind-{name}").replace(IMAGE, cluster.image)
