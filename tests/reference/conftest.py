"""Fixtures of the tests beside the reference."""

from __future__ import annotations

import pytest

from tests import newest
from tests.harness import Plugin
from tests.reference import releases


@pytest.fixture(scope="session", params=releases.RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """A release of the reference."""
    release: str = request.param
    return release


@pytest.fixture(scope="session")
def reference(release: str) -> Plugin:
    """That release's bridge."""
    return releases.reference(release)


@pytest.fixture(autouse=True)
def moved_on(request: pytest.FixtureRequest) -> None:
    """Where Debian sid has moved on, what the tables say of the newest release may not be true of what it has."""
    if "release" in request.fixturenames and request.getfixturevalue("release") == releases.NEWEST:
        package = newest.require("containernetworking-plugins")
        if package.release != releases.NEWEST:
            reason = f"Debian sid has {package.release} now, the tables are {releases.NEWEST}'s"
            request.applymarker(pytest.mark.xfail(reason=reason, strict=False))
