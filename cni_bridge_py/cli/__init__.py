"""The command line for people: arguments and pictures.

What we know about a node is not here, but in `node`. The plugin's executable does not contain this folder.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback

from cni_bridge_py.cli import install, streams
from cni_bridge_py.cli.parser import PROGRAM, parser
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.kernel.netlink import NetlinkError, NoAnswer

COULD_NOT = 2
"""The exit status of a command that failed. It is not 1, because with that `doctor` says that a node has a problem."""

ENOUGH = 128 + signal.SIGPIPE
"""The exit status when nobody reads our output any more. A shell reports the same of a program that SIGPIPE ends."""


def main() -> int:
    """Run a subcommand, or print the help if there is none. Returns the exit status."""
    streams.prepare()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # `finally` blocks still run
    try:
        try:
            return _run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        streams.drop_output()
        return ENOUGH
    except OSError as error:
        streams.drop_output()
        return _failed(_reason(error))


def _run() -> int:
    top = install.parser() if sys.argv[1:2] and sys.argv[1] in install.SUBCOMMANDS else parser()
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
        return _failed(error.msg + (f" ({error.details})" if error.details else ""))
    except (NetlinkError, NoAnswer) as error:
        return _failed(f"the kernel refuses: {error}")
    except OSError:
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}, line {where.lineno}"
        return _failed(f"a bug: {type(error).__name__} in {place}: {' '.join(str(error).split())}; please report it")


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _failed(reason: str) -> int:
    print(f"{PROGRAM}: {reason}", file=sys.stderr)
    return COULD_NOT
