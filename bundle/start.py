"""What the launcher runs: the plugin."""

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

# As a text, for __future__ is one of the modules that are made here.
MODULES: "tuple[tuple[str, bool, CodeType], ...]" = ()
"""Name, whether it is a package, and code of each module, behind those that it imports: freeze.py puts them here."""


def make_modules() -> None:
    """Make the plugin's modules.

    importlib would take 0.6 ms more, 5 % of an ADD, to look each one up and to read it on its own.
    """
    for name, is_package, code in MODULES:
        module = sys.modules[name] = type(sys)(name)
        if is_package:
            module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
        exec(code, module.__dict__)


make_modules()
from cni_bridge_py.__main__ import main  # noqa: E402

posix._exit(main())  # the kernel frees everything at once; the interpreter would take 0.5 ms over it
