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
    sys.argv[:] = ["cni-bridge-py"]
    posix.environ[b"CNI_COMMAND"] = b"VERSION"
    for _ in range(CALLS):
        entry()


IMPORTED_FOR_IMPORTS = ("dis", "inspect", "linecache", "opcode", "token", "tokenize")
"""What `dataclasses` takes to make a class: 0.5 MB, for nothing later."""


def drop_modules() -> None:
    """Take the modules that no call needs away from those that imported them."""
    for name in IMPORTED_FOR_IMPORTS:
        module = sys.modules.pop(name, None)
        for other in list(sys.modules.values()):
            for key, value in list(vars(other).items()):
                if value is module:
                    delattr(other, key)


def preload() -> Callable[[], int]:
    """Import the modules that sys.argv names; return the function that every call starts with."""
    for name in sys.argv:
        __import__(name)
    entry: Callable[[], int] = sys.modules["cni_bridge_py.__main__"].main
    del sys.modules["preload"]
    drop_modules()
    sys._clear_type_cache()
    gc.collect()
    warm_up(entry)
    for places in (sys.path, sys.meta_path, sys.path_hooks, sys.argv, sys.orig_argv):
        places.clear()
    sys.path_importer_cache.clear()
    posix.environ.clear()
    gc.collect()
    gc.freeze()
    return entry
