"""Telling network namespaces from what is none."""

from __future__ import annotations

import fcntl
import gc
import os
from pathlib import Path

import pytest

from cni_bridge_py.kernel import netns as module
from cni_bridge_py.kernel.netns import NetNS, NotANetworkNamespace, own_lock

OWN = "/proc/self/ns/net"


def open_files() -> set[str]:
    gc.collect()  # closes what tests before have left open, lest it is closed in between
    return set(os.listdir("/proc/self/fd"))


def test_opens_a_network_namespace() -> None:
    before = open_files()
    with NetNS(OWN) as netns:
        assert os.fstat(netns.fd).st_ino == os.stat(OWN).st_ino
        assert not os.get_inheritable(netns.fd)
        assert netns.path == OWN
        assert netns.is_own()
    assert open_files() == before


@pytest.mark.parametrize("kind", ["mnt", "uts", "ipc", "pid", "user"])
def test_refuses_other_namespaces(kind: str) -> None:
    before = open_files()
    with pytest.raises(NotANetworkNamespace, match="it is not a network namespace"):
        NetNS(f"/proc/self/ns/{kind}")
    assert open_files() == before


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.touch(), "it is not a network namespace"),
        (lambda path: path.mkdir(), "it is not a network namespace"),
        pytest.param(os.mkfifo, "it is not a network namespace", id="a pipe that nobody writes to"),
        (lambda path: path.symlink_to("/dev/null"), "it is not a network namespace"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_refuses_what_is_no_namespace(tmp_path: Path, make: object, reason: str) -> None:
    assert callable(make)
    make(tmp_path / "pod")
    before = open_files()
    with pytest.raises(NotANetworkNamespace) as caught:
        NetNS(str(tmp_path / "pod"))
    assert str(caught.value) == reason
    assert open_files() == before


@pytest.mark.parametrize("path", ["", "/proc/self/ns/net\0", "/" + "x" * 5000])
def test_refuses_what_is_no_path(path: str) -> None:
    with pytest.raises(NotANetworkNamespace, match=r"."):
        NetNS(path)


def is_locked() -> bool:
    """Whether somebody holds this namespace's lock."""
    with open(OWN) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_the_namespaces_lock_is_ones_at_a_time() -> None:
    before = open_files()
    with own_lock():
        assert is_locked()
    assert not is_locked()
    assert open_files() == before


def test_the_lock_is_let_go_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), own_lock():
        _ = 1 / 0
    assert not is_locked()


def test_whoever_never_lets_go_of_the_lock_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.05)
    with open(OWN) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with own_lock():
            assert is_locked()
