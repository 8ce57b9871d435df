"""Sweeps of errors: a call whose system call fails says so and leaves nothing, or it made no difference."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from itertools import count

from tests.faults import strace
from tests.faults.ground import DELEGATE_DIR, REFUSED, Ground
from tests.faults.strace import MEMORY, Moment
from tests.faults.sweep import Sweep, Trial
from tests.harness import Reply

ERRNOS = {
    "close": ["EIO", "EINTR"],
    "flock": ["ENOLCK", "EINTR"],
    "getdents64": ["EIO", "ENOMEM"],
    "ioctl": ["EPERM"],
    "link": ["ENOSPC", "EIO", "EPERM"],
    "mkdir": ["ENOSPC", "EIO", "EPERM"],
    "newfstatat": ["EIO", "ENOMEM", "EACCES"],
    "openat": ["EMFILE", "ENOMEM", "EIO", "EPERM", "EINTR"],
    "read": ["EIO", "EINTR", "EAGAIN"],
    "recvfrom": ["ENOBUFS", "ENOMEM", "EINTR", "EAGAIN"],
    "rmdir": ["EIO", "EPERM"],
    "sendto": ["ENOBUFS", "ENOMEM", "EPERM", "EINTR", "EAGAIN"],
    "setns": ["EPERM", "ENOMEM"],
    "setsockopt": ["ENOPROTOOPT", "ENOMEM", "EPERM"],
    "socket": ["EMFILE", "ENOMEM", "EPERM"],
    "unlink": ["EIO", "EPERM"],
    "write": ["ENOSPC", "EIO", "EINTR", "EAGAIN"],
    **{syscall: ["ENOMEM"] for syscall in MEMORY},
}
"""What a system call may fail with, of what is likely."""

LIKELY = ["EIO", "ENOMEM"]
"""What those may fail with that are not in the table."""

PASSING = {"EINTR", "EAGAIN"}
"""Errors that do not last."""

CANNOT_FAIL = {"exit_group", "geteuid", "umask", "wait4"}

INVALID_ENVIRONMENT, IO_FAILURE, INVALID_CONFIG, KERNEL_REFUSED, NOT_PERMITTED, INTERNAL = 4, 5, 7, 100, 101, 999
"""The codes that fit: CNI_NETNS cannot be used, a file cannot, the kernel refuses, and so on."""

REASON_LOST = {"ioctl"}
"""System calls whose error has one meaning, whatever it is."""

OWN_FAILURES = ("MemoryError", "ImportError", "ModuleNotFoundError")
"""How a failure inside of the interpreter is told, which is of no kind that a runtime could know."""


def sweep_errors(sweep: Sweep, verb: str, case: str, *, full: bool) -> None:
    """Fail the system calls of a verb where another pod lives: each alone, in full also with all of its name after."""
    moments = sweep.moments(sweep.ground(verb, case), verb)
    # Linux closes a file whatever close(2) returns, but does not when that is injected: a lock would be held on.
    lasting = [moment for moment in moments if moment.syscall != "close"]
    single = lasting if verb == REFUSED else moments
    trials = [failing(verb, *fault) for fault in errors_of(single, full=full)]
    if full:
        trials += [failing_onwards(verb, *f) for f in errors_of(lasting, full=False) if f[1] not in PASSING]
    sweep.run("errors", trials, lambda: sweep.ground(verb, case))


def sweep_errors_of_first_add(sweep: Sweep, case: str) -> None:
    """Fail the system calls of ADD where no pod has ever been."""
    moments = sweep.moments(sweep.fresh_ground(case), "ADD")
    sweep.run_on_fresh_nodes("errors", [failing_first_add(*fault) for fault in errors_of(moments, full=True)], case)


def errors_of(moments: list[Moment], *, full: bool) -> Iterator[tuple[Moment, str]]:
    """The errors to fail with: in full, all of the table; in short, they take turns, and there is memory enough."""
    turn = count()
    for moment in moments:
        if moment.syscall in CANNOT_FAIL or (moment.syscall in MEMORY and not full):
            continue
        errnos = ERRNOS.get(moment.syscall, LIKELY)
        yield from ((moment, each) for each in (errnos if full else [errnos[next(turn) % len(errnos)]]))


def failing(verb: str, moment: Moment, name: str) -> tuple[str, Trial]:
    """A trial: one system call of the verb fails with that error."""

    def trial(ground: Ground) -> None:
        ground.prepare(verb)
        reply = strace.failed(ground.node, ground.plugin, moment, name, lambda plugin: ground.call(verb, plugin))
        assert bool(reply.stderr) == is_unheard(verb, moment, name)
        ground.assert_leased()
        if reply.status == 0:
            assert_done(ground, verb, reply)
        else:
            assert_told(reply, verb, moment, name)
            assert_undone(ground, verb)

    return f"{verb}, {name} from {moment}", trial


def failing_onwards(verb: str, moment: Moment, name: str) -> tuple[str, Trial]:
    """A trial: one system call of the verb, and all of that name after it, fail with that error."""

    def trial(ground: Ground) -> None:
        ground.prepare(verb)
        reply = strace.failed(
            ground.node, ground.plugin, moment, name, lambda plugin: ground.call(verb, plugin), onwards=True
        )
        assert reply.stderr == ""
        ground.assert_leased()
        if reply.status == 0:
            assert_done(ground, verb, reply)
        else:
            assert reply.error if reply.stdout else moment.syscall == "write"
            assert verb == "CHECK" or ground.call("DEL").result == {}
            ground.assert_as_before()

    return f"{verb}, {name} from {moment} and all that follow", trial


def failing_first_add(moment: Moment, name: str) -> tuple[str, Trial]:
    """A trial: one system call of the first ADD on a node fails with that error."""

    def trial(ground: Ground) -> None:
        reply = strace.failed(ground.node, ground.plugin, moment, name, lambda plugin: ground.call("ADD", plugin))
        assert reply.stderr == ""
        if reply.status == 0:
            ground.assert_attached(reply.result)
            assert ground.call("DEL").result == {}
        else:
            assert_told(reply, "ADD", moment, name)
        ground.assert_absent()
        ground.assert_works()

    return f"first ADD, {name} from {moment}", trial


def assert_done(ground: Ground, verb: str, reply: Reply) -> None:
    """It made no difference: all is as after a call without the error."""
    assert verb != REFUSED
    if verb == "ADD":
        ground.assert_attached(reply.result)
        ground.assert_wired()
        assert ground.call("DEL").result == {}
    else:
        assert reply.result == {}
    ground.assert_as_before()


def assert_undone(ground: Ground, verb: str) -> None:
    """An ADD or a CHECK has left nothing; a DEL or a GC may have done a part, and does the rest when called again."""
    if verb in ("DEL", "GC"):
        assert ground.call(verb).result == {}
    elif verb == REFUSED:
        assert ground.call("DEL").result == {}
    ground.assert_as_before()


def is_unheard(verb: str, moment: Moment, name: str) -> bool:
    """Whether it is an error that cannot be written, also not when tried again, and is told on standard error."""
    return verb == REFUSED and moment.writes_answer and name != "EINTR"


def assert_told(reply: Reply, verb: str, moment: Moment, name: str) -> None:
    """One error of the specification's form on standard output, that names what failed and why."""
    if is_unheard(verb, moment, name):
        assert (reply.status, reply.stdout) == (1, "")
        assert reply.stderr.startswith("cni-bridge-py: the pod's route to")
        return
    error = reply.error
    assert reply.status == 1
    assert set(error) <= {"cniVersion", "code", "msg", "details"}
    if error["code"] == INTERNAL:
        assert error["msg"].startswith(OWN_FAILURES), error
        return
    if DELEGATE_DIR in moment.arguments and error["code"] == INVALID_CONFIG:
        return  # what cannot be looked at there is no plugin, and the next folder may have one
    assert error["code"] in (INVALID_ENVIRONMENT, IO_FAILURE, KERNEL_REFUSED, NOT_PERMITTED), error
    if verb != REFUSED and moment.syscall not in REASON_LOST:
        assert os.strerror(getattr(errno, name)) in error["msg"], error
