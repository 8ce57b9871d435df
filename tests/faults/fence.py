"""The plugin in this very process, fenced in: namespaces of its own, and an eye on every file that it would write."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import resource
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cni_bridge_py import ipam_plugin, plugin
from tests.faults.inputs import DATA_DIR, FAKE_IPAM, IPAM_DIR, NETNS, Input

MAIN = {"cni-bridge-py": plugin.main, "host-local-py": ipam_plugin.main}
CLONE_NEWNET = 0x40000000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = (
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.rename",
    "os.truncate",
    "os.chmod",
    "os.chown",
)
SECONDS = 30
MEMORY = 1 << 30
"""Bytes of address space, what Python takes for itself included."""

KEYS = {"cniVersion", "code", "msg", "details"}
LARGEST_ANSWER = 1 << 20


class Outcome(NamedTuple):
    """What an invocation answered, and the paths that it would write to or change."""

    status: int
    stdout: bytes
    stderr: bytes
    changed: list[str]


class Trial(NamedTuple):
    """An invocation, the DEL that followed it, and the leases and links that were left after each."""

    outcome: Outcome
    left: list[str]
    deleted: Outcome
    left_by_delete: list[str]


class Fence:
    """Runs the plugin in this process, which must be root's in namespaces of its own."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watching = False
        self._changed: list[str] = []
        self._pod = -1
        sys.addaudithook(self._watch)
        os.makedirs(IPAM_DIR, exist_ok=True)
        self.renew()

    def renew(self) -> None:
        """Have a node where nothing is, a pod, and no leases."""
        if self._pod >= 0:
            os.close(self._pod)
        self._unshare_network()
        self._pod = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._unshare_network()
        for directory, _, files in os.walk(DATA_DIR, topdown=False):
            for file in files:
                os.unlink(f"{directory}/{file}")
            os.rmdir(directory)

    def _unshare_network(self) -> None:
        if self._libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")

    @property
    def is_untouched(self) -> bool:
        """Whether the node is as it was made."""
        return len(socket.if_nameindex()) == 1 and not os.path.exists(DATA_DIR)

    def left(self) -> list[str]:
        """The node's veths, and the leases."""
        links = [name for _, name in socket.if_nameindex() if name.startswith("veth")]
        leases = [str(path) for path in Path(DATA_DIR).rglob("*") if path.is_file() and _is_lease(path.name)]
        return links + leases

    def call(self, given: Input) -> Outcome:
        """Run the plugin once."""
        pod = f"/proc/self/fd/{self._pod}"
        self._write_ipam_plugin(given.ipam)
        os.environ.clear()
        os.environ.update({key: value.replace(NETNS, pod) for key, value in given.environment.items()})
        self._changed = []
        streams = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        saved = [os.dup(fd) for fd in range(3)]
        os.pwrite(streams[0], given.stdin.replace(NETNS.encode(), pod.encode()), 0)
        for fd, stream in enumerate(streams):
            os.dup2(stream, fd)
        self._watching = True
        try:
            status = MAIN[given.program]()
        finally:
            self._watching = False
            for fd, each in enumerate(saved):
                os.dup2(each, fd)
                os.close(each)
        stdout, stderr = (os.pread(stream, os.fstat(stream).st_size, 0) for stream in streams[1:])
        for stream in streams:
            os.close(stream)
        return Outcome(status, stdout, stderr, self._changed)

    def trial(self, given: Input) -> Trial:
        """Run the plugin, and have it DEL what it was about; the node is as new afterwards."""
        outcome = self.call(given)
        left = self.left()
        deleted = self.call(given._replace(environment={**given.environment, "CNI_COMMAND": "DEL"}))
        left_by_delete = self.left()
        if not self.is_untouched:
            self.renew()
        return Trial(outcome, left, deleted, left_by_delete)

    @staticmethod
    def _write_ipam_plugin(script: bytes) -> None:
        with open(f"{IPAM_DIR}/{FAKE_IPAM}", "wb", opener=lambda path, flags: os.open(path, flags, 0o755)) as file:
            file.write(script)

    def _watch(self, event: str, args: tuple[Any, ...]) -> None:
        if self._watching and (event in CHANGING or (event == "open" and (args[2] or 0) & WRITING)):
            self._changed += [_path(each) for each in args[: 2 if event == "os.link" else 1]]


def _path(file: str | bytes | int) -> str:
    return os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else os.fsdecode(file)


def _is_lease(name: str) -> bool:
    return name[0].isdigit() or ":" in name


def judge(given: Input, outcome: Outcome) -> None:
    """Whatever it was given, it must have succeeded or said why not, and have written where it may alone."""
    assert outcome.status in (0, 1), outcome
    assert outcome.stderr == b"", outcome
    assert len(outcome.stdout) <= LARGEST_ANSWER
    if outcome.status:
        error = json.loads(outcome.stdout)
        assert KEYS - {"details"} <= set(error) <= KEYS, error
        assert type(error["code"]) is int
        assert 0 < error["code"] < 1 << 32, error
        assert isinstance(error["msg"], str)
        assert error["msg"], error
        assert not error.get("details", "").startswith("unexpected at"), error
    elif outcome.stdout:
        assert isinstance(json.loads(outcome.stdout), dict)
        assert given.environment["CNI_COMMAND"] in ("ADD", "VERSION"), outcome
    allowed = (DATA_DIR, *_data_dirs(given.stdin))
    for path in map(os.path.normpath, outcome.changed):
        within = any(path == top or path.startswith(f"{top}/") or top.startswith(f"{path}/") for top in allowed)
        assert within or path.startswith("/proc/sys/net/"), f"it would change {path}"


def judge_trial(given: Input, trial: Trial) -> None:
    """A failure leaves nothing, and what a success made a DEL takes away."""
    judge(given, trial.outcome)
    if trial.outcome.status:
        assert trial.left == [], trial
    judge(given._replace(environment={**given.environment, "CNI_COMMAND": "DEL"}), trial.deleted)
    if trial.deleted.status == 0:
        assert trial.left_by_delete == [], trial
    if trial.outcome.status == 0 and given.environment.get("CNI_COMMAND") == "ADD":
        assert trial.deleted.status == 0, trial


def _data_dirs(stdin: bytes) -> list[str]:
    """The dataDir of the configuration, wherever it stands."""
    try:
        ipam = json.loads(stdin)["ipam"]
        found = [value for key, value in ipam.items() if key.lower() == "datadir" and isinstance(value, str)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = []
    return [os.path.normpath(path) for path in found if path.startswith("/")] or ["/var/lib/cni/networks"]


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Try the inputs that come, each in a process of its own, and answer what came of them."""
    fence = Fence()
    while header := requests.read(4):
        given = pickle.loads(requests.read(struct.unpack("=I", header)[0]))
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            with open(write, "wb") as pipe:
                pickle.dump(fence.trial(given), pipe)
            os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            data = pipe.read()
        _, status = os.waitpid(child, 0)
        if status:
            data = pickle.dumps(status)
        answers.write(struct.pack("=I", len(data)) + data)
        answers.flush()
        fence.renew()
