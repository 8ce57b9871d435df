"""Strict JSON (RFC 8259) for input from outside: no NaN, no huge number, no nesting that would crash the process.

The case of keys does not matter, as with Go's encoding/json, which the reference uses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn


def loads(data: bytes) -> object:
    """Parse one JSON document.

    Raises ValueError if `data` is not UTF-8 or not one JSON document, is nested too deeply, or has a number that is
    too long.
    """
    try:
        return json.loads(data.decode(), parse_float=_finite, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def find(members: Mapping[str, Any], key: str) -> Any:
    """The value of a key of an object, or None. An exact match wins, else the last match in another case."""
    name = _name(members, key)
    return None if name is None else members[name]


def has(members: Mapping[str, Any], key: str) -> bool:
    """Whether an object has the key, in any case, even if its value is `null`."""
    return _name(members, key) is not None


def _name(members: Mapping[str, Any], key: str) -> str | None:
    """The key as it is written in the object."""
    if key in members:
        return key
    lower = key.lower()
    return next((name for name in reversed(list(members)) if name.lower() == lower), None)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")
