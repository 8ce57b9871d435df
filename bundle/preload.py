"""What the interpreter does before the snapshot: import everything, and then remove what could import more.

The executable imports this while it is being built (snapshot.c); bundle.build does not.
"""

from __future__ import annotations

import gc
import posix
import sys
from collections.abc import Callable

IMPORTED_FOR_IMPORTS = ("dis", "inspect", "linecache", "opcode", "token", "tokenize")
"""Modules that `dataclasses` needs to make a class: 0.5 MB that no call needs."""


def drop_modules() -> None:
    """Remove the modules that no call needs from those that imported them."""
    for name in IMPORTED_FOR_IMPORTS:
        module = sys.modules.pop(name, None)
        for other in list(sys.modules.values()):
            for key, value in list(vars(other).items()):
                if value is module:
                    delattr(other, key)


def rehearse(entry: Callable[[], int]) -> None:
    """Fill Python's caches, and let it specialise its bytecode, as calls would."""
    from bundle import rehearsal  # it must not stay in memory

    rehearsal.warm_up(entry)


def preload() -> Callable[[], int]:
    """Import the modules that sys.argv names; return the function that every call starts with."""
    for name in sys.argv:
        __import__(name)
    entry: Callable[[], int] = sys.modules["cni_bridge_py.__main__"].main
    drop_modules()
    sys._clear_type_cache()
    gc.collect()
    rehearse(entry)
    for name in [name for name in sys.modules if name.partition(".")[0] == "bundle"]:
        del sys.modules[name]
    for places in (sys.path, sys.meta_path, sys.path_hooks, sys.argv, sys.orig_argv):
        places.clear()
    sys.path_importer_cache.clear()
    posix.environ.clear()
    gc.collect()
    gc.freeze()
    return entry
