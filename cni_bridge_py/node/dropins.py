"""Configuration for other services of a node, so that they leave pods' links alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cni_bridge_py.wiring import names

NETWORKD = Path("/etc/systemd/network/05-cni-bridge-py.network")
"""systemd.network(5): of the files that match a link, the first in the order of their names applies."""

NETWORK_MANAGER = Path("/etc/NetworkManager/conf.d/05-cni-bridge-py.conf")
"""NetworkManager.conf(5)."""

HOST_VETHS = f"{names.VETH_PREFIX}{'?' * names.VETH_DIGITS}"
"""A pattern for the names of our host veths. Other programs' names are shorter."""


def networkd(bridges: Iterable[str]) -> str:
    """For systemd-networkd: it must not manage our host veths and these bridges."""
    return f"[Match]\nName={' '.join([HOST_VETHS, *_with_vlans(bridges)])}\n\n[Link]\nUnmanaged=yes\n"


def network_manager(bridges: Iterable[str]) -> str:
    """For NetworkManager: the same."""
    devices = ";".join(f"interface-name:{each}" for each in [HOST_VETHS, *_with_vlans(bridges)])
    return f"[keyfile]\nunmanaged-devices+={devices}\n"


def _with_vlans(bridges: Iterable[str]) -> list[str]:
    """Each bridge once, and its interfaces in VLANs."""
    return [name for bridge in dict.fromkeys(bridges) for name in (bridge, f"{bridge}.*")]
