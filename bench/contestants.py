"""Who is compared: our executable, and directories of the reference's plugins."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import OURS
from tests import newest
from tests.bundle import build_executable
from tests.harness import REFERENCE_BIN_DIR, Node, Plugin

Config = dict[str, Any]

CHECKOUT = Path(__file__).resolve().parent.parent

DUAL_STACK = [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]]

PACKAGE = "containernetworking-plugins"


@dataclass(frozen=True)
class Contestant:
    """A main plugin and the keys that its configuration has beyond the shipped one's."""

    name: str
    plugin: str
    """The path of its executable."""
    keys: Config = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where its IPAM plugin is, too."""
        return Path(self.plugin).parent

    @property
    def host_local(self) -> str:
        """The path of the IPAM plugin to call directly; our executable is one under a name of its own."""
        return f"/run/{OURS}/host-local-py" if self.name == OURS else str(self.directory / "host-local")

    @property
    def masquerades_otherwise(self) -> bool:
        """Whether it differs from another contestant only where there is masquerade."""
        return "ipMasqBackend" in self.keys

    def config(self, network: str, **keys: Any) -> Config:
        """conf/10-bridge.conf for this contestant, with `keys` over it."""
        shipped = json.loads((CHECKOUT / "conf/10-bridge.conf").read_text())
        own = {"name": network, "type": Path(self.plugin).name}
        return {**shipped, **own, **self.keys, **keys}


def our_executable() -> Path:
    """What is measured unless told; built if need be."""
    return build_executable()


def references() -> dict[str, Path]:
    """The reference's directories by name: the newest release's, where it could be had, and Debian's own."""
    found = {}
    if package := newest.find(PACKAGE):
        found[f"reference {package.release}"] = newest.reference_dir()
    query = ["dpkg-query", "--show", "--showformat=${source:Upstream-Version}", PACKAGE]
    release = subprocess.run(query, capture_output=True, text=True, check=True).stdout.partition("+")[0]
    return found | {f"reference {release}": REFERENCE_BIN_DIR}


def contestants(plugin: Path, directories: dict[str, Path]) -> list[Contestant]:
    """Ours, and the `bridge` of each directory (by name) with each masquerade backend that it has.

    One that has several takes iptables unless told, where there is such a command.
    """
    found = [Contestant(OURS, str(plugin))]
    for name, directory in directories.items():
        reference = Contestant(name, str(directory / "bridge"))
        found.append(reference)
        if has_backends(reference):
            found.append(Contestant(f"{name}, nftables", reference.plugin, {"ipMasqBackend": "nftables"}))
    return found


def has_backends(contestant: Contestant) -> bool:
    """Whether the plugin knows ipMasqBackend: those that do refuse one that does not exist."""
    plugin = Plugin(contestant.plugin, cni_path=str(contestant.directory))
    with Node() as node:
        reply = plugin.call(node, "ADD", contestant.config("asked", ipMasqBackend="none-such"), node.pod())
    return reply.status != 0 and "none-such" in reply.stdout
