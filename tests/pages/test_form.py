"""What pages have in common, and what has to be the same in several of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench.pages import BEGIN, END
from bench.summary import AGAINST_OTHERS
from cni_bridge_py import __version__
from tests.bundle import CHECKOUT

FIGURES = len(AGAINST_OTHERS) + 4
"""Lines: the table with its head, an empty one, and where it was measured."""

DOCS = sorted(CHECKOUT.glob("docs/**/*.md"))


def test_readme_is_read_to_its_end() -> None:
    """Whether or not the figures are in it."""
    before, _, rest = (CHECKOUT / "README.md").read_text().partition(BEGIN)
    figures, _, after = rest.partition(END)
    assert len(figures.splitlines()) <= FIGURES
    assert len([*before.splitlines(), *after.splitlines()]) + 2 + FIGURES <= 150


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_a_page_begins_with_whom_it_is_for(page: Path) -> None:
    assert re.match(r"# .+\n\nFor ", page.read_text())


def test_there_is_one_version() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## \[([\d.]+)\]", (CHECKOUT / "CHANGELOG.md").read_text(), re.MULTILINE)
    deployed = "".join((CHECKOUT / "deploy" / name).read_text() for name in ("Dockerfile", "cni-bridge-py.yaml"))
    images = re.findall(r"cni-bridge-py:(\d[\d.]+\d)", deployed)
    assert newest
    assert {project["version"], newest[1], *images} == {__version__}


SCHEMAS = {
    "ci": "workflows",
    "release": "workflows",
    "bug": "issue-forms",
    "idea": "issue-forms",
    "config": "issue-config",
}
"""What GitHub calls the schema of a file in .github, by the file's name."""


@pytest.mark.parametrize("file", sorted(CHECKOUT.glob(".github/**/*.yml")), ids=lambda path: path.name)
def test_github_can_read_it(file: Path) -> None:
    schema = f"vendor.github-{SCHEMAS[file.stem]}"
    argv = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file)
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_issue_asks_for_what_doctor_says() -> None:
    assert "doctor --json" in (CHECKOUT / ".github/ISSUE_TEMPLATE/bug.yml").read_text()


FOLDERS = sorted(
    {
        file.parent
        for top in ("bench", "bundle", "cni_bridge_py", "deploy")
        for file in CHECKOUT.glob(f"{top}/**/__init__.py")
    }
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(CHECKOUT)))
def test_a_folder_says_what_lives_there_and_what_does_not(folder: Path) -> None:
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert len(said.splitlines()) >= 3 or folder.name in PARTS


PARTS = ("sections", "questions")
"""Folders that are a part of the one around them."""
