"""The table has no empty row, and no test is left out of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.spec.table import ROWS, Row

HERE = Path(__file__).parent


def named_here() -> set[str]:
    """The tests of this directory, but for those of the table itself, as `file::test`."""
    return {
        f"{path.stem}::{node.name}"
        for path in HERE.glob("test_*.py")
        if path.name != Path(__file__).name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.where} {row.level}, {row.asked}"[:80])
def test_every_row_has_a_test_or_a_reason(row: Row) -> None:
    assert bool(row.tests) != bool(row.why_not)
    assert set(row.tests.split()) <= named_here()


def test_every_test_has_a_row() -> None:
    assert named_here() == {test for row in ROWS for test in row.tests.split()}


def test_no_row_is_there_twice() -> None:
    assert len({(row.where, row.asked) for row in ROWS}) == len(ROWS)
