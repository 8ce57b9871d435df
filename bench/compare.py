"""How long a pod takes: our executable and the reference plugins, call by call in turn, on one private node.

    sudo .venv/bin/python bench/compare.py

Both wire pods with the shipped conf/10-bridge.conf (the reference with its `type` changed), each to a bridge of its
own. Figures are medians of wall-clock milliseconds of the whole process, and our part of the reference's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
REFERENCE = "/usr/lib/cni/bridge"
VERBS = ("ADD", "CHECK", "DEL")

Config = dict[str, Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugin", type=Path, help="our executable (default: the bundle, built if need be)")
    parser.add_argument("--rounds", type=int, default=20, help="pods measured (default: %(default)s)")
    parser.add_argument("--pods", type=int, default=0, help="pods of each plugin that are there all the time")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        json.dump(measure(str(arguments.plugin), arguments.rounds, arguments.pods), sys.stdout)
        return
    sys.path.insert(0, str(CHECKOUT))
    from tests.bundle import build_bundle
    from tests.harness import Node

    plugin = arguments.plugin or build_bundle() / "cni-bridge-py"
    command = [sys.executable, __file__, "--inside", f"--plugin={plugin}"]
    command += [f"--rounds={arguments.rounds}", f"--pods={arguments.pods}"]
    with Node() as node:
        show(json.loads(node.run(*command, timeout=600).stdout), arguments.pods)


def measure(plugin: str, rounds: int, pods: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each call, by plugin and verb. Runs inside the node."""
    config: Config = json.loads((CHECKOUT / "conf" / "10-bridge.conf").read_text())
    ours = config | {"type": Path(plugin).name, "name": "ours", "bridge": "ours0"}
    reference = config | {"type": "bridge", "name": "reference", "bridge": "reference0"}
    reference["ipam"] = config["ipam"] | {"subnet": "10.23.0.0/16"}
    contestants = {plugin: ours, REFERENCE: reference}
    times: dict[str, dict[str, list[float]]] = {name: {verb: [] for verb in VERBS} for name in contestants}
    for number in range(pods + 1):  # the first one makes the bridge and the rules
        for executable, network in contestants.items():
            wire(executable, network, f"stays-{number}-{network['name']}")
    for number in range(rounds):
        for executable, network in contestants.items():
            for verb, milliseconds in life(executable, network, f"pod-{number}").items():
                times[executable][verb].append(milliseconds)
    return times


def life(executable: str, network: Config, pod: str) -> dict[str, float]:
    """Milliseconds of ADD, CHECK and DEL of one pod."""
    added, result = wire(executable, network, pod)
    network = network | {"prevResult": json.loads(result)}
    checked, _ = call(executable, "CHECK", network, pod)
    deleted, _ = call(executable, "DEL", network, pod)
    subprocess.run(["ip", "netns", "del", pod], check=True)
    return {"ADD": added, "CHECK": checked, "DEL": deleted}


def wire(executable: str, network: Config, pod: str) -> tuple[float, bytes]:
    """Make a pod's namespace and ADD it."""
    subprocess.run(["ip", "netns", "add", pod], check=True)
    return call(executable, "ADD", network, pod)


def call(executable: str, verb: str, network: Config, pod: str) -> tuple[float, bytes]:
    """Milliseconds and output of one call."""
    environment = {
        "PATH": os.environ["PATH"],
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": f"{network['name']}-{pod}",
        "CNI_NETNS": f"/run/netns/{pod}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/usr/lib/cni",
    }
    started = time.perf_counter()
    done = subprocess.run([executable], input=json.dumps(network).encode(), env=environment, capture_output=True)
    milliseconds = (time.perf_counter() - started) * 1000
    if done.returncode:
        raise SystemExit(f"{executable} {verb} failed: {done.stdout.decode()}{done.stderr.decode()}")
    return milliseconds, done.stdout


def show(times: dict[str, dict[str, list[float]]], pods: int) -> None:
    """Print a table of medians and ratios."""
    from rich.console import Console
    from rich.table import Table

    ours, reference = times.values()
    table = Table("verb", "ours (ms)", "reference (ms)", "ours / reference")
    for verb in VERBS:
        mine, theirs = statistics.median(ours[verb]), statistics.median(reference[verb])
        table.add_row(verb, f"{mine:.1f}", f"{theirs:.1f}", f"{mine / theirs:.2f}")
    console = Console()
    console.print(table)
    console.print(f"median of {len(ours['ADD'])}, with {pods + 1} pods of each plugin on the node")


if __name__ == "__main__":
    main()
