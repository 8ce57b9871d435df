"""The kernel as a verb sees it: the host's links, the pod's links, and the host's packet filter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from cni_bridge_py.kernel.netns import Inside, NetNS
from cni_bridge_py.kernel.nftables import Nftables
from cni_bridge_py.kernel.rtnetlink import Rtnetlink


class Kernel:
    """Sockets in the host's namespace and, if there is one, in the pod's. Each is opened when it is first used.

    As a context manager, it closes them. Otherwise Python would close them with a warning.
    """

    def __init__(self, netns: NetNS | None = None) -> None:
        self.netns = netns
        self._host: Rtnetlink | None = None
        self._pod: Rtnetlink | None = None
        self._nftables: Nftables | None = None

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for each in (self._host, self._pod, self._nftables):
            if each:
                each.close()

    @property
    def host(self) -> Rtnetlink:
        """rtnetlink of the host's namespace."""
        self._host = self._host or Rtnetlink()
        return self._host

    @property
    def pod(self) -> Rtnetlink:
        """rtnetlink of the pod's namespace."""
        if not self._pod:
            with Inside(self.pod_netns):
                self._pod = Rtnetlink()
        return self._pod

    @property
    def nftables(self) -> Nftables:
        """nftables of the host's namespace."""
        self._nftables = self._nftables or Nftables()
        return self._nftables

    @property
    def pod_netns(self) -> NetNS:
        """The pod's namespace, in verbs that have one."""
        if not self.netns:
            raise LookupError("this verb has no pod namespace")
        return self.netns

    @contextmanager
    def inside_pod(self) -> Iterator[None]:
        """A context manager that moves the process into the pod's namespace, for sysctls."""
        with Inside(self.pod_netns):
            # Open it now: entering the namespace again, for the next request, would take four system calls.
            self._pod = self._pod or Rtnetlink()
            yield
