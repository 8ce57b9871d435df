"""host-local: addresses from ranges in the configuration, leases in files on this node.

Works in this process what the reference's `host-local` does in one of its own, on the same files.
"""

from __future__ import annotations

from cni_bridge_py.addresses import parse_network
from cni_bridge_py.cni.errors import IO_FAILURE, NO_ADDRESS, NOT_AS_EXPECTED, CniError
from cni_bridge_py.cni.result import IPConfig, Result
from cni_bridge_py.ipam.leases import LeaseStore
from cni_bridge_py.ipam.ranges import Range, RangeSet, candidates, describe, find
from cni_bridge_py.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from cni_bridge_py.config import IpamConfig

RESOLV_CONF_MAX = 1 << 20
"""Bytes of a resolv.conf that are read."""


@record
class Attachment:
    """Who holds leases: container id and interface name, and their key in the store's index."""

    container_id: str
    ifname: str
    key: str


class HostLocal:
    """The addresses of one attachment. As a context manager it holds the network's lock."""

    def __init__(self, config: IpamConfig, network: str, attachment: Attachment) -> None:
        self._config = config
        self._attachment = attachment
        self._store = LeaseStore(config.data_dir, network)

    def __enter__(self) -> HostLocal:
        self._store.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._store.__exit__(kind, error, trace)

    def add(self, is_living: Callable[[str], bool]) -> Result:
        """Claim the attachment's addresses; see `allocate`. What it held before is dead, and released first."""
        self._store.release_attachment(self._attachment.key)
        path = self._config.resolv_conf
        dns = read_resolv_conf(path) if path else {}
        ips = allocate(self._store, self._config.range_sets, self._attachment, is_living)
        return Result([], ips, self._config.routes, dns)

    def delete(self, ips: list[IPConfig]) -> None:
        """Release whatever the attachment holds; see `release`."""
        release(self._store, self._attachment, ips)

    def check(self, ips: list[IPConfig]) -> None:
        """See that the attachment holds its leases; see `check`."""
        check(self._store, self._config.range_sets, self._attachment, ips)


def allocate(
    store: LeaseStore,
    range_sets: list[RangeSet],
    attachment: Attachment,
    is_living: Callable[[str], bool],
) -> list[IPConfig]:
    """Claim one address from each range set, with the store's lock held.

    `is_living` tells whether the attachment with that key exists; it is asked only when a range set is exhausted,
    and what the dead hold is reclaimed. Raises CniError 102 when no address is left, and has claimed none then.
    """
    try:
        return [
            _claim(store, ranges, position, attachment)
            or _reclaim_and_claim(store, ranges, position, attachment, is_living)
            for position, ranges in enumerate(range_sets)
        ]
    except BaseException:
        store.release_attachment(attachment.key)
        raise


def _claim(store: LeaseStore, ranges: RangeSet, position: int, attachment: Attachment) -> IPConfig | None:
    taken: set[str] = set()
    for each, value in candidates(ranges, store.last_reserved(position)):
        ip = each.format(value)
        if ip in taken:
            continue
        if store.claim(ip, attachment.container_id, attachment.ifname, attachment.key):
            store.remember(position, ip)
            return _ip_config(each, value)
        # The next one is free nearly always; where it is not, one look at the directory spares many tries.
        taken = taken or store.taken()
    return None


def _reclaim_and_claim(
    store: LeaseStore,
    ranges: RangeSet,
    position: int,
    attachment: Attachment,
    is_living: Callable[[str], bool],
) -> IPConfig:
    for key in store.attachments():
        if key != attachment.key and not is_living(key):
            store.release_attachment(key)
    config = _claim(store, ranges, position, attachment)
    if not config:
        raise CniError(
            NO_ADDRESS,
            f"no address left in range set {describe(ranges)}",
            f"every one has a lease in {store.path}; delete pods, or widen the range",
        )
    return config


def _ip_config(each: Range, value: int) -> IPConfig:
    return IPConfig(f"{each.format(value)}/{each.subnet.prefixlen}", each.format(each.gateway))


def preview(range_sets: list[RangeSet]) -> list[IPConfig]:
    """The addresses that the first attachment of an unused network gets; claims nothing."""
    return [_ip_config(*next(candidates(ranges, None))) for ranges in range_sets]


def release(store: LeaseStore, attachment: Attachment, ips: list[IPConfig]) -> None:
    """Release whatever the attachment holds, with the store's lock held; nothing held is no error.

    `ips` are those of its prevResult: where to look first for leases that another plugin wrote.
    """
    if store.of_attachment(attachment.key):
        store.release_attachment(attachment.key)
    else:
        hints = [parse_network(ip.address).ip for ip in ips]
        store.release_foreign(attachment.container_id, attachment.ifname, hints)


def check(store: LeaseStore, range_sets: list[RangeSet], attachment: Attachment, ips: list[IPConfig]) -> None:
    """See that the attachment holds the lease of each of its addresses, with the store's lock held.

    Raises CniError 105 that names the first one missing or another's.
    """
    for ip in ips:
        address = parse_network(ip.address)
        if not any(find(ranges, address.version, address.value) for ranges in range_sets):
            continue  # not from here
        holder = store.holder(address.ip)
        if holder is None:
            raise CniError(NOT_AS_EXPECTED, f"lease {store.path}/{address.ip} is missing")
        if holder not in (
            (attachment.container_id, attachment.ifname),
            (attachment.container_id, ""),
        ):
            who = f"container {holder[0]}, interface {holder[1]}"
            raise CniError(NOT_AS_EXPECTED, f"lease {store.path}/{address.ip} is held by {who}")


def read_resolv_conf(path: str) -> dict[str, Any]:
    """Read nameservers, domain, search and options from a file in the format of resolv.conf(5).

    Raises CniError 5 when the file cannot be read.
    """
    dns: dict[str, Any] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(RESOLV_CONF_MAX).splitlines()
    except OSError as error:
        raise CniError(IO_FAILURE, f"ipam.resolvConf: {path}: {error.strerror}") from None
    for line in lines:
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values:
            dns.setdefault("nameservers", []).append(values[0])
        elif keyword == "domain" and values:
            dns["domain"] = values[0]
        elif keyword in ("search", "options"):
            dns.setdefault(keyword, []).extend(values)
    return dns
