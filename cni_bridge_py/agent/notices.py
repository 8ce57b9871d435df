"""What wakes the agent: the kernel, if a link, an address, a route or the ruleset changes; Kubernetes; or time."""

from __future__ import annotations

import logging
import threading
import time

from pyroute2 import IPRoute
from pyroute2.netlink import rtnl
from pyroute2.netlink.nfnetlink.nftsocket import NFTSocket

RTNETLINK_GROUPS = (
    rtnl.RTMGRP_LINK
    | rtnl.RTMGRP_IPV4_IFADDR
    | rtnl.RTMGRP_IPV6_IFADDR
    | rtnl.RTMGRP_IPV4_ROUTE
    | rtnl.RTMGRP_IPV6_ROUTE
)
NFTABLES_GROUP = 1 << (7 - 1)
"""NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h, as a bit."""

AGAIN_SECONDS = 5
"""Seconds to wait after a socket failed, as it does if too much happens at once."""

log = logging.getLogger(__name__)


class Bell:
    """Rung by anything that sees a change. The waiter learns who rang, but not how often."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reasons: set[str] = set()

    def ring(self, reason: str) -> None:
        """Wake the waiter, or let it not wait the next time."""
        with self._changed:
            self._reasons.add(reason)
            self._changed.notify()

    def wait(self, seconds: float) -> set[str]:
        """Wait until somebody rings, or for some time; return who rang."""
        with self._changed:
            self._changed.wait_for(lambda: self._reasons, seconds)
            reasons, self._reasons = self._reasons, set()
            return reasons


def listen_to_links(bell: Bell) -> None:
    """Ring whenever a link, an address or a route changes, for ever."""
    while True:
        try:
            with IPRoute() as socket:
                socket.bind(groups=RTNETLINK_GROUPS)
                bell.ring("kernel")  # for changes from before we listened
                while True:
                    for _ in socket.get():
                        bell.ring("kernel")
        except Exception as error:
            log.warning("rtnetlink: %s; listening again", error)
            time.sleep(AGAIN_SECONDS)


def listen_to_ruleset(bell: Bell) -> None:
    """Ring whenever nftables' ruleset changes, for ever; return if the kernel has no nftables."""
    while True:
        try:
            with NFTSocket() as socket:
                socket.bind(groups=NFTABLES_GROUP)
                bell.ring("ruleset")
                while True:
                    for _ in socket.get():
                        bell.ring("ruleset")
        except Exception as error:
            log.warning("nftables: %s; listening again", error)
            time.sleep(AGAIN_SECONDS)
