"""Going through the system calls of a call of the plugin, with a trial for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.faults import strace
from tests.faults.ground import CASES, REFUSED, Ground
from tests.faults.strace import Moment
from tests.harness import Node, Plugin

EXPECTED = {
    "ADD": {"sendto", "socket", "openat", "mkdir", "link", "flock", "setns", "write"},
    "DEL": {"sendto", "socket", "openat", "unlink", "rmdir", "flock"},
    "CHECK": {"sendto", "socket", "openat", "flock", "setns"},
    "GC": {"sendto", "socket", "openat", "unlink", "rmdir", "flock"},
    REFUSED: {"sendto", "socket", "openat", "link", "unlink", "rmdir", "flock", "write"},
}
"""What each verb must have been seen to call, or the sweep was not of what it is about."""

OF_THE_STORE = {"mkdir", "link", "unlink", "rmdir", "flock"}
"""What is not called where another plugin holds the leases."""

ENOUGH = 10
"""Failures that a sweep tells of before it gives up."""

Trial = Callable[[Ground], None]


class Sweep:
    """Makes a sweep's nodes, tries one fault after the other, and counts."""

    def __init__(
        self, make_node: Callable[[], Node], plugin: Plugin, record_property: Callable[[str, object], None]
    ) -> None:
        self._make_node = make_node
        self._plugin = plugin
        self._record = record_property

    def fresh_ground(self, case: str) -> Ground:
        """A node where no pod has ever been."""
        return Ground(self._make_node(), self._plugin, CASES[case])

    def ground(self, verb: str, case: str) -> Ground:
        """A node where a pod lives, and another has come and gone; for a CHECK, that one lives, too."""
        ground = self.fresh_ground(case).settle(others=1)
        if verb == "CHECK":
            ground.attach()
            ground.before = ground.picture()
        return ground

    def moments(self, ground: Ground, verb: str) -> list[Moment]:
        """The system calls that a verb makes on that ground."""
        ground.prepare(verb)
        found = strace.moments(ground.node, ground.plugin, lambda plugin: ground.call(verb, plugin))
        missed = EXPECTED[verb] - {moment.syscall for moment in found}
        if ground.case == CASES["delegated"]:
            missed -= OF_THE_STORE
        assert not missed, f"{verb} was not seen to call {', '.join(sorted(missed))}"
        self._record("system calls", len(found))
        return found

    def run(self, counted: str, trials: Iterable[tuple[str, Trial]], make_ground: Callable[[], Ground]) -> None:
        """Do the trials, each of which leaves the ground as it was, and tell of all that failed."""
        failures: list[str] = []
        ground = make_ground()
        done = 0
        for fault, trial in trials:
            done += 1
            try:
                trial(ground)
            except Exception as error:
                failures.append(f"{fault}\n{type(error).__name__}: {error}")
                if len(failures) == ENOUGH:
                    break
                ground = make_ground()
        self._record(counted, done)
        assert not failures, "\n\n".join(failures)

    def run_on_fresh_nodes(self, counted: str, trials: Iterable[tuple[str, Trial]], case: str) -> None:
        """Do each trial where no pod has ever been; in the end it is to be as after one that came and went."""
        healthy = self.fresh_ground(case).settle(others=0)

        def on_a_fresh_node(trial: Trial) -> Trial:
            def wrapped(_: Ground) -> None:
                with Node() as node:
                    ground = Ground(node, self._plugin, CASES[case])
                    ground.before = healthy.before
                    trial(ground)

            return wrapped

        self.run(counted, ((fault, on_a_fresh_node(trial)) for fault, trial in trials), lambda: healthy)
