"""What a step is: it applies itself, checks itself, and explains itself as commands."""

from __future__ import annotations

from collections.abc import Sequence
from errno import EACCES, EPERM
from shlex import quote
from types import TracebackType

from cni_bridge_py.addresses import InterfaceAddress
from cni_bridge_py.cni.errors import (
    KERNEL_REFUSED,
    LIMITED_CONNECTIVITY,
    NOT_AS_EXPECTED,
    NOT_PERMITTED,
    PLUGIN_NOT_AVAILABLE,
    CniError,
)
from cni_bridge_py.kernel import sysctl
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import NetlinkError, NoAnswer
from cni_bridge_py.kernel.rtnetlink import Link


class Step:
    """One step, with defaults for what most steps share."""

    def apply(self, kernel: Kernel) -> None:
        """Do it. Raises CniError, NetlinkError or OSError."""
        raise NotImplementedError

    def check(self, kernel: Kernel) -> None:
        """Check that it is so. Raises CniError 105, which names what is not."""

    def see_ready(self, kernel: Kernel) -> None:
        """Check whether `apply` would be refused. Changes nothing.

        Raises CniError with the reason. The code is 51 if running pods are affected, too.
        """

    def commands(self) -> list[str]:
        """The same as `apply`, as shell commands."""
        raise NotImplementedError


def apply_all(steps: Sequence[Step], kernel: Kernel) -> None:
    """Apply the steps in order. After a failure, nothing is undone here: the steps of DEL do that.

    Raises CniError, which says which step failed and why.
    """
    for step in steps:
        with Explained(step):
            step.apply(kernel)


def check_all(steps: Sequence[Step], kernel: Kernel) -> None:
    """Check the steps in order.

    Raises CniError 105 for the first thing that is not as the steps would leave it.
    """
    for step in steps:
        with Explained(step):
            step.check(kernel)


def see_ready(steps: Sequence[Step], kernel: Kernel) -> None:
    """Check whether the steps could be applied.

    Raises CniError 50 or 51 for the first step that could not.
    """
    for step in steps:
        try:
            with Explained(step):
                step.see_ready(kernel)
        except CniError as error:
            code = LIMITED_CONNECTIVITY if error.code == LIMITED_CONNECTIVITY else PLUGIN_NOT_AVAILABLE
            raise CniError(code, error.msg, error.details) from None


class Explained:
    """A context manager that turns an error of the kernel into a CniError, which says what was being done."""

    def __init__(self, what: object) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, (NetlinkError, NoAnswer, OSError)):
            code = NOT_PERMITTED if error.errno in (EPERM, EACCES) else KERNEL_REFUSED
            reason = error.strerror if isinstance(error, OSError) else str(error)
            place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
            raise CniError(code, f"{self._what}: {place}{reason}") from None


def expect(holds: object, reason: str) -> None:
    """Raise CniError 105 with `reason` unless the condition is true."""
    if not holds:
        raise CniError(NOT_AS_EXPECTED, reason)


def on_host(kernel: Kernel, name: str) -> Link:
    """The host's link of that name. Raises CniError 105 if there is none."""
    return _existing(kernel.host.link(name), name, "host")


def in_pod(kernel: Kernel, name: str) -> Link:
    """The pod's link of that name. Raises CniError 105 if there is none."""
    return _existing(kernel.pod.link(name), name, kernel.pod_netns.path)


def enable_ipv6(interface: str) -> None:
    """Switch IPv6 on, for an interface of the process's namespace: a node or a runtime may have switched it off.

    Raises CniError 100 if the kernel has no IPv6, OSError if it cannot be switched on.
    """
    try:
        sysctl.ensure(disable_ipv6(interface), "0")
    except FileNotFoundError:
        need_ipv6()
        raise


def need_ipv6() -> None:
    """See that the kernel has IPv6. Raises CniError 100."""
    if not sysctl.exists("net/ipv6/conf"):
        raise CniError(
            KERNEL_REFUSED,
            "pods get IPv6 addresses, but this node's kernel has no IPv6",
            "give them IPv4 addresses only, or boot the node without ipv6.disable=1",
        )


def accept_ra(interface: str) -> str:
    """The parameter that lets an interface accept router advertisements: 0 no, 1 unless the node forwards, 2 yes."""
    return f"net/ipv6/conf/{interface}/accept_ra"


def disable_ipv6(interface: str) -> str:
    """The parameter that switches IPv6 off at an interface."""
    return f"net/ipv6/conf/{interface}/disable_ipv6"


def accept_dad(interface: str) -> str:
    """The parameter by which the kernel looks for others that have an interface's IPv6 addresses."""
    return f"net/ipv6/conf/{interface}/accept_dad"


def keep_addr_on_down(interface: str) -> str:
    """The parameter that lets IPv6 addresses survive `ip link set INTERFACE down`, as IPv4 addresses do."""
    return f"net/ipv6/conf/{interface}/keep_addr_on_down"


def _existing(link: Link | None, name: str, where: str) -> Link:
    if not link:
        raise CniError(NOT_AS_EXPECTED, f"{where}: there is no interface {name}")
    return link


def add_address_command(address: InterfaceAddress, interface: str, dad: bool = False) -> str:
    """ip address add, as the plugin does it."""
    # By default, `ip` sets no broadcast address, and waits for duplicate address detection.
    option = " broadcast +" if address.version == 4 else "" if dad else " nodad"
    return f"ip address add {address}{option} dev {quote(interface)}"
