"""How steps are run: in order, undone in reverse, and what is said when one fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from netaddr import IPNetwork

from cni_bridge_py.addresses import parse_ip
from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.cni.result import Route
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import Message, NetlinkError, NoAnswer
from cni_bridge_py.kernel.rtnetlink import KernelRoute
from cni_bridge_py.wiring.pod_steps import AttachToBridge
from cni_bridge_py.wiring.step import Step, apply_all, check_all
from tests.unit.support import add_route, refusal, route_to


class Noted(Step):
    """A step that notes what it does, and may fail at it."""

    def __init__(
        self,
        name: str,
        notes: list[str],
        *,
        apply: Exception | None = None,
        check: Exception | None = None,
    ) -> None:
        self.name, self.notes = name, notes
        self.failures = {"apply": apply, "check": check}

    def __str__(self) -> str:
        return f"step {self.name}"

    def _do(self, what: str) -> None:
        self.notes.append(f"{what} {self.name}")
        if failure := self.failures[what]:
            raise failure

    def apply(self, kernel: Kernel) -> None:
        self._do("apply")

    def check(self, kernel: Kernel) -> None:
        self._do("check")


KERNEL = Kernel()
"""Its sockets are made when first used, which they are not."""


def test_steps_are_applied_in_order() -> None:
    notes: list[str] = []
    apply_all([Noted("a", notes), Noted("b", notes)], KERNEL)
    assert notes == ["apply a", "apply b"]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (NetlinkError(16, "Device or resource busy"), "Device or resource busy"),
        (NoAnswer(OSError(105, "No buffer space available")), "netlink: No buffer space available"),
    ],
)
def test_the_first_step_that_fails_is_the_last_and_told(failure: Exception, reason: str) -> None:
    notes: list[str] = []
    error = refusal(apply_all, [Noted("a", notes), Noted("b", notes, apply=failure), Noted("c", notes)], KERNEL)
    assert notes == ["apply a", "apply b"]
    assert (error.code, error.msg) == (100, f"step b: {reason}")


def test_the_first_step_that_does_not_check_is_told() -> None:
    notes: list[str] = []
    steps = [Noted("a", notes), Noted("b", notes, check=CniError(105, "b is gone")), Noted("c", notes)]
    error = refusal(check_all, steps, KERNEL)
    assert notes == ["check a", "check b"]
    assert (error.code, error.msg) == (105, "b is gone")


@pytest.mark.parametrize("run", [apply_all, check_all])
@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (NetlinkError(16, "in the kernel's words"), 100, "step a: in the kernel's words"),
        (NetlinkError(16, ""), 100, "step a: Device or resource busy"),
        (NetlinkError(1, ""), 101, "step a: Operation not permitted"),
        (OSError(13, "Permission denied", "/proc/sys/x"), 101, "step a: /proc/sys/x: Permission denied"),
        (OSError(30, "Read-only file system", "/proc/sys/x"), 100, "step a: /proc/sys/x: Read-only file system"),
        pytest.param(OSError(22, "Invalid argument"), 100, "step a: Invalid argument", id="no file is named"),
        (CniError(103, "there already", "a way out"), 103, "there already"),
    ],
)
def test_a_failure_says_which_step_it_was(
    run: Callable[[list[Step], Kernel], None], failure: Exception, code: int, message: str
) -> None:
    error = refusal(run, [Noted("a", [], apply=failure, check=failure)], KERNEL)
    assert (error.code, error.msg) == (code, message)


# A pod's route


MAIN = KernelRoute(IPNetwork("10.9.0.0/16"), [parse_ip("10.1.0.1")], 2, 254, 0, 0, 1300, 0, 3)


class FakePod:
    """A pod that has one route."""

    def routes(self, version: int) -> list[KernelRoute]:
        return [MAIN] if version == 4 else []


def check_route(route: Route, gw: str = "") -> None:
    kernel = Kernel()
    kernel._pod = FakePod()  # type: ignore[assignment]
    add_route("eth0", route, gw).check(kernel)


@pytest.mark.parametrize(
    "route",
    [
        route_to("10.9.0.0/16"),
        route_to("10.9.1.2/16"),
        route_to("10.9.0.0/16", "10.1.0.1"),
        route_to("10.9.0.0/16", mtu=1300),
        route_to("10.9.0.0/16", table=254),
        # The kernel takes table 0, RT_TABLE_UNSPEC, for the main one.
        route_to("10.9.0.0/16", table=0),
    ],
    ids=repr,
)
def test_a_route_that_is_there_passes(route: Route) -> None:
    check_route(route)


@pytest.mark.parametrize(
    "route",
    [
        route_to("10.8.0.0/16"),
        route_to("10.9.0.0/17"),
        route_to("fd00::/64"),
        route_to("10.9.0.0/16", "10.1.0.2"),
        route_to("10.9.0.0/16", "0.0.0.0"),
        route_to("10.9.0.0/16", scope=253),
        route_to("10.9.0.0/16", mtu=1400),
        route_to("10.9.0.0/16", advmss=1260),
        route_to("10.9.0.0/16", priority=5),
        route_to("10.9.0.0/16", table=100),
    ],
    ids=repr,
)
def test_a_route_that_is_not_there_is_told(route: Route) -> None:
    error = refusal(check_route, route, route.gw)
    via = " on its link" if route.is_on_link else f" via {route.gw}" if route.gw else ""
    assert (error.code, error.msg) == (105, f"the pod has no route to {route.dst}{via}")


# The alias of the host's end


class FakeRtnetlink:
    def __init__(self) -> None:
        self.asked: list[Message] = []

    def link(self, name: str) -> object:
        return type("Link", (), {"index": 5})

    def ask(self, message: Message) -> None:
        self.asked.append(message)


def test_an_alias_that_is_no_utf_8_is_no_reason_to_fail() -> None:
    # Bytes of CNI_ARGS that are no UTF-8 come out of the environment as lone surrogates.
    kernel = Kernel()
    kernel._host = fake = FakeRtnetlink()  # type: ignore[assignment]
    apply_all([AttachToBridge("veth1", "cni0", "shop/cart-\udcff", False)], kernel)
    [plugged_in, _up] = fake.asked
    assert b"shop/cart-" in plugged_in.payload
