"""Questions about the container runtime: whether it finds the plugin and its configuration, and both work."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from cni_bridge_py.config import HOST_LOCAL
from cni_bridge_py.node import confdir, networks
from cni_bridge_py.node.answers import Finding, Node, Trouble, does_not_apply, told
from cni_bridge_py.node.confdir import PLUGIN, NetworkFile
from cni_bridge_py.node.networks import Network
from cni_bridge_py.node.runtimes import BIN_DIR, PODMAN_BIN_DIRS, Runtime

INSTALL = "./install.sh"
"""Where a checkout has it."""

SECONDS = 10
NO_POD_STARTS = "pods cannot start or stop"


def plugin_found(node: Node) -> Finding:
    """Whether each runtime finds the plugin, and has read its current configuration."""
    if not node.runtimes:
        return does_not_apply("there is no container runtime on this node")
    names = ", ".join(f"{each.name}: {':'.join(map(str, each.bin_dirs))}" for each in node.runtimes)
    return told(_not_found(node), names)


def _not_found(node: Node) -> Iterator[Trouble]:
    for runtime in node.runtimes:
        if runtime.lists_only and not _configured(runtime):
            continue  # podman also has networks of its own
        if not runtime.finds(PLUGIN):
            folder = runtime.bin_dirs[0]
            here = next((each for each in _usual(node) if os.access(each / PLUGIN, os.X_OK)), None)
            mend = [f"mkdir -p {folder}", f"ln -sfn {here / PLUGIN} {folder / PLUGIN}"] if here else [INSTALL]
            found = f"{runtime.name} looks for plugins in {':'.join(map(str, runtime.bin_dirs))}: no {PLUGIN} there"
            yield Trouble(found, NO_POD_STARTS, mend)
        if runtime.restart:
            meaning = "until then, it looks in its former directories"
            yield Trouble(f"{runtime.name}: {runtime.restart}", meaning, [f"systemctl restart {runtime.unit}"])


def _configured(runtime: Runtime) -> bool:
    return any(file.is_ours for file in _files(runtime))


def _usual(node: Node) -> list[Path]:
    known = [folder for each in node.runtimes for folder in each.bin_dirs]
    return list(dict.fromkeys([*known, BIN_DIR, *PODMAN_BIN_DIRS]))


def _files(runtime: Runtime) -> list[NetworkFile]:
    files = networks.read_folder(runtime.conf_dir)
    return [each for each in files if each.is_list] if runtime.lists_only else files


def configuration_first(node: Node) -> Finding:
    """Whether the first configuration, which each runtime uses, is ours."""
    asked = [each for each in node.runtimes if not each.lists_only]  # podman uses all of them, by their names
    if not asked:
        return does_not_apply("no container runtime here uses the first configuration")
    firsts = [(each, _files(each)[:1]) for each in asked]
    troubles = [
        trouble for runtime, first in firsts if (trouble := _not_first(runtime, first[0] if first else None, node))
    ]
    return told(troubles, ", ".join(f"{runtime.name}: {first[0].path}" for runtime, first in firsts if first))


def _not_first(runtime: Runtime, first: NetworkFile | None, node: Node) -> Trouble | None:
    if first and first.is_ours:
        return None
    ours = next((each for each in _files(runtime) if each.is_ours), None)
    if first and ours:
        sorted_before = [each for each in _files(runtime) if bytes(each.path) < bytes(ours.path)]
        meaning = f"pods get their network from {', '.join(confdir.types(first.document)) or 'nothing that works'}"
        commands = [
            f"mv {quote(str(each.path))} {quote(str(each.path))}{confdir.BACKUP}doctor" for each in sorted_before
        ]
        return Trouble(f"{runtime.name} uses {first}, which sorts before {ours.path}", meaning, commands)
    elsewhere = next((each.path for each in node.networks), None)
    mend = (
        [f"mkdir -p {runtime.conf_dir}", f"cp {quote(str(elsewhere))} {runtime.conf_dir}/"] if elsewhere else [INSTALL]
    )
    found = f"{runtime.name} looks for configurations in {runtime.conf_dir}: none of {PLUGIN} there"
    if first:
        mend = [f"mv {quote(str(first.path))} {quote(str(first.path))}{confdir.BACKUP}doctor", *mend]
    return Trouble(found, "pods get another network, or none", mend)


def chain_started(node: Node) -> Finding:
    """Whether all plugins of our configurations are there, and start."""
    if not node.networks:
        return does_not_apply(f"there is no configuration of {PLUGIN}")
    wanted = list(
        dict.fromkeys((kind, _looked_in(node, each)) for each in node.networks for kind in _plugins(each.file))
    )
    there = {each: next((f / each[0] for f in each[1] if (f / each[0]).exists()), None) for each in wanted}
    started = {path: _start(path) for path in there.values() if path}
    troubles = []
    for (kind, folders), path in there.items():
        if not path:
            # An earlier question asks about ours, for each runtime.
            troubles += [_missing(kind, folders)] if kind != PLUGIN else []
        elif why := _why_not(started[path]):
            troubles.append(_does_not_start(kind, path, why))
    return told(troubles, ", ".join(dict.fromkeys(str(path) for path in there.values() if path)))


def _looked_in(node: Node, network: Network) -> tuple[Path, ...]:
    """The directories in which the runtime that uses a configuration looks for plugins."""
    of_runtime = [each for each in node.runtimes if each.conf_dir == network.path.parent and not each.lists_only]
    return of_runtime[0].bin_dirs if of_runtime else tuple(_usual(node))


def _plugins(file: NetworkFile) -> Iterator[str]:
    for each in file.plugins:
        yield str(each.get("type"))
        ipam = each.get("ipam")
        kind = ipam.get("type") if isinstance(ipam, dict) else None
        if isinstance(kind, str) and not (each.get("type") == PLUGIN and kind in HOST_LOCAL):
            yield kind


def _missing(kind: str, folders: tuple[Path, ...]) -> Trouble:
    packaged = Path("/usr/lib/cni", kind)
    mend = [f"mkdir -p {folders[0]}", f"ln -sfn {packaged} {folders[0] / kind}"]
    install = [] if packaged.exists() else ["apt-get install -y containernetworking-plugins"]
    return Trouble(f"there is no plugin {kind} in {':'.join(map(str, folders))}", NO_POD_STARTS, install + mend)


def _does_not_start(kind: str, path: Path, why: str) -> Trouble:
    packaged = Path("/usr/lib/cni", kind)
    mend = [f"chmod +x {quote(str(path.resolve()))}"]
    if os.access(path, os.X_OK):
        mend = [f"ln -sfn {packaged} {path}"] if packaged.exists() and packaged != path else [INSTALL]
    return Trouble(f"plugin {path} does not start: {why}", NO_POD_STARTS, mend)


def _start(path: Path) -> subprocess.Popen[str] | str:
    environment = {"CNI_COMMAND": "VERSION", "CNI_PATH": str(path.parent), "PATH": os.environ.get("PATH", "")}
    pipe = subprocess.PIPE
    try:
        child = subprocess.Popen([path], env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    except OSError as error:
        return error.strerror or str(error)
    return child


def _why_not(child: subprocess.Popen[str] | str) -> str:
    """Why a plugin does not answer VERSION; empty if it does. All of them run at the same time."""
    if isinstance(child, str):
        return child
    try:
        output, errors = child.communicate('{"cniVersion": "1.0.0"}', timeout=SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"no answer in {SECONDS} s"
    if "supportedVersions" in output:
        return ""
    return (errors or output).strip().partition("\n")[0] or f"exit status {child.returncode}"


def configuration_accepted(node: Node) -> Finding:
    """Whether the plugin accepts each configuration."""
    if not node.networks:
        return does_not_apply(f"there is no configuration of {PLUGIN}")
    troubles = [
        Trouble(f"{each.path}: {each.error}", NO_POD_STARTS, [f"${{EDITOR:-vi}} {quote(str(each.path))}"])
        for each in node.networks
        if each.error
    ]
    return told(troubles, ", ".join(str(each.path) for each in node.networks))


def status_well(node: Node) -> Finding:
    """Whether the plugin's STATUS says that an ADD would succeed."""
    folders = _usual(node)
    program = next((folder / PLUGIN for folder in folders if os.access(folder / PLUGIN, os.X_OK)), None)
    if not program or not node.configs:
        return does_not_apply("there is no plugin to ask" if node.configs else "there is no configuration")
    troubles = []
    for config in node.configs:
        why = _status(program, node.raw(config), folders)
        if why:
            command = why.get("details", "").partition("run: ")[2]
            commands = [command] if command else [f"{node.program} list", node.mend]
            troubles.append(Trouble(f"network {config.name}: {why['msg']}", "no new pod gets a network", commands))
    return told(troubles, "the plugin could serve an ADD")


def _status(program: Path, raw: dict[str, Any], folders: list[Path]) -> dict[str, str]:
    environment = {"CNI_COMMAND": "STATUS", "CNI_PATH": ":".join(map(str, folders)), "PATH": os.environ.get("PATH", "")}
    asked = json.dumps(raw | {"cniVersion": "1.1.0"})
    try:
        done = subprocess.run(
            [program], env=environment, input=asked, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode == 0:
            return {}
        error = json.loads(done.stdout)
        return {key: str(error.get(key, "")) for key in ("msg", "details")}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"msg": f"{program} STATUS: {error}"}
