"""Kernel parameters; those in net/ belong to the process's network namespace (sysctl(8), proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress

net = "/proc/sys/net"
"""Where the parameters in net/ are. In a container, /proc/sys is read-only, and they may be mounted elsewhere, too."""


def path_of(name: str) -> str:
    """The file of a parameter such as `net/ipv4/ip_forward`. Slashes, because interface names may have dots."""
    return net + name.removeprefix("net") if name.startswith("net/") else f"/proc/sys/{name}"


def exists(name: str) -> bool:
    """Whether the kernel has the parameter. Without IPv6, it has none in `net/ipv6`."""
    return os.access(path_of(name), os.F_OK)


def children(name: str) -> list[str]:
    """The names in a directory: in `net/ipv6/conf`, these are the links, `all` and `default`."""
    return os.listdir(path_of(name))


def is_writable(name: str) -> bool:
    """Whether the parameter can be set: a container's /proc/sys may be read-only."""
    return os.access(path_of(name), os.W_OK)


def read(name: str) -> str:
    """The parameter's value.

    Raises OSError if there is no such parameter.
    """
    file = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, 256).decode().strip()
    finally:
        os.close(file)


def ensure(name: str, value: str) -> None:
    """Set the parameter, unless it already has the value: a container's /proc/sys may be read-only.

    Raises OSError if it cannot be set.
    """
    if read(name) != value:
        _write(name, value)


def prefer(name: str, value: str) -> None:
    """Set a parameter that pods can do without: if IPv6 is off or parameters are read-only, do nothing."""
    with suppress(OSError):
        _write(name, value)


def _write(name: str, value: str) -> None:
    file = os.open(path_of(name), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, value.encode())
    finally:
        os.close(file)
