"""Configures other services of this node to leave pods' links alone, and a unit that mends what they break."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from cni_bridge_py.node import dropins
from cni_bridge_py.node.confdir import PLUGIN

SYSTEMD = Path("/etc/systemd/system")
UNIT = SYSTEMD / f"{PLUGIN}-mend.service"
RELOADED = ("nftables", "firewalld", "systemd-networkd", "NetworkManager")
"""Services that flush rules or take links over when they are reloaded."""

RUNNING = Path("/run/systemd/system")
"""It exists if systemd runs (sd_booted(3))."""


def files(shipped: Path, command: Path, bridges: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """The files for the services of this node, and their contents.

    `shipped` is conf/ of the checkout, `command` the command for people, `bridges` those of the networks installed.
    """
    bridges = list(bridges)
    for path, text in (
        (dropins.NETWORKD, dropins.networkd(bridges)),
        (dropins.NETWORK_MANAGER, dropins.network_manager(bridges)),
    ):
        if _is_there(path):
            yield path, text
    if SYSTEMD.is_dir():
        unit = (shipped / "systemd" / UNIT.name).read_text()
        yield UNIT, unit.replace(f"/usr/local/bin/{PLUGIN}", str(command))
        reload = (shipped / "systemd/reload.conf").read_text()
        for path in _reload_paths():
            yield path, reload


def installed(command: Path) -> list[Path]:
    """Those of our files that are on this node. None if they belong to an installation with another command."""
    if UNIT.is_file() and f"{command} mend" not in UNIT.read_text():
        return []
    return [path for path in (dropins.NETWORKD, dropins.NETWORK_MANAGER, UNIT, *_reload_paths()) if path.is_file()]


def take_notice(paths: Iterable[Path]) -> Iterator[str]:
    """Let the running services read their files again; return a line for each failure."""
    paths = list(paths)
    commands = []
    if UNIT in paths and shutil.which("systemctl"):  # other packages make the directory as well
        commands.append(["systemctl", "--quiet", "enable" if UNIT.exists() else "disable", UNIT.name])
    if RUNNING.is_dir():
        commands += [["systemctl", "daemon-reload"]] if UNIT in paths else []
        commands += [["networkctl", "reload"]] if dropins.NETWORKD in paths and _is_active("systemd-networkd") else []
        if dropins.NETWORK_MANAGER in paths and _is_active("NetworkManager"):
            commands.append(["nmcli", "general", "reload"])
    for command in commands:
        if reason := _failure(command):
            yield f"{' '.join(command)}: {reason}"


def _is_there(path: Path) -> bool:
    """Whether the service that reads this file is installed. Its package makes the directory."""
    return path.parent.is_dir() or (path.parents[1].name == "NetworkManager" and path.parents[1].is_dir())


def _reload_paths() -> list[Path]:
    return [SYSTEMD / f"{service}.service.d" / f"50-{PLUGIN}-mend.conf" for service in RELOADED]


def _is_active(service: str) -> bool:
    return not _failure(["systemctl", "--quiet", "is-active", service])


def _failure(command: list[str]) -> str:
    """Why a command failed; empty if it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    except OSError as error:
        return error.strerror or str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"
