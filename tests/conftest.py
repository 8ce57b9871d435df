"""Fixtures that all the tests share."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# Helpers assert, too. This has to come before anything imports them.
pytest.register_assert_rewrite("tests.faults", "tests.harness", "tests.kernel")

from tests.bundle import build_command_line, build_executable  # noqa: E402
from tests.harness import Node, Plugin, filters_vlans  # noqa: E402


def pytest_configure() -> None:
    """Give all runs the same umask, and let Ctrl-C work: a background job ignores it."""
    os.umask(0o022)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--plugin",
        default="frozen",
        help="the plugin under test: `frozen` (the executable, the default), `source`, or an executable's path",
    )
    parser.addoption("--kind-cluster", metavar="NAME", help="the kind cluster to test (default: one that is made)")
    parser.addoption(
        "--node-image", metavar="IMAGE", help="the node image of a cluster that is made (default: kind's own)"
    )
    parser.addoption(
        "--test-image", metavar="IMAGE", default="busybox:1.37", help="what pods run in it (default: %(default)s)"
    )


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute tests by file (--dist=loadfile), but all of tests/kind to one worker: they share one cluster."""
    if config.getoption("dist") != "loadfile":
        return None
    scheduler = LoadFileScheduling(config, log)
    by_file = scheduler._split_scope
    scheduler._split_scope = lambda nodeid: "tests/kind" if nodeid.startswith("tests/kind/") else by_file(nodeid)
    return scheduler


@pytest.fixture(scope="session")
def plugin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """The plugin under test, as `--plugin` chooses it."""
    choice: str = request.config.getoption("--plugin")
    if choice == "frozen":
        return Plugin(build_executable())
    if choice == "source":
        return Plugin.from_source(tmp_path_factory.mktemp("bin"))
    return Plugin(Path(choice).resolve())


@pytest.fixture(scope="session")
def command_line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """The command for people, frozen if `--plugin` says so. It is the plugin as well, if slower to start."""
    bin_dir = tmp_path_factory.mktemp("bin")
    if request.config.getoption("--plugin") != "frozen":  # a path names the plugin alone
        return Plugin.from_source(bin_dir)
    name = bin_dir / "cni-bridge-py"
    name.symlink_to(build_command_line())
    return Plugin(name)


@pytest.fixture(autouse=True)
def _vlan_filtering(request: pytest.FixtureRequest) -> None:
    """Skips a test that needs VLAN filtering where the kernel has none; `tests/uml` runs it in one that has."""
    if request.node.get_closest_marker("vlan_filtering") and not filters_vlans():
        pytest.skip("the kernel has no CONFIG_BRIDGE_VLAN_FILTERING; tests/uml brings one that has")


@pytest.fixture(scope="session")
def root() -> None:
    """Skips a test that makes a node where we are not root."""
    if os.geteuid() != 0:
        pytest.skip("a node is made of namespaces, which takes root")


@pytest.fixture
def make_node(root: None) -> Iterator[Callable[[], Node]]:
    """A function that makes nodes; they go when the test ends."""
    with contextlib.ExitStack() as nodes:
        yield lambda: nodes.enter_context(Node())


@pytest.fixture
def node(make_node: Callable[[], Node]) -> Node:
    """A private machine that goes when the test ends."""
    return make_node()
