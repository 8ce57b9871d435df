"""No addresses: a layer 2 network, whose configuration has no `ipam`."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from cni_bridge_py.cni.result import IPConfig, Result


class NoIpam:
    """The same interface as HostLocal, for pods that get no address."""

    needs_interface = False

    def __enter__(self) -> NoIpam:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def is_unused(self) -> bool:
        """Nothing is held."""
        return True

    def add(self) -> Result:
        """No addresses."""
        return Result([], [], [], {})

    def delete(self, ips: list[IPConfig]) -> None:
        """Nothing is held."""

    def confirm(self, ips: list[IPConfig]) -> None:
        """Nothing is held."""

    def check(self, ips: list[IPConfig]) -> None:
        """Nothing has to be held."""

    def gc(self, is_valid: Callable[[str, str], bool]) -> None:
        """Nothing is held."""

    def status(self) -> None:
        """Nothing can be missing."""
