"""The command line for people: arguments and pictures. What is known of a node is in `cni_bridge_py.node`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cni-bridge-py", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"cni-bridge-py {__version__}")
    subcommands = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND")

    demo = subcommands.add_parser("demo", help="wire two pods in a private node, show what was made, take it away")
    demo.set_defaults(run=_demo)

    explain = subcommands.add_parser("explain", help="print what a verb does as a shell script of ip, sysctl and nft")
    explain.add_argument(
        "--conf",
        metavar="FILE",
        help="a network configuration or list; - for standard input (default: the first of ours in /etc/cni/net.d)",
    )
    explain.add_argument("--verb", choices=("ADD", "DEL"), default="ADD", help="(default: %(default)s)")
    explain.set_defaults(run=_explain)

    agent = subcommands.add_parser("agent", help="the process that stays, one a node of a Kubernetes cluster")
    agent.add_argument(
        "--node-name", metavar="NAME", default=os.environ.get("NODE_NAME"), help="this node's (default: $NODE_NAME)"
    )
    agent.add_argument(
        "--metrics",
        metavar="ADDRESS:PORT",
        default="127.0.0.1:9809",
        help="where /metrics, /healthz and /readyz are served (default: %(default)s)",
    )
    agent.add_argument(
        "--plugins",
        metavar="DIRECTORY",
        type=Path,
        default=Path("/plugins"),
        help="what to install into the node's /opt/cni/bin (default: %(default)s)",
    )
    agent.set_defaults(run=_agent)
    return parser


def _demo(arguments: argparse.Namespace) -> int:
    from cni_bridge_py.cli import demo

    return demo.run()


def _explain(arguments: argparse.Namespace) -> int:
    from cni_bridge_py.cli import explain

    return explain.run(arguments.conf, arguments.verb)


def _agent(arguments: argparse.Namespace) -> int:
    try:
        from cni_bridge_py.agent import agent
    except ModuleNotFoundError as error:
        print(f"cni-bridge-py agent: {error}: it is in the agent's image; or pip install '.[agent]'", file=sys.stderr)
        return 1

    return agent.run(arguments)
