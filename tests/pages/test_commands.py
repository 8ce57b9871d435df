"""Every command of the pages is typed, on a machine of the page's own, and what is shown is what is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT
from tests.pages.markdown import PAGES, Block, blocks
from tests.pages.shell import Shell, is_as_shown

TYPED = ("console", "sh")
"""The languages of what a reader types; others are shown."""

SHOWN = ("json", "mermaid", "nginx", "text", "yaml")

ELSEWHERE = {"kind": "tests/kind", "podman": "tests/podman"}
"""Words behind a language: what is typed where there is what it takes, and by which tests."""

FROM_NOTHING = (CHECKOUT / "README.md", CHECKOUT / "docs/learn.md")
"""Pages that tell how to get there; readers of the others have installed it."""

FAILS = "fails"
"""The word behind a language for a block whose last command is meant to fail."""


def here(page: Path) -> list[Block]:
    """What is typed on the page's machine."""
    return [each for each in blocks(page) if each.language in TYPED and not ELSEWHERE.keys() & set(each.words)]


@pytest.mark.parametrize(
    "page", [each for each in PAGES if here(each)], ids=lambda page: str(page.relative_to(CHECKOUT))
)
def test_what_is_typed_and_seen(page: Path, shell_at: Callable[[], Shell]) -> None:
    shell = shell_at()
    if page not in FROM_NOTHING:
        assert shell.type("./install.sh").status == 0
    faults = [fault for block in here(page) for fault in type_block(shell, block)]
    assert not faults, "\n\n".join(faults)


def type_block(shell: Shell, block: Block) -> list[str]:
    """Type a block's commands; what is not as it should be: each succeeds, and prints what the page shows."""
    faults: list[str] = []
    commands = block.commands()
    for command in commands:
        try:
            answer = shell.type(command.typed)
        except TimeoutError as error:
            return [*faults, f"{block.place}\n{error}"]
        ends_well = (answer.status == 0) != (FAILS in block.words and command is commands[-1])
        if not ends_well or not (command.seen is None or is_as_shown(command.seen, answer.printed)):
            said = f"{answer.printed}\n(exit status {answer.status})\n--- the page shows:\n{command.seen}"
            faults.append(f"{block.place}\n$ {command.typed}\n{said}")
    return faults


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_block_says_what_it_is(page: Path) -> None:
    for block in blocks(page):
        assert block.language in TYPED + SHOWN, block.place
        assert set(block.words) <= {FAILS, *ELSEWHERE}, block.place
        if block.language in SHOWN:
            assert "\n$ " not in f"\n{block.text}", f"{block.place} is typed by nobody"
