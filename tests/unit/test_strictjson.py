"""What of JSON is read, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_bridge_py.cni.strictjson import find, loads

SCALARS = st.none() | st.booleans() | st.integers() | st.text()


def documents(scalars: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=15,
    )


@given(
    document=documents(SCALARS | st.floats(allow_nan=False, allow_infinity=False)),
    ensure_ascii=st.booleans(),
    indent=st.sampled_from([None, 2, "\t"]),
    before=st.text(" \t\r\n", max_size=3),
    after=st.text(" \t\r\n", max_size=3),
)
def test_reads_what_json_reads(
    document: object, ensure_ascii: bool, indent: int | str | None, before: str, after: str
) -> None:
    text = before + json.dumps(document, ensure_ascii=ensure_ascii, indent=indent) + after
    # repr() tells 1, 1.0 and true apart, which are equal.
    assert repr(loads(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        r'"\ud83d\ude00"',
        r'"\ud800"',
        "-0",
        "-0.0",
        "1e-400",
        "[]",
        "{}",
        '""',
        '{"": [[], {}, null, true, false]}',
        "9" * 4000,
        "[" * 500 + "]" * 500,
    ],
)
def test_reads_corner_cases_as_json_does(text: str) -> None:
    assert repr(loads(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n",
        b"{",
        b"}",
        b"[1,]",
        b"[1 2]",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b"{'a': 1}",
        b"{a: 1}",
        b'{"a": 1} x',
        b'{"a": 1}{"b": 2}',
        b"tru",
        b"True",
        b"// note\n{}",
        b'"no end',
        b'"a\nb"',
        b'"a\x00b"',
        rb'"\x"',
        rb'"\u12"',
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"0x10",
        b"NaN",
        b"[NaN]",
        b"Infinity",
        b"[-Infinity]",
        b"1e999",
        b'{"mtu": -1E400}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"\xa0{}",
        "\u00a0{}".encode(),
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc3',
        "{}".encode("utf-16"),
        pytest.param(b"1" * 5000, id="a number of 5000 digits"),
        pytest.param(b'{"mtu": -' + b"1" * 5000 + b"}", id="a negative number of 5000 digits"),
        pytest.param(b"[" * 100_000, id="100,000 lists deep, no end"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="100,000 lists deep"),
        pytest.param(b'{"a":' * 100_000, id="100,000 objects deep, no end"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="100,000 objects deep"),
        pytest.param(b'[{"a":' * 50_000, id="100,000 of both deep"),
    ],
)
def test_refuses(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(data)


@given(st.binary(max_size=40))
def test_refuses_any_other_bytes(data: bytes) -> None:
    try:
        value = loads(data)
    except ValueError:
        return
    assert repr(value) == repr(json.loads(data.decode("utf-8")))


@pytest.mark.parametrize(
    ("members", "value"),
    [
        ({"cniVersion": 1}, 1),
        ({"CNIVersion": 1}, 1),
        ({"cniversion": 1, "CNIVERSION": 2}, 2),
        ({"cniVersion": 1, "CNIVersion": 2}, 1),
        ({"cniVersion": None, "CNIVersion": 2}, None),
        ({"version": 1}, None),
        ({}, None),
    ],
)
def test_keys_are_found_whatever_their_case(members: dict[str, object], value: object) -> None:
    assert find(members, "cniVersion") == value
