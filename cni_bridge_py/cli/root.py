"""A clear error for commands that need root."""

from __future__ import annotations

import os

from cni_bridge_py.cni.errors import NOT_PERMITTED, CniError
from cni_bridge_py.kernel import capabilities


def need_root(what: str, capability: str = "") -> None:
    """Raise CniError 101 unless this process is root's, and has that capability, which a container may lack."""
    if os.geteuid() != 0:
        raise CniError(NOT_PERMITTED, f"{what} needs root", "run it with sudo")
    if capability in capabilities.missing():
        raise CniError(NOT_PERMITTED, f"{what} needs {capability}, which root lacks here", "run it on the node itself")
