"""Addresses alone: the IPAM plugins called directly, with ever more leases in a /16."""

from __future__ import annotations

import ipaddress
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.contestants import Contestant
from bench.driver import Host, in_turn
from bench.figures import OURS, Sample
from bench.setup import Setup
from cni_bridge_py.ipam.leases import LeaseStore
from cni_bridge_py.wiring import names

TITLE = "IPAM"

STORES = Path("/var/lib/cni/networks")
SUBNET = ipaddress.ip_network("10.22.0.0/16")
ALL = SUBNET.num_addresses - 3
"""Neither the network's address, nor the gateway's, nor the broadcast address is given out."""


def measure(setup: Setup) -> Iterator[Sample]:
    """ADD and DEL of the IPAM plugins, and of our main plugin against itself with an empty store."""
    contestants = [each for each in setup.contestants if not each.masquerades_otherwise]
    ours = contestants[0]
    alone = Path(ours.host_local)
    alone.parent.mkdir()
    alone.symlink_to(ours.plugin)
    empty = Host(replace(ours, name="no leases"))
    for leases in setup.sizes.leases:
        case = "one address left" if leases == ALL - 1 else f"{leases:,} leases"
        hosts = [seeded(contestant, leases) for contestant in contestants]
        plugins = [(each.host_local, host) for each, host in zip(contestants, hosts, strict=True)]
        yield from in_turn(plugins, setup.sizes.rounds, partial(lease, case))
        yield from in_turn([hosts[0], empty], setup.sizes.rounds, partial(wire, case))
        for host in hosts:
            shutil.rmtree(STORES / host.network)


def lease(case: str, plugin_of: tuple[str, Host]) -> Iterator[Sample]:
    """ADD and DEL of the IPAM plugin alone."""
    plugin, host = plugin_of
    pod = host.next_pod()
    for verb in ("ADD", "DEL"):
        yield from host.call(verb, pod, plugin=plugin).samples(case, f"{verb}, IPAM alone", host.who)


def wire(case: str, host: Host) -> Iterator[Sample]:
    """ADD and DEL of the main plugin."""
    pod = host.next_pod()
    for verb in ("ADD", "DEL"):
        yield from host.call(verb, pod).samples(case, f"{verb} of a pod", host.who)


def seeded(contestant: Contestant, leases: int) -> Host:
    """A place where so many addresses are given out, each to a container of its own."""
    host = Host(contestant)
    directory = STORES / host.network
    directory.mkdir(parents=True)
    with LeaseStore(str(STORES), host.network) as store:
        for number in range(leases):
            ip, container_id = str(SUBNET[number + 2]), secrets.token_hex(32)
            if contestant.name == OURS:
                store.claim(ip, container_id, "eth0", names.host_veth(container_id, "eth0"))
            else:
                (directory / ip).write_bytes(f"{container_id}\r\neth0".encode())
        if leases:
            store.remember(0, ip)
    return host
