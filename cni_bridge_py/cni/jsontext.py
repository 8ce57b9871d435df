"""JSON for a process that lives for milliseconds.

`import json` compiles regular expressions and brings `re` and `enum`: 6.5 ms, as much as the interpreter's whole
start. The C scanner below is the one that `json.loads` uses itself; writing takes only the C function
that quotes strings.
"""

from __future__ import annotations

import _json

WHITESPACE = " \t\n\r"


class _Scanner:
    """What `_json.make_scanner` wants to know, as `json.JSONDecoder` would tell it."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> object:
        raise ValueError(f"{name} is not JSON")


def loads(data: bytes) -> object:
    """Parse one JSON document.

    Raises ValueError when `data` is not UTF-8 or not one JSON document, is nested too deep, or holds a number
    that is too long.
    """
    text = data.decode("utf-8").strip(WHITESPACE)
    try:
        value, end = _json.make_scanner(_Scanner)(text, 0)  # type: ignore[arg-type]
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except (StopIteration, SystemError):
        # The scanner alone cannot say what is wrong (without json.decoder it even fails to raise);
        # a configuration that is broken may take the time to have it explained.
        end = -1
    if end != len(text):
        _explain(text)
    return value


def _explain(text: str) -> None:
    import json

    json.loads(text)
    raise ValueError("it is not JSON")


def dumps(value: object, indent: str = "\n") -> str:
    """Write `value` (dictionaries, lists, strings, integers, booleans, None) indented by two spaces."""
    inner = indent + "  "
    if isinstance(value, str):
        return _json.encode_basestring_ascii(value)
    if isinstance(value, dict):
        members = [f"{dumps(key)}: {dumps(item, inner)}" for key, item in value.items()]
        return "{" + inner + ("," + inner).join(members) + indent + "}" if members else "{}"
    if isinstance(value, list):
        members = [dumps(item, inner) for item in value]
        return "[" + inner + ("," + inner).join(members) + indent + "]" if members else "[]"
    if value is None:
        return "null"
    return str(value).lower()  # True, False, integers
