"""Questions about addresses: subnets, routes, leases."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from shlex import quote

from netaddr import IPAddress, IPNetwork

from cni_bridge_py.addresses import overlap
from cni_bridge_py.config import NetworkConfig
from cni_bridge_py.ipam.ranges import describe, find, size
from cni_bridge_py.node import edits, networks
from cni_bridge_py.node.answers import Finding, Node, Trouble, counted, does_not_apply, told
from cni_bridge_py.node.attachments import DEAD, FOREIGN, lacks_lease
from cni_bridge_py.node.state import RTPROT_KERNEL, Route
from cni_bridge_py.wiring import plan

NEARLY = 0.9
LEAST_BYTES, LEAST_FILES = 4 << 20, 200
"""With less, the file system is nearly full: a lease takes a block of 4 KiB, and two names."""

LARGE = 1 << 16
"""A range with more free addresses is not nearly full."""

ANY_TEXT = '"[^"]*"'

PRIVATE = [*IPNetwork("10.0.0.0/8").subnet(16), *IPNetwork("172.16.0.0/12").subnet(16)]
ULA = IPNetwork("fd00::/8")

NO_LEASES = "no network here gets its addresses from host-local"


def subnets(config: NetworkConfig) -> list[IPNetwork]:
    """The subnets of a network's ranges."""
    return list(dict.fromkeys(each.subnet for ranges in networks.range_sets(config) for each in ranges))


def subnets_free(node: Node) -> Finding:
    """Whether each network's subnets are its own: no other network has them, and no other route leads to them."""
    asked = [config for config in node.configs if subnets(config)]
    if not asked:
        return does_not_apply(NO_LEASES)
    troubles = [*_among_themselves(node, asked), *(each for config in asked for each in _routed_away(node, config))]
    return told(troubles, ", ".join(str(subnet) for config in asked for subnet in subnets(config)))


def _among_themselves(node: Node, asked: list[NetworkConfig]) -> Iterator[Trouble]:
    for one, other in combinations(asked, 2):
        clash = next(((a, b) for a in subnets(one) for b in subnets(other) if overlap(a, b)), None)
        if clash and not (one.name == other.name and one.bridge == other.bridge):
            found = f"{clash[1]} of network {other.name} overlaps {clash[0]} of network {one.name}"
            meaning = "two pods can get the same address, and pods of one network do not reach pods of the other"
            yield Trouble(found, meaning, _move(node, other, clash[1]))


def _routed_away(node: Node, config: NetworkConfig) -> Iterator[Trouble]:
    own = (config.bridge, plan.gateway_interface(config))
    for subnet in subnets(config):
        for route in node.state.routes:
            links = [link for link in route.links if link not in own]
            if not links or not route.dst.prefixlen or not overlap(route.dst, subnet):
                continue
            if _is_bridge_of_ours(node, links[0]):
                continue  # reported with the networks
            if route.protocol == RTPROT_KERNEL:
                meaning = f"pods and what is behind {links[0]} do not reach each other"
                yield Trouble(f"{subnet} overlaps {route.dst} of {links[0]}", meaning, _move(node, config, subnet))
            elif route.dst in subnet:
                meaning = "packets for pods with these addresses go there instead"
                yield Trouble(f"the route {route.dst} through {links[0]} is within {subnet}", meaning, [_delete(route)])


def _is_bridge_of_ours(node: Node, link: str) -> bool:
    return any(link in (config.bridge, plan.gateway_interface(config)) for config in node.configs)


def _delete(route: Route) -> str:
    via = f" via {route.gateways[0]}" if route.gateways else ""
    metric = f" metric {route.priority}" if route.priority and route.dst.version == 4 else ""
    return f"ip -{route.dst.version} route del {route.dst}{via} dev {quote(route.links[0])}{metric} table {route.table}"


def _move(node: Node, config: NetworkConfig, subnet: IPNetwork) -> list[str]:
    """The commands that give a network another subnet. Its pods must be made again."""
    changes = [edits.replaced("subnet", f'"{subnet}"', f'"{_free(node, subnet)}"')]
    changes += [edits.dropped(key, ANY_TEXT) for key in ("rangeStart", "rangeEnd", "gateway")]
    gateways = [each for each in networks.gateways(config) if each.ip in subnet]
    link = plan.gateway_interface(config)
    there = [each for each in gateways if each in node.state.addresses(link)]
    return [edits.edit(node.path(config), *changes), *(f"ip address del {each} dev {quote(link)}" for each in there)]


def _free(node: Node, subnet: IPNetwork) -> IPNetwork:
    """A private subnet of the same size that overlaps nothing here."""
    taken = [route.dst for route in node.state.routes if route.dst.prefixlen]
    taken += [each for config in node.configs for each in subnets(config)]
    if subnet.version == 6:
        candidates = (IPNetwork((ULA.first | number << 80, subnet.prefixlen), 6) for number in range(1, 1 << 16))
    else:
        length = max(subnet.prefixlen, 16)
        candidates = (IPNetwork(f"{each.network}/{length}") for each in PRIVATE)
    return next(each for each in candidates if not any(overlap(each, other) for other in taken))


def addresses_unique(node: Node) -> Finding:
    """Whether each address belongs to one pod only."""
    holders: dict[IPAddress, list[str]] = {}
    for each in node.attachments:
        if each.host and each.bridge:
            for ip in each.ips:
                holders.setdefault(ip, []).append(each.host)
    if not holders:
        return does_not_apply("there is no pod with an address")
    by_host = {each.host: each for each in node.attachments}
    troubles = []
    for ip, hosts in holders.items():
        if len(hosts) > 1:
            # A pod without a lease has no right to it.
            last = sorted(hosts, key=lambda host: bool(by_host[host].leases))[0]
            pods = " and ".join(by_host[host].pod or host for host in hosts)
            found, meaning = f"{pods} both have the address {ip}", "packets for one may reach the other"
            troubles.append(Trouble(found, meaning, [f"ip link del {last}"]))
    return told(troubles, counted(len(holders), "address"))


def leases_held(node: Node) -> Finding:
    """Whether each lease belongs to a pod that exists, and each pod has its leases."""
    if not any(networks.range_sets(config) for config in node.configs) and not node.attachments:
        return does_not_apply(NO_LEASES)
    states = Counter(each.state for each in node.attachments)
    troubles = []
    if states[DEAD]:
        found = f"{counted(states[DEAD], 'lease')} of pods that are gone"
        troubles.append(Trouble(found, "their addresses stay taken until the range is full", [node.mend]))
    foreign = [lease.path for each in node.attachments if each.state == FOREIGN for lease in each.leases]
    if foreign:
        found = f"{counted(len(foreign), 'lease')} of host-local whose pods are not there"
        mend = [f"rm {' '.join(quote(str(each)) for each in foreign)}"]
        troubles.append(Trouble(found, "nothing releases their addresses", mend))
    lacking = sum(lacks_lease(config, pod.leases, pod.networks) for config in node.configs for pod in node.of(config))
    if lacking:
        found = f"{counted(lacking, 'pod')} without a lease"
        troubles.append(Trouble(found, "another pod may be given the same address", [node.mend]))
    return told(troubles, counted(sum(len(each.leases) for each in node.attachments), "lease"))


def addresses_left(node: Node) -> Finding:
    """Whether each range has addresses left for new pods."""
    asked = [(config, ranges) for config in node.configs for ranges in networks.range_sets(config)]
    if not asked:
        return does_not_apply(NO_LEASES)
    troubles, well = [], []
    for config, ranges in asked:
        total = size(ranges)
        of_network = [each for each in node.attachments if each.network == config.name]
        held = [(each, lease) for each in of_network for lease in each.leases if find(ranges, lease.ip)]
        count = f"{describe(ranges)} has {total - len(held)} of {total} addresses left"
        well.append(count)
        if total < LARGE and len(held) >= NEARLY * total:
            dead = [lease for each, lease in held if each.state == DEAD]
            foreign = [lease for each, lease in held if each.state == FOREIGN]
            mend = (
                [node.mend]
                if dead
                else [f"rm {' '.join(quote(str(each.path)) for each in foreign)}"]
                if foreign
                else []
            )
            mend = mend or _widen(node, config, ranges[0].subnet)
            found = f"{count}: {len(dead)} are held by dead leases, {len(foreign)} by host-local's without a pod"
            troubles.append(Trouble(found, "when none is left, new pods wait in ContainerCreating", mend))
    return told(troubles, "; ".join(well))


def _widen(node: Node, config: NetworkConfig, subnet: IPNetwork) -> list[str]:
    """The commands that double a subnet."""
    wider = subnet.supernet(subnet.prefixlen - 1)[0]
    others = [route.dst for route in node.state.routes if config.bridge not in route.links and route.dst.prefixlen]
    if wider.first != subnet.first or any(overlap(wider, each) for each in others):
        return [f"{node.program} list --network {config.name}"]
    changes = [edits.replaced("subnet", f'"{subnet}"', f'"{wider}"')]
    changes += [edits.dropped(key, ANY_TEXT) for key in ("rangeStart", "rangeEnd")]
    link = plan.gateway_interface(config)
    there = [each for each in networks.gateways(config) if each.cidr == subnet and each in node.state.addresses(link)]
    deleted = [f"ip address del {each} dev {quote(link)}" for each in there]
    return [edits.edit(node.path(config), *changes), *deleted, *([node.mend] if there else [])]


def lease_room(node: Node) -> Finding:
    """Whether leases can be written: the directory is writable, and its file system has room and inodes."""
    asked = [config for config in node.configs if networks.range_sets(config)]
    if not asked:
        return does_not_apply(NO_LEASES)
    folders = dict.fromkeys(config.ipam.data_dir for config in asked if config.ipam)
    return told((trouble for folder in folders for trouble in _no_room(Path(folder))), ", ".join(folders))


def _no_room(folder: Path) -> Iterator[Trouble]:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    space = os.statvfs(there)
    mount = next(each for each in (there, *there.parents) if each.is_mount())
    if space.f_flag & os.ST_RDONLY:
        found = f"{there} is on a read-only file system"
        yield Trouble(found, "pods cannot start or stop", [f"mount -o remount,rw {quote(str(mount))}"])
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Trouble(f"{there} is not writable", "pods cannot start or stop", [f"chmod u+wx {quote(str(there))}"])
    free = space.f_bavail * space.f_frsize
    if free < LEAST_BYTES or (space.f_files and space.f_favail < LEAST_FILES):
        left = f"{free >> 10} KiB and {space.f_favail} inodes left"
        largest = f"find {quote(str(mount))} -xdev -type f -size +1M -printf '%s %p\\n' | sort -rn | head"
        size = f"size={2 * (space.f_blocks * space.f_frsize + LEAST_BYTES) >> 10}k"
        grow = [f"mount -o remount,{size},nr_inodes={2 * (space.f_files + LEAST_FILES)} {quote(str(mount))}"]
        mend = grow if _is_tmpfs(mount) else ["journalctl --vacuum-size=100M", largest]
        yield Trouble(f"{there}: {left}", "when it is used up, new pods get no address", mend)


def _is_tmpfs(mount: Path) -> bool:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    kinds = {line.split()[1]: line.split()[2] for line in lines}
    return kinds.get(str(mount)) == "tmpfs"
