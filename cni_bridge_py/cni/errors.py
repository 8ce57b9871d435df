"""Errors of the CNI specification (SPEC.md, section 5, "Error")."""

from __future__ import annotations

from types import TracebackType

# The specification's codes (1-99 are its own).
INCOMPATIBLE_VERSION = 1
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODE_FAILURE = 6
INVALID_CONFIG = 7
PLUGIN_NOT_AVAILABLE = 50
LIMITED_CONNECTIVITY = 51

# This plugin's (100 and above are free for plugins).
KERNEL_REFUSED = 100
NOT_PERMITTED = 101
NO_ADDRESS = 102
ALREADY_ATTACHED = 103
BRIDGE_IN_USE = 104
NOT_AS_EXPECTED = 105
INTERNAL = 999
"""The code that the reference's library uses for errors without a code."""


class CniError(Exception):
    """A failure that is reported to the runtime.

    `code` is one of the constants above. `msg` names what failed. `details` has the way out, if there is one.
    """

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details


class Errors:
    """Collects errors: as a context manager, it keeps the CniError that ends its block, and execution goes on."""

    def __init__(self) -> None:
        self._kept: list[CniError] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if isinstance(error, CniError):
            self._kept.append(error)
            return True
        return False

    def report(self) -> None:
        """Raise what was kept as one CniError, if anything was kept."""
        if self._kept:
            raise CniError(self._kept[0].code, "; ".join(error.msg for error in self._kept))
