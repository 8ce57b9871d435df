"""What takes root says so in one line."""

from __future__ import annotations

import os

from cni_bridge_py.cni.errors import NOT_PERMITTED, CniError


def need_root(what: str) -> None:
    """Raise CniError 101 where this process is not root's."""
    if os.geteuid() != 0:
        raise CniError(NOT_PERMITTED, f"{what} takes root", "run it with sudo")
