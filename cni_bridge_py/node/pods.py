"""Temporary pods: each is a child process in a network namespace of its own."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time

from netaddr import IPAddress

from cni_bridge_py.cni.errors import NOT_PERMITTED, CniError
from cni_bridge_py.kernel.netns import CLONE_NEWNET, Inside, NetNS

SECONDS = 2
"""How long to wait for an answer."""

ECHO = {4: (socket.AF_INET, socket.IPPROTO_ICMP, 8, 0), 6: (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129)}
"""Family, protocol, types of request and reply (RFC 792, RFC 4443)."""


class Pod:
    """A network namespace that lives as long as this process, or until `close`."""

    def __init__(self, name: str, container_id: str) -> None:
        """Make it. Raises CniError 101 if that is not permitted."""
        self.name = name
        self.container_id = container_id
        ready, tell = os.pipe()
        wait, self._alive = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._alive)
            try:
                unshare_network()
                os.write(tell, b".")
                os.read(wait, 1)  # returns when the parent closes its end
            finally:
                os._exit(0)
        os.close(tell)
        os.close(wait)
        made = os.read(ready, 1)
        os.close(ready)
        if not made:
            self.close()
            raise CniError(NOT_PERMITTED, "network namespaces cannot be made here", "that needs CAP_SYS_ADMIN")
        self.netns = f"/proc/{self._pid}/ns/net"

    def close(self) -> None:
        """Let the namespace go."""
        os.close(self._alive)
        os.waitpid(self._pid, 0)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket inside."""
        with NetNS(self.netns) as netns, Inside(netns):
            return socket.socket(family, kind, protocol)

    def ping(self, address: str) -> float:
        """Milliseconds until `address` answered an ICMP echo request. Raises OSError if it did not."""
        family, protocol, request, reply = ECHO[IPAddress(address).version]
        with self.socket(family, socket.SOCK_RAW, protocol) as icmp:
            return _ping(icmp, address, request, reply)


def unshare_network() -> None:
    """Move this process into a new network namespace. Raises OSError."""
    # os.unshare() comes with Python 3.12
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def _ping(icmp: socket.socket, address: str, request: int, reply: int) -> float:
    number = os.getpid() & 0xFFFF
    packet = struct.pack(">BBHHH", request, 0, 0, number, 1)
    checksum = -sum(struct.unpack(">4H", packet)) % 0xFFFF  # RFC 1071; the kernel fills in ICMPv6's
    started = time.monotonic()
    icmp.sendto(packet[:2] + struct.pack(">H", checksum) + packet[4:], (address, 0))
    while (left := started + SECONDS - time.monotonic()) > 0:
        icmp.settimeout(left)
        data, (sender, *_) = icmp.recvfrom(1500)
        header = (data[0] & 15) * 4 if icmp.family == socket.AF_INET else 0
        if sender == address and data[header] == reply and data[header + 4 : header + 6] == struct.pack(">H", number):
            return (time.monotonic() - started) * 1000
    raise TimeoutError("timed out")
