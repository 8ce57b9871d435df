"""`explain`: the plugin's own steps, as the commands that a person would type."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cni_bridge_py.cni.errors import DECODE_FAILURE, INVALID_CONFIG, IO_FAILURE, CniError
from cni_bridge_py.cni.result import Result
from cni_bridge_py.config import HOST_LOCAL, NetworkConfig, read_config
from cni_bridge_py.ipam import host_local
from cni_bridge_py.wiring import names, plan
from cni_bridge_py.wiring.plan import Wiring
from cni_bridge_py.wiring.step import Step

PLUGIN = "cni-bridge-py"
CONF_DIR = Path("/etc/cni/net.d")
CONTAINER_ID = "example"
IFNAME = "eth0"


def run(path: str | None, verb: str) -> int:
    """Print the script for a verb.

    Raises CniError when there is no configuration, or the plugin would refuse it.
    """
    source, config = _configuration(path)
    host = names.host_veth(CONTAINER_ID, IFNAME)
    wiring = _wiring(config, host)
    pod = plan.pod_filter(config, host, wiring.links.pod_mac, wiring.ips)
    steps = wiring.steps if verb == "ADD" else plan.detachment(pod)
    print("\n".join(_script(verb, source, config, steps)))
    return 0


def _configuration(path: str | None) -> tuple[str, NetworkConfig]:
    """Where the configuration comes from, and what it says."""
    if path == "-":
        return "standard input", _parse("standard input", sys.stdin.read())
    if path:
        return path, _parse(path, _read(Path(path)))
    for file in sorted(CONF_DIR.glob("*.conf*")):
        if file.suffix in (".conf", ".conflist") and f'"{PLUGIN}"' in _read(file):
            return str(file), _parse(str(file), _read(file))
    raise CniError(IO_FAILURE, f"no configuration of {PLUGIN} in {CONF_DIR}", "name one with --conf FILE")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CniError(IO_FAILURE, f"{path}: {getattr(error, 'strerror', error)}") from None


def _parse(source: str, text: str) -> NetworkConfig:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CniError(DECODE_FAILURE, f"{source}: {error}") from None
    if not isinstance(raw, dict):
        raise CniError(DECODE_FAILURE, f"{source}: no JSON object")
    return read_config(_from_list(source, raw) if "plugins" in raw else raw)


def _from_list(source: str, raw: dict[str, Any]) -> dict[str, Any]:
    """Our entry of a configuration list, with the list's name and version as a runtime passes it."""
    common = {key: raw[key] for key in ("name", "cniVersion") if key in raw}
    for plugin in raw["plugins"]:
        if isinstance(plugin, dict) and plugin.get("type") == PLUGIN:
            return {**plugin, **common}
    raise CniError(INVALID_CONFIG, f"{source}: no plugin of type {PLUGIN} in the list")


def _wiring(config: NetworkConfig, host: str) -> Wiring:
    ips = host_local.preview(config.ipam.range_sets) if config.ipam else []
    addresses = Result([], ips, config.ipam.routes if config.ipam else [], {})
    return plan.wiring(config, host, IFNAME, addresses, pod=f"default/{CONTAINER_ID}")


def _script(verb: str, source: str, config: NetworkConfig, steps: list[Step]) -> list[str]:
    lines = [
        "#!/bin/sh",
        f"# What {PLUGIN} does for {verb} on the network {config.name} ({_on_one_line(source)}).",
        f"# The pod has the container id {CONTAINER_ID} and the interface {IFNAME}.",
        "set -e",
        "",
    ]
    if verb == "ADD":
        lines += [
            "# The container runtime has made the pod's network namespace.",
            f"POD=${{POD:-/run/netns/{CONTAINER_ID}}}",
            f'test -e "$POD" || ip netns add {CONTAINER_ID}',
            "",
        ]
        lines += [] if _is_delegated(config) else _lease_comment(config, "written")
    for step in steps:
        lines += [f"# {step}", *step.commands(), ""]
    if verb == "DEL" or _is_delegated(config):
        lines += _lease_comment(config, "removed")
    return lines


def _is_delegated(config: NetworkConfig) -> bool:
    """Whether another plugin gives addresses: when the cable is there, and takes them back when it is gone."""
    return config.ipam is not None and config.ipam.type not in HOST_LOCAL


def _on_one_line(text: str) -> str:
    """A file's name in a comment, which must not end the comment."""
    return text if text.isprintable() else repr(text)


def _lease_comment(config: NetworkConfig, what: str) -> list[str]:
    if not config.ipam:
        return []
    if _is_delegated(config):
        return [f"# Addresses come from the plugin {config.ipam.type}, which is not run here.", ""]
    folder = f"{config.ipam.data_dir}/{config.name}"
    return [f"# host-local: the lease of the pod's address is {what}, a file in {folder} named after it.", ""]
