"""The build rehearses the calls that nodes make."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bundle import rehearsal
from tests.bundle import CHECKOUT, build_executable


def test_the_network_is_the_shipped_one() -> None:
    shipped = json.loads((CHECKOUT / "conf/10-bridge.conf").read_text())
    rehearsed = {**rehearsal.CONFIG, "name": rehearsal.NETWORKS["cni-bridge-py"]}
    assert rehearsed.pop("ipam") == {**shipped.pop("ipam"), "dataDir": "networks"}
    assert rehearsed == shipped


def test_nothing_that_it_met_is_in_the_executable() -> None:
    data = build_executable().read_bytes()
    for word in (b"podpodpod", b"K8S_POD_NAME=", b"10.22.0."):  # from 3.12 on, Python keeps interned names for ever
        assert word not in data, word


def test_a_call_that_fails_ends_it(tmp_path: Path) -> None:
    """The build fails, too. Otherwise it would measure what a refusal uses."""
    script = "from bundle import rehearsal; rehearsal.warm_up(lambda: 1)"
    env = {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "rehearsal: cni-bridge-py, ADD" in done.stderr
