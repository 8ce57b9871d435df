"""The lease store: one directory for each network, in the reference host-local's format.

    <dataDir>/<network>/<ip>                        container id CRLF interface name: who holds <ip>
    <dataDir>/<network>/last_reserved_ip.<n>        the address given out last from range set <n>
    <dataDir>/<network>/lock                        flock(2) on this file protects all of the above; it holds the names
                                                    of the nodes that have all their leases here
    <dataDir>/<network>/.attachments/<key>/<ip>@<node>   ours alone: the same file, hard-linked

A node is one network namespace of one boot (kernel.netns.identity): several nodes may share the directory.

We write a lease under `.attachments` first, and then link it to its place. link(2) is the atomic claim, so nobody sees
a half-written lease, and we find an attachment's leases without reading all the others. The reference walks the whole
tree and compares contents, so it sees and removes both names.

Everybody may read the files, as with the reference, except the lock: a process that can open a file can also lock it.
If something under these names is not a regular file, we do not follow it, wait for it, or take it for a lease.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from errno import EISDIR, ELOOP, ENXIO
from fcntl import LOCK_EX, flock
from functools import cached_property
from socket import AF_INET, AF_INET6, inet_pton
from types import TracebackType

from netaddr import IPAddress

from cni_bridge_py.addresses import parse_ip
from cni_bridge_py.cni.errors import IO_FAILURE, CniError
from cni_bridge_py.kernel.netns import identity

INDEX = ".attachments"
LARGEST_LEASE = 1 << 17
"""Bytes. A container id comes from the environment, and this is the longest that a variable can be."""

PART = 4096
"""How many bytes of a file are read at once."""

LAST_RESERVED = "last_reserved_ip."
LEADING = frozenset("0123456789abcdef:")
"""The characters that an address may start with. No other file of the store starts with one."""

AT = "@"
LARGEST_LOCK = 1 << 16
"""Bytes."""

NO_REGULAR_FILE = (EISDIR, ELOOP, ENXIO)
"""The errors of open(2) or read(2) for a directory, a symbolic link, a socket."""


class LeaseStore:
    """One network's leases. As a context manager it holds the network's lock.

    Call methods that change something with the lock held. If the file system refuses something, the `with` block
    raises CniError 5.
    """

    def __init__(self, data_dir: str, network: str) -> None:
        self.path = f"{data_dir}/{network}"
        self._lock = -1
        self._umask = 0

    @cached_property
    def node(self) -> str:
        """This node's name in the index."""
        return identity()

    def __enter__(self) -> LeaseStore:
        # Directories and files must have the modes that we give them, whatever umask we inherit.
        self._umask = os.umask(0)
        try:
            while not self._take_lock():
                pass
        except OSError as error:
            os.umask(self._umask)
            raise _failed(self.path, error) from None
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.umask(self._umask)
        with suppress(OSError):  # the kernel releases it when the process ends
            os.close(self._lock)
        if isinstance(error, OSError):
            raise _failed(self.path, error) from None

    def _take_lock(self) -> bool:
        """Take the lock; return whether it is still the network's lock: somebody may have deleted the directory."""
        try:
            self._lock = self._open_lock()
        except FileNotFoundError:
            _make_directory(self.path)
            self._lock = self._open_lock()
        flock(self._lock, LOCK_EX)
        if os.fstat(self._lock).st_nlink:
            return True
        os.close(self._lock)
        return False

    def _open_lock(self) -> int:
        return _open(f"{self.path}/lock", os.O_RDONLY | os.O_CREAT, 0o600)

    def is_complete(self) -> bool:
        """Whether `complete` has been called in this directory. If not, leases of this node's pods may be missing."""
        return self.node in self._complete_nodes()

    def complete(self, attachments: Iterable[tuple[str, str]]) -> None:
        """Write the leases again that this node's attachments, given as (key, ip), have lost."""
        for key, ip in attachments:
            mine = f"{self.path}/{INDEX}/{key}/{self._entry(ip)}"
            if not _is_written(mine):
                self.claim(ip, key, "", key)  # only the runtime knows the container id
                continue
            with suppress(FileExistsError):
                os.link(mine, f"{self.path}/{ip}")
        nodes = dict.fromkeys([*filter(self._is_of_this_boot, self._complete_nodes()), self.node])
        with suppress(OSError):  # the next ADD does this again
            _write(f"{self.path}/lock", "".join(f"{node}\n" for node in nodes))

    def _complete_nodes(self) -> list[str]:
        try:
            return os.pread(self._lock, LARGEST_LOCK, 0).decode(errors="replace").split()
        except OSError:  # somebody put a pipe in its place
            return []

    def _entry(self, ip: str) -> str:
        return f"{ip}{AT}{self.node}"

    def _is_of_this_boot(self, node: str) -> bool:
        return node.partition(".")[0] == self.node.partition(".")[0]

    def claim(self, ip: str, container_id: str, ifname: str, key: str) -> bool:
        """Take `ip` for an attachment; return whether it was free. `key` is the attachment's name in the index."""
        mine = f"{self.path}/{INDEX}/{key}/{self._entry(ip)}"
        _make_directory(f"{self.path}/{INDEX}/{key}")
        _write(mine, f"{container_id}\r\n{ifname}")
        try:
            os.link(mine, f"{self.path}/{ip}")
        except FileExistsError:
            os.unlink(mine)
            return False
        return True

    def taken(self, version: int) -> set[bytes]:
        """The addresses of an IP version that any plugin has given out, in network byte order."""
        family = {4: AF_INET, 6: AF_INET6}[version]
        mark = {4: ".", 6: ":"}[version]
        names = [name for name in _entries(self.path) if mark in name and name[0] in LEADING]
        try:
            return {inet_pton(family, name) for name in names}
        except OSError:  # some file is not a lease
            return {inet_pton(family, name) for name in names if _is_ip(name)}

    def last_reserved(self, position: int) -> IPAddress | None:
        """The address given out last from a range set."""
        try:
            return parse_ip(_read(f"{self.path}/{LAST_RESERVED}{position}").strip())
        except (OSError, ValueError):
            return None  # without it, round-robin starts from the beginning

    def remember(self, position: int, ip: str) -> None:
        """Note the address that was given out from a range set. It stays claimed even if this fails."""
        with suppress(OSError):
            _write(f"{self.path}/{LAST_RESERVED}{position}", ip)

    def attachments(self) -> list[str]:
        """The keys of this node's attachments that hold leases of ours.

        Attachments of other network namespaces of this boot are left out, because their pods cannot be seen from here.
        """
        keys = [entry.name for entry in _scan(f"{self.path}/{INDEX}") if entry.is_dir(follow_symlinks=False)]
        return [key for key in keys if not any(map(self._is_elsewhere, _entries(f"{self.path}/{INDEX}/{key}")))]

    def _is_elsewhere(self, entry: str) -> bool:
        node = entry.partition(AT)[2]
        return node != self.node and self._is_of_this_boot(node)

    def of_attachment(self, key: str) -> list[str]:
        """The addresses that an attachment holds through the index."""
        entries = _entries(f"{self.path}/{INDEX}/{key}")
        return [_ip_of(entry) for entry in entries if self._is_claimed(key, entry)]

    def holder(self, ip: str) -> tuple[str, str] | None:
        """The container id and interface name that hold `ip` (leases from before 2018 have no interface name).

        Both are empty if there is something else in place of a lease.
        """
        return _holder(f"{self.path}/{ip}")

    def owner(self, key: str) -> tuple[str, str]:
        """Container id and interface name of an attachment in the index; its key if no file there has them."""
        folder = f"{self.path}/{INDEX}/{key}"
        told = (_holder(f"{folder}/{ip}") for ip in _entries(folder))
        return next((each for each in told if each and each[0]), (key, ""))

    def release_attachment(self, key: str) -> None:
        """Release what an attachment holds through the index. It is no error if it holds nothing."""
        folder = f"{self.path}/{INDEX}/{key}"
        try:
            entries = os.listdir(folder)
        except FileNotFoundError:
            return
        for entry in entries:
            if self._is_claimed(key, entry):
                _remove(f"{self.path}/{_ip_of(entry)}")
            _remove(f"{folder}/{entry}")
        os.rmdir(folder)

    def release(self, ip: str) -> None:
        """Release an address, whichever plugin wrote its lease. It is no error if it is free."""
        _remove(f"{self.path}/{ip}")

    def foreign(self) -> list[str]:
        """The addresses whose leases another plugin wrote."""
        # Ours have two names. scandir() gives the entries, st_nlink tells without opening them.
        return [entry.name for entry in self._leases() if _names(entry) == 1]

    def ownerless(self) -> list[str]:
        """The addresses whose leases are empty. If we hold the lock, their writer died before it wrote.

        Without the lock, somebody may be about to write them, or may have just removed them.
        """
        return [entry.name for entry in self._leases() if not _is_written(entry.path)]

    def _leases(self) -> list[os.DirEntry[str]]:
        entries = _scan(self.path)
        return [entry for entry in entries if _is_ip(entry.name) and entry.is_file(follow_symlinks=False)]

    def _is_claimed(self, key: str, entry: str) -> bool:
        # We may have been killed between writing and linking, and the address may have been given to another pod since.
        mine, lease = f"{self.path}/{INDEX}/{key}/{entry}", f"{self.path}/{_ip_of(entry)}"
        try:
            # A directory that was restored from a copy (cp -r) has two files with the same content.
            return _identity(mine) == _identity(lease) or _read(mine) == _read(lease) != ""
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in NO_REGULAR_FILE:
                return False
            raise


def _holder(path: str) -> tuple[str, str] | None:
    try:
        container_id, _, ifname = _read(path).strip().partition("\r\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in NO_REGULAR_FILE:
            return "", ""
        raise
    return container_id, ifname


def _ip_of(entry: str) -> str:
    """The address in the name of an index entry."""
    return entry.partition(AT)[0]


def _is_ip(name: str) -> bool:
    try:
        parse_ip(name)
    except ValueError:
        return False
    return True


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _make_directory(path: str) -> None:
    """Make a directory and its parents, if they are missing. Whatever the umask, only root may write there."""
    # If something else has its name, using it as a directory will fail and say so.
    with suppress(FileExistsError):
        try:
            os.mkdir(path, 0o755)
        except FileNotFoundError:
            above = os.path.dirname(path)
            if above == path:
                raise
            _make_directory(above)
            os.mkdir(path, 0o755)


def _identity(path: str) -> tuple[int, int]:
    """Device and inode, which are the same for two names of one file."""
    told = os.stat(path)
    return told.st_dev, told.st_ino


def _open(path: str, flags: int, mode: int = 0) -> int:
    # Without these flags, we would wait for a pipe, and follow a link out of the directory.
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, mode)


def _read(path: str) -> str:
    return read_text(_open(path, os.O_RDONLY), LARGEST_LEASE)


def read_text(file: int, most: int) -> str:
    """Read at most `most` bytes of an open file, and close it. Invalid UTF-8 is replaced. Raises OSError."""
    data = b""
    try:
        # In parts, because a buffer of `most` bytes would have to be allocated and freed.
        while len(data) < most:
            part = os.read(file, min(PART, most - len(data)))
            data += part
            if len(part) < PART:
                break
        return data.decode(errors="replace")
    finally:
        os.close(file)


def _write(path: str, text: str) -> None:
    file = _open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    data = text.encode()
    try:
        while data:  # on a nearly full disk, write(2) writes a part first, and fails the next time
            data = data[os.write(file, data) :]
    finally:
        os.close(file)


def _names(entry: os.DirEntry[str]) -> int:
    """How many names a file has; 0 if it has just been deleted."""
    try:
        return entry.stat(follow_symlinks=False).st_nlink
    except FileNotFoundError:
        return 0


def _is_written(path: str) -> bool:
    """Whether a lease is there and not empty, as it would be if its writer had died."""
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _failed(path: str, error: OSError) -> CniError:
    return CniError(IO_FAILURE, f"lease store {error.filename or path}: {error.strerror}")
