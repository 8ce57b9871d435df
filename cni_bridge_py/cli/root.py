"""What takes root says so in one line."""

from __future__ import annotations

import os

from cni_bridge_py.cni.errors import NOT_PERMITTED, CniError
from cni_bridge_py.kernel import capabilities


def need_root(what: str, capability: str = "") -> None:
    """Raise CniError 101 where this process is not root's, or a root's of a container without that capability."""
    if os.geteuid() != 0:
        raise CniError(NOT_PERMITTED, f"{what} takes root", "run it with sudo")
    if capability in capabilities.missing():
        raise CniError(NOT_PERMITTED, f"{what} takes {capability}, which this root lacks", "run it on the node itself")
