"""Who is compared: our executable, and directories of the reference's plugins."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import OURS

Config = dict[str, Any]

CHECKOUT = Path(__file__).resolve().parent.parent

DUAL_STACK = [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]]


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
    from tests.harness import Node, Plugin

    plugin = Plugin(contestant.plugin, cni_path=str(contestant.directory))
    with Node() as node:
        reply = plugin.call(node, "ADD", contestant.config("asked", ipMasqBackend="none-such"), node.pod())
    return reply.status != 0 and "none-such" in reply.stdout
