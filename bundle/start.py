"""What the launcher runs: the plugin where a container runtime calls, and else the command line for people."""

from __future__ import annotations

import posix
import sys


def make_modules() -> None:
    """Make the plugin's modules, each after those that it imports.

    importlib would take 0.6 ms more, 5 % of an ADD, to look each one up and to read it on its own.
    """
    from at_once import MODULES  # type: ignore[import-not-found]

    for name, is_package, code in MODULES:
        module = sys.modules[name] = type(sys)(name)
        if is_package:
            module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
        exec(code, module.__dict__)


if b"CNI_COMMAND" not in posix.environ:
    posix.execv(f"{sys.prefix}command-line", sys.argv)
make_modules()
from cni_bridge_py.__main__ import main  # noqa: E402

posix._exit(main())  # the kernel frees everything at once; the interpreter would take 0.5 ms over it
