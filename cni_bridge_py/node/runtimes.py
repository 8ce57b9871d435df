"""The container runtimes of a node, and where each looks for plugins and network configurations.

We ask the runtime itself, if it can answer (`containerd config dump`, `crio config`). Otherwise we read its files, and
then assume its documented defaults.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

BIN_DIR = Path("/opt/cni/bin")
CONF_DIR = Path("/etc/cni/net.d")
"""The defaults of most runtimes, and ours if there is no runtime yet."""

CONTAINERD_CONFIG = Path("/etc/containerd/config.toml")

CRI_PLUGINS = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime")
"""The names of containerd's CRI plugin in its configuration: version 2 (containerd 1.x), version 3 (2.x)."""

CRIO_BIN_DIRS = (BIN_DIR, Path("/usr/libexec/cni"))

PODMAN_BIN_DIRS = tuple(
    map(Path, ("/usr/local/libexec/cni", "/usr/libexec/cni", "/usr/local/lib/cni", "/usr/lib/cni", "/opt/cni/bin"))
)
"""containers.conf(5), `cni_plugin_dirs`."""

CONTAINERS_CONF = (Path("/usr/share/containers/containers.conf"), Path("/etc/containers/containers.conf"))
PODMAN_BACKEND = Path("/var/lib/containers/storage/defaultNetworkBackend")
"""Where podman stores the backend that it chose when it first ran, `cni` or `netavark`."""

NETAVARK = (Path("/usr/lib/podman/netavark"), Path("/usr/libexec/podman/netavark"))
"""What podman uses in place of CNI plugins by default."""

K3S = Path("/var/lib/rancher/k3s")
RKE2 = Path("/var/lib/rancher/rke2")
MICROK8S = Path("/var/snap/microk8s/current")

DISTRIBUTIONS = (
    (K3S, "k3s", "k3s"),
    (RKE2, "rke2", "rke2-server"),
    (MICROK8S, "microk8s", "snap.microk8s.daemon-containerd"),
)
"""Distributions of Kubernetes: the configuration of their own containerd, their name, their systemd unit."""

SECONDS = 20
"""How long to wait for a runtime to print its configuration."""


@dataclass(frozen=True)
class Runtime:
    """A container runtime, and where it looks."""

    name: str
    bin_dirs: tuple[Path, ...]
    conf_dir: Path
    lists_only: bool = False
    """It only takes configuration lists (.conflist)."""
    unit: str = ""
    """Its systemd unit; empty if it has no daemon that must notice a change."""
    restart: str = ""
    """Why it must be restarted before it looks there; empty if it need not."""

    def finds(self, plugin: str) -> bool:
        """Whether it has a plugin of that name."""
        return any(os.access(folder / plugin, os.X_OK) for folder in self.bin_dirs)


@dataclass(frozen=True)
class Found:
    """The runtimes, and a line for people about each runtime that does not run pods with CNI."""

    runtimes: tuple[Runtime, ...]
    others: tuple[str, ...] = ()


@cache
def find() -> Found:
    """Find the runtimes of this node. Asking one takes 0.1 s, so the result is cached."""
    runtimes: list[Runtime] = []
    others: list[str] = []
    for search in (_containerds, _crio, _k3s, _microk8s, _podman):
        for each in search():
            if isinstance(each, str):
                others.append(each)
            elif (each.bin_dirs, each.conf_dir) not in [(known.bin_dirs, known.conf_dir) for known in runtimes]:
                runtimes.append(each)
    return Found(tuple(runtimes), tuple(others))


# containerd


def _containerds() -> Iterator[Runtime | str]:
    running = list(_running_containerds())
    installed = shutil.which("containerd")
    if installed and all(config != CONTAINERD_CONFIG for _, config, _ in running):
        running.append((installed, CONTAINERD_CONFIG, 0.0))
    for command, config, started in running:
        yield from _containerd(command, config, started)


def _running_containerds() -> Iterator[tuple[str, Path, float]]:
    """The executable, the configuration file and the time of start (seconds) of each containerd that runs."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() != "containerd":
                continue
            words = (process / "cmdline").read_text().split("\0")
            yield os.readlink(process / "exe"), _config_of(words), process.stat().st_mtime
        except OSError:
            continue  # it ended meanwhile


def _config_of(words: list[str]) -> Path:
    for option, value in zip(words, [*words[1:], ""], strict=True):
        name, equals, joined = option.partition("=")
        if name in ("-c", "--config", "-config"):
            return Path(joined if equals else value)
    return CONTAINERD_CONFIG


def _containerd(command: str, config: Path, started: float) -> Iterator[Runtime | str]:
    owners = [(name, unit) for folder, name, unit in DISTRIBUTIONS if config.is_relative_to(folder)]
    name, unit = owners[0] if owners else ("containerd", "containerd")
    arguments = ["--config", str(config)] if config.exists() else []
    told = _toml(_output(command, *arguments, "config", "dump"))
    if config.exists() and not told:
        yield f"{name}: it cannot read {config} (see containerd config dump), so its defaults are taken"
        told = _toml(_output(command, "config", "default"))
    disabled = _texts(told.get("disabled_plugins"))
    if any(each in disabled for each in ("cri", *CRI_PLUGINS)):
        yield f"{name}: runs no pods, its CRI plugin is disabled in {config} (as docker's package does)"
        return
    cni: dict[str, Any] = {}
    for plugin in CRI_PLUGINS:
        cni |= _table(told, "plugins", plugin, "cni")
    folders = _paths(cni.get("bin_dirs")) or _paths(cni.get("bin_dir")) or (BIN_DIR,)
    changed = started and config.exists() and config.stat().st_mtime > started
    restart = f"{config} was changed after it was started" if changed else ""
    yield Runtime(name, folders, _path(cni.get("conf_dir")), unit=unit, restart=restart)


# CRI-O


def _crio() -> Iterator[Runtime]:
    command = shutil.which("crio")
    if command:
        network = _table(_toml(_output(command, "config")), "crio", "network")
        folders = _paths(network.get("plugin_dirs")) or CRIO_BIN_DIRS
        yield Runtime("CRI-O", folders, _path(network.get("network_dir")), unit="crio")


# Distributions with a containerd of their own. If it runs, the search above finds it


def _k3s() -> Iterator[Runtime]:
    if K3S.exists():
        folders = (K3S / "data/cni", K3S / "data/current/bin")
        yield Runtime(
            "k3s", tuple(filter(Path.exists, folders)) or folders[-1:], K3S / "agent/etc/cni/net.d", unit="k3s"
        )


def _microk8s() -> Iterator[Runtime]:
    if MICROK8S.exists():
        yield Runtime(
            "microk8s",
            (MICROK8S / "opt/cni/bin",),
            MICROK8S / "args/cni-network",
            unit="snap.microk8s.daemon-containerd",
        )


# podman


def _podman() -> Iterator[Runtime | str]:
    if not shutil.which("podman"):
        return
    network: dict[str, Any] = {}
    for file in (*CONTAINERS_CONF, *sorted(Path(f"{CONTAINERS_CONF[-1]}.d").glob("*.conf"))):
        network |= _table(_toml(_text(file)), "network")
    chosen = network.get("network_backend") or _text(PODMAN_BACKEND).strip()
    if chosen == "cni" or (not chosen and not any(map(Path.exists, NETAVARK))):
        folders = _paths(network.get("cni_plugin_dirs")) or PODMAN_BIN_DIRS
        yield Runtime("podman", folders, _path(network.get("network_config_dir")), lists_only=True)
    else:
        yield 'podman: uses no CNI plugins (network_backend = "cni" in containers.conf(5) has it use them)'


# Reads what other programs write. What makes no sense counts as missing


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _table(told: Any, *keys: str) -> dict[str, Any]:
    """The table that these keys lead to, or an empty one."""
    for key in keys:
        told = told.get(key) if isinstance(told, dict) else None
    return told if isinstance(told, dict) else {}


def _texts(told: Any) -> list[str]:
    return [each for each in (told if isinstance(told, list) else [told]) if each and isinstance(each, str)]


def _paths(told: Any) -> tuple[Path, ...]:
    return tuple(map(Path, _texts(told)))


def _path(told: Any) -> Path:
    return (*_paths(told), CONF_DIR)[0]
