"""`mend`: mends the node, and prints what was done as commands."""

from __future__ import annotations

import argparse
import sys

from cni_bridge_py.cli.parser import PROGRAM
from cni_bridge_py.cli.root import need_root
from cni_bridge_py.node import mend, networks


def run(arguments: argparse.Namespace) -> int:
    """Mend the node, and print what was done. Returns the exit status: 1 if something failed."""
    need_root("mending a node", "CAP_NET_ADMIN")
    done = mend.mend(networks.configured(arguments.conf), dry_run=arguments.dry_run)
    for each in done:
        print(f"# {each.what}")
        for command in each.commands:
            print(command)
        if each.error:
            print(f"{PROGRAM}: {each.error}", file=sys.stderr)
    if not done:
        print("# There is nothing to mend.")
    return 1 if any(each.error for each in done) else 0
