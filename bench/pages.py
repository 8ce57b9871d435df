"""The pages that show figures: README.md, and the tables and the chart here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.chart import chart
from bench.contestants import CHECKOUT
from bench.figures import Row
from bench.setup import Setup
from bench.summary import against_itself, against_others
from bench.table import markdown, tables

BEGIN, END = "<!-- from bench/run --write -->\n", "<!-- until here -->\n"


def write_pages(rows: Sequence[Row], setup: Setup, machine: dict[str, Any]) -> None:
    """Put a run's figures into the pages."""
    _, reference, *more = [contestant.name for contestant in setup.contestants]
    origin = (
        f"Medians of one run on {machine['processors']} processors ({machine['processor']}), "
        f"Linux {machine['kernel']}, {machine['distribution']}.\n"
    )
    summary = [markdown(against_others(rows, [reference, *more])), origin]
    (CHECKOUT / "bench/chart.svg").write_text(chart(rows, reference))
    fill(CHECKOUT / "README.md", "\n".join(summary))
    fill(CHECKOUT / "bench/README.md", "\n".join([origin, *itself(rows), *sections(rows)]))


def itself(rows: Sequence[Row]) -> Iterable[str]:
    """How little ours changes with what is on the node."""
    yield "### Ours against itself\n"
    yield markdown(against_itself(rows))


def sections(rows: Sequence[Row]) -> Iterable[str]:
    """Every table, under its section's title."""
    for name in dict.fromkeys(row.section for row in rows):
        yield f"### {import_module(f'bench.sections.{name}').TITLE}\n"
        yield from map(markdown, tables(row for row in rows if row.section == name))


def fill(page: Path, content: str) -> None:
    """Replace what is between a page's marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise LookupError(f"{page} lacks one of the marks {BEGIN.strip()} and {END.strip()}")
    page.write_text(f"{before}{BEGIN}{content}{END}{after}")
