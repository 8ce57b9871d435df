"""A short run of the whole thing measures what it says, and leaves nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bundle import CHECKOUT
from tests.harness import REFERENCE_BIN_DIR

RUN = CHECKOUT / "bench/run"


def bench(*args: str | Path, cwd: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RUN, *args], cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
def test_a_short_run(root: None, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    for plugin in ("bridge", "host-local"):
        shutil.copy(REFERENCE_BIN_DIR / plugin, tmp_path / "others")
    links = subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout
    sizes = ("--quick", "--rounds=2", "--pods=1,2", "--burst=3", "--leases=0,9")
    done = bench(*sizes, "--json=out.json", "--against=others", cwd=tmp_path)
    assert done.returncode == 0, done
    assert subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout == links

    report = json.loads((tmp_path / "out.json").read_text())
    everyone = list(report["contestants"])
    assert everyone[0] == "ours"
    assert everyone[-1] == "others/"
    assert report["sizes"]["pods"] == [1, 2]
    assert report["machine"]["processors"] > 0
    rows = {(row["section"], row["case"], row["what"], row["unit"]): row for row in report["rows"]}
    for row in rows.values():
        for figure in row["figures"].values():
            assert 0 <= figure["low"] <= figure["median"] <= figure["high"]
        assert list(row["ratios"]) == list(row["figures"])[1:]
    without_masquerade = [name for name in everyone if "nftables" not in name]
    for key in (
        *(
            ("verbs", case, verb, "ms")
            for case in ("ipMasq", "no ipMasq", "dual stack")
            for verb in ("ADD", "CHECK", "DEL")
        ),
        ("verbs", "any", "VERSION", "ms CPU"),
        ("growth", "1 pod", "ADD", "ms"),
        ("growth", "2 pods", "DEL", "ms CPU"),
        ("burst", "3 ADDs at once", "all of them", "ms"),
        ("burst", "3 DELs at once", "the slowest", "ms"),
        ("ipam", "9 leases", "ADD, IPAM alone", "ms"),
        ("footprint", "ADD", "peak memory", "MB"),
        ("footprint", "ADD", "system calls", ""),
        ("footprint", "", "on disk", "MB"),
        ("sandbox", "", "RunPodSandbox", "ms"),
    ):
        same = key[0] in ("ipam", "sandbox") or key[1] in ("no ipMasq", "any")
        who = without_masquerade if same else everyone
        assert list(rows[key]["figures"]) == who, key
        assert all(figure["median"] > 0 for figure in rows[key]["figures"].values()), key
    assert list(rows["ipam", "9 leases", "ADD of a pod", "ms"]["figures"]) == ["ours", "no leases"]
    for verb in ("ADD", "DEL"):
        failures = rows["burst", f"3 {verb}s at once", "failures", ""]["figures"]
        assert {figure["high"] for figure in failures.values()} == {0}
    assert "others/" in done.stdout


@pytest.mark.slow
def test_what_it_cannot_do_is_refused_at_once(tmp_path: Path) -> None:
    for args, reason in (
        (("velocity",), "no section velocity"),
        (("--against", tmp_path), "there must be a bridge and a host-local"),
        (("--write", "verbs"), "--write needs all sections"),
    ):
        done = bench(*args)
        assert done.returncode == 2
        assert reason in done.stderr
