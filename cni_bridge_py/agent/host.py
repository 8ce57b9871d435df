"""The host: reads its state and makes changes. Links, addresses and routes go through pyroute2."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

from netaddr import IPAddress, IPNetwork, valid_ipv4, valid_ipv6
from pyroute2 import IPRoute, NetlinkError
from pyroute2.netlink.rtnl import rt_scope, rt_type

from cni_bridge_py.addresses import InterfaceAddress, parse_address
from cni_bridge_py.agent.model import (
    BRIDGE,
    CONFIGURATION,
    MAIN_TABLE,
    NETWORK,
    PROTOCOL,
    AddRoute,
    Change,
    DeleteRoute,
    Found,
    FoundRoute,
    Link,
    RemoveGateway,
    WriteConfiguration,
)
from cni_bridge_py.config import DEFAULT_DATA_DIR
from cni_bridge_py.ipam.leases import LeaseStore
from cni_bridge_py.node.confdir import PLUGIN

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True)
class Host:
    """The host's directories, and its network namespace, which the agent is in.

    plugins: a directory with our own plugin, and the plugins of its chain, for hosts that lack them.
    """

    plugins: Path
    bin_dir: Path = Path("/opt/cni/bin")
    conf_dir: Path = Path("/etc/cni/net.d")
    leases: LeaseStore = field(default_factory=lambda: LeaseStore(DEFAULT_DATA_DIR, NETWORK))

    def find(self) -> Found:
        """Look at the host. Raises NetlinkError or OSError."""
        with IPRoute() as ip:
            links = {link["index"]: link for link in ip.get_links()}
            names = {index: str(link.get("ifname")) for index, link in links.items()}
            addresses: dict[int, list[InterfaceAddress]] = {index: [] for index in names}
            for each in ip.get_addr():
                text = each.get("local") or each.get("address")  # IFA_LOCAL is our end of a point-to-point link
                addresses.setdefault(each["index"], []).append(parse_address(f"{text}/{each['prefixlen']}"))
            routes = [
                found_route(route, version, names)
                for version, family in FAMILIES.items()
                for route in ip.get_routes(family=family)
                if route["type"] == rt_type["unicast"]
            ]
        return Found(
            tuple(Link(names[each], int(links[each].get("mtu") or 0), tuple(addresses[each])) for each in links),
            tuple(each for each in routes if each.table == MAIN_TABLE or each.protocol == PROTOCOL),
            frozenset(os.listdir(self.bin_dir)) if self.bin_dir.is_dir() else frozenset(),
            self._configuration(),
            self._first_configuration(),
            tuple(address for address, veth in self.attachments() if veth in names.values()),
        )

    def attachments(self) -> Iterator[tuple[IPAddress, str]]:
        """Each address that the plugin gave out, with the host veth of its pod, or without one if the pod is gone."""
        for veth in self.leases.attachments():
            for address in self.leases.of_attachment(veth):
                yield IPAddress(address), veth

    def used(self) -> list[IPAddress]:
        """The addresses that any plugin has given out."""
        names = os.listdir(self.leases.path) if os.path.isdir(self.leases.path) else []
        return [IPAddress(name) for name in names if valid_ipv4(name) or valid_ipv6(name)]

    def install_plugins(self) -> Iterator[str]:
        """Put the plugin where the runtime looks, and the missing plugins of its chain; return what was done, in words.

        A chain's plugin that is there already stays, whatever its version. Raises OSError.
        """
        for source in sorted(self.plugins.iterdir()) if self.plugins.is_dir() else ():
            target = self.bin_dir / source.name
            if target.exists() and (source.name != PLUGIN or same_content(source, target)):
                continue
            self.bin_dir.mkdir(parents=True, exist_ok=True)
            replace(target, source.read_bytes(), 0o755)
            yield f"{target}: installed"

    def apply(self, ip: IPRoute, change: Change) -> None:
        """Make a change. Raises NetlinkError or OSError. It is no error if the change was already made."""
        match change:
            case AddRoute(route):
                with tolerating(errno.EEXIST):
                    ip.route("add", **route_words(route.dst, route.via, MAIN_TABLE))
            case DeleteRoute(found):
                words = route_words(found.dst, found.via, found.table)
                with tolerating(errno.ESRCH):
                    ip.route("del", priority=found.priority, scope=rt_scope["nowhere"], **words)
            case RemoveGateway(address):
                (index,) = ip.link_lookup(ifname=BRIDGE)
                with tolerating(errno.EADDRNOTAVAIL):
                    ip.addr("del", index=index, address=str(address.ip), prefixlen=address.prefixlen)
            case WriteConfiguration(content):
                self.conf_dir.mkdir(parents=True, exist_ok=True)
                text = json.dumps(content, indent=2) + "\n"
                replace(self.conf_dir / CONFIGURATION, text.encode(), 0o644)

    def _configuration(self) -> Mapping[str, Any] | None:
        try:
            parsed = json.loads((self.conf_dir / CONFIGURATION).read_bytes())
        except (OSError, ValueError):
            return None
        return parsed if isinstance(parsed, dict) else None

    def _first_configuration(self) -> str:
        names = os.listdir(self.conf_dir) if self.conf_dir.is_dir() else []
        return min((name for name in names if name.endswith((".conf", ".conflist", ".json"))), default="")


def found_route(route: Any, version: int, interfaces: Mapping[int, str]) -> FoundRoute:
    """A route as the kernel reports it."""
    dst = route.get("dst") or ("0.0.0.0" if version == 4 else "::")
    via = route.get("gateway") or (route.get("via") or {}).get("addr")  # RTA_VIA has a gateway of the other IP version
    return FoundRoute(
        IPNetwork(f"{dst}/{route['dst_len']}"),
        IPAddress(via) if via else None,
        interfaces.get(route.get("oif"), ""),
        route["proto"],
        route.get("table") or MAIN_TABLE,
        route.get("priority") or 0,
    )


def route_words(dst: IPNetwork, via: IPAddress | None, table: int) -> dict[str, Any]:
    """A route of ours as pyroute2 takes it."""
    words = {"family": FAMILIES[dst.version], "dst": str(dst), "proto": PROTOCOL, "table": table}
    return words | ({"gateway": str(via)} if via else {})


@contextmanager
def tolerating(code: int) -> Iterator[None]:
    """Ignore a refusal with this reason: somebody has already made the change."""
    try:
        yield
    except NetlinkError as error:
        if error.code != code:
            raise


def same_content(one: Path, other: Path) -> bool:
    """Whether two files have the same content."""
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


def replace(target: Path, content: bytes, mode: int) -> None:
    """Write a file atomically: a reader gets either the old content or all of the new."""
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(directory, LOCK_EX)  # against install.sh, and a second agent that somebody runs by mistake
        for stale in target.parent.glob(f".{target.name}.*.new"):  # of a process that was killed here
            stale.unlink(missing_ok=True)
        new = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
        try:
            with new.open("xb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.rename(target)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        os.fsync(directory)
    finally:
        os.close(directory)
