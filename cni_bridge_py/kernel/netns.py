"""Network namespaces: opening, telling apart, entering (network_namespaces(7), ioctl_ns(2), setns(2))."""

from __future__ import annotations

import posix
from fcntl import ioctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703
OWN = "/proc/self/ns/net"


class NotANetworkNamespace(Exception):
    """The path names something else; the text says what is wrong with it."""


class NetNS:
    """A network namespace held open. As a context manager, closes it."""

    def __init__(self, path: str) -> None:
        """Open the namespace at `path`.

        Raises NotANetworkNamespace when there is none.
        """
        self.path = path
        try:
            self.fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise NotANetworkNamespace(getattr(error, "strerror", None) or str(error)) from None
        try:
            kind = ioctl(self.fd, NS_GET_NSTYPE)
        except OSError:
            kind = 0
        if kind != CLONE_NEWNET:
            posix.close(self.fd)
            raise NotANetworkNamespace("it is not a network namespace")

    def is_own(self) -> bool:
        """Whether this process is in that namespace."""
        own, this = posix.stat(OWN), posix.fstat(self.fd)
        return (own.st_dev, own.st_ino) == (this.st_dev, this.st_ino)

    def __enter__(self) -> NetNS:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            posix.close(self.fd)
        except OSError:
            pass  # the kernel closes it when the process ends


class Inside:
    """A context manager: the process is in that namespace between entering and leaving it."""

    def __init__(self, netns: NetNS) -> None:
        self._netns = netns
        self._home = -1

    def __enter__(self) -> None:
        self._home = posix.open(OWN, posix.O_RDONLY | posix.O_CLOEXEC)
        _setns(self._netns.fd)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _setns(self._home)
        posix.close(self._home)


if hasattr(posix, "setns"):

    def _setns(fd: int) -> None:
        try:
            posix.setns(fd, CLONE_NEWNET)  # type: ignore[attr-defined]
        except OSError as error:
            raise OSError(error.errno, f"cannot enter the network namespace: {error.strerror}") from None

else:

    def _setns(fd: int) -> None:
        # Python has it from 3.12 on, our executable with any. Not ctypes, which takes 2.7 ms: the module below it does.
        import _ctypes

        libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
        setns = _ctypes.dlsym(libc, "setns")
        if _ctypes.call_function(setns, (fd, CLONE_NEWNET)) != 0:
            # The errno is lost, but the file was seen to be a network namespace: only rights can be missing.
            raise PermissionError(1, "cannot enter the network namespace: Operation not permitted")
