"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import figures, sections
from bench.contestants import CHECKOUT, contestants, our_executable, references
from bench.figures import Row, Sample
from bench.pages import write_pages
from bench.quiet import wait_until_idle
from bench.setup import FULL, QUICK, Setup, Sizes
from bench.table import on_terminal, tables
from tests.harness import Node

WIDTH = 160
"""Columns. Tables are not squeezed into a terminal that has fewer."""


def main() -> None:
    """Measure, and say what came out."""
    arguments = read_arguments()
    if os.geteuid() != 0:
        raise SystemExit("bench/run wires pods on a private node, which needs root")
    console = Console()
    console.width = max(console.width, WIDTH)
    plugin = arguments.plugin or our_executable()
    directories = references() | {f"{each}/": each.resolve() for each in arguments.against}
    setup = Setup(contestants(plugin.resolve(), directories), sizes(arguments))
    rows: list[Row] = []
    for name in arguments.sections:
        found = measure(name, setup, console)
        console.print(import_module(f"bench.sections.{name}").TITLE, style="bold")
        for table in tables(found):
            console.print(on_terminal(table))
        rows += found
    if arguments.json:
        arguments.json.write_text(json.dumps(report(rows, setup), indent=2) + "\n")
    if arguments.write:
        write_pages(rows, setup, machine())


def read_arguments() -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Compare the plugin with the reference's, taking turns call by call. See bench/README.md.",
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(sections.NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, in about two minutes")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often to measure each thing")
    parser.add_argument("--pods", type=numbers, metavar="N,N...", help="sizes for the section growth")
    parser.add_argument("--burst", type=int, metavar="N", help="how many pods come at once")
    parser.add_argument("--leases", type=numbers, metavar="N,N...", help="sizes for the section ipam")
    parser.add_argument("--plugin", type=Path, help="our executable (default: this checkout's, built if necessary)")
    parser.add_argument(
        "--against", type=Path, action="append", default=[], metavar="DIR", help="more plugins to compare with"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument(
        "--write", action="store_true", help="put the figures into README.md and bench/ of this checkout"
    )
    arguments = parser.parse_args()
    if arguments.write and arguments.sections:
        parser.error("--write needs all sections")
    unknown = [name for name in arguments.sections if name not in sections.NAMES]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}: there are {', '.join(sections.NAMES)}")
    arguments.sections = arguments.sections or sections.NAMES
    for directory in arguments.against:
        if not (directory / "bridge").exists() or not (directory / "host-local").exists():
            parser.error(f"--against {directory}: there must be a bridge and a host-local")
    return arguments


def numbers(text: str) -> tuple[int, ...]:
    """`1,50,100`, as an argument."""
    return tuple(map(int, text.split(",")))


def sizes(arguments: argparse.Namespace) -> Sizes:
    """The sizes that were asked for."""
    asked = {name: getattr(arguments, name) for name in ("rounds", "pods", "burst", "leases")}
    return (QUICK if arguments.quick else FULL)._replace(**{name: size for name, size in asked.items() if size})


def measure(name: str, setup: Setup, console: Console) -> list[Row]:
    """The rows of a section."""
    if not wait_until_idle(setup.sizes.patience):
        console.print("This machine is busy with something else: do not trust the figures.", style="yellow")
    started = time.monotonic()
    with console.status(f"measuring {name}"):
        rows = figures.rows(name, samples(name, setup))
    console.print(f"{name}: {time.monotonic() - started:.0f} s", style="dim")
    return rows


def samples(name: str, setup: Setup) -> Iterator[Sample]:
    """Measure a section, in a node of its own."""
    if name in sections.OUTSIDE:
        yield from import_module(f"bench.sections.{name}").measure(setup)
        return
    with Node() as node:
        argv = ("env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-m", "bench.inside", name)
        process = node.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin
        assert process.stdout
        with process:
            process.stdin.write(setup.dumps())
            process.stdin.close()
            for line in process.stdout:
                yield Sample(*json.loads(line))
    if process.returncode:
        raise SystemExit(f"section {name} failed")


def report(rows: list[Row], setup: Setup) -> dict[str, Any]:
    """All figures, and where they come from."""
    return {
        "machine": machine(),
        "sizes": setup.sizes._asdict(),
        "contestants": {each.name: each.plugin for each in setup.contestants},
        "rows": [figures.as_json(row) for row in rows],
    }


def machine() -> dict[str, Any]:
    """The machine that the figures are of."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(": ")[2] if models else platform.machine(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "distribution": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "python": platform.python_version(),
    }


main()
