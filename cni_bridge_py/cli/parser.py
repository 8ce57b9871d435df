"""The subcommands and their arguments; the man page and the shells' completion are made from this, too."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from cni_bridge_py import __version__

PROGRAM = "cni-bridge-py"

DESCRIPTION = """\
A CNI plugin that wires pods to a Linux bridge.

A container runtime runs it with CNI_COMMAND in the environment and a network configuration on standard input.
cnitool does the same by hand. Without CNI_COMMAND, it has the subcommands below, for people."""

EXAMPLES = """\
examples:
  cni-bridge-py doctor                     find out why pods have no network, and what to type
  cni-bridge-py list                       show the pods of this node, their addresses and their state
  cni-bridge-py mend --dry-run             show what mend would do
  cni-bridge-py map --svg node.svg         draw a picture of this node
  cni-bridge-py explain --pod default/web  print the commands that wire this pod"""

NETWORK_FILE = (
    "a network configuration or list (default: what the node's container runtimes find, if it is this plugin's)"
)

EXIT_STATUS = """\
exit status:
  0  all is well
  1  something is wrong
  2  a question could not be answered"""

Subcommands = Any  # argparse has no public name for what add_subparsers() returns


class Parser(argparse.ArgumentParser):
    """argparse's parser, but its error messages are one line."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the arguments, and how to get help. Exits with status 2."""
        self.exit(2, f"{self.prog}: {message} (try {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(
        prog=PROGRAM, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    subcommands = top.add_subparsers(title="subcommands", dest="subcommand", metavar="SUBCOMMAND")
    for add in (_list, _doctor, _mend, _map, _explain, _demo, _agent, _completion):
        add(subcommands)
    return top


def called_as() -> str:
    """How this program was called: what a person can type again, even if it is not in PATH."""
    return os.path.abspath(sys.argv[0]) if "/" in sys.argv[0] else PROGRAM


def _subcommand(
    subcommands: Subcommands, name: str, run: Callable[[argparse.Namespace], int], about: str, *examples: str
) -> argparse.ArgumentParser:
    width = max(map(len, (each.partition("  ")[0] for each in examples)), default=0)
    lines = [f"  {e.partition('  ')[0]:{width}}  {e.partition('  ')[2].strip()}".rstrip() for e in examples]
    made: argparse.ArgumentParser = subcommands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog="\n".join(["examples:", *lines]) if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=run)
    return made


def _list(subcommands: Subcommands) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from cni_bridge_py.cli import listing

        return listing.run(arguments)

    made = _subcommand(
        subcommands,
        "list",
        run,
        "list every attachment on this node: pod, addresses, network, bridge, traffic, and state",
        "cni-bridge-py list --network podnet  the pods of one network",
        "cni-bridge-py list --pod kube-system/  the pods of one namespace",
        "cni-bridge-py list --json | jq '.[] | select(.state != \"ok\")'  what is wrong, for a program",
    )
    shown = made.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print a JSON list")
    made.add_argument("--wide", action="store_true", help="also show container id, interface, MAC, MTU and VLANs")
    shown.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=_seconds,
        const=2.0,
        help="repeat the list every SECONDS (default: 2)",
    )
    _completed(made.add_argument("--network", metavar="NAME", type=_named, help="only this network"), _networks)
    _completed(made.add_argument("--pod", metavar="TEXT", help="only pods whose namespace/name contains this"), _pods)
    made.add_argument("--conf", metavar="FILE", type=_named, help=NETWORK_FILE)


def _doctor(subcommands: Subcommands) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from cni_bridge_py.cli import doctor

        return doctor.run(arguments)

    made = _subcommand(
        subcommands,
        "doctor",
        run,
        "find out why pods have no network, and print the commands that mend it; without --ping it changes nothing",
        "cni-bridge-py doctor  say what is wrong, and print the commands that mend it",
        "cni-bridge-py doctor --ping  also try the network with two pods",
        "cni-bridge-py doctor --json  the same for an issue, or for a program",
    )
    made.add_argument("--conf", metavar="FILE", type=_named, help=NETWORK_FILE)
    made.add_argument("--json", action="store_true", help="print a JSON object")
    made.add_argument(
        "--ping", action="store_true", help="make two pods on each network for a moment, and see what they reach"
    )


def _mend(subcommands: Subcommands) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from cni_bridge_py.cli import mend

        return mend.run(arguments)

    made = _subcommand(
        subcommands,
        "mend",
        run,
        "mend what pods share, as the next ADD would, and print each change as a command",
        "cni-bridge-py mend --dry-run  only print the changes",
        "cni-bridge-py mend  mend bridge, gateway, forwarding, packet filter and bridge ports; release dead leases",
    )
    made.add_argument("--conf", metavar="FILE", type=_named, help=NETWORK_FILE)
    made.add_argument("--dry-run", action="store_true", help="change nothing")


def _map(subcommands: Subcommands) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from cni_bridge_py.cli import picture

        return picture.run(arguments)

    made = _subcommand(
        subcommands,
        "map",
        run,
        "draw this node: uplinks, bridges, VLANs, and pods with their addresses; what is wrong is red",
        "cni-bridge-py map  draw in the terminal",
        "cni-bridge-py map --svg node.svg  write a picture for a browser",
    )
    made.add_argument("--conf", metavar="FILE", type=_named, help=NETWORK_FILE)
    made.add_argument("--svg", metavar="FILE", type=_named, help="write an SVG picture; - for standard output")


def _explain(subcommands: Subcommands) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from cni_bridge_py.cli import explain

        return explain.run(arguments.conf, arguments.verb, arguments.pod)

    made = _subcommand(
        subcommands,
        "explain",
        run,
        "print what the plugin does, as a shell script with ip, sysctl and nft",
        "cni-bridge-py explain --conf conf/10-bridge.conf  for the first pod of this configuration",
        "cni-bridge-py explain --pod default/web  for this running pod",
    )
    made.add_argument("--conf", metavar="FILE", type=_named, help=f"{NETWORK_FILE}; - for standard input")
    made.add_argument(
        "--verb", choices=("ADD", "DEL"), default="ADD", help="the verb to explain (default: %(default)s)"
    )
    _completed(
        made.add_argument("--pod", metavar="NAMESPACE/NAME", type=_named, help="a pod that runs on this node"), _pods
    )


def _demo(subcommands: Subcommands) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from cni_bridge_py.cli import demo

        return demo.run(arguments.plugin)

    made = _subcommand(subcommands, "demo", run, "wire two pods on a private node, show the result, and remove it")
    made.add_argument("--plugin", metavar="FILE", help="the plugin's executable (default: the plugin in this program)")


def _agent(subcommands: Subcommands) -> None:
    def run(arguments: argparse.Namespace) -> int:
        try:
            from cni_bridge_py.agent import agent
        except ModuleNotFoundError as error:
            print(f"{PROGRAM} agent: {error}: use the agent's image, or pip install '.[agent]'", file=sys.stderr)
            return 1
        return agent.run(arguments)

    made = _subcommand(
        subcommands,
        "agent",
        run,
        "run the agent of a Kubernetes node; deploy/cni-bridge-py.yaml starts it on every node",
        "NODE_NAME=worker KUBECONFIG=~/.kube/config cni-bridge-py agent  start it by hand, on the node `worker`",
    )
    made.add_argument(
        "--node-name", metavar="NAME", default=os.environ.get("NODE_NAME"), help="this node (default: $NODE_NAME)"
    )
    made.add_argument(
        "--metrics",
        metavar="ADDRESS:PORT",
        default="127.0.0.1:9809",
        help="the address that serves /metrics, /healthz and /readyz (default: %(default)s)",
    )
    made.add_argument(
        "--plugins",
        metavar="DIRECTORY",
        type=Path,
        default=Path("/plugins"),
        help="the plugins to install into the node's /opt/cni/bin (default: %(default)s)",
    )


def _completion(subcommands: Subcommands) -> None:
    def run(arguments: argparse.Namespace) -> int:
        from argcomplete.shell_integration import shellcode

        print(shellcode([PROGRAM], shell=arguments.shell))
        return 0

    made = _subcommand(
        subcommands,
        "completion",
        run,
        "print a shell script that completes subcommands, options, networks and pods",
        'eval "$(cni-bridge-py completion bash)"  a line for ~/.bashrc; with zsh, for ~/.zshrc',
        "cni-bridge-py completion fish > ~/.config/fish/completions/cni-bridge-py.fish  for fish",
    )
    made.add_argument("shell", choices=("bash", "zsh", "fish"))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0.1 to 86400 seconds")
    return seconds


def _named(text: str) -> str:
    """A name. An empty one is refused, so that a script's unset variable does not select everything."""
    if not text:
        raise argparse.ArgumentTypeError("expected a name, not an empty text")
    return text


# What shells complete


def _completed(action: argparse.Action, values: Callable[[], list[str]]) -> None:
    def complete(**_: object) -> list[str]:
        try:
            return values()
        except Exception:  # no shell wants to hear why
            return []

    action.completer = complete  # type: ignore[attr-defined]


def _networks() -> list[str]:
    from cni_bridge_py.node import networks

    return [each.name for each in networks.configured(None)]


def _pods() -> list[str]:
    from cni_bridge_py.node import attachments, networks
    from cni_bridge_py.node.state import State

    return [each.pod for each in attachments.find(State(), networks.configured(None)) if each.pod]
