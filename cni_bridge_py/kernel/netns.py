"""Network namespaces: opening, comparing, entering (network_namespaces(7), ioctl_ns(2), setns(2))."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock, ioctl
from types import TracebackType

from cni_bridge_py.kernel import sysctl

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703
OWN = "/proc/self/ns/net"

LOCK_SECONDS = 5
"""How long to wait for the lock. A holder needs a thousandth of that."""


if hasattr(os, "setns"):  # os.setns() came with Python 3.12
    _setns: Callable[[int, int], object] = os.setns
else:
    import ctypes

    _libc = ctypes.CDLL(None, use_errno=True)

    def _setns(fd: int, nstype: int) -> None:
        if _libc.setns(fd, nstype) != 0:
            errno = ctypes.get_errno()
            raise OSError(errno, os.strerror(errno))


def identity() -> str:
    """A name for the process's network namespace that differs from those of others, in this boot and earlier ones.

    `3f2a91c4.4026531840`: the start of the kernel's boot id (random(4)), and the namespace's inode number. In one boot,
    namespaces that exist at the same time have different numbers; a number is used again when its namespace is gone.
    """
    boot = sysctl.read("kernel/random/boot_id")[:8]
    return f"{boot}.{os.stat(OWN).st_ino}"


class NotANetworkNamespace(Exception):
    """The path is not a network namespace; the text says what is wrong with it."""


class NetNS:
    """A network namespace held open. As a context manager, closes it."""

    def __init__(self, path: str) -> None:
        """Open the namespace at `path`.

        Raises NotANetworkNamespace if there is none.
        """
        self.path = path
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise NotANetworkNamespace(getattr(error, "strerror", None) or str(error)) from None
        try:
            kind = ioctl(self.fd, NS_GET_NSTYPE)
        except OSError:
            kind = 0
        if kind != CLONE_NEWNET:
            os.close(self.fd)
            raise NotANetworkNamespace("it is not a network namespace")

    def is_own(self) -> bool:
        """Whether this process is in that namespace."""
        own, this = os.stat(OWN), os.fstat(self.fd)
        return (own.st_dev, own.st_ino) == (this.st_dev, this.st_ino)

    def __enter__(self) -> NetNS:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):  # the kernel closes it when the process ends
            os.close(self.fd)


class Inside:
    """A context manager: the process is in that namespace between entering and leaving it."""

    def __init__(self, netns: NetNS) -> None:
        self._netns = netns
        self._home = -1

    def __enter__(self) -> None:
        self._home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        _enter(self._netns.fd)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _enter(self._home)
        os.close(self._home)


@contextmanager
def own_lock() -> Iterator[None]:
    """A context manager: a lock for what the processes of one network namespace share.

    It is a flock(2) on the namespace itself (nsfs). It needs no file, it ends with its holder, and two namespaces with
    one file system do not share it. Any process in the namespace can hold the lock, so after `LOCK_SECONDS` we go on
    without it.
    Raises OSError if there is no /proc.
    """
    fd = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _lock(fd) and time.monotonic() < deadline:
            time.sleep(0.001)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _enter(fd: int) -> None:
    try:
        _setns(fd, CLONE_NEWNET)
    except OSError as error:
        raise OSError(error.errno, f"cannot enter the network namespace: {error.strerror}") from None
