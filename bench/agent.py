"""The node agent in large clusters: `sudo .venv/bin/python -m bench.agent [NODES ...]`.

One agent, on a node made of namespaces, against the tests' stand-in for the API server, whose nodes are of a real one's
size. The stand-in is a Python program on the same machine: what it takes to answer is in the times.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.agent.ground import AgentProcess, Ground, Spec
from tests.harness import Node

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
CALM_SECONDS = 60
STATUS_SECONDS = 300
"""A kubelet that has no news writes its node's status that often."""

CHANGES = 5


def spec(number: int) -> Spec:
    """A node of a large cluster."""
    high, low = divmod(number, 250)
    return Spec(f"node-{number}", [f"10.{high}.{low}.0/24"], [f"172.18.{high}.{low + 2}"])


def routes(node: Node) -> int:
    """How many routes of ours there are."""
    return len(node.run("ip", "route", "show", "protocol", "152").stdout.splitlines())


def until(holds: Callable[[], bool]) -> float:
    """Wait; seconds since the epoch when it was so."""
    while not holds():
        time.sleep(0.01)
    return time.monotonic()


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has taken."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / CLOCK_TICKS


def measure(count: int) -> Iterator[tuple[str, str]]:
    """The figures of a cluster of so many nodes."""
    with Ground() as ground:
        me, *others = [spec(number) for number in range(count)]
        node = ground.node(me)
        for each in (me, *others):
            ground.api.put(each.name, each.pod_cidrs, each.addresses)
        began = time.monotonic()
        agent = AgentProcess(node, me.name, node.directory / "none")
        yield "all routes there after (s)", f"{until(lambda: routes(node) == count - 1) - began:.2f}"
        yield "processor time that it took till then (s)", f"{cpu_seconds(agent.pid):.2f}"
        yield "requests to list them", str(ground.api.count("list"))
        until(lambda: agent.get("/readyz") != "")
        took = []
        for number in range(count, count + CHANGES):
            time.sleep(2)
            joined = spec(number)
            began = time.monotonic()
            ground.api.put(joined.name, joined.pod_cidrs, joined.addresses)
            took.append(until(lambda wanted=number: routes(node) == wanted) - began)  # type: ignore[misc]
        yield "a node that joins has its route after (s)", f"{sorted(took)[CHANGES // 2]:.2f}"
        yield from calm(ground, agent, others)
        yield "resident memory (MB)", f"{agent.rss:.1f}"
        yield "the most it ever was (MB)", f"{peak(agent.pid):.1f}"


def calm(ground: Ground, agent: AgentProcess, others: list[Spec]) -> Iterator[tuple[str, str]]:
    """What it takes while nothing happens but that kubelets write their nodes' status."""
    time.sleep(10)
    calls, began, cpu = len(ground.api.calls), time.monotonic(), cpu_seconds(agent.pid)
    pause = STATUS_SECONDS / len(others)
    turn = 0
    while time.monotonic() - began < CALM_SECONDS:
        each = others[turn % len(others)]
        ground.api.put(each.name, each.pod_cidrs, each.addresses)
        turn += 1
        time.sleep(max(0, began + turn * pause - time.monotonic()))
    share = (cpu_seconds(agent.pid) - cpu) / (time.monotonic() - began)
    yield "of a processor, in calm (%)", f"{100 * share:.2f}"
    yield "requests in a calm minute", str(len(ground.api.calls) - calls)


def peak(pid: int) -> float:
    """The most resident memory that a process had, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Measure, and say what came out."""
    parser = argparse.ArgumentParser(prog="python -m bench.agent")
    parser.add_argument("nodes", nargs="*", type=int, default=[100, 1000, 5000], help="sizes of clusters")
    found = {count: dict(measure(count)) for count in parser.parse_args().nodes}
    table = Table("", *(f"{count:,} nodes" for count in found))
    for what in next(iter(found.values())):
        table.add_row(what, *(figures[what] for figures in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
