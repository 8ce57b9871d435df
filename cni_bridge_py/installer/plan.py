"""Plans an installation: what it will change, and what is wrong with that, before anything is changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from netaddr import IPAddress, IPNetwork

from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.config import HOST_LOCAL, NetworkConfig, read_config
from cni_bridge_py.installer import Refused, document, places
from cni_bridge_py.installer.places import Place
from cni_bridge_py.installer.staging import need_writable
from cni_bridge_py.ipam.ranges import Range
from cni_bridge_py.node import confdir, forwarding, subnets
from cni_bridge_py.node.confdir import PLUGIN, Json, NetworkFile
from cni_bridge_py.node.forwarding import Blocker

SINGLE, LIST, FIREWALL = "10-bridge.conf", "10-bridge.conflist", "10-bridge-firewall.conflist"
"""The shipped configurations: the usual one, a list for runtimes that need one, and one for nodes that drop packets."""

USUAL_MTU = 1500
"""Bytes; Ethernet's. An uplink with less, such as a VPN's, wraps its packets in something."""

PACKAGE = "containernetworking-plugins"
"""Debian's package with the reference plugins, which puts them into /usr/lib/cni."""


@dataclass(frozen=True)
class Options:
    """The options. Without an option, what is there is kept."""

    shipped: Path
    bin_dir: Path | None
    conf_dir: Path | None
    prefix: Path
    subnets: list[str]
    mtu: str | None
    conf: str | None
    force: bool


@dataclass(frozen=True)
class Network:
    """The configuration for one configuration directory."""

    target: Path
    document: Json
    content: bytes
    before: NetworkFile | None
    """Our present configuration, under this name or another."""
    because: list[str]
    """The reasons for what we chose ourselves, line by line."""

    @property
    def is_new(self) -> bool:
        """Whether something changes."""
        return not (self.before and self.before.path == self.target and self.before.content == self.content)

    @cached_property
    def config(self) -> NetworkConfig | None:
        """The configuration as the plugin reads it; None if the plugin refuses it."""
        try:
            return read_config(confdir.alone(self.document))
        except CniError:
            return None


@dataclass(frozen=True)
class Plan:
    """The places, their configurations, and what a person should know."""

    places: list[Place]
    networks: list[Network]
    warnings: list[str]


def find_places(options: Options) -> list[Place]:
    """The places to install into. Raises Refused if we cannot write there."""
    found = places.find(options.bin_dir, options.conf_dir)
    for place in found:
        need_writable(place.bin_dir, "--bin-dir")
        need_writable(place.conf_dir, "--conf-dir")
    need_writable(options.prefix, "--prefix")
    return found


def make(options: Options, found: list[Place]) -> Plan:
    """Plan the installation. Raises Refused if it would harm pods, unless --force was given."""
    asked = document.read_subnets(options.subnets)
    mtu = document.read_mtu(options.mtu)
    blockers = forwarding.blockers() if os.geteuid() == 0 else []
    looks_elsewhere = [
        f"{each.runtime.name} looks for {each.elsewhere} until its own configuration says otherwise"
        for each in found
        if each.elsewhere
    ]
    plan = Plan(found, [], looks_elsewhere)
    faults: list[str] = []
    for conf_dir in dict.fromkeys(each.conf_dir for each in found):
        here = [each for each in found if each.conf_dir == conf_dir]
        network = _network(options, asked, mtu, conf_dir, here, blockers)
        plan.networks.append(network)
        faults += _missing_plugins(network, here)
        if network.is_new:
            faults += _faults(network)
            plan.warnings.extend(_bridge_warnings(network))
        elif reason := _refusal(network):
            plan.warnings.append(f"no pod gets a network until {network.target} is mended by hand: {reason}")
        plan.warnings.extend(_list_warnings(network, here))
        plan.warnings.extend(_forward_warnings(network, blockers))
    if faults and not options.force:
        raise Refused("\n".join([*faults, "nothing was changed; --force installs it anyway"]))
    plan.warnings.extend(faults)
    return plan


def _network(
    options: Options,
    asked: list[IPNetwork],
    mtu: int | None,
    conf_dir: Path,
    here: list[Place],
    blockers: list[Blocker],
) -> Network:
    before = next((each for each in confdir.files(conf_dir) if each.is_ours), None)
    name, because = _choose(options, before, here, blockers)
    if before and name == before.path.name:
        content, chosen = before.content, before.document
    else:
        content = (options.shipped / name).read_bytes()
        chosen = json.loads(content)
        if before:
            chosen = document.as_shipped(chosen, before.document)
            content = document.encode(chosen)
    changed = chosen
    if asked:
        changed = document.with_subnets(changed, asked)
    if mtu:
        changed = document.with_mtu(changed, mtu)
    elif not before and (uplink := subnets.uplink_mtu()) and uplink[1] < USUAL_MTU:
        changed = document.with_mtu(changed, uplink[1])
        because.append(f"The pods' MTU is {uplink[1]}, the MTU of {uplink[0]} (--mtu BYTES changes it)")
    if changed != chosen:
        content = document.encode(changed)
    return Network(conf_dir / name, changed, content, before, because)


def _choose(
    options: Options, before: NetworkFile | None, here: list[Place], blockers: list[Blocker]
) -> tuple[str, list[str]]:
    """The configuration's name, and the reasons if we chose it."""
    if options.conf:
        return options.conf, []
    needs_list = any(each.runtime.lists_only for each in here)
    if before and (before.is_list or not needs_list):
        return before.path.name, []
    helped = blockers and all(each.heeds_firewall_plugin for each in blockers) and shutil.which("iptables")
    if not before and helped and not _missing(confdir.types(_shipped(options, FIREWALL)), here):
        reasons = "; ".join(map(str, blockers))
        return FIREWALL, [f"This node drops forwarded packets ({reasons}): {FIREWALL} lets pods' packets through"]
    if needs_list:
        return LIST, [f"podman takes only lists: {LIST}"]
    return SINGLE, []


def _shipped(options: Options, name: str) -> Json:
    shipped: Json = json.loads((options.shipped / name).read_bytes())
    return shipped


def _missing(types: list[str], here: list[Place]) -> dict[str, list[str]]:
    """The plugins that are missing, with the directories where they should be."""
    missing: dict[str, list[str]] = {}
    for name in types:
        for place in here:
            if name != PLUGIN and not place.runtime.finds(name):
                missing.setdefault(name, []).append(", ".join(map(str, place.runtime.bin_dirs)))
    return missing


def _missing_plugins(network: Network, here: list[Place]) -> Iterator[str]:
    needed = [*confdir.types(network.document), *_delegated(network.document)]
    for name, folders in _missing(needed, here).items():
        yield (
            f"{network.target.name} needs the plugin {name}, which is not in {'; '.join(dict.fromkeys(folders))}: "
            f"apt-get install {PACKAGE} puts it into /usr/lib/cni"
        )


def _delegated(network: Json) -> list[str]:
    ipam = confdir.ours(network).get("ipam")
    kind = ipam.get("type") if isinstance(ipam, dict) else None
    return [kind] if isinstance(kind, str) and kind and kind not in HOST_LOCAL else []


def _faults(network: Network) -> Iterator[str]:
    """What the plugin itself would refuse, and what on the node is in the way."""
    config = network.config
    if not config:
        yield _refusal(network)
        return
    ranges = [each for ranges in (config.ipam.range_sets if config.ipam else []) for each in ranges]
    for line in subnets.in_the_way((IPNetwork(str(each.subnet)) for each in ranges), config.bridge):
        yield f"{line}: choose another one with --subnet CIDR"


def _refusal(network: Network) -> str:
    """Why the plugin refuses the configuration; empty if it does not."""
    try:
        read_config(confdir.alone(network.document))
    except CniError as error:
        return f"{network.target.name}: {error.msg}" + (f" ({error.details})" if error.details else "")
    return ""


def _bridge_warnings(network: Network) -> Iterator[str]:
    """Warns of a bridge that has another address, because every ADD would fail."""
    config = network.config
    if not config or not config.is_gateway or config.force_address or not config.ipam:
        return
    gateways = [_gateway(ranges[0]) for ranges in config.ipam.range_sets]
    for address in subnets.addresses_of(config.bridge):
        wanted = [each for each in gateways if each.version == address.version]
        if wanted and address not in wanted:
            yield (
                f"the bridge {config.bridge} has the address {address}, not the pods' gateway {wanted[0]}: "
                f"every new pod will fail with error 104. Run: ip address del {address} dev {config.bridge} "
                f"(this cuts off the pods that use it), or set another `bridge` in {network.target}"
            )


def _gateway(first: Range) -> IPNetwork:
    subnet = IPNetwork(str(first.subnet))
    return IPNetwork(f"{IPAddress(int(first.gateway), subnet.version)}/{subnet.prefixlen}")


def _list_warnings(network: Network, here: list[Place]) -> Iterator[str]:
    for place in here:
        if place.runtime.lists_only and network.target.suffix != ".conflist":
            yield f"{place.runtime.name} takes only lists, and {network.target.name} is not a list: use --conf {LIST}"


def _forward_warnings(network: Network, blockers: list[Blocker]) -> Iterator[str]:
    if "firewall" in confdir.types(network.document):
        blockers = [each for each in blockers if not each.heeds_firewall_plugin]
    bridge = confdir.ours(network.document).get("bridge", "cni0")
    for each in blockers:
        yield f"pods reach nothing beyond this node, unless a rule accepts their packets: {each}. " + _way_out(
            each, bridge
        )


def _way_out(blocker: Blocker, bridge: str) -> str:
    if blocker.heeds_firewall_plugin:
        return f"--conf {FIREWALL} lets them through, with the plugin firewall of {PACKAGE}"
    chain = f"{blocker.family} {blocker.table} {blocker.chain}"
    return (
        f"nft insert rule {chain} iifname {bridge} accept; "
        f"nft insert rule {chain} oifname {bridge} ct state established,related accept"
    )
