"""What a page may leave out of what it shows."""

from __future__ import annotations

import pytest

from tests.pages.shell import is_as_shown


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("A", "A\n", True),
        ("A", "A\nB", False),
        ("A\nB", "A", False),
        ("...", "", True),
        ("...\nA", "A", True),
        ("...\nA", "x\ny\nA", True),
        ("A\n  ...", "A", True),
        ("A\n...", "A\nb\nc", True),
        ("A\n...\nB", "A\nB", True),
        ("A\n...\nB", "A\nC", False),
        ("a...c", "abc", True),
        ("a...c", "a\nc", False),
        ("1.2", "132", False),
        ("time 3 ms", "time 4.12 ms", True),
        ("time 0ms", "time 31ms", True),
    ],
)
def test_dots_and_times(shown: str, printed: str, same: bool) -> None:
    assert is_as_shown(shown, printed) == same
