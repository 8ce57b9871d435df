"""How the agent replaces a file: whole or not at all, also if somebody else does the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cni_bridge_py.agent.host import replace


def test_two_at_once(tmp_path: Path) -> None:
    """Each cleans up what a killed one left, and leaves the other's file alone."""
    target = tmp_path / "10-bridge.conflist"
    contents = [bytes([65 + number]) * 10_000 for number in range(8)]
    with ThreadPoolExecutor(len(contents)) as pool:
        for _ in range(20):
            list(pool.map(lambda content: replace(target, content, 0o644), contents))
            assert target.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    (tmp_path / ".file.0123abcd.new").write_text("half of")
    replace(tmp_path / "file", b"all of it", 0o600)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"all of it")]
