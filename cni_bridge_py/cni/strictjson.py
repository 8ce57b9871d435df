"""JSON from outside, read as RFC 8259 has it: no NaN, no number beyond all bounds, no depth that ends the process."""

from __future__ import annotations

import json
import math
from typing import NoReturn


def loads(data: bytes) -> object:
    """Parse one JSON document.

    Raises ValueError when `data` is not UTF-8 or not one JSON document, is nested too deep, or holds a number
    that is too long.
    """
    try:
        return json.loads(data.decode(), parse_float=_finite, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")
