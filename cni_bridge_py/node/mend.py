"""Mends what pods share, for all of them at once, as the next ADD would, and releases dead leases."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.config import HOST_LOCAL, NetworkConfig
from cni_bridge_py.ipam.leases import LeaseStore
from cni_bridge_py.node import attachments, filters, networks
from cni_bridge_py.node.attachments import Attachment
from cni_bridge_py.node.networks import Network
from cni_bridge_py.node.state import State
from cni_bridge_py.wiring import names, plan
from cni_bridge_py.wiring.filter_steps import (
    EnsureMacSpoofCheck,
    EnsureMasquerade,
    GuardMac,
    MasqueradePod,
)
from cni_bridge_py.wiring.node_steps import EnsureBridge, EnsureGatewayAddresses, SetPortVlans
from cni_bridge_py.wiring.packet_filter import chain_of
from cni_bridge_py.wiring.pod_steps import AttachToBridge
from cni_bridge_py.wiring.step import Explained, Step

OF_FILTER = (EnsureMasquerade, EnsureMacSpoofCheck)
"""The steps that run once for all networks."""

OF_PORT = (AttachToBridge, SetPortVlans)
"""The steps for one pod that other programs undo."""


@dataclass(frozen=True)
class Done:
    """One thing that was wrong: what it was, the change as commands, and why the change failed, if it did."""

    what: str
    commands: list[str]
    error: str = ""


def mend(found: list[Network], *, dry_run: bool = False, only: Container[str] | None = None) -> list[Done]:
    """Mend what the pods of these networks share, and release dead leases; return what was done.

    With `dry_run`, it changes nothing and returns what it would do. `only` selects faults by the words that `wrong`
    returns. If a change fails, its `Done.error` says why, and the others are still made. Raises CniError if it
    cannot read the node's state. Needs root.
    """
    state = State()
    present = attachments.find(state, found)
    done = []
    # Look at everything before any change: putting the bridge back also mends its ports.
    said: set[str] = set()
    for step, what in [*_to_take(state, _steps(state, found, present), only)]:
        new = [each for each in _commands(state, step) if each not in said]  # pods share some of these steps
        said.update(new)
        done.append(Done(what, new, "" if dry_run else _apply(state, step)))
    for data_dir in networks.data_dirs(found):
        done += _mend_leases(state, Path(data_dir), present, networks.configs(found), dry_run, only)
    return done


def wrong(found: list[Network]) -> set[str]:
    """The faults that `mend` would mend, in words. Raises CniError if it cannot read the node's state. Needs root."""
    state = State()
    present = attachments.find(state, found)
    steps = chain.from_iterable(_steps(state, found, present))
    said = {_why_wrong(state, step) for step in steps} - {""}
    for data_dir in networks.data_dirs(found):
        said |= {
            each.what for each in _mend_leases(state, Path(data_dir), present, networks.configs(found), True, None)
        }
    return said


def _steps(state: State, found: list[Network], present: list[Attachment]) -> Iterator[Sequence[Step]]:
    """The steps for what pods share, in the order of an ADD. Steps that belong together are in one group."""
    ours = [each for each in present if each.host and each.is_ours]
    for config in networks.configs(found):
        pods = [each for each in ours if each.network == config.name]
        link = state.links.get(config.bridge)
        ips = [ip for each in pods for ip in each.ips]
        shared = [step for step in networks.shared_steps(config, ips) if not isinstance(step, OF_FILTER)]
        if pods:
            yield from ([_as_it_is(state, step)] for step in shared)
        elif link:
            yield [_as_it_is(state, shared[0])]
        for each in pods:
            ends = plan.links(config, each.host, each.ifname, [])
            steps = plan.plugged_in(config, ends, [], [], pod="")
            yield from ([each] for each in steps if isinstance(each, OF_PORT))
    pods_filters = filters.pod_filters(state, networks.configs(found), ours)
    masqueraded = [pod for pod in pods_filters if pod.masqueraded]
    guarded = [pod for pod in pods_filters if pod.mac]
    if masqueraded:
        known = max(masqueraded, key=lambda pod: len(pod.exceptions.networks))
        yield [EnsureMasquerade(chain_of(known)), *map(MasqueradePod, masqueraded)]
    if guarded:
        yield [EnsureMacSpoofCheck(), *map(GuardMac, guarded)]


def _as_it_is(state: State, step: Step) -> Step:
    """A step without what an ADD does only to a new bridge."""
    if isinstance(step, EnsureBridge) and (link := state.links.get(step.name)):
        return replace(step, mac=link.mac, mtu=0)
    return step


def _to_take(state: State, groups: Iterable[Sequence[Step]], only: Container[str] | None) -> Iterator[tuple[Step, str]]:
    """The steps to repeat, and what is wrong. If one step of a group is wrong, all steps of the group are repeated."""
    for group in groups:
        reasons = [_why_wrong(state, step) for step in group]
        if any(why and _is_meant(why, only) for why in reasons):
            yield from ((step, why or str(step)) for step, why in zip(group, reasons, strict=True))


def _is_meant(what: str, only: Container[str] | None) -> bool:
    return only is None or what in only


def _why_wrong(state: State, step: Step) -> str:
    try:
        with Explained(step):
            step.check(state.kernel)
    except CniError as error:
        return error.msg
    return ""


def _apply(state: State, step: Step) -> str:
    """Take a step; return why it failed, if it did."""
    try:
        with Explained(step):
            step.apply(state.kernel)
    except CniError as error:
        return error.msg + (f" ({error.details})" if error.details else "")
    return ""


def _commands(state: State, step: Step) -> list[str]:
    """A step's commands, without those for what is already there."""
    if isinstance(step, EnsureBridge) and step.name in state.links:
        _, *settings = step.commands()
        return [f"ip link set {step.name} up", *(each for each in settings if f"set {step.name} address" not in each)]
    if isinstance(step, EnsureGatewayAddresses):
        there = state.addresses(step.bridge)
        return replace(step, addresses=[each for each in step.addresses if each not in there]).commands()
    return step.commands()


# Leases


def _mend_leases(
    state: State,
    data_dir: Path,
    present: list[Attachment],
    configs: list[NetworkConfig],
    dry_run: bool,
    only: Container[str] | None,
) -> Iterator[Done]:
    """Release what dead attachments hold, and write the leases that pods lack."""
    folders = [each for each in data_dir.iterdir() if each.is_dir()] if data_dir.is_dir() else []
    here = {c.name: c for c in configs if c.ipam and c.ipam.type in HOST_LOCAL and c.ipam.data_dir == str(data_dir)}
    for network in sorted({*here, *(folder.name for folder in folders)}):
        pods = [each for each in present if each.network == network and each.host and each.is_ours]
        config = here.get(network)
        lacking = [each for each in pods if config and attachments.lacks_lease(config, each.leases, each.networks)]
        dead = [each for each in present if each.network == network and each.state == attachments.DEAD]
        store = LeaseStore(str(data_dir), network)
        to_do = [each for each in _dry(store, lacking, dead) if _is_meant(each.what, only)]
        if to_do:
            yield from to_do if dry_run else _mend_store(state, store, pods if lacking else [])


def _dry(store: LeaseStore, lacking: list[Attachment], dead: list[Attachment]) -> Iterator[Done]:
    for each in dead:
        yield _released(store, [str(lease.ip) for lease in each.leases])
    for each in lacking:
        yield _written(store, each.host, [str(ip) for ip in each.ips])


def _mend_store(state: State, store: LeaseStore, pods: list[Attachment]) -> Iterator[Done]:
    with store:
        # While we hold the lock, a lease without veth is dead: an ADD holds the lock until it has made both.
        for key in store.attachments():
            if key.startswith(names.VETH_PREFIX) and not state.kernel.host.link(key):
                ips = store.of_attachment(key)
                store.release_attachment(key)
                yield _released(store, ips)
        ownerless = store.ownerless()
        for ip in ownerless:
            store.release(ip)
        if ownerless:
            yield _released(store, ownerless)
        if pods:
            store.complete((each.host, str(ip)) for each in pods for ip in each.ips)
        for each in pods:
            if not each.leases:
                yield _written(store, each.host, [str(ip) for ip in each.ips])


def _released(store: LeaseStore, ips: list[str]) -> Done:
    paths = [f"{store.path}/{ip}" for ip in ips]
    return Done(f"leases of a pod that is gone: {', '.join(ips)}", [f"rm {' '.join(paths)}"])


def _written(store: LeaseStore, host: str, ips: list[str]) -> Done:
    commands = [rf"printf '{host}\r\n' > {store.path}/{ip}" for ip in ips]
    return Done(f"pod without lease: {host} has {', '.join(ips)}", commands)
