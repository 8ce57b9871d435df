"""Every link of the pages leads somewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.bundle import CHECKOUT
from tests.pages.markdown import PAGES, anchors, links

ELSEWHERE = ("https://", "http://", "mailto:")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_within_the_project(page: Path) -> None:
    for link in links(page):
        if link.startswith(ELSEWHERE):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(CHECKOUT), f"{page.name}: {link} leaves the project"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_reached_from_readme() -> None:
    found, queue = set(), [CHECKOUT / "README.md"]
    while queue:
        page = queue.pop()
        if page in found or page.suffix != ".md" or not page.exists():
            continue
        found.add(page)
        names = [unquote(link).partition("#")[0] for link in links(page) if not link.startswith(ELSEWHERE)]
        queue += [(page.parent / name).resolve() for name in names if name]
    assert set(PAGES) - found == set()
