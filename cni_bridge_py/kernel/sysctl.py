"""Kernel parameters of the network namespace that the process is in (sysctl(8), proc_sys_net(5))."""

from __future__ import annotations

import posix


def path_of(name: str) -> str:
    """The file of a parameter, `net/ipv4/ip_forward`; slashes, since interface names may hold dots."""
    return f"/proc/sys/{name}"


def exists(name: str) -> bool:
    """Whether the kernel has the parameter; without IPv6 it has none of `net/ipv6`."""
    return posix.access(path_of(name), posix.F_OK)


def read(name: str) -> str:
    """The parameter's value.

    Raises OSError when there is no such parameter.
    """
    return read_file(path_of(name))


def read_file(path: str) -> str:
    """The one line of a file of the kernel's.

    Raises OSError when there is no such file.
    """
    file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(file, 256).decode().strip()
    finally:
        posix.close(file)


def ensure(name: str, value: str) -> None:
    """Set the parameter unless it has that value: a container's /proc/sys may be read-only and right.

    Raises OSError when it cannot be set.
    """
    if read(name) == value:
        return
    file = posix.open(path_of(name), posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(file, value.encode())
    finally:
        posix.close(file)
