"""The lease store on a directory: its files byte for byte, and who gets and gives back what."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.ipam.host_local import Attachment, HostLocal, preview, read_resolv_conf
from cni_bridge_py.ipam.leases import LeaseStore
from cni_bridge_py.kernel.netns import identity
from tests.unit.support import host_local, ip_config, network, range_sets, refusal

ONE = Attachment("container-1", "eth0", "veth1")
TWO = Attachment("container-2", "eth0", "veth2")

SLASH_29 = {"subnet": "10.1.0.0/29"}  # .2 to .6 for pods
SLASH_30 = {"subnet": "10.1.0.0/30"}  # .2 alone

Directory = Path


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """The network's directory, which the store makes."""
    return tmp_path / "networks" / "net"


@pytest.fixture
def store(directory: Directory) -> LeaseStore:
    return LeaseStore(str(directory.parent), directory.name)


def everybody_lives(_: str) -> bool:
    return True


def nobody_is_asked(key: str) -> bool:
    raise AssertionError(f"asked for {key}")


def ipam(
    store: LeaseStore,
    attachment: Attachment,
    *sets: list[dict[str, str]],
    is_living: Callable[[str], bool] = nobody_is_asked,
    ips: list[str] | None = None,
) -> HostLocal:
    """host-local for an attachment on the store's directory; `ips` are the addresses that the runtime asks for."""
    data_dir, _, name = store.path.rpartition("/")
    keys = {"type": "host-local", "ranges": list(sets) or [[SLASH_29]], "dataDir": data_dir}
    config = network(ipam=keys, runtimeConfig={"ips": ips or []}).ipam
    assert config
    return HostLocal(config, name, attachment, is_living)


def give(
    store: LeaseStore,
    attachment: Attachment,
    *sets: list[dict[str, str]],
    is_living: Callable[[str], bool] = nobody_is_asked,
    ips: list[str] | None = None,
) -> list[str]:
    """Give the attachment an address of each set; return them."""
    with ipam(store, attachment, *sets, is_living=is_living, ips=ips) as each:
        return [str(ip.address) for ip in each.add().ips]


def take_back(store: LeaseStore, attachment: Attachment, *hints: str) -> None:
    with ipam(store, attachment) as each:
        each.delete([ip_config(hint) for hint in hints])


def check(store: LeaseStore, attachment: Attachment, *ips: str) -> None:
    with ipam(store, attachment) as each:
        each.check([ip_config(ip) for ip in ips])


def write_foreign(directory: Directory, ip: str, content: bytes) -> Path:
    """A lease as another plugin writes it: one file, of one name."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / ip
    path.write_bytes(content)
    return path


def leases(directory: Directory) -> set[str]:
    return {path.name for path in directory.iterdir() if path.name[0] in "0123456789f"}


def tree(directory: Directory) -> list[str]:
    """All that is there, but for the lock and what round-robin remembers."""
    found = [str(path.relative_to(directory)).removesuffix(f"@{identity()}") for path in directory.rglob("*")]
    return sorted(path for path in found if path not in ("lock", ".attachments") and not path.startswith("last_"))


# The files


def test_the_files_are_host_locals(store: LeaseStore, directory: Directory) -> None:
    assert give(store, ONE, [SLASH_29], [{"subnet": "fd00::/64"}]) == ["10.1.0.2/29", "fd00::2/64"]
    for ip in ("10.1.0.2", "fd00::2"):
        assert (directory / ip).read_bytes() == b"container-1\r\neth0"
    assert (directory / "last_reserved_ip.0").read_bytes() == b"10.1.0.2"
    assert (directory / "last_reserved_ip.1").read_bytes() == b"fd00::2"
    assert tree(directory) == sorted(
        ["10.1.0.2", "fd00::2", ".attachments/veth1", ".attachments/veth1/10.1.0.2", ".attachments/veth1/fd00::2"]
    )


def test_the_index_holds_the_same_file_under_another_name(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE, [SLASH_29])
    lease = directory / "10.1.0.2"
    assert lease.samefile(directory / f".attachments/veth1/10.1.0.2@{identity()}")
    assert lease.stat().st_nlink == 2


def test_all_is_done_under_the_lock(store: LeaseStore, directory: Directory) -> None:
    with store, (directory / "lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_lock_goes_with_a_failure(store: LeaseStore, directory: Directory) -> None:
    with pytest.raises(ZeroDivisionError), store:
        raise ZeroDivisionError
    with (directory / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("content", "holder"),
    [
        (b"container-1\r\neth0", ("container-1", "eth0")),
        (b"container-1\r\neth0\n", ("container-1", "eth0")),
        (b"container-1", ("container-1", "")),
        (b"container-1\n", ("container-1", "")),
        (b"", ("", "")),
        (b"\xff\r\neth0", ("\ufffd", "eth0")),
    ],
)
def test_reads_who_holds_a_lease(
    store: LeaseStore, directory: Directory, content: bytes, holder: tuple[str, str]
) -> None:
    write_foreign(directory, "10.1.0.2", content)
    with store:
        assert store.holder("10.1.0.2") == holder
        assert store.holder("10.1.0.3") is None


# Giving out


def test_goes_round(store: LeaseStore, directory: Directory) -> None:
    given = []
    for number in range(8):
        attachment = Attachment(f"container-{number}", "eth0", f"veth{number}")
        given += give(store, attachment, [SLASH_29])
        take_back(store, attachment)
    assert given == [f"10.1.0.{last}/29" for last in (2, 3, 4, 5, 6, 2, 3, 4)]
    assert tree(directory) == []


@pytest.mark.parametrize(
    ("remembered", "address"),
    [
        (b"10.1.0.4", "10.1.0.5/29"),
        (b"10.1.0.4\n", "10.1.0.5/29"),
        (b"10.1.0.6", "10.1.0.2/29"),
        (b"10.1.0.1", "10.1.0.2/29"),
        (b"10.9.9.9", "10.1.0.2/29"),
        (b"fd00::1", "10.1.0.2/29"),
        (b"", "10.1.0.2/29"),
        (b"\xff\x00", "10.1.0.2/29"),
    ],
)
def test_goes_on_from_what_was_remembered(
    store: LeaseStore, directory: Directory, remembered: bytes, address: str
) -> None:
    write_foreign(directory, "last_reserved_ip.0", remembered)
    assert give(store, ONE, [SLASH_29]) == [address]


def test_every_set_goes_round_for_itself(store: LeaseStore) -> None:
    other = {"subnet": "10.2.0.0/29"}
    assert give(store, ONE, [SLASH_29], [other]) == ["10.1.0.2/29", "10.2.0.2/29"]
    assert give(store, TWO, [SLASH_29]) == ["10.1.0.3/29"]
    take_back(store, TWO)
    assert give(store, TWO, [SLASH_29], [other]) == ["10.1.0.4/29", "10.2.0.3/29"]


def test_passes_over_what_others_hold(store: LeaseStore, directory: Directory) -> None:
    for last in (2, 3, 5):
        write_foreign(directory, f"10.1.0.{last}", b"container-9\r\neth0")
    assert give(store, ONE, [SLASH_29]) == ["10.1.0.4/29"]
    assert give(store, TWO, [SLASH_29]) == ["10.1.0.6/29"]


def test_every_address_is_given_out_once(store: LeaseStore, directory: Directory) -> None:
    given = [give(store, Attachment(f"c{n}", "eth0", f"veth{n}"), [SLASH_29])[0] for n in range(5)]
    assert given == [f"10.1.0.{last}/29" for last in (2, 3, 4, 5, 6)]
    assert leases(directory) == {each.partition("/")[0] for each in given}


def test_says_the_gateway_with_the_address(store: LeaseStore) -> None:
    sets = [[SLASH_29], [{"subnet": "fd00::/64", "gateway": "fd00::ff"}]]
    expected = [ip_config("10.1.0.2/29", "10.1.0.1"), ip_config("fd00::1/64", "fd00::ff")]
    assert preview(range_sets(*sets)) == expected
    with ipam(store, ONE, *sets) as each:
        assert each.add().ips == expected


def test_a_preview_claims_nothing(store: LeaseStore) -> None:
    preview(range_sets([SLASH_29]))
    assert not os.path.exists(store.path)


# An exhausted range


def test_a_slash_30_has_one_address(store: LeaseStore, directory: Directory) -> None:
    assert give(store, ONE, [SLASH_30]) == ["10.1.0.2/30"]
    with pytest.raises(CniError) as caught:
        give(store, TWO, [SLASH_30], is_living=everybody_lives)
    assert caught.value.code == 102
    assert caught.value.msg == "no IP addresses available in range set: 10.1.0.1-10.1.0.2"
    assert str(directory) in caught.value.details
    assert tree(directory) == [".attachments/veth1", ".attachments/veth1/10.1.0.2", "10.1.0.2"]
    take_back(store, ONE)
    assert give(store, TWO, [SLASH_30]) == ["10.1.0.2/30"]


def test_what_the_dead_hold_is_reclaimed_when_nothing_else_is_left(store: LeaseStore, directory: Directory) -> None:
    for number in range(5):
        give(store, Attachment(f"container-{number}", "eth0", f"veth{number}"), [SLASH_29])
    asked = []

    def is_living(key: str) -> bool:
        asked.append(key)
        return key != "veth3"

    newcomer = Attachment("newcomer", "eth0", "veth9")
    assert give(store, newcomer, [SLASH_29], is_living=is_living) == ["10.1.0.5/29"]
    assert sorted(asked) == [f"veth{number}" for number in range(5)]
    assert (directory / "10.1.0.5").read_bytes() == b"newcomer\r\neth0"
    assert not (directory / ".attachments/veth3").exists()
    assert leases(directory) == {f"10.1.0.{last}" for last in (2, 3, 4, 5, 6)}


def test_the_dead_are_left_alone_while_there_is_another_address(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE, [SLASH_29])  # dead, for all anybody knows
    assert give(store, TWO, [SLASH_29], is_living=nobody_is_asked) == ["10.1.0.3/29"]
    assert leases(directory) == {"10.1.0.2", "10.1.0.3"}


def test_others_leases_are_never_reclaimed(store: LeaseStore, directory: Directory) -> None:
    lease = write_foreign(directory, "10.1.0.2", b"container-9\r\neth0")
    with pytest.raises(CniError, match=r"no IP addresses available in range set: 10\.1\.0\.1-10\.1\.0\.2"):
        give(store, ONE, [SLASH_30], is_living=lambda _: False)
    assert lease.read_bytes() == b"container-9\r\neth0"


@pytest.mark.parametrize(
    "sets",
    [
        [[SLASH_29], [SLASH_30 | {"subnet": "10.2.0.0/30"}]],
        [[{"subnet": "fd00::/64"}], [SLASH_30 | {"subnet": "10.2.0.0/30"}]],
    ],
)
def test_a_failure_half_way_gives_back_what_was_claimed(
    store: LeaseStore, directory: Directory, sets: list[Any]
) -> None:
    write_foreign(directory, "10.2.0.2", b"container-9\r\neth0")
    with pytest.raises(CniError, match=r"no IP addresses available in range set: 10\.2\.0\.1-10\.2\.0\.2"):
        give(store, ONE, *sets, is_living=everybody_lives)
    assert tree(directory) == ["10.2.0.2"]


# Giving back


def test_gives_back_all_that_the_attachment_holds_and_no_more(store: LeaseStore, directory: Directory) -> None:
    sets = ([SLASH_29], [{"subnet": "fd00::/64"}])
    give(store, ONE, *sets)
    give(store, TWO, *sets)
    take_back(store, ONE)
    expected = [
        ".attachments/veth2",
        ".attachments/veth2/10.1.0.3",
        ".attachments/veth2/fd00::3",
        "10.1.0.3",
        "fd00::3",
    ]
    assert tree(directory) == expected
    take_back(store, ONE)
    assert tree(directory) == expected


def test_giving_back_nothing_is_no_error(store: LeaseStore, directory: Directory) -> None:
    take_back(store, ONE)
    take_back(store, ONE, "10.1.0.2/29", "fd00::2/64")
    assert tree(directory) == []


def test_another_interface_of_the_container_keeps_its_lease(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE, [SLASH_29])
    give(store, Attachment("container-1", "net1", "veth7"), [SLASH_29])
    take_back(store, ONE)
    assert leases(directory) == {"10.1.0.3"}


def test_an_index_file_without_claim_is_not_the_attachments_lease(store: LeaseStore, directory: Directory) -> None:
    # Killed between writing the index file and linking it, and the address since given to another.
    index = directory / ".attachments/veth1"
    index.mkdir(parents=True)
    (index / "10.1.0.2").write_bytes(b"container-1\r\neth0")
    assert give(store, TWO, [SLASH_29]) == ["10.1.0.2/29"]
    with store:
        assert store.of_attachment("veth1") == []
    take_back(store, ONE)
    assert (directory / "10.1.0.2").read_bytes() == b"container-2\r\neth0"
    assert leases(directory) == {"10.1.0.2"}


@pytest.mark.parametrize("remains", [["10.1.0.2"], []], ids=["an index file without claim", "an empty index directory"])
def test_giving_back_leaves_no_index_behind(store: LeaseStore, directory: Directory, remains: list[str]) -> None:
    # The first is left by a kill; the second by another plugin that released the lease, both its names.
    index = directory / ".attachments/veth1"
    index.mkdir(parents=True)
    for ip in remains:
        (index / ip).write_bytes(b"container-1\r\neth0")
    take_back(store, ONE)
    assert tree(directory) == []


def test_an_index_file_without_claim_does_not_keep_the_address_from_others(
    store: LeaseStore, directory: Directory
) -> None:
    index = directory / ".attachments/veth1"
    index.mkdir(parents=True)
    (index / "10.1.0.2").write_bytes(b"container-1\r\neth0")
    assert give(store, TWO, [SLASH_30]) == ["10.1.0.2/30"]


def test_an_attachment_that_comes_again_gets_what_its_dead_self_held(store: LeaseStore, directory: Directory) -> None:
    for _ in range(2):  # the second time as after a kill that left the lease and no veth
        assert give(store, ONE, [SLASH_30]) == ["10.1.0.2/30"]
    assert tree(directory) == [".attachments/veth1", ".attachments/veth1/10.1.0.2", "10.1.0.2"]


def test_tells_what_an_attachment_holds(store: LeaseStore) -> None:
    give(store, ONE, [SLASH_29], [{"subnet": "fd00::/64"}])
    with ipam(store, ONE) as each:
        assert sorted(each.held()) == ["10.1.0.2", "fd00::2"]
    with ipam(store, TWO) as each:
        assert each.held() == []


# Addresses that the runtime asks for


@pytest.mark.parametrize(
    ("ips", "given"),
    [
        (["10.1.0.5"], ["10.1.0.5/29", "fd00::2/64"]),
        (["10.1.0.5/29"], ["10.1.0.5/29", "fd00::2/64"]),
        (["fd00::77"], ["10.1.0.2/29", "fd00::77/64"]),
        (["fd00:0::77", "10.1.0.6"], ["10.1.0.6/29", "fd00::77/64"]),
    ],
    ids=str,
)
def test_gives_the_address_that_is_asked_for(
    store: LeaseStore, directory: Directory, ips: list[str], given: list[str]
) -> None:
    assert give(store, ONE, [SLASH_29], [{"subnet": "fd00::/64"}], ips=ips) == given
    assert leases(directory) == {each.partition("/")[0] for each in given}


def test_goes_on_after_the_address_that_was_asked_for(store: LeaseStore) -> None:
    assert give(store, ONE, ips=["10.1.0.4"]) == ["10.1.0.4/29"]
    assert give(store, TWO) == ["10.1.0.5/29"]


@pytest.mark.parametrize("ip", ["10.1.0.1", "10.1.0.0", "10.1.0.7", "10.1.1.2", "fd00::2"])
def test_an_address_of_no_range_set_cannot_be_asked_for(store: LeaseStore, directory: Directory, ip: str) -> None:
    error = refusal(lambda: give(store, ONE, [SLASH_29], ips=[ip]))
    expected = f"failed to allocate all requested IPs: {ip}: cannot be given out from 10.1.0.1-10.1.0.6"
    expected += ": requested ip 10.1.0.1 is subnet's gateway" if ip == "10.1.0.1" else ""
    assert (error.code, error.msg) == (102, expected)
    assert tree(directory) == []


def test_two_addresses_of_one_range_set_cannot_be_asked_for(store: LeaseStore, directory: Directory) -> None:
    error = refusal(lambda: give(store, ONE, [SLASH_29], ips=["10.1.0.2", "10.1.0.3"]))
    assert (error.code, error.msg) == (
        102,
        "failed to allocate all requested IPs: 10.1.0.3: cannot be given out from 10.1.0.1-10.1.0.6",
    )
    assert tree(directory) == []


def test_an_address_that_is_asked_for_and_taken_is_told(store: LeaseStore, directory: Directory) -> None:
    write_foreign(directory, "10.1.0.4", b"container-9\r\nnet1")
    error = refusal(lambda: give(store, ONE, ips=["10.1.0.4"], is_living=everybody_lives))
    where = "requested IP address 10.1.0.4 is not available in range set 10.1.0.1-10.1.0.6"
    expected = f"{where}: it is taken by container container-9, interface net1"
    assert (error.code, error.msg) == (102, expected)
    assert leases(directory) == {"10.1.0.4"}


def test_an_address_that_is_asked_for_is_reclaimed_from_the_dead(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE, ips=["10.1.0.4"])
    assert give(store, TWO, ips=["10.1.0.4"], is_living=lambda _: False) == ["10.1.0.4/29"]
    assert (directory / "10.1.0.4").read_bytes() == b"container-2\r\neth0"


# STATUS and GC


def status(store: LeaseStore, *sets: list[dict[str, str]], living: str = "") -> None:
    ipam(store, ONE, *sets, is_living=living.split().__contains__).status()


def test_status_is_good_while_there_is_an_address(store: LeaseStore, directory: Directory) -> None:
    status(store, [SLASH_29])
    assert not directory.parent.exists(), "STATUS looks only"
    for last in range(2, 6):
        write_foreign(directory, f"10.1.0.{last}", b"container-9\r\neth0")
    status(store, [SLASH_29])


def test_status_is_good_while_what_the_dead_hold_can_be_reclaimed(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE, [SLASH_30])
    before = tree(directory)
    status(store, [SLASH_30], living="veth2")
    assert tree(directory) == before, "STATUS looks only"


def test_status_tells_the_range_set_that_is_exhausted(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE, [SLASH_30])
    write_foreign(directory, "10.2.0.2", b"container-9\r\neth0")
    error = refusal(lambda: status(store, [{"subnet": "10.3.0.0/24"}], [SLASH_30], living="veth1"))
    assert (error.code, error.msg) == (50, "no IP addresses available in range set: 10.1.0.1-10.1.0.2")
    error = refusal(lambda: status(store, [{"subnet": "10.2.0.0/30"}], living="veth1"))
    assert (error.code, error.msg) == (50, "no IP addresses available in range set: 10.2.0.1-10.2.0.2")


def test_a_data_dir_that_is_relative_begins_where_we_were_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert give(LeaseStore("var/networks", "net"), ONE) == ["10.1.0.2/29"]
    assert leases(tmp_path / "var/networks/net") == {"10.1.0.2"}


def test_status_of_a_data_dir_that_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status(LeaseStore("networks", "net"))
    assert list(tmp_path.iterdir()) == []


def test_status_takes_no_lock(store: LeaseStore) -> None:
    with store:
        status(store)


def test_status_tells_a_data_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = refusal(lambda: status(LeaseStore(f"{tmp_path}/file", "net")))
    assert (error.code, error.msg) == (50, f"ipam.dataDir: {tmp_path}/file is not writable")


def gc(store: LeaseStore, *valid: tuple[str, str]) -> None:
    with ipam(store, Attachment("", "", "")) as each:
        each.gc(lambda container_id, ifname: (container_id, ifname) in valid)


def test_gc_releases_what_is_not_valid(store: LeaseStore, directory: Directory) -> None:
    for attachment in (ONE, TWO):
        give(store, attachment, [SLASH_29], [{"subnet": "fd00::/64"}])
    for _ in range(2):
        gc(store, ("container-2", "eth0"), ("container-3", "eth0"))
        assert leases(directory) == {"10.1.0.3", "fd00::3"}
        assert not (directory / ".attachments/veth1").exists()


def test_gc_releases_what_others_leaked(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE)
    write_foreign(directory, "10.1.0.3", b"container-8\r\neth0")
    write_foreign(directory, "10.1.0.4", b"container-9\r\neth0")
    write_foreign(directory, "10.1.0.5", b"container-7")
    write_foreign(directory, "10.1.0.6", b"")
    gc(store, ("container-9", "eth0"), ("container-1", "eth0"))
    assert leases(directory) == {"10.1.0.2", "10.1.0.4", "10.1.0.6"}, "an empty one says nothing"


def test_gc_clears_what_the_dead_left_of_the_index(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE)
    (directory / ".attachments/veth8").mkdir()
    (directory / ".attachments/veth9").mkdir()
    (directory / ".attachments/veth9/10.1.0.9").touch()
    gc(store, ("container-1", "eth0"), ("veth9", ""))
    assert sorted(path.name for path in (directory / ".attachments").iterdir()) == ["veth1", "veth9"]


# A directory that was restored from a copy, which has two files where there was one with two names


def restored(directory: Directory) -> None:
    directory.rename(directory.parent / "old")
    shutil.copytree(directory.parent / "old", directory)
    shutil.rmtree(directory.parent / "old")
    assert {path.stat().st_nlink for path in directory.rglob("*") if path.is_file()} == {1}


def test_a_restored_directory_gives_addresses_once_and_takes_them_back(store: LeaseStore, directory: Directory) -> None:
    assert [give(store, each) for each in (ONE, TWO)] == [["10.1.0.2/29"], ["10.1.0.3/29"]]
    restored(directory)
    check(store, ONE, "10.1.0.2/29")
    with store:
        assert store.of_attachment("veth1") == ["10.1.0.2"]
    assert give(store, Attachment("container-3", "eth0", "veth3")) == ["10.1.0.4/29"]
    take_back(store, ONE)
    assert tree(directory) == sorted(
        ["10.1.0.3", "10.1.0.4", *[f".attachments/{each}" for each in ("veth2", "veth2/10.1.0.3")]]
        + [f".attachments/{each}" for each in ("veth3", "veth3/10.1.0.4")]
    )


def test_what_the_dead_hold_in_a_restored_directory_is_reclaimed(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE, [SLASH_30])
    restored(directory)
    assert give(store, TWO, [SLASH_30], is_living=lambda key: key != "veth1") == ["10.1.0.2/30"]
    assert leases(directory) == {"10.1.0.2"}


def test_gc_of_a_restored_directory(store: LeaseStore, directory: Directory) -> None:
    for attachment in (ONE, TWO):
        give(store, attachment)
    restored(directory)
    gc(store, ("container-2", "eth0"))
    assert tree(directory) == [".attachments/veth2", ".attachments/veth2/10.1.0.3", "10.1.0.3"]


# What other plugins wrote


@pytest.mark.parametrize("hints", [[], ["10.1.0.3/29"], ["10.1.0.9/29"], ["10.1.0.2/29"]], ids=str)
@pytest.mark.parametrize("content", [b"container-1\r\neth0", b"container-1\r\neth0\n", b"container-1"])
def test_another_plugins_lease_is_found_by_its_content(
    store: LeaseStore, directory: Directory, content: bytes, hints: list[str]
) -> None:
    write_foreign(directory, "10.1.0.2", b"container-2\r\neth0")
    write_foreign(directory, "10.1.0.3", content)
    write_foreign(directory, "10.1.0.4", b"container-1\r\nnet1")
    write_foreign(directory, "10.1.0.5", b"container-11\r\neth0")
    write_foreign(directory, "note.txt", b"container-1\r\neth0")
    take_back(store, ONE, *hints)
    assert tree(directory) == ["10.1.0.2", "10.1.0.4", "10.1.0.5", "note.txt"]


def test_all_of_another_plugins_leases_are_found(store: LeaseStore, directory: Directory) -> None:
    for ip in ("10.1.0.2", "fd00::2"):
        write_foreign(directory, ip, b"container-1\r\neth0")
    take_back(store, ONE, "10.1.0.2/29", "fd00::2/64")
    assert tree(directory) == []
    for ip in ("10.1.0.2", "fd00::2"):
        write_foreign(directory, ip, b"container-1\r\neth0")
    take_back(store, ONE)
    assert tree(directory) == []


def test_our_own_leases_are_not_read_to_find_another_plugins(
    store: LeaseStore, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        give(store, Attachment(f"other-{number}", "eth0", f"veth{number + 10}"), [SLASH_29])
    write_foreign(directory, "10.1.0.5", b"container-9\r\neth0")
    write_foreign(directory, "10.1.0.6", b"container-1\r\neth0")
    looked_at: list[str] = []
    holder = LeaseStore.holder

    def note(self: LeaseStore, ip: str) -> tuple[str, str] | None:
        looked_at.append(ip)
        return holder(self, ip)

    monkeypatch.setattr(LeaseStore, "holder", note)
    take_back(store, ONE)
    assert sorted(looked_at) == ["10.1.0.5", "10.1.0.6"]
    assert leases(directory) == {"10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"}


def test_a_lease_of_ours_that_another_plugin_released_is_gone(store: LeaseStore, directory: Directory) -> None:
    give(store, ONE, [SLASH_30])
    # host-local walks the whole directory and removes every file of that content.
    for path in list(directory.rglob("10.1.0.2")):
        assert path.read_bytes() == b"container-1\r\neth0"
        path.unlink()
    assert give(store, TWO, [SLASH_30]) == ["10.1.0.2/30"]
    take_back(store, ONE)
    assert (directory / "10.1.0.2").read_bytes() == b"container-2\r\neth0"


# Checking


@pytest.mark.parametrize("content", [b"container-1\r\neth0", b"container-1"])
def test_a_lease_that_is_held_passes(store: LeaseStore, directory: Directory, content: bytes) -> None:
    write_foreign(directory, "10.1.0.2", content)
    check(store, ONE, "10.1.0.2/29")


@pytest.mark.parametrize("whose", ["ours", "another plugin's"])
def test_an_address_from_elsewhere_needs_no_lease_but_the_attachment_has_one(
    store: LeaseStore, directory: Directory, whose: str
) -> None:
    """A later plugin in the chain may have changed the address."""
    error = refusal(check, store, ONE, "192.0.2.1/24", "fd00::2/64")
    said = f"host-local: Failed to find address added by container container-1: there is none in {directory}"
    assert (error.code, error.msg) == (105, said)
    if whose == "ours":
        give(store, ONE)
    else:
        write_foreign(directory, "10.1.0.2", b"container-1\r\neth0")
    check(store, ONE, "192.0.2.1/24", "fd00::2/64")
    check(store, ONE)


def test_names_the_lease_that_is_missing_or_anothers(store: LeaseStore, directory: Directory) -> None:
    write_foreign(directory, "10.1.0.2", b"container-1\r\neth0")
    error = refusal(check, store, ONE, "10.1.0.2/29", "10.1.0.3/29")
    assert (error.code, error.msg) == (
        105,
        f"host-local: Failed to find address added by container container-1: lease {directory}/10.1.0.3 is missing",
    )
    write_foreign(directory, "10.1.0.3", b"container-2\r\nnet1")
    error = refusal(check, store, ONE, "10.1.0.2/29", "10.1.0.3/29")
    holder = "container container-2, interface net1"
    assert (error.code, error.msg) == (105, f"lease {directory}/10.1.0.3 is held by {holder}")


# What the file system refuses


@pytest.mark.parametrize("made", ["networks", "networks/net"])
def test_directories_that_another_call_makes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    """Many pods start at once on a node where none has been."""

    kernels = os.mkdir

    def mkdir(path: str, mode: int = 0o777) -> None:
        try:
            kernels(path, mode)
        except FileNotFoundError:
            monkeypatch.setattr(os, "mkdir", kernels)
            (tmp_path / made).mkdir(parents=True, exist_ok=True)
            raise

    monkeypatch.setattr(os, "mkdir", mkdir)
    with LeaseStore(str(tmp_path / "networks"), "net"):
        assert (tmp_path / "networks/net/lock").is_file()


def test_a_data_dir_below_a_link_to_nowhere_is_error_5(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    error = refusal(LeaseStore(str(tmp_path / "link/networks"), "net").__enter__)
    assert error.code == 5
    assert f"{tmp_path}/link" in error.msg


def test_a_data_dir_that_is_a_file_is_error_5(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = LeaseStore(str(tmp_path / "file"), "net")
    error = refusal(store.__enter__)
    assert error.code == 5
    assert error.msg.startswith(f"lease store {tmp_path}/file")


def test_a_network_directory_that_is_a_file_is_error_5(directory: Directory, store: LeaseStore) -> None:
    directory.parent.mkdir()
    directory.touch()
    error = refusal(store.__enter__)
    assert (error.code, error.msg) == (5, f"lease store {directory}/lock: Not a directory")


def test_a_lock_that_is_a_directory_is_error_5(directory: Directory, store: LeaseStore) -> None:
    (directory / "lock").mkdir(parents=True)
    error = refusal(store.__enter__)
    assert (error.code, error.msg) == (5, f"lease store {directory}/lock: Is a directory")


def test_a_lock_that_cannot_be_had_leaves_the_umask(directory: Directory, store: LeaseStore) -> None:
    """The process may go on: the agent does, and so do these tests."""
    (directory / "lock").mkdir(parents=True)
    before = os.umask(0o027)
    refusal(store.__enter__)
    assert os.umask(before) == 0o027


def test_what_fails_under_the_lock_is_error_5(directory: Directory, store: LeaseStore) -> None:
    write_foreign(directory, ".attachments", b"")
    error = refusal(give, store, ONE, [SLASH_29])
    assert (error.code, error.msg) == (5, f"lease store {directory}/.attachments/veth1: Not a directory")


def test_a_directory_is_nobodys_lease(directory: Directory, store: LeaseStore) -> None:
    (directory / "10.1.0.2").mkdir(parents=True)
    error = refusal(check, store, ONE, "10.1.0.2/29")
    assert (error.code, error.msg) == (105, f"lease {directory}/10.1.0.2 is held by something that is not a lease")


def test_a_disk_that_is_full_claims_nothing(
    directory: Directory, store: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    error = refusal(give, store, ONE, [SLASH_29])
    assert (error.code, error.msg) == (5, f"lease store {directory}: No space left on device")
    assert tree(directory) == []


# resolvConf


def test_reads_resolv_conf(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# a comment\n"
        "; another\n"
        "\n"
        "nameserver 10.0.0.1\n"
        "nameserver\tfd00::1\n"
        "nameserver\n"
        "domain example.test\n"
        "search a.test b.test\n"
        "options ndots:5 timeout:1\n"
        "sortlist 10.0.0.0\n"
    )
    assert read_resolv_conf(str(path)) == {
        "nameservers": ["10.0.0.1", "fd00::1"],
        "domain": "example.test",
        "search": ["a.test", "b.test"],
        "options": ["ndots:5", "timeout:1"],
    }


@pytest.mark.parametrize("text", ["", "\n\n", "#nameserver 10.0.0.1\n"])
def test_a_resolv_conf_may_say_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    assert read_resolv_conf(str(path)) == {}


def test_a_resolv_conf_that_cannot_be_read_is_error_5(tmp_path: Path) -> None:
    error = refusal(read_resolv_conf, f"{tmp_path}/none")
    assert (error.code, error.msg) == (5, f"ipam.resolvConf: {tmp_path}/none: No such file or directory")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_a_resolv_conf_that_never_ends_is_error_5(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "resolv.conf")
    error = refusal(read_resolv_conf, f"{tmp_path}/resolv.conf")
    assert (error.code, error.msg) == (5, f"ipam.resolvConf: {tmp_path}/resolv.conf: it is not a regular file")


def test_no_dns_may_be_said_by_the_null_device() -> None:
    assert read_resolv_conf("/dev/null") == {}


def test_status_tells_a_resolv_conf_that_cannot_be_read(tmp_path: Path) -> None:
    config = host_local(**SLASH_29, dataDir=f"{tmp_path}/networks", resolvConf=f"{tmp_path}/none")
    error = refusal(HostLocal(config, "net", ONE, nobody_is_asked).status)
    assert (error.code, error.msg) == (50, f"ipam.resolvConf: {tmp_path}/none: No such file or directory")


def test_resolv_conf_is_the_results_dns(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 10.0.0.1\n")
    config = host_local(**SLASH_29, dataDir=f"{tmp_path}/networks", resolvConf=str(path), routes=[{"dst": "0.0.0.0/0"}])
    with HostLocal(config, "net", ONE, nobody_is_asked) as each:
        result = each.add()
    assert result.dns == {"nameservers": ["10.0.0.1"]}
    assert result.routes == config.routes


def test_a_resolv_conf_that_cannot_be_read_claims_nothing(tmp_path: Path) -> None:
    config = host_local(**SLASH_29, dataDir=f"{tmp_path}/networks", resolvConf=f"{tmp_path}/none")
    with pytest.raises(CniError, match=r"ipam\.resolvConf"), HostLocal(config, "net", ONE, nobody_is_asked) as each:
        each.add()
    assert tree(tmp_path / "networks/net") == []


# Nodes that share a directory


def elsewhere(store: LeaseStore, node: str) -> LeaseStore:
    """The same directory, as another network namespace or another boot sees it."""
    data_dir, _, name = store.path.rpartition("/")
    other = LeaseStore(data_dir, name)
    other.node = node
    return other


@pytest.mark.parametrize(("node", "is_ours"), [("{boot}.1", False), ("00000000.1", True), ("", True)])
def test_what_another_network_namespace_of_this_boot_holds_is_not_ours(
    store: LeaseStore, node: str, is_ours: bool
) -> None:
    boot = identity().partition(".")[0]
    with elsewhere(store, node.format(boot=boot)) as other:
        assert other.claim("10.1.0.2", "container-1", "eth0", "veth1")
        assert other.attachments() == ["veth1"]
    assert store.attachments() == (["veth1"] if is_ours else [])
    with store:
        store.release_attachment("veth1")
    assert store.taken(4) == set()


def test_each_node_writes_its_pods_leases_anew(store: LeaseStore) -> None:
    boot = identity().partition(".")[0]
    former_boot, other = elsewhere(store, "00000000.1"), elsewhere(store, f"{boot}.1")
    for each in (former_boot, other, store):
        with each:
            assert not each.is_complete()
            each.complete([])
            assert each.is_complete()
    with other:
        assert other.is_complete()
    with former_boot:
        assert not former_boot.is_complete()
