"""The verbs of the plugin `loopback`, which sets a pod's `lo` up. containerd calls it for every pod.

The executable is this plugin if it is run as `loopback`. It answers like the reference's plugin of that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from netaddr import IPNetwork

from cni_bridge_py.cni import runner, strictjson
from cni_bridge_py.cni.errors import INVALID_ENVIRONMENT, NOT_AS_EXPECTED, CniError
from cni_bridge_py.cni.request import Request
from cni_bridge_py.cni.result import OLDEST, Interface, IPConfig, Result, encode
from cni_bridge_py.config import network_name, prev_result
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netns import NetNS, NotANetworkNamespace
from cni_bridge_py.kernel.rtnetlink import IFF_UP, Link, set_down, set_link
from cni_bridge_py.section import Section
from cni_bridge_py.wiring.step import Explained

LO = "lo"
"""The interface. CNI_IFNAME is ignored."""

LOOPBACK_NETWORKS = (IPNetwork("127.0.0.0/8"), IPNetwork("::1/128"))


class NoPodNamespace(CniError):
    """CNI_NETNS is not a network namespace."""


def add(request: Request, raw: dict[str, Any]) -> dict[str, Any]:
    """ADD: set `lo` up. The result is that of the plugin before, or else the addresses of `lo`."""
    before = prev_result(Section(raw, ""))
    with _pod(request) as kernel:
        kernel.pod.ask(set_link(LO, flags=IFF_UP))
        made = before or _result(kernel, request.netns)
        return encode(made, strictjson.find(raw, "cniVersion") or OLDEST)


def delete(request: Request, raw: dict[str, Any]) -> None:
    """DEL: set it down, as the reference does. Without a namespace, there is nothing to do."""
    with suppress(NoPodNamespace), _pod(request) as kernel:
        kernel.pod.ask(set_down(LO))


def check(request: Request, raw: dict[str, Any]) -> None:
    """CHECK: check that it is up."""
    with _pod(request) as kernel:
        if not _lo(kernel).is_up:
            raise CniError(NOT_AS_EXPECTED, f"{LO} in {request.netns} is down")


def status(request: Request, raw: dict[str, Any]) -> None:
    """STATUS: nothing can be missing."""


def gc(request: Request, raw: dict[str, Any]) -> None:
    """GC: nothing can be left behind, because `lo` disappears with its namespace."""


VERBS: dict[str, runner.Verb] = {"ADD": add, "DEL": delete, "CHECK": check, "STATUS": status, "GC": gc}


def main() -> int:
    """Serve one invocation by a container runtime; return the exit status."""
    return runner.run({name: _named(verb) for name, verb in VERBS.items()})


def _named(verb: runner.Verb) -> runner.Verb:
    """The verb, after a check that the network has a name."""

    def named(request: Request, raw: dict[str, Any]) -> dict[str, Any] | None:
        network_name(Section(raw, ""))
        return verb(request, raw)

    return named


@contextmanager
def _pod(request: Request) -> Iterator[Kernel]:
    """The kernel in the pod's namespace. Raises NoPodNamespace, or CniError if the kernel refuses something."""
    try:
        netns = NetNS(request.netns)
    except NotANetworkNamespace as error:
        raise NoPodNamespace(INVALID_ENVIRONMENT, f"CNI_NETNS: {request.netns}: {error}") from None
    with netns, Explained(f"{request.command} of {LO}"):
        yield Kernel(netns)


def _lo(kernel: Kernel) -> Link:
    link = kernel.pod.link(LO)
    if not link:  # every namespace has it
        raise CniError(NOT_AS_EXPECTED, f"there is no {LO} in {kernel.pod_netns.path}")
    return link


def _result(kernel: Kernel, netns: str) -> Result:
    index = _lo(kernel).index
    addresses = [*kernel.pod.addresses(index, 4), *kernel.pod.addresses(index, 6)]
    ips = [
        IPConfig(each, interface=0) for each in addresses if any(each.ip in network for network in LOOPBACK_NETWORKS)
    ]
    return Result([Interface(LO, "00:00:00:00:00:00", netns)], ips, [], {})
