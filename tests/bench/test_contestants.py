"""Who is compared: which masquerade backends a plugin has is asked of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contestants import contestants, references
from tests import newest
from tests.harness import REFERENCE_BIN_DIR

WITH_BACKENDS = """#!/bin/sh
grep -q none-such || exit 0
echo '{"code": 999, "msg": "unknown ipmasq backend \\"none-such\\""}'
exit 1
"""

BROKEN = """#!/bin/sh
echo '{"code": 999, "msg": "cannot do anything"}'
exit 1
"""


def stand_in(directory: Path, script: str) -> Path:
    directory.mkdir()
    (directory / "bridge").write_text(script)
    (directory / "bridge").chmod(0o755)
    return directory


def names(**directories: Path) -> list[str]:
    return [each.name for each in contestants(Path("/opt/cni/bin/cni-bridge-py"), directories)]


def test_debians_reference_has_one_backend(root: None) -> None:
    assert names(reference=REFERENCE_BIN_DIR) == ["ours", "reference"]


def test_the_newest_reference_has_two(root: None) -> None:
    assert names(newest=newest.reference_dir()) == ["ours", "newest", "newest, nftables"]


def test_the_newest_reference_comes_first() -> None:
    assert list(references().values()) == [newest.reference_dir(), REFERENCE_BIN_DIR]


@pytest.mark.parametrize(
    ("script", "found"), [(WITH_BACKENDS, ["ours", "newer", "newer, nftables"]), (BROKEN, ["ours", "newer"])]
)
def test_a_plugin_that_refuses_a_backend_has_others(root: None, tmp_path: Path, script: str, found: list[str]) -> None:
    assert names(newer=stand_in(tmp_path / "newer", script)) == found
