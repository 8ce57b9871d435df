"""`install` and `uninstall`: install.sh runs them after the build, and passes its options on."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from cni_bridge_py.cli.parser import Parser
from cni_bridge_py.installer import Refused

PREFIX = Path("/usr/local")


def parser() -> argparse.ArgumentParser:
    """The command line of both. Only install.sh uses them, so neither help nor completion shows them."""
    top = Parser(prog="install.sh")
    subcommands = top.add_subparsers(dest="subcommand")
    for name, run in SUBCOMMANDS.items():
        parser = subcommands.add_parser(name, prog=top.prog, allow_abbrev=False)
        parser.set_defaults(run=run)
        parser.add_argument("--shipped", type=Path, required=True, help="the directory with configurations to install")
        parser.add_argument("--bin-dir", type=Path)
        parser.add_argument("--conf-dir", type=Path)
        parser.add_argument("--prefix", type=Path, default=PREFIX)
        if run is _uninstall:
            parser.add_argument("--purge", action="store_true")
            continue
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--built", type=Path, help="the directory with what was built")
        what.add_argument("--check", action="store_true", help="say only what would be refused")
        parser.add_argument("--subnet", action="append", default=[])
        parser.add_argument("--mtu")
        parser.add_argument("--conf")
        parser.add_argument("--force", action="store_true")
    return top


def _install(arguments: argparse.Namespace) -> int:
    from cni_bridge_py.installer import install
    from cni_bridge_py.installer.plan import Options

    options = Options(
        arguments.shipped,
        arguments.bin_dir,
        arguments.conf_dir,
        arguments.prefix,
        arguments.subnet,
        arguments.mtu,
        arguments.conf,
        arguments.force,
    )
    if arguments.check:
        return _say_why_not(install.check, options)
    return _say_why_not(install.install, options, arguments.built)


def _uninstall(arguments: argparse.Namespace) -> int:
    from cni_bridge_py.installer import uninstall

    options = uninstall.Options(
        arguments.shipped, arguments.bin_dir, arguments.conf_dir, arguments.prefix, arguments.purge
    )
    return _say_why_not(uninstall.uninstall, options)


def _say_why_not(change: Any, *arguments: Any) -> int:
    """Make the change, whatever the caller's umask is. Returns the exit status."""
    os.umask(0o022)
    try:
        change(*arguments)
    except Refused as reason:
        for line in str(reason).splitlines():
            print(f"install.sh: {line}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"install.sh: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


SUBCOMMANDS = {"install": _install, "uninstall": _uninstall}
