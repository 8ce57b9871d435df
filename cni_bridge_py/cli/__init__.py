"""The command line for people: arguments and pictures.

What is known of a node is in `cni_bridge_py.node`. The plugin's executable does not hold this folder.
"""

from __future__ import annotations

import os
import sys

from cni_bridge_py.cli.parser import PROGRAM, parser
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.kernel.netlink import NetlinkError, NoAnswer

COULD_NOT = 2
"""Exit status of a command that could not do its work: 1 is what `doctor` says of a node that has something wrong."""

INTERRUPTED = 130


def main() -> int:
    """Run a subcommand; without one, say what this program is. Returns the exit status."""
    top = parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(top)
    arguments = top.parse_args()
    if not arguments.subcommand:
        top.print_help()
        return 0
    try:
        return int(arguments.run(arguments))
    except CniError as error:
        return _failed(error.msg + (f" ({error.details})" if error.details else ""), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # who read has enough; nothing more is to be written at the end
        return 0
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    except (NetlinkError, NoAnswer) as error:
        return _failed(f"the kernel refuses: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED


def _failed(reason: str, status: int = COULD_NOT) -> int:
    print(f"{PROGRAM}: {reason}", file=sys.stderr)
    return status
