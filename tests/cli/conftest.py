"""Fixtures of the command line's tests."""

from __future__ import annotations

import pytest

from tests.harness import Plugin


@pytest.fixture(scope="session")
def plugin(command_line: Plugin) -> Plugin:
    """What a person runs, which is the plugin, too."""
    return command_line
