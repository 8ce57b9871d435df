"""`map`: the node as a picture; the one in docs is what a demo node looks like."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bundle import CHECKOUT
from tests.cli import demo_node
from tests.harness import Node, Plugin
from tests.node.conftest import PROGRAM, Patient, make_patient, patient

__all__ = ["make_patient", "patient"]

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_in_docs_is_of_the_demo_node(node: Node, plugin: Plugin, tmp_path: Path) -> None:
    demo_node.make(node, plugin)
    demo_node.draw(node, PROGRAM, tmp_path / "map.svg")
    assert (tmp_path / "map.svg").read_text() == (CHECKOUT / "docs/map.svg").read_text()


def test_it_shows_what_is_there(patient: Patient) -> None:
    said = patient.node.run(PROGRAM, "map").stdout
    for word in ("uplink0", "192.0.2.1", "bridge cni0", "10.22.0.1/16", "web-0", "10.22.0.3", "fd00:22::3", "all ok"):
        assert word in said


def test_what_is_wrong_is_red(patient: Patient) -> None:
    svg = f"{patient.node.directory}/map.svg"
    patient.node.run(PROGRAM, "map", "--svg", svg)
    assert "#cf222e" not in Path(svg).read_text()
    patient.sh("ip link set $(ip -br link show type veth | sed -n 's/^\\(veth[0-9a-f]*\\)@.*/\\1/p' | head -n 1) down")
    patient.sh("ip address del 10.22.0.1/16 dev cni0")
    patient.node.run(PROGRAM, "map", "--svg", svg)
    red = [text.text for text in ElementTree.parse(svg).iter(f"{SVG}text") if text.get("fill") == "#cf222e"]
    assert "down" in red
    assert "lacks 10.22.0.1/16" in red
    assert "lacks 10.22.0.1/16" in patient.node.run(PROGRAM, "map").stdout


@pytest.mark.slow
def test_a_hundred_pods_fit(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(pods=100)
    svg = f"{patient.node.directory}/map.svg"
    patient.node.run(PROGRAM, "map", "--svg", svg)
    root = ElementTree.parse(svg).getroot()
    width = float(root.get("width", "0"))
    cards = [each for each in root.iter(f"{SVG}rect") if each.get("fill") == "#f6f8fa"]
    assert len(cards) == 100
    corners = [tuple(float(card.get(key, "0")) for key in ("x", "y", "width", "height")) for card in cards]
    for number, (x, y, wide, high) in enumerate(corners):
        assert x + wide <= width
        for other_x, other_y, other_wide, other_high in corners[:number]:
            apart = x >= other_x + other_wide or other_x >= x + wide or y >= other_y + other_high or other_y >= y + high
            assert apart
    names = {each.text for each in root.iter(f"{SVG}text")}
    assert {f"web-{number}" for number in range(100)} <= names
    assert float(root.get("height", "0")) < 3 * width


def test_no_terminal_is_too_narrow(patient: Patient) -> None:
    said = patient.node.run("env", "COLUMNS=40", "script", "-qec", f"{PROGRAM} map", "/dev/null").stdout
    assert re.search("10.22.0.2", said)
