"""Fixtures of the tests of options."""

from __future__ import annotations

import pytest

from tests.harness import Node


@pytest.fixture
def vlan_node(node: Node) -> Node:
    """A node whose kernel can filter VLANs on a bridge; the test is skipped on others."""
    if node.run("ip", "link", "add", "probe", "type", "bridge", "vlan_filtering", "1", check=False).returncode:
        pytest.skip("the kernel has no CONFIG_BRIDGE_VLAN_FILTERING")
    node.run("ip", "link", "delete", "probe")
    return node
