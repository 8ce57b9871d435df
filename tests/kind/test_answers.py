"""Tests of the helpers for a real cluster. They need no cluster."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT
from tests.kind.cluster import answers

OLD_BUSYBOX = """\
Server:    10.96.0.10
Address 1: 10.96.0.10 kube-dns.kube-system.svc.cluster.local

Name:      kubernetes.default
Address 1: 10.96.0.1 kubernetes.default.svc.cluster.local
"""
BUSYBOX = """\
Server:\t\t10.96.0.10
Address:\t10.96.0.10:53

Name:\tkubernetes.default.svc.cluster.local
Address: 10.96.0.1

*** Can't find kubernetes.default.svc.cluster.local: No answer

"""
DUAL_STACK = """\
Server:\t\t10.96.0.10
Address:\t10.96.0.10:53

Name:\tweb.default.svc.cluster.local
Address: 10.96.7.7

Name:\tweb.default.svc.cluster.local
Address: fd00:10:96::7
"""
NONE = """\
Server:\t\t10.96.0.10
Address:\t10.96.0.10:53

** server can't find nothing.default.svc.cluster.local: NXDOMAIN

"""


@pytest.mark.parametrize(
    ("said", "addresses"),
    [
        (OLD_BUSYBOX, {"10.96.0.1"}),
        (BUSYBOX, {"10.96.0.1"}),
        (DUAL_STACK, {"10.96.7.7", "fd00:10:96::7"}),
        (NONE, set()),
    ],
    ids=["before 1.29", "one IP version", "both", "none"],
)
def test_answers_are_told_from_the_servers_own_address(said: str, addresses: set[str]) -> None:
    assert answers(said) == addresses


def test_all_that_asks_the_cluster_does_so_in_turn(tmp_path: Path) -> None:
    """Some tests restart a node that others need, and the first worker to finish would delete the cluster."""
    pytest_here = [sys.executable, "-m", "pytest", "--verbose", "-m", "kind", "tests/kind"]
    done = subprocess.run(
        [*pytest_here, "--numprocesses=2", "--dist=loadfile"],
        cwd=CHECKOUT,
        env={"PATH": str(tmp_path)},  # without docker, each test is skipped
        capture_output=True,
        text=True,
    )
    ran = re.findall(r"^\[(gw\d)\] .* SKIPPED (tests/kind/\w+)", done.stdout, re.MULTILINE)
    assert {file for _, file in ran} == {"tests/kind/test_kind", "tests/kind/test_learn"}, done
    assert len({worker for worker, _ in ran}) == 1
