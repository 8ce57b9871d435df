"""What an ADD and a DEL cannot do without: an interpreter, and the kernel's work."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from bench.driver import PATH, Call, Host, Process, in_turn, make_pod
from bench.figures import OURS, Sample
from bench.setup import Setup
from cni_bridge_py import plugin
from cni_bridge_py.addresses import parse_address, parse_ip
from cni_bridge_py.cni.request import read_request
from cni_bridge_py.cni.result import IPConfig, Result
from cni_bridge_py.config import read_config
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netns import NetNS
from cni_bridge_py.wiring import names, plan
from cni_bridge_py.wiring.step import Step, apply_all

TITLE = "The floor (ipMasq)"

PYTHON = [os.path.realpath(sys.executable), "-I", "-S", "-c", ""]

ADDRESS = IPConfig(parse_address("10.22.200.1/16"), parse_ip("10.22.0.1"))

T = TypeVar("T")


def measure(setup: Setup) -> Iterator[Sample]:
    """The parts alone, and the whole against the sum of those that there must be."""
    host = Host(setup.contestants[0])
    host.call("ADD", make_pod())
    yield from in_turn([host], setup.sizes.rounds, partial(parts, setup.bare))


def parts(bare: str, host: Host) -> Iterator[Sample]:
    """Each part once."""
    pod = host.next_pod()
    yield from run(PYTHON).samples("start", "python3 -I -S -c ''", OURS)
    start = run([bare])
    yield from start.samples("start", "frozen, does nothing", OURS)
    yield from host.call("VERSION", pod).samples("start", "VERSION", OURS)

    for verb, call in in_this_process(host).items():
        yield from call.samples("in a process that is there", verb, OURS)
    for verb, call in kernel_alone(host).items():
        yield from call.samples("the kernel's work", verb, OURS)
        yield from host.call(verb, pod).samples("whole, against the least", verb, OURS)
        least = Call(start.wall + call.wall, start.cpu + call.cpu, 0, b"")
        yield from least.samples("whole, against the least", verb, "frozen + kernel")


def run(argv: list[str]) -> Call:
    """Run a command that has no input, and is told that a runtime calls it."""
    return Process(argv, {"PATH": PATH, "CNI_COMMAND": "VERSION"}).wait()


def in_this_process(host: Host) -> dict[str, Call]:
    """The verbs, called as functions: what is left without the start of a process and its imports."""
    pod = host.next_pod()
    add, delete = (read_request(host.environment(verb, pod)) for verb in ("ADD", "DEL"))
    with host.inside():
        return {
            "ADD": timed(lambda: plugin.add(add, host.config)),
            "DEL": timed(lambda: plugin.delete(delete, host.config)),
        }


def kernel_alone(host: Host) -> dict[str, Call]:
    """The steps of the verbs: netlink messages and sysctls, and nothing read or written besides."""
    pod = host.next_pod()
    config = read_config(host.config, {})
    veth = names.host_veth(pod.container_id, "eth0")
    steps = plan.wiring(config, veth, "eth0", Result([], [ADDRESS], [], {}), "default/example").steps
    with host.inside():
        return {
            "ADD": timed(lambda: apply_in(pod.netns, steps)),
            "DEL": timed(lambda: apply_all(plan.detachment(config, veth), Kernel())),
        }


def apply_in(netns: str, steps: list[Step]) -> None:
    """Apply steps that wire the pod with that namespace."""
    with NetNS(netns) as pod:
        apply_all(steps, Kernel(pod))


def timed(act: Callable[[], object]) -> Call:
    """What a function takes in this process."""
    started, cpu = time.perf_counter(), time.process_time()
    act()
    return Call((time.perf_counter() - started) * 1000, (time.process_time() - cpu) * 1000, 0, b"")
