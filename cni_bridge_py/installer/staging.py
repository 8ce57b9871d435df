"""Replaces all files or none: each is written beside the file that it replaces, and all are renamed at the end."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cni_bridge_py.installer import Refused, say
from cni_bridge_py.node.confdir import BACKUP

MARK = ".cni-bridge-py-"
"""The prefix of names that are not in place yet. Directories of earlier versions had it, too."""

SECONDS = 10
"""How long to wait for a program that is being replaced."""


class Staging:
    """A change of files in some directories, by one process at a time.

    As a context manager: entering it makes the directories if they are missing, and locks them. `commit` makes the
    change. Leaving it without `commit` leaves everything as it was. If the process is killed, the next process
    that locks the directories removes what was staged.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = sorted(set(folders))
        self._locks = ExitStack()
        self._made: list[Path] = []
        self._staged: list[tuple[Path, Path]] = []
        self._backups: list[Path] = []

    def __enter__(self) -> Self:
        try:
            for folder in self._folders:
                self._make(folder)
                _lock(folder, self._locks)
                for each in folder.glob(f"{MARK}*.new"):
                    remove(each)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def copy(self, source: Path, target: Path) -> Path:
        """Stage a program; return where it is until `commit`."""
        staged = self._new(target)
        with _about(target):
            shutil.copyfile(source, staged)
            staged.chmod(0o755)
            _sync(staged)
        return staged

    def tree(self, source: Path, target: Path) -> Path:
        """Stage a directory of programs and libraries."""
        staged = self._new(target)
        with _about(target):
            try:
                shutil.copytree(source, staged, symlinks=True)
            except shutil.Error as errors:
                _, _, reason = errors.args[0][0]
                raise Refused(f"{target}: {reason.partition(': ')[0].rpartition('] ')[2]}") from None
            for each in (staged, *staged.rglob("*")):
                if not each.is_symlink():
                    each.chmod(0o755 if each.is_dir() or os.access(each, os.X_OK) else 0o644)
                    _sync(each)
        return staged

    def write(self, content: bytes, target: Path) -> None:
        """Stage a file that everybody may read."""
        staged = self._new(target)
        with _about(target):
            staged.write_bytes(content)
            staged.chmod(0o644)
            _sync(staged)

    def link(self, target: Path, to: Path | str) -> None:
        """Stage a symbolic link."""
        staged = self._new(target)
        with _about(target):
            staged.symlink_to(to)

    def back_up(self, path: Path) -> Path:
        """Keep a file under a second name, which no runtime picks up; return that name."""
        backup = backup_name(path)
        os.link(path, backup)
        self._backups.append(backup)
        return backup

    def commit(self, *gone: Path) -> None:
        """Put what was staged into place, in order, and remove the files in `gone`."""
        while self._staged:
            staged, target = self._staged[0]
            with _about(target):
                os.replace(staged, target)
            self._staged.pop(0)
            self._made.clear()
            self._backups.clear()
        for each in gone:
            each.unlink(missing_ok=True)
        for folder in self._folders:
            _sync(folder)

    def _new(self, target: Path) -> Path:
        """A name to stage a file under. Raises Refused if the target is a directory, which no file can replace."""
        if target.is_dir() and not target.is_symlink():
            raise Refused(f"{target} is a directory: move it away first")
        staged = target.with_name(f"{MARK}{secrets.token_hex(4)}.new")
        self._staged.append((staged, target))
        return staged

    def _make(self, folder: Path) -> None:
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o755, exist_ok=True)
            self._made.append(each)

    def _leave(self) -> None:
        for path in [*(staged for staged, _ in self._staged), *self._backups]:
            remove(path)
        for folder in reversed(self._made):
            if not any(folder.iterdir()):
                folder.rmdir()
        self._locks.close()


@contextmanager
def _about(target: Path) -> Iterator[None]:
    """Make an OSError name the file that we install, not the staged one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None


def backup_name(path: Path) -> Path:
    """An unused name beside `path` that does not end in .conf, .conflist or .json."""
    first = path.with_name(f"{path.name}{BACKUP}{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    number, backup = 1, first
    while os.path.lexists(backup):
        number, backup = number + 1, Path(f"{first}-{number}")
    return backup


def remove(path: Path) -> None:
    """Remove a file, or a directory with its contents, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_when_unused(folder: Path) -> bool:
    """Remove a directory of programs as soon as none of them runs; return whether it is gone."""
    until = time.monotonic() + SECONDS
    while any(program.is_relative_to(folder) for program in _running()):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    remove(folder)
    return True


def need_writable(folder: Path, option: str = "") -> None:
    """Raise Refused if we cannot make the directory or write to it. The text names the option that helps, if any."""
    ancestor = next(each for each in (folder, *folder.parents) if each.exists())
    if not ancestor.is_dir():
        raise Refused(f"{ancestor} is not a directory")
    if os.statvfs(ancestor).f_flag & os.ST_RDONLY:
        way_out = f"choose another place with {option}" if option else "mount it writable first"
        raise Refused(f"{ancestor} is on a read-only file system: {way_out}")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise Refused(f"you may not write to {ancestor}: run it as root (sudo ./install.sh ...)")


def _running() -> Iterator[Path]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield Path(os.readlink(process / "exe"))
        except OSError:
            continue  # the process has ended, or has no executable


def _lock(folder: Path, locks: ExitStack) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    locks.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"Another install.sh is running in {folder}: waiting for it")
        fcntl.flock(fd, fcntl.LOCK_EX)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
