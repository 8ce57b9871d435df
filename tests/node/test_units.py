"""The systemd units that have `mend` run: systemd reads them as they are meant."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.bundle import CHECKOUT
from tests.node.conftest import PROGRAM, Patient, need

UNITS = CHECKOUT / "conf/systemd"
SERVICE = UNITS / "cni-bridge-py-mend.service"
RELOADED = ("nftables", "firewalld", "systemd-networkd", "NetworkManager")


def verify(unit: Path) -> str:
    need("systemd-analyze")
    argv = ("systemd-analyze", "verify", "--man=no", unit)
    env = {"SYSTEMD_UNIT_PATH": f"{unit.parent}:", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, capture_output=True, text=True, env=env)
    return "\n".join(line for line in done.stderr.splitlines() if "cni-bridge-py" in line or unit.name in line)


def test_the_service_is_one(tmp_path: Path) -> None:
    unit = tmp_path / SERVICE.name
    unit.write_text(SERVICE.read_text().replace("/usr/local/bin/cni-bridge-py", "/bin/true"))
    assert verify(unit) == ""


def test_a_reload_pulls_it_in(tmp_path: Path) -> None:
    shutil.copyfile(SERVICE, tmp_path / SERVICE.name)
    for name in RELOADED:
        unit = tmp_path / f"{name}.service"
        unit.write_text("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecReload=/bin/true\n")
        dropin = tmp_path / f"{name}.service.d"
        dropin.mkdir()
        shutil.copyfile(UNITS / "reload.conf", dropin / "50-cni-bridge-py-mend.conf")
        assert "reload" not in verify(unit).lower()


def test_what_it_runs_mends(patient: Patient) -> None:
    (command,) = (line.partition("=")[2] for line in SERVICE.read_text().splitlines() if line.startswith("ExecStart="))
    patient.sh("nft flush ruleset; ip link set cni0 down")
    patient.sh(command.replace("/usr/local/bin/cni-bridge-py", PROGRAM))
    assert patient.is_well()
