"""What the launcher runs: the plugin where a container runtime calls, and else the command line for people."""

from __future__ import annotations

import posix
import sys

if b"CNI_COMMAND" in posix.environ:
    from cni_bridge_py.__main__ import main

    posix._exit(main())  # the kernel frees everything at once; the interpreter would take 0.5 ms over it
posix.execv(f"{sys.prefix}command-line", sys.argv)
