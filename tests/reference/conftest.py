"""Fixtures of the tests beside the reference."""

from __future__ import annotations

import pytest

from tests.harness import REFERENCE_BIN_DIR, Plugin


@pytest.fixture(scope="session")
def reference() -> Plugin:
    """The reference's bridge, which calls the reference's host-local."""
    return Plugin(REFERENCE_BIN_DIR / "bridge")
