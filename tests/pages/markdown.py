"""Pages as a reader of GitHub sees them: blocks to type, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.bundle import CHECKOUT

PAGES = sorted(
    [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *(CHECKOUT / each for each in ("bench/README.md",))]
)
"""Every page whose links and blocks are looked at."""

PROMPT = "$ "


@dataclass(frozen=True)
class Command:
    """What a reader types at one prompt, and what the page says they see."""

    typed: str
    seen: str | None
    """None where the page shows a command alone."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, the words behind that, its lines."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        """Where it is, as editors take it."""
        return f"{self.page.relative_to(CHECKOUT)}:{self.line}"

    def commands(self) -> list[Command]:
        """What is typed, in order: a `console` block has prompts and what is seen, an `sh` block neither."""
        if self.language == "sh":
            return [Command(self.text, None)]
        typed: list[list[str]] = []
        seen: list[list[str]] = []
        for line in self.text.splitlines():
            if typed and not seen[-1] and (typed[-1][-1].endswith("\\") or line.startswith("> ")):
                typed[-1].append(line.removeprefix("> "))
            elif line.startswith(PROMPT):
                typed.append([line[2:]])
                seen.append([])
            else:
                assert seen, f"{self.place}: begins with no prompt"
                seen[-1].append(line)
        return [Command("\n".join(t), "\n".join(s)) for t, s in zip(typed, seen, strict=True)]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found = []
    for token in _tokens(page):
        if token.type == "fence":
            language, *words = token.info.split() or [""]
            line = token.map[0] + 1 if token.map else 0
            found.append(Block(page, line, language, tuple(words), token.content))
    return found


def links(page: Path) -> list[str]:
    """Where a page's links and pictures lead."""
    inline = [child for token in _tokens(page) for child in token.children or []]
    targets = [child.attrGet("href") or child.attrGet("src") for child in inline]
    html = "".join(token.content for token in [*_tokens(page), *inline] if token.type.startswith("html"))
    return [str(each) for each in targets if each] + re.findall(r'(?:src|href|srcset)="([^"]+)"', html)


def anchors(page: Path) -> set[str]:
    """The ids that GitHub gives a page's headings."""
    tokens = list(_tokens(page))
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _tokens(page: Path) -> Iterator[Token]:
    yield from MarkdownIt("commonmark").enable("table").parse(page.read_text())
