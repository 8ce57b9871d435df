"""What the interpreter does before the snapshot: import everything, and leave nothing that could import more.

The executable imports this while it is being built (snapshot.c); bundle.build does not.
"""

from __future__ import annotations

import gc
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


CALLS = 20
"""From the eighth or so on, Python runs a function in instructions for the types that it has met (PEP 659)."""


def warm_up(entry: Callable[[], int]) -> None:
    """Have calls find Python's caches as they would leave them. VERSION asks nothing of the machine that builds."""
    posix.environ[b"CNI_COMMAND"] = b"VERSION"
    for _ in range(CALLS):
        entry()


def preload() -> Callable[[], int]:
    """Import the modules that sys.argv names; return the function that every call starts with."""
    for name in sys.argv:
        __import__(name)
    entry: Callable[[], int] = sys.modules["cni_bridge_py.__main__"].main
    warm_up(entry)
    del sys.modules["preload"]
    for places in (sys.path, sys.meta_path, sys.path_hooks, sys.argv, sys.orig_argv):
        places.clear()
    sys.path_importer_cache.clear()
    posix.environ.clear()
    gc.collect()
    gc.freeze()
    return entry
