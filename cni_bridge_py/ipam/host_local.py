"""host-local: addresses from ranges in the configuration, leases in files on this node.

It does in this process, on the same files, what the reference's `host-local` does in a process of its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

from netaddr import IPAddress

from cni_bridge_py.addresses import InterfaceAddress
from cni_bridge_py.cni.errors import (
    IO_FAILURE,
    NO_ADDRESS,
    NOT_AS_EXPECTED,
    PLUGIN_NOT_AVAILABLE,
    CniError,
)
from cni_bridge_py.cni.result import IPConfig, Result, Route
from cni_bridge_py.ipam.leases import LeaseStore, read_text
from cni_bridge_py.ipam.ranges import Range, RangeSet, candidates, describe, find, free, size

RESOLV_CONF_MAX = 1 << 20
"""How many bytes of a resolv.conf are read."""

NULL_DEVICE = os.makedev(1, 3)
"""/dev/null, which says that there is no DNS (the kernel's Documentation/admin-guide/devices.txt)."""


@dataclass(frozen=True)
class IpamConfig:
    """`ipam`: where addresses come from. All fields but `type` are for host-local."""

    type: str
    range_sets: list[RangeSet]
    routes: list[Route]
    data_dir: str
    resolv_conf: str
    requested: list[IPAddress]


@dataclass(frozen=True)
class Attachment:
    """Who holds leases: container id and interface name, and their key in the store's index."""

    container_id: str
    ifname: str
    key: str


class HostLocal:
    """The addresses of one attachment. As a context manager it holds the network's lock.

    `is_living` tells whether the attachment with a key exists. It is called only when no address is left, and then the
    addresses of dead attachments are released. `attached` yields the keys and addresses of all attachments that exist.
    It is called only if the store is new: somebody may have deleted the former one, and pods must keep their addresses.
    """

    needs_interface = False

    def __init__(
        self,
        config: IpamConfig,
        network: str,
        attachment: Attachment,
        is_living: Callable[[str], bool],
        attached: Callable[[], Iterable[tuple[str, IPAddress]]] = tuple,
    ) -> None:
        self._config = config
        self._attachment = attachment
        self._is_living = is_living
        self._attached = attached
        self._store = LeaseStore(config.data_dir, network)

    def __enter__(self) -> HostLocal:
        self._store.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._store.__exit__(kind, error, trace)

    def is_unused(self) -> bool:
        """Whether there is no store. Then nothing is held, and there is no need to make a lock to release anything."""
        try:
            os.stat(self._store.path)
        except FileNotFoundError:
            return True
        except OSError:
            pass  # if we cannot look, taking the lock will say why
        return False

    def add(self) -> Result:
        """Claim one address from each range set: the requested one, if there is one in the set.

        Whatever the attachment held before is dead, and is released first. Raises CniError 102 if an address is not
        available, and then claims none.
        """
        path = self._config.resolv_conf
        dns = read_resolv_conf(path) if path else {}
        chosen = self._chosen()
        if not self._store.is_complete():
            self._store.complete((key, str(ip)) for key, ip in self._attached() if self._may_give(ip))
        self._store.release_attachment(self._attachment.key)
        try:
            ips = [self._claim(position, wanted) for position, wanted in enumerate(chosen)]
        except BaseException:
            self._store.release_attachment(self._attachment.key)
            raise
        return Result([], ips, self._config.routes, dns)

    def delete(self, ips: list[IPConfig]) -> None:
        """Release whatever the attachment holds. It is no error if it holds nothing.

        `ips` are from its prevResult: they are where to look first for leases that another plugin wrote.
        """
        missing = max(len(self._config.range_sets), 1) - len(self.held())
        self._store.release_attachment(self._attachment.key)
        if missing > 0:
            missing -= self._release([str(ip.address.ip) for ip in ips])
        if missing > 0:
            self._release(self._store.foreign())

    def _release(self, ips: list[str]) -> int:
        """Release those of `ips` whose leases name the attachment; return how many."""
        mine = self._mine(ips)
        for ip in mine:
            self._store.release(ip)
        return len(mine)

    def _mine(self, ips: list[str]) -> list[str]:
        """Those of `ips` whose leases name the attachment."""
        return [ip for ip in ips if self._is_mine(self._store.holder(ip))]

    def _is_mine(self, holder: tuple[str, str] | None) -> bool:
        # Leases from before 2018 have no interface name. Leases that were written again have only the key.
        container_id, ifname = self._attachment.container_id, self._attachment.ifname
        return holder in ((container_id, ifname), (container_id, ""), (self._attachment.key, ""))

    def held(self) -> list[str]:
        """The addresses that the attachment holds."""
        return self._store.of_attachment(self._attachment.key)

    def confirm(self, ips: list[IPConfig]) -> None:
        """Check that the attachment still holds what `add` gave it: somebody may have deleted the directory since.

        Raises CniError 105.
        """
        self.check(ips)

    def check(self, ips: list[IPConfig]) -> None:
        """Check that the attachment holds a lease for each of its addresses, and at least one.

        Raises CniError 105, which names the first lease that is missing or belongs to another attachment.
        """
        ours = [str(ip.address.ip) for ip in ips if self._may_give(ip.address.ip)]
        for ip in ours:
            self._check_holder(ip)
        if not (ours or self.held() or self._mine(self._store.foreign())):
            raise self._no_lease(f"there is none in {self._store.path}")

    def gc(self, is_valid: Callable[[str, str], bool]) -> None:
        """Release what attachments that are not valid hold, whichever plugin wrote the leases.

        `is_valid` takes a container id and an interface name. The interface name is empty in leases from before 2018,
        and in leases that were written again; these have the attachment's key in place of the container id.
        """
        for key in self._store.attachments():
            if not is_valid(*self._store.owner(key)):
                self._store.release_attachment(key)
        for ip in self._store.foreign():
            container_id, ifname = self._store.holder(ip) or ("", "")
            if container_id and not is_valid(container_id, ifname):
                self._store.release(ip)

    def status(self) -> None:
        """Check that an ADD would get its addresses. Changes nothing, and takes no lock.

        Raises CniError 50, which says why not.
        """
        try:
            self._need_room()
            self._need_address()
            if self._config.resolv_conf:
                read_resolv_conf(self._config.resolv_conf)
        except OSError as error:
            msg = f"ipam.dataDir: {error.filename or self._store.path}: {error.strerror}"
            raise CniError(PLUGIN_NOT_AVAILABLE, msg) from None
        except CniError as error:
            raise CniError(PLUGIN_NOT_AVAILABLE, error.msg, error.details) from None

    def _need_room(self) -> None:
        folder = os.path.abspath(self._store.path)
        while not os.access(folder, os.F_OK):
            folder = os.path.dirname(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CniError(PLUGIN_NOT_AVAILABLE, f"ipam.dataDir: {folder} is not writable")
        space = os.statvfs(folder)
        # A file system that does not count inodes (btrfs) reports 0 of 0.
        if not space.f_bavail or (space.f_files and not space.f_favail):
            raise CniError(PLUGIN_NOT_AVAILABLE, f"ipam.dataDir: there is no room left in {folder}")

    def _need_address(self) -> None:
        for ranges in self._config.range_sets:
            taken = self._store.taken(ranges[0].version)
            # The range can only be full if there are as many files as addresses, which is rare.
            if len(taken) >= size(ranges) and self._is_full(ranges, taken):
                raise CniError(PLUGIN_NOT_AVAILABLE, *self._exhausted(ranges))

    def _may_give(self, ip: IPAddress) -> bool:
        return any(find(ranges, ip) for ranges in self._config.range_sets)

    def _chosen(self) -> list[IPAddress | None]:
        """The requested address of each range set, or None if any address will do."""
        requested = self._config.requested
        chosen = [next((ip for ip in requested if find(ranges, ip)), None) for ranges in self._config.range_sets]
        if left := [ip for ip in requested if ip not in chosen]:
            every = "; ".join(describe(ranges) for ranges in self._config.range_sets)
            msg = f"failed to allocate all requested IPs: {' '.join(map(str, left))}: cannot be given out from {every}"
            ranges = [each for one_set in self._config.range_sets for each in one_set]
            if gateway := next((ip for ip in left for each in ranges if ip == each.address(each.gateway)), None):
                msg += f": requested ip {gateway} is subnet's gateway"
            raise CniError(NO_ADDRESS, msg, "each range set gives out one address, and never the gateway")
        return chosen

    def _claim(self, position: int, wanted: IPAddress | None) -> IPConfig:
        ranges = self._config.range_sets[position]
        claimed = self._try_claim(position, ranges, wanted)
        if not claimed:
            self._reclaim()
            claimed = self._try_claim(position, ranges, wanted)
        if claimed:
            return claimed
        if wanted:
            holder = self._store.holder(str(wanted))
            where = f"requested IP address {wanted} is not available in range set {describe(ranges)}"
            raise CniError(NO_ADDRESS, f"{where}: it is taken by {_who(holder)}")
        raise CniError(NO_ADDRESS, *self._exhausted(ranges))

    def _try_claim(self, position: int, ranges: RangeSet, wanted: IPAddress | None) -> IPConfig | None:
        if wanted:
            each = find(ranges, wanted)
            return self._take(position, each, int(wanted)) if each else None
        last = self._store.last_reserved(position)
        # The next address is nearly always free. If not, reading the directory once saves many attempts.
        for each, value in islice(candidates(ranges, last), 1):
            if claimed := self._take(position, each, value):
                return claimed
        for each, value in free(ranges, last, self._store.taken(ranges[0].version)):
            if claimed := self._take(position, each, value):
                return claimed
        return None

    def _take(self, position: int, each: Range, value: int) -> IPConfig | None:
        """Claim one address, if it is free."""
        ip = str(each.address(value))
        if not self._store.claim(ip, self._attachment.container_id, self._attachment.ifname, self._attachment.key):
            return None
        self._store.remember(position, ip)
        return _ip_config(each, value)

    def _reclaim(self) -> None:
        for ip in self._store.ownerless():
            self._store.release(ip)
        for key in self._store.attachments():
            if key != self._attachment.key and not self._is_living(key):
                self._store.release_attachment(key)

    def _is_full(self, ranges: RangeSet, taken: set[bytes]) -> bool:
        """Whether every address is held by an attachment that exists."""
        if next(free(ranges, None, taken), None):
            return False
        return not self._store.ownerless() and all(self._is_living(key) for key in self._store.attachments())

    def _exhausted(self, ranges: RangeSet) -> tuple[str, str]:
        return (
            f"no IP addresses available in range set: {describe(ranges)}",
            f"every address has a lease in {self._store.path}; delete pods, or widen the range",
        )

    def _check_holder(self, ip: str) -> None:
        holder = self._store.holder(ip)
        if holder is None:
            raise self._no_lease(f"lease {self._store.path}/{ip} is missing")
        if not self._is_mine(holder):
            raise CniError(NOT_AS_EXPECTED, f"lease {self._store.path}/{ip} is held by {_who(holder)}")

    def _no_lease(self, reason: str) -> CniError:
        whose = f"Failed to find address added by container {self._attachment.container_id}"
        return CniError(NOT_AS_EXPECTED, f"host-local: {whose}: {reason}")


def _who(holder: tuple[str, str] | None) -> str:
    container_id, ifname = holder or ("", "")
    return f"container {container_id}, interface {ifname}" if container_id else "something that is not a lease"


def preview(range_sets: list[RangeSet]) -> list[IPConfig]:
    """The addresses that the first attachment of an unused network would get. Claims nothing."""
    return [_ip_config(*next(candidates(ranges, None))) for ranges in range_sets]


def _ip_config(each: Range, value: int) -> IPConfig:
    address = InterfaceAddress((value, each.subnet.prefixlen), each.version)
    return IPConfig(address, each.address(each.gateway))


def read_resolv_conf(path: str) -> dict[str, Any]:
    """Read nameservers, domain, search and options from a file in the format of resolv.conf(5).

    Raises CniError 5 when the file cannot be read, or is neither a regular file nor /dev/null: it might never end or
    never begin.
    """
    dns: dict[str, Any] = {}
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        told = os.fstat(file)
        is_regular = stat.S_ISREG(told.st_mode) or (stat.S_ISCHR(told.st_mode) and told.st_rdev == NULL_DEVICE)
        lines = read_text(file, RESOLV_CONF_MAX if is_regular else 0).splitlines()
    except OSError as error:
        raise CniError(IO_FAILURE, f"ipam.resolvConf: {path}: {error.strerror}") from None
    if not is_regular:
        raise CniError(IO_FAILURE, f"ipam.resolvConf: {path}: it is not a regular file")
    for line in lines:
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values:
            dns.setdefault("nameservers", []).append(values[0])
        elif keyword == "domain" and values:
            dns["domain"] = values[0]
        elif keyword in ("search", "options"):
            dns.setdefault(keyword, []).extend(values)
    return dns
