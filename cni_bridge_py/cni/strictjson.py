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
    if key in members:
        return members[key]
    lower = key.lower()
    return next((members[other] for other in reversed(list(members)) if other.lower() == lower), None)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")
