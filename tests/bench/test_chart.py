"""The chart is SVG, and its bars are as long as the figures say."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench.chart import LEFT, LONGEST, ROOM, chart
from bench.figures import Row, figure

SVG = "{http://www.w3.org/2000/svg}"


def row(section: str, case: str, what: str, ours: float, reference: float) -> Row:
    return Row(section, case, what, "ms", {"ours": figure([ours]), "reference": figure([reference])})


def drawn(*rows: Row) -> ElementTree.Element:
    return ElementTree.fromstring(chart(rows, "reference"))


def bars(image: ElementTree.Element) -> list[float]:
    return [float(bar.attrib["width"]) for bar in image.iter(f"{SVG}rect")]


def texts(image: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in image.iter(f"{SVG}text")]


def test_a_bar_is_as_long_as_the_ratio() -> None:
    image = drawn(row("verbs", "ipMasq", "ADD", 10, 20), row("verbs", "ipMasq", "DEL", 20, 20))
    assert bars(image) == [ROOM / LONGEST / 2, ROOM / LONGEST]
    assert "0.50 (10 / 20 ms)" in texts(image)


def test_a_bar_that_is_too_long_is_cut_off_and_says_so() -> None:
    image = drawn(row("verbs", "ipMasq", "CHECK", 100, 10))
    assert bars(image) == [ROOM]
    assert "10.00 (100 / 10 ms)" in texts(image)


def test_better_and_worse_differ_in_colour() -> None:
    better, worse = drawn(row("verbs", "ipMasq", "ADD", 10, 20), row("verbs", "ipMasq", "DEL", 30, 20)).iter(
        f"{SVG}rect"
    )
    assert better.attrib["fill"] != worse.attrib["fill"]


def test_growth_has_a_bar_for_each_contestant() -> None:
    image = drawn(row("growth", "1 pod", "ADD", 10, 20), row("growth", "250 pods", "ADD", 10, 40))
    few, few_others, many, many_others, *_ = bars(image)[-4:]
    assert [few, few_others, many, many_others] == [ROOM / 4, ROOM / 2, ROOM / 4, ROOM]
    assert "250 pods, reference" in texts(image)


@pytest.mark.parametrize("name", ["<script>", "a & b"])
def test_names_are_escaped(name: str) -> None:
    found = Row("verbs", "ipMasq", "ADD", "ms", {"ours": figure([1]), name: figure([2])})
    assert f"1 = {name}" in texts(ElementTree.fromstring(chart([found], name)))


def test_everything_is_inside_the_picture() -> None:
    image = drawn(*(row("growth", f"{n} pods", "ADD", 10, 20) for n in range(4)))
    for bar in image.iter(f"{SVG}rect"):
        assert LEFT + float(bar.attrib["width"]) <= float(image.attrib["width"])
        assert float(bar.attrib["y"]) + float(bar.attrib["height"]) <= float(image.attrib["height"])
