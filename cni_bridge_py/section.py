"""JSON objects that check their values when they are read, so that every error names the path of its key.

A key that nobody reads is ignored, as the specification asks. `null` is the same as a missing key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netaddr import IPAddress, IPNetwork

from cni_bridge_py.addresses import InterfaceAddress, parse_address, parse_ip
from cni_bridge_py.cni import strictjson
from cni_bridge_py.cni.errors import INVALID_CONFIG, CniError
from cni_bridge_py.cni.request import why_not_ifname

LONGEST_SHOWN = 200
"""Characters of a wrong value that a message quotes."""


class Section:
    """A JSON object of the configuration. Its methods read a value by key and check it; errors name the key's path."""

    def __init__(self, members: dict[str, Any], path: str, code: int = INVALID_CONFIG) -> None:
        self.members = members
        self.path = path
        self.code = code

    def invalid(self, key: str, reason: str) -> CniError:
        """The error that says what is wrong with `key`."""
        return CniError(self.code, f"{self._path(key)}: {reason}")

    def has(self, key: str) -> bool:
        """Whether the key is there, even if its value is `null`."""
        return strictjson.has(self.members, key)

    def value(self, key: str, kind: type, expected: str) -> Any:
        """The value of `key`, or None if it is absent or null."""
        value = strictjson.find(self.members, key)
        # In Python, a boolean is an integer. In a configuration it is not.
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        raise self.invalid(key, f"expected {expected}, got {_shown(value)}")

    def string(self, key: str) -> str:
        """A string; empty if absent."""
        return self.value(key, str, "a string") or ""

    def required(self, key: str) -> str:
        """A string that must not be absent or empty."""
        value = self.string(key)
        if not value:
            raise self.invalid(key, "expected a string")
        return value

    def boolean(self, key: str) -> bool:
        """true or false; false if absent."""
        return self.value(key, bool, "true or false") or False

    def integer(self, key: str, lowest: int, highest: int) -> int | None:
        """An integer within bounds, both included."""
        value: int | None = self.value(key, int, "an integer")
        if value is not None and not lowest <= value <= highest:
            raise self.invalid(key, f"expected {lowest} to {highest}, got {value}")
        return value

    def strings(self, key: str) -> list[str]:
        """A list of strings; empty if absent."""
        values = self.value(key, list, "a list of strings") or []
        for position, value in enumerate(values):
            if not isinstance(value, str):
                raise self.invalid(f"{key}[{position}]", f"expected a string, got {_shown(value)}")
        return list(values)

    def section(self, key: str) -> Section | None:
        """An object, or None if absent."""
        members = self.value(key, dict, "an object")
        return None if members is None else Section(members, self._path(key))

    def sections(self, key: str) -> Iterator[Section]:
        """The objects of a list."""
        return self._objects(key, self.value(key, list, "a list of objects") or [])

    def _objects(self, key: str, values: list[Any]) -> Iterator[Section]:
        for position, value in enumerate(values):
            if not isinstance(value, dict):
                raise self.invalid(f"{key}[{position}]", f"expected an object, got {_shown(value)}")
            yield Section(value, self._path(f"{key}[{position}]"))

    def lists_of_sections(self, key: str) -> Iterator[list[Section]]:
        """The lists of objects in a list of lists."""
        for position, value in enumerate(self.value(key, list, "a list of lists") or []):
            if not isinstance(value, list) or not value:
                raise self.invalid(f"{key}[{position}]", f"expected a list of objects, got {_shown(value)}")
            yield list(self._objects(f"{key}[{position}]", value))

    def interface(self, key: str, default: str) -> str:
        """An interface name."""
        name = default if self.value(key, str, "a string") is None else self.string(key)
        if reason := why_not_ifname(name):
            raise self.invalid(key, f"{name!r}: {reason}")
        return name

    def addresses(self, key: str) -> list[IPAddress]:
        """A list of IP addresses; prefix lengths are ignored."""
        found = []
        for position, text in enumerate(self.strings(key)):
            item = f"{key}[{position}]"
            if "/" in text:
                found.append(self._network(item, text).ip)
            else:
                found.append(self._address(item, text))
        return found

    def address(self, key: str) -> IPAddress | None:
        """An IP address, or None if absent or empty."""
        text = self.string(key)
        return self._address(key, text) if text else None

    def _address(self, key: str, text: str) -> IPAddress:
        try:
            return parse_ip(text)
        except ValueError as error:
            raise self.invalid(key, str(error)) from None

    def network(self, key: str) -> InterfaceAddress:
        """A network in CIDR notation, required; host bits are kept."""
        return self._network(key, self.string(key))

    def networks(self, key: str) -> list[IPNetwork]:
        """A list of networks in CIDR notation."""
        texts = self.strings(key)
        return [self._network(f"{key}[{position}]", text).cidr for position, text in enumerate(texts)]

    def _network(self, key: str, text: str) -> InterfaceAddress:
        try:
            return parse_address(text)
        except ValueError as error:
            raise self.invalid(key, str(error)) from None

    def _path(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key


def _shown(value: object) -> str:
    """A value as a message quotes it, shortened if it is long."""
    try:
        text = repr(value)
    except RecursionError:
        return "something that is nested too deeply"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
