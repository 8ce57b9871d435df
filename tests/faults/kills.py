"""Sweeps of kills: whatever the runtime does after one, nothing is lost and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, product

from tests.faults import strace
from tests.faults.ground import Ground
from tests.faults.strace import Moment
from tests.faults.sweep import Sweep, Trial

WAITING = {"wait4", "waitid"}
"""Killed while another plugin works: that one goes on, beside all that comes after."""

AFTERMATHS = (Ground.deleted, Ground.collected, Ground.forgotten)


def sweep_kills(sweep: Sweep, verb: str, case: str, *, full: bool) -> None:
    """Kill a verb where another pod lives.

    In full: at every system call, with all that may come after. In short: at those that may change something, with
    one thing after each. After a CHECK, nothing need come.
    """
    aftermaths: tuple[Callable[[Ground], None], ...] = (Ground.assert_as_before,) if verb == "CHECK" else AFTERMATHS
    if case == "delegated" and verb != "CHECK":
        aftermaths = (Ground.deleted, Ground.collected)  # nobody reclaims what is another plugin's
    moments = [each for each in sweep.moments(sweep.ground(verb, case), verb) if each.syscall not in WAITING]
    chosen = product(moments, aftermaths) if full else zip(changing(moments), cycle(aftermaths), strict=False)
    sweep.run("kills", [killing(verb, *each) for each in chosen], lambda: sweep.ground(verb, case))


def sweep_kills_of_first_add(sweep: Sweep, case: str, *, full: bool) -> None:
    """Kill ADD where no pod has ever been, so that it also dies over what pods share."""
    moments = sweep.moments(sweep.fresh_ground(case), "ADD")
    trials = [killing("ADD", moment, Ground.begun_anew) for moment in (moments if full else changing(moments))]
    sweep.run_on_fresh_nodes("kills", trials, case)


def sweep_kills_after_loss(sweep: Sweep, case: str, *, full: bool) -> None:
    """Kill the ADD that finds the store new, and writes the living pods' leases anew."""

    def make_ground() -> Ground:
        ground = sweep.ground("ADD", case)
        ground.lose_store()
        ground.attach()
        assert ground.call("DEL").result == {}
        ground.before = ground.picture()
        return ground

    def losing(trial: Trial) -> Trial:
        def wrapped(ground: Ground) -> None:
            ground.lose_store()
            trial(ground)

        return wrapped

    ground = make_ground()
    ground.lose_store()
    moments = sweep.moments(ground, "ADD")
    trials = [killing("ADD", moment, Ground.begun_anew) for moment in (moments if full else changing(moments))]
    sweep.run("kills", [(fault, losing(trial)) for fault, trial in trials], make_ground)


def changing(moments: list[Moment]) -> list[Moment]:
    """The moments that may change something, and the last one, by which all is done.

    To be killed at one of the others is to be killed at the next.
    """
    return [moment for moment in moments[:-1] if moment.may_change] + moments[-1:]


def killing(verb: str, moment: Moment, aftermath: Callable[[Ground], None]) -> tuple[str, Trial]:
    """A trial: the verb is killed at that moment, and then comes that."""

    def trial(ground: Ground) -> None:
        ground.prepare(verb)
        strace.killed(ground.node, ground.plugin, moment, lambda plugin: ground.call(verb, plugin))
        aftermath(ground)

    return f"{verb} killed at {moment}, then {aftermath.__name__}", trial
