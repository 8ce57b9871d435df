"""The man page, made from the command line's parser: `python3 -m bundle.man > cni-bridge-py.1`, in the checkout."""

from __future__ import annotations

import os
import sys

from argparse_manpage.manpage import Manpage

from cni_bridge_py import __version__
from cni_bridge_py.cli.parser import PROGRAM, parser

COLUMNS = "100"
"""Of the usage lines; argparse asks the environment."""


def page() -> str:
    """The man page, in troff."""
    os.environ["COLUMNS"] = COLUMNS
    top = parser()
    top.man_short_description = "wire pods to a Linux bridge, and look after the pods' network of a node"  # type: ignore[attr-defined]
    data = {"project_name": f"{PROGRAM} {__version__}", "manual_section": "1", "manual_title": PROGRAM}
    return str(Manpage(top, _data=data, format="pretty")) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
