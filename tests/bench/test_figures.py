"""From samples to medians, quartiles and ratios."""

from __future__ import annotations

import pytest

from bench.figures import Figure, Row, Sample, as_json, figure, rows


def row(ours: float, reference: float) -> Row:
    figures = {"ours": Figure(ours, ours, ours, 1), "reference": Figure(reference, reference, reference, 1)}
    return Row("verbs", "ipMasq", "ADD", "ms", figures)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], Figure(7, 7, 7, 1)),
        ([1.0, 3.0], Figure(2, 1.5, 2.5, 2)),
        ([5.0, 1.0, 4.0, 2.0, 3.0], Figure(3, 2, 4, 5)),
        ([1.0, 1.0, 1.0, 100.0, 1.0], Figure(1, 1, 1, 5)),
    ],
)
def test_a_figure_is_median_and_quartiles(values: list[float], expected: Figure) -> None:
    assert figure(values) == expected


def test_samples_become_rows_in_the_order_in_which_they_came() -> None:
    samples = [
        Sample("one", "DEL", "ms", "ours", 3),
        Sample("one", "ADD", "ms", "ours", 10),
        Sample("one", "ADD", "ms", "reference", 20),
        Sample("one", "ADD", "ms", "ours", 12),
        Sample("two", "ADD", "ms", "ours", 1),
    ]
    found = rows("verbs", samples)
    assert [each[:4] for each in found] == [
        ("verbs", "one", "DEL", "ms"),
        ("verbs", "one", "ADD", "ms"),
        ("verbs", "two", "ADD", "ms"),
    ]
    assert found[1].figures["ours"] == figure([10, 12])
    assert found[1].figures["reference"] == figure([20])


def test_a_ratio_is_ours_by_theirs() -> None:
    assert row(10, 20).ratio("reference") == 0.5
    assert row(0, 20).ratio("reference") == 0


def test_there_is_no_ratio_to_nothing() -> None:
    assert row(0, 0).ratio("reference") is None


def test_json_has_figures_and_ratios() -> None:
    assert as_json(row(10, 20)) == {
        "section": "verbs",
        "case": "ipMasq",
        "what": "ADD",
        "unit": "ms",
        "figures": {
            "ours": {"median": 10, "low": 10, "high": 10, "samples": 1},
            "reference": {"median": 20, "low": 20, "high": 20, "samples": 1},
        },
        "ratios": {"reference": 0.5},
    }
