"""Fixtures of the tests against the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness import Node


@pytest.fixture(scope="module")
def module_node(root: None) -> Iterator[Node]:
    """A private machine for all the tests of a module, none of which may change what others look at."""
    with Node() as node:
        yield node
