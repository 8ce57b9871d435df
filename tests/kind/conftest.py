"""The cluster under test, and what is shown of it when a test fails."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from cni_bridge_py.cli.kind import Cluster
from tests.bundle import CHECKOUT
from tests.kind.cluster import KindCluster, diagnosis

TOOLS = ("docker", "kind", "kubectl")
NAME = "cni-bridge-py-tests"


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[KindCluster]:
    """The cluster that --kind-cluster names, else one that is made here and goes again."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f"there is no {', '.join(missing)}")
    if subprocess.run(["docker", "version"], capture_output=True).returncode:
        pytest.skip("docker does not answer")
    name = request.config.getoption("--kind-cluster")
    if not name:
        node_image = request.config.getoption("--node-image")
        try:
            install("--kind", NAME, *(["--image", node_image] if node_image else []))
        except subprocess.CalledProcessError:
            print(diagnosis(Cluster(NAME)))
            raise
    running = KindCluster(name or NAME, request.config.getoption("--test-image"), is_new=not name)
    request.config.stash[KEY] = running
    try:
        yield running
    finally:
        running.close()
        if not name:
            install("--uninstall", "--kind", NAME)


KEY = pytest.StashKey[KindCluster]()


def install(*arguments: str) -> None:
    """Run install.sh; its words are pytest's to show."""
    subprocess.run([CHECKOUT / "install.sh", *arguments], check=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    cluster = item.config.stash.get(KEY, None)
    if report.failed and cluster:
        report.sections.append(("the cluster", cluster.diagnosis()))
    return report
