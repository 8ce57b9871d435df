"""Figures as text: numbers, tables, README's lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import pages
from bench.contestants import Contestant
from bench.figures import Figure, Row, figure
from bench.pages import BEGIN, END, fill
from bench.setup import Setup, Sizes
from bench.summary import against_itself, against_others
from bench.table import markdown, number, spread, tables


def row(section: str, case: str, what: str, unit: str = "ms", **medians: float) -> Row:
    return Row(section, case, what, unit, {who: figure([value]) for who, value in medians.items()})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.123, "0.12"),
        (7.0, "7"),
        (7.125, "7.12"),
        (17.26, "17.3"),
        (99.96, "100.0"),
        (345.6, "346"),
        (12345.6, "12,346"),
        (3788, "3,788"),
    ],
)
def test_numbers_have_three_digits_that_matter(value: float, expected: str) -> None:
    assert number(value) == expected


def test_quartiles_are_shown_where_there_are_any() -> None:
    assert spread(Figure(17.3, 16.6, 18.2, 10)) == "17.3 (16.6..18.2)"
    assert spread(Figure(26.4, 26.4, 26.4, 1)) == "26.4"


def test_a_table_for_each_set_of_contestants() -> None:
    first, second = tables(
        [
            row("ipam", "0 leases", "ADD", ours=11, reference=22),
            row("ipam", "0 leases", "ADD of a pod", ours=17, empty=17),
            row("ipam", "0 leases", "ADD", "ms CPU", ours=10, reference=20),
            row("ipam", "9 leases", "ADD", ours=12, reference=0),
        ]
    )
    assert markdown(first) == (
        "|  |  |  | ours | reference | ratio |\n"
        "| --- | --- | --- | ---: | ---: | ---: |\n"
        "| 0 leases | ADD | ms | 11 | 22 | 0.50 |\n"
        "|  |  | ms CPU | 10 | 20 | 0.50 |\n"
        "| 9 leases | ADD | ms | 12 | 0 |  |\n"
    )
    assert second.header[-2:] == ["empty", "ratio"]
    assert second.body == [["0 leases", "ADD of a pod", "ms", "17", "17", "1.00"]]


def test_the_summary_has_a_line_for_what_was_measured() -> None:
    measured = [
        row("verbs", "ipMasq", "ADD", ours=10, reference=20, other=5),
        row("verbs", "no ipMasq", "ADD", ours=10, reference=5),
        row("verbs", "some other", "ADD", ours=10, reference=20),
    ]
    table = against_others(measured, ["reference", "other"])
    assert table.header == ["", "ours", "reference", "ratio", "other", "ratio"]
    assert table.body == [
        ["ADD (ms)", "10", "20", "0.50", "5", "2.00"],
        ["ADD without ipMasq (ms)", "10", "5", "2.00", "", ""],
    ]


def test_the_summary_compares_ours_with_itself() -> None:
    measured = [
        row("growth", "250 pods", "ADD", ours=13, reference=40),
        row("growth", "250 pods", "ADD beside them", ours=11, few=10),
        row("ipam", "60,000 leases", "ADD of a pod", ours=12, empty=10),
    ]
    assert against_itself(measured).body == [
        ["ADD with 250 pods on the node, against 1 pod (ms)", "11", "10", "1.10"],
        ["ADD with 60,000 leases, against none (ms)", "12", "10", "1.20"],
    ]


def test_pages_are_filled_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    fill(page, "new\n")
    assert page.read_text() == f"before\n{BEGIN}new\n{END}after\n"


def test_figures_go_into_both_pages_and_the_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "CHECKOUT", tmp_path)
    (tmp_path / "bench").mkdir()
    for page in ("README.md", "bench/README.md"):
        (tmp_path / page).write_text(f"before\n{BEGIN}{END}after\n")
    measured = [
        row("verbs", "ipMasq", "ADD", ours=10, reference=20),
        row("growth", "250 pods", "ADD beside them", ours=11, few=10),
    ]
    who = [Contestant(name, "bridge") for name in ("ours", "reference")]
    machine = {"processors": 2, "processor": "a processor", "kernel": "6", "distribution": "Debian"}
    pages.write_pages(measured, Setup(who, Sizes()), machine)
    assert "| ADD (ms) | 10 | 20 | 0.50 |\n\nMedians of one run" in (tmp_path / "README.md").read_text()
    in_full = (tmp_path / "bench/README.md").read_text()
    assert "| ADD with 250 pods on the node, against 1 pod (ms) | 11 | 10 | 1.10 |" in in_full
    assert "| ipMasq | ADD | ms | 10 | 20 | 0.50 |" in in_full
    assert ">ADD<" in (tmp_path / "bench/chart.svg").read_text()


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}old\n")
    with pytest.raises(LookupError, match=r"README\.md"):
        fill(page, "new\n")
    assert page.read_text() == f"before\n{BEGIN}old\n"
