"""Kernel parameters: those of net/ are of the network namespace that the process is in (sysctl(8), proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress

net = "/proc/sys/net"
"""Where those of net/ are; in a container, whose /proc/sys is read-only, where they are mounted a second time."""


def path_of(name: str) -> str:
    """The file of a parameter, `net/ipv4/ip_forward`; slashes, since interface names may hold dots."""
    return net + name.removeprefix("net") if name.startswith("net/") else f"/proc/sys/{name}"


def exists(name: str) -> bool:
    """Whether the kernel has the parameter; without IPv6 it has none of `net/ipv6`."""
    return os.access(path_of(name), os.F_OK)


def children(name: str) -> list[str]:
    """What there is below a name: of `net/ipv6/conf` the links, and `all` and `default`."""
    return os.listdir(path_of(name))


def is_writable(name: str) -> bool:
    """Whether the parameter can be set: a container's /proc/sys may be read-only."""
    return os.access(path_of(name), os.W_OK)


def read(name: str) -> str:
    """The parameter's value.

    Raises OSError when there is no such parameter.
    """
    file = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 256).decode().strip()
    finally:
        os.close(file)


def ensure(name: str, value: str) -> None:
    """Set the parameter unless it has that value: a container's /proc/sys may be read-only and right.

    Raises OSError when it cannot be set.
    """
    if read(name) != value:
        _write(name, value)


def prefer(name: str, value: str) -> None:
    """Set a parameter that pods can do without, where IPv6 is off or parameters are read-only."""
    with suppress(OSError):
        _write(name, value)


def _write(name: str, value: str) -> None:
    file = os.open(path_of(name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, value.encode())
    finally:
        os.close(file)
