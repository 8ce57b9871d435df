"""What the interpreter does before the snapshot: import everything, and leave nothing that could import more.

The executable imports this while it is being built (snapshot.c); bundle.build does not.
"""

import gc
import posix
import sys


def preload() -> object:
    """Import the modules that sys.argv names; return the function that every call starts with."""
    for name in sys.argv:
        __import__(name)
    entry = sys.modules["cni_bridge_py.__main__"].main
    del sys.modules["preload"]
    for places in (sys.path, sys.meta_path, sys.path_hooks, sys.argv, sys.orig_argv):
        places.clear()
    sys.path_importer_cache.clear()
    posix.environ.clear()
    gc.collect()
    gc.freeze()
    return entry
