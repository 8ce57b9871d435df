"""The command line for people: what is not once per pod, and may use the libraries that take time to load."""

from __future__ import annotations

import argparse
import sys

from cni_bridge_py import __version__
from cni_bridge_py.cli import install
from cni_bridge_py.cni.errors import CniError

DESCRIPTION = """\
A CNI plugin that wires pods to a Linux bridge.

A container runtime runs it with CNI_COMMAND in the environment and a network configuration on standard input;
cnitool does the same by hand. Without CNI_COMMAND, it is this:"""


def main() -> int:
    """Run a subcommand; without one, say what this program is. Returns the exit status."""
    parser = _parser()
    arguments = parser.parse_args()
    if not arguments.subcommand:
        parser.print_help()
        return 0
    try:
        return int(arguments.run(arguments))
    except CniError as error:
        print(f"{parser.prog}: {error.msg}" + (f" ({error.details})" if error.details else ""), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cni-bridge-py", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"cni-bridge-py {__version__}")
    subcommands = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND")

    demo = subcommands.add_parser("demo", help="wire two pods in a private node, show what was made, take it away")
    demo.add_argument(
        "--plugin", metavar="FILE", help="the plugin's executable (default: the one that this belongs to)"
    )
    demo.set_defaults(run=_demo)

    explain = subcommands.add_parser("explain", help="print what a verb does as a shell script of ip, sysctl and nft")
    explain.add_argument(
        "--conf",
        metavar="FILE",
        help="a network configuration or list; - for standard input (default: the first of ours in /etc/cni/net.d)",
    )
    explain.add_argument("--verb", choices=("ADD", "DEL"), default="ADD", help="(default: %(default)s)")
    explain.set_defaults(run=_explain)

    install.add_parsers(subcommands)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from cni_bridge_py.cli import demo

    return demo.run(arguments.plugin)


def _explain(arguments: argparse.Namespace) -> int:
    from cni_bridge_py.cli import explain

    return explain.run(arguments.conf, arguments.verb)
