"""Fixtures of the tests with containerd."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import newest
from tests.containerd.runtime import SYSTEM


@pytest.fixture(scope="session", params=["system's", "newest"])
def containerd(request: pytest.FixtureRequest) -> Path:
    """Where a containerd is: the system's, and the newest."""
    return SYSTEM if request.param == "system's" else newest.containerd_dir()
