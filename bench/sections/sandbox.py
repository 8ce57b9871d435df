"""A pod's sandbox as the kubelet asks for it, of a real containerd."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench.contestants import Config, Contestant
from bench.driver import in_turn
from bench.figures import Sample
from bench.setup import Setup
from tests.containerd.runtime import Containerd
from tests.harness import Plugin

TITLE = "Through containerd (ipMasq)"


def measure(setup: Setup) -> Iterator[Sample]:
    """RunPodSandbox and StopPodSandbox. Each contestant has a containerd, in a node of its own."""
    with contextlib.ExitStack() as stack:
        runtimes = [
            (contestant.name, stack.enter_context(Containerd(Plugin(contestant.plugin), network(contestant))))
            for contestant in setup.contestants
            if not contestant.masquerades_otherwise
        ]
        yield from in_turn(runtimes, setup.sizes.sandboxes, come_and_go)


def come_and_go(runtime_of: tuple[str, Containerd]) -> Iterator[Sample]:
    """A sandbox is run, stopped and removed."""
    who, runtime = runtime_of
    started = time.perf_counter()
    sandbox_id = runtime.call("RunPodSandbox", config=runtime.next_pod()).pod_sandbox_id
    yield Sample("", "RunPodSandbox", "ms", who, (time.perf_counter() - started) * 1000)
    started = time.perf_counter()
    runtime.call("StopPodSandbox", pod_sandbox_id=sandbox_id)
    yield Sample("", "StopPodSandbox", "ms", who, (time.perf_counter() - started) * 1000)
    runtime.call("RemovePodSandbox", pod_sandbox_id=sandbox_id)


def network(contestant: Contestant) -> Config:
    """The configuration as a list of one plugin."""
    plugin = contestant.config("podnet")
    return {"cniVersion": plugin.pop("cniVersion"), "name": plugin.pop("name"), "plugins": [plugin]}
