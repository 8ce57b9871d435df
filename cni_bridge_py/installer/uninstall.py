"""Uninstalls the plugin, its configuration and its command. What pods use stays, unless --purge is given."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENODEV
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.config import NetworkConfig, read_config_for_delete
from cni_bridge_py.installer import Refused, document, places, say, services
from cni_bridge_py.installer.install import help_files
from cni_bridge_py.installer.staging import MARK, backup_name, need_writable, remove
from cni_bridge_py.kernel.nftables import NFPROTO_BRIDGE, NFPROTO_INET, TABLE
from cni_bridge_py.node import confdir
from cni_bridge_py.node.confdir import PLUGIN, NetworkFile
from cni_bridge_py.wiring import names

OWN_BYTES = b"cni_bridge_py"
"""The package's name, which is in every executable of this plugin."""


@dataclass(frozen=True)
class Options:
    """The options."""

    shipped: Path
    bin_dir: Path | None
    conf_dir: Path | None
    prefix: Path
    purge: bool


def uninstall(options: Options) -> None:
    """Remove what was installed, and say what stays. Raises Refused if we lack the rights."""
    if options.purge and os.geteuid() != 0:
        raise Refused("--purge takes away links and rules, which needs root: run it as root (sudo ./install.sh ...)")
    bins, confs = places.find_all(options.bin_dir, options.conf_dir)
    programs = [path for folder in bins for path in _programs(folder)]
    command = list(_of_people(options.prefix))
    files = [each for folder in confs for each in confdir.files(folder) if each.is_ours]
    backups = [each for folder in confs for each in confdir.backups(folder)]
    for path in [*programs, *command, *(each.path for each in files)]:
        need_writable(path.parent)
    networks = [network for each in [*files, *backups] for network in _networks(each)]
    left = Left(networks)
    # The configuration before the plugin, so that no runtime ever calls a plugin that is gone.
    for file in files:
        _remove_configuration(file, options, bool(left.lines()))
    for path in [*programs, *command]:
        remove(path)
        say(f"Removed {path}")
    if os.geteuid() == 0 and command and (told := services.installed(options.prefix / "bin" / PLUGIN)):
        for path in told:
            remove(path)
            say(f"Removed {path}")
        for line in services.take_notice(told):
            say(f"WARNING: {line}")
    if options.purge:
        left.purge()
        for path in [each.path for folder in confs for each in confdir.backups(folder)]:
            remove(path)
            say(f"Removed {path}")
    elif lines := [*left.lines(), *_backup_lines(confs, backups)]:
        say("What stays (--uninstall --purge removes it, too):")
        for line in lines:
            say(f"  {line}")
    if not (files or programs or command or (options.purge and backups)):
        say(f"There was nothing to uninstall in {', '.join(map(str, [*bins, *confs, options.prefix]))}")
    for folder in confs:
        if files and (first := next(iter(confdir.files(folder)), None)):
            say(f"New pods in {folder} get their network from {first}")
        elif files:
            say(f"{folder} has no configuration now: pods cannot start or stop until there is one")


def _programs(folder: Path) -> Iterator[Path]:
    """Our files in a directory of plugins: the executable, links to it, and what earlier versions left."""
    plugin = folder / PLUGIN
    is_ours = _is_ours(plugin)
    for each in sorted(folder.glob("*")):
        if is_ours and each.is_symlink() and each != plugin and (each.parent / each.readlink()) == plugin:
            yield each
    if is_ours:
        yield plugin
    yield from sorted(folder.glob(f"{MARK}*"))


def _is_ours(plugin: Path) -> bool:
    if plugin.is_symlink():
        to = str(plugin.readlink())
        return to.startswith(MARK) or f"/lib/{PLUGIN}/" in to
    return plugin.is_file() and OWN_BYTES in plugin.read_bytes()


def _of_people(prefix: Path) -> Iterator[Path]:
    """The files of the command line for people: its link, its versions, its man page and completion."""
    if _is_ours(prefix / "bin" / PLUGIN):
        yield prefix / "bin" / PLUGIN
    if (prefix / "lib" / PLUGIN).is_dir():
        yield prefix / "lib" / PLUGIN
    yield from (path for path in help_files(prefix).values() if path.is_file())


def _remove_configuration(file: NetworkFile, options: Options, something_stays: bool) -> None:
    """Remove a configuration, or keep a backup: if it was changed by hand, or if a later --purge will need it."""
    if options.purge or (not something_stays and document.is_unchanged(file.document, options.shipped)):
        remove(file.path)
        say(f"Removed {file.path}")
    else:
        backup = backup_name(file.path)
        file.path.rename(backup)
        say(f"Removed {file.path}, and kept it as {backup}")


def _networks(file: NetworkFile) -> Iterator[NetworkConfig]:
    try:
        yield read_config_for_delete(confdir.alone(file.document), {})
    except CniError:
        return  # no pod was ever made with it


def _backup_lines(confs: list[Path], earlier: list[NetworkFile]) -> Iterator[str]:
    known = {each.path for each in earlier}
    for folder in confs:
        for each in confdir.backups(folder):
            what = "a configuration of an earlier time" if each.path in known else "what was removed just now"
            yield f"{each.path}: {what}"


class Left:
    """What our networks have on this node: pods, bridges, rules and leases."""

    def __init__(self, networks: list[NetworkConfig]) -> None:
        self._networks = {each.name: each for each in networks}
        with IPRoute() as kernel:
            links = list(kernel.get_links())
        self._bridges = {
            each.get("ifname"): each["index"] for each in links if each.get(("linkinfo", "kind")) == "bridge"
        }
        self._links = links
        self._veths = {name: self._veths_of(name) for name in self._networks}
        self._leases = [folder for each in self._networks.values() for folder in _lease_folder(each)]
        self._tables = list(_tables())

    def _veths_of(self, network: str) -> list[str]:
        found = [(each.get("ifname"), each.get("address")) for each in self._links]
        return [name for name, mac in found if names.is_host_veth(network, name, mac or "")]

    def lines(self) -> list[str]:
        """What stays and why, line by line."""
        return [*self._pod_lines(), *self._shared_lines()]

    def _pod_lines(self) -> Iterator[str]:
        for network, veths in self._veths.items():
            if veths:
                yield (
                    f"{len(veths)} pods of the network {network}: they keep their network, but no runtime can stop "
                    "them without the plugin: install it again, stop them, and then uninstall"
                )

    def _shared_lines(self) -> Iterator[str]:
        for bridge in self._own_bridges():
            yield f"the bridge {bridge}, because pods or you may use it"
        for _, family in self._tables:
            yield f"the nftables table {family} {TABLE}, which running pods may need"
        for folder in self._leases:
            yield f"the leases in {folder}, because pods or another plugin may hold them"

    def _own_bridges(self) -> list[str]:
        return [
            bridge
            for bridge in dict.fromkeys(each.bridge for each in self._networks.values())
            if bridge in self._bridges
        ]

    def purge(self) -> None:
        """Remove all of it."""
        with IPRoute() as kernel:
            for network, veths in self._veths.items():
                for veth in veths:
                    _delete(kernel, ifname=veth)
                if veths:
                    say(f"{len(veths)} pods of the network {network} no longer have a network")
            for bridge in self._own_bridges():
                ports = [
                    each.get("ifname") for each in kernel.get_links() if each.get("master") == self._bridges[bridge]
                ]
                if ports:
                    say(f"The bridge {bridge} stays: {', '.join(ports)} is plugged into it, and is not ours")
                else:
                    _delete(kernel, index=self._bridges[bridge])
                    say(f"Removed the bridge {bridge}")
        for number, family in self._tables:
            with NFTables(nfgen_family=number) as nft:
                nft.table("del", name=TABLE)
            say(f"Removed the table {family} {TABLE}")
        for folder in self._leases:
            shutil.rmtree(folder)
            say(f"Removed {folder}")


def _delete(kernel: IPRoute, **which: Any) -> None:
    try:
        kernel.link("del", **which)
    except NetlinkError as error:
        if error.code != ENODEV:  # its pod may have taken it away just now
            raise Refused(f"{' '.join(map(str, which.values()))} cannot be deleted: {error}") from None


def _lease_folder(network: NetworkConfig) -> Iterator[Path]:
    if network.ipam and network.ipam.data_dir:
        folder = Path(network.ipam.data_dir) / network.name
        if folder.is_dir():
            yield folder


def _tables() -> Iterator[tuple[int, str]]:
    for number, family in ((NFPROTO_INET, "inet"), (NFPROTO_BRIDGE, "bridge")):
        try:
            with NFTables(nfgen_family=number) as nft:
                if any(
                    each["nfgen_family"] == number and each.get("NFTA_TABLE_NAME") == TABLE for each in nft.get_tables()
                ):
                    yield number, family
        except (NetlinkError, OSError):
            continue  # a kernel without nftables, or no right to look
