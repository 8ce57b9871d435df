"""An agent that is killed, whenever; and two of them by mistake."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import pytest

from tests.agent.conftest import Agents
from tests.agent.ground import (
    CONFLIST,
    AgentProcess,
    configuration,
    eventually,
    our_routes,
    routes_to,
    spec,
    subnets,
)
from tests.harness import Node

ONE, TWO, THREE = (spec(number, dual_stack=True) for number in (1, 2, 3))

WRITING = ("fchmod", "fsync", "mkdir", "rename", "sendmsg", "sendto", "unlink", "write")
STRACE = ("strace", "--follow-forks", "--seccomp-bpf", "--quiet=attach,exit,personality")

GOES_ALONG = ("setpriv", "--pdeathsig", "KILL")
"""What strace runs would outlive it."""


def damage(node: Node) -> None:
    """Leave the node with everything for the agent to do: ways to add and to remove, files to write."""
    for version in ("-4", "-6"):
        node.run("ip", version, "route", "flush", "protocol", "152")
    node.run(*["ip", "route", "add", "10.244.2.0/24", "via", "172.18.0.99", "protocol", "152"])
    node.run(*["ip", "route", "add", "10.99.0.0/24", "via", "172.18.0.99", "protocol", "152"])
    (node.root / CONFLIST).unlink(missing_ok=True)
    node.write("/opt/cni/bin/cni-bridge-py", "an older one")


def litter(node: Node) -> list[str]:
    """What is in the directories that should not be."""
    files = chain((node.root / "etc/cni/net.d").iterdir(), (node.root / "opt/cni/bin").iterdir())
    return [file.name for file in files if file.name not in ("10-bridge.conflist", "cni-bridge-py", "portmap")]


def is_whole(node: Node, plugins: Path) -> bool:
    """Whether what can be seen of the configuration and the plugin is all there: the old one, the new one, or none."""
    plugin = (node.root / "opt/cni/bin/cni-bridge-py").read_bytes()
    assert plugin in (b"an older one", (plugins / "cni-bridge-py").read_bytes())
    return configuration(node) is None or subnets(node) == ONE.pod_cidrs


def moments(log: Path) -> Iterator[tuple[str, int]]:
    """The system calls of a log: each name, and the number it has among its thread's."""
    met: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if match := re.match(r"(\d+) +(\w+)\(", line):
            met[match[1], match[2]] += 1
    highest = {name: max(count for (_, other), count in met.items() if other == name) for _, name in met}
    return ((name, number) for name, most in sorted(highest.items()) for number in range(1, most + 1))


def has_ended_or_is_ready(agent: AgentProcess) -> bool:
    return agent.process.poll() is not None or agent.get("/readyz") == "ok\n"


def sweep(agents: Agents, every: int) -> int:
    """Kill an agent on its way into system calls that write; after each, another puts everything right."""
    (node,) = agents.boot(ONE)
    agents.know(TWO, THREE)
    damage(node)
    log = node.directory / "strace"
    agent = agents.start(command=(*STRACE, "--output", str(log), f"--trace={','.join(WRITING)}", *GOES_ALONG))
    eventually(lambda: agent.get("/readyz"), "ok\n")
    agent.kill()
    chosen = list(moments(log))[::every]
    for name, number in chosen:
        damage(node)
        inject = f"--inject={name}:signal=KILL:when={number}"
        agent = agents.start(command=(*STRACE, "--output", str(log), f"--trace={name}", inject, *GOES_ALONG))
        eventually(partial(has_ended_or_is_ready, agent))
        agent.kill()
        assert is_whole(node, agents.plugins), f"killed at {name} no. {number}"
        assert_mended(agents, node, agents.start())
    return len(chosen)


def assert_mended(agents: Agents, node: Node, agent: AgentProcess) -> None:
    eventually(lambda: agent.get("/readyz"), "ok\n")
    assert our_routes(node) == routes_to(TWO, THREE)
    assert subnets(node) == ONE.pod_cidrs
    assert (node.root / "opt/cni/bin/cni-bridge-py").read_bytes() == (agents.plugins / "cni-bridge-py").read_bytes()
    assert litter(node) == []
    agent.kill()


def test_killed_on_its_way_into_some_system_calls(agents: Agents) -> None:
    assert sweep(agents, every=12) > 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_on_its_way_into_every_system_call(agents: Agents) -> None:
    assert sweep(agents, every=1) > 40


def test_two_agents_by_mistake(agents: Agents) -> None:
    """They agree. Neither undoes what the other does, nor says anything is wrong."""
    (node,) = agents.boot(ONE)
    agents.know(TWO)
    damage(node)
    both = [agents.start(port=9809), agents.start(port=9810)]
    for agent in both:
        eventually(partial(agent.get, "/readyz"), "ok\n")
    agents.know(THREE)
    eventually(lambda: our_routes(node), routes_to(TWO, THREE))
    agents.api.delete(TWO.name)
    eventually(lambda: our_routes(node), routes_to(THREE))
    for agent in both:
        for metric in ("routes_wanted", "routes_there"):
            eventually(partial(agent.metric, metric), 2)
        assert agent.metric("problems") is None
        assert "Traceback" not in agent.log
    assert litter(node) == []
    # Each has done something, or nothing; together they have done everything once or twice, and then rest.
    quiet = [agent.metric("mends_total") for agent in both]
    agents.know(spec(7))
    eventually(lambda: len(our_routes(node)), 3)
    assert [agent.metric("mends_total") for agent in both] != quiet


def test_an_agent_whose_port_is_taken_says_so(agents: Agents) -> None:
    agents.boot(ONE)
    first = agents.start()
    eventually(lambda: first.get("/healthz"), "ok\n")
    second = agents.start()
    assert second.process.wait(30) == 1
    assert second.log.splitlines()[-1] == "cni-bridge-py agent: 127.0.0.1:9809: [Errno 98] Address already in use"
