"""JSON from outside, read as RFC 8259 has it: no NaN, no number beyond all bounds, no depth that ends the process.

Keys are found whatever their case, as Go's encoding/json does it for the reference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn


def loads(data: bytes) -> object:
    """Parse one JSON document.

    Raises ValueError when `data` is not UTF-8 or not one JSON document, is nested too deep, or holds a number
    that is too long.
    """
    try:
        return json.loads(data.decode(), parse_float=_finite, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def find(members: Mapping[str, Any], key: str) -> Any:
    """The value of a key of an object, or None; the key that is written exactly comes first, then the last one."""
    name = _name(members, key)
    return None if name is None else members[name]


def has(members: Mapping[str, Any], key: str) -> bool:
    """Whether an object has the key, in whatever case, be its value `null`."""
    return _name(members, key) is not None


def _name(members: Mapping[str, Any], key: str) -> str | None:
    """The key as the object has it."""
    if key in members:
        return key
    lower = key.lower()
    return next((name for name in reversed(list(members)) if name.lower() == lower), None)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")
