"""Crowds: everything at once and at random, calls killed half-way among it.

A seed chooses what is done; it is printed, and `CROWD_SEED=SEED` does the same again, as far as the kernel lets it.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness import KILLED, REFERENCE_BIN_DIR, Json, Node, Plugin, Pod, Reply
from tests.kernel.networks import (
    TABLE,
    addresses_of,
    assert_nothing_left,
    guarded,
    host_veth,
    network,
    store_files,
    veths,
)

WORKERS = 4
KERNEL_REFUSED = 100
ALREADY_ATTACHED = 103
NOT_AS_EXPECTED = 105
NO_ADDRESS_LEFT = 50
"""What STATUS says of a range that is full."""

ABSENT, ATTACHED, UNKNOWN = "absent", "attached", "unknown"


def bridged(name: str, bridge: str, number: int, first: int, last: int) -> Json:
    """A dual-stack network with the addresses `first` to `last` of both its subnets for pods."""
    ranges = [
        [
            {
                "subnet": f"10.{number}.0.0/16",
                "rangeStart": f"10.{number}.0.{first}",
                "rangeEnd": f"10.{number}.0.{last}",
            }
        ],
        [
            {
                "subnet": f"fd00:{number}::/64",
                "rangeStart": f"fd00:{number}::{first}",
                "rangeEnd": f"fd00:{number}::{last}",
            }
        ],
    ]
    keys = {"isDefaultGateway": True, "ipMasq": True, "macspoofchk": True}
    return network(name=name, bridge=bridge, ipam={"ranges": ranges}, **keys)


class Member:
    """An attachment that comes and goes; whoever does something about it holds its lock."""

    def __init__(self, pod: Pod, conf: Json, reference: Plugin | None) -> None:
        self.pod = pod
        self.conf = conf
        self.reference = reference
        """The plugin that gives it addresses alone, instead of ours."""
        self.lock = threading.Lock()
        self.state = ABSENT
        self.result: Json = {}

    @property
    def gateways(self) -> list[str]:
        return [ip["gateway"] for ip in self.result["ips"]]


class Crowd:
    """Members of one or more networks on a node, and all that may be done about them."""

    def __init__(self, node: Node, plugin: Plugin, confs: list[Json], reference: Plugin | None, size: int) -> None:
        self.node = node
        self.plugin = plugin
        self.confs = confs
        self.members = [
            Member(node.pod(), confs[number % len(confs)], reference if number % 2 else None) for number in range(size)
        ]
        self.owners: dict[str, Member] = {}
        self._counting = threading.Lock()
        self.done: dict[str, int] = {}
        self.failure: BaseException | None = None

    def arrive(self) -> None:
        """All are attached."""
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda member: self._add(member, self.plugin), self.members))

    def run(self, seed: int, seconds: float) -> None:
        """Have workers do things at random for some time; raise what the first of them found wrong."""
        deadline = time.monotonic() + seconds

        def work(worker: int) -> None:
            chance = random.Random(f"{seed} {worker}")
            while not self.failure and time.monotonic() < deadline:
                try:
                    self._do_something(chance)
                except BaseException as error:
                    self.failure = self.failure or error

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(work, range(WORKERS)))
        if self.failure:
            raise self.failure

    def _do_something(self, chance: random.Random) -> None:
        dice = chance.random()
        if dice < 0.02:
            return self._collect(chance.choice(self.confs), chance)
        if dice < 0.05:
            return self._ask_for_status(chance.choice(self.confs))
        member = chance.choice(self.members)
        if not member.lock.acquire(blocking=False):
            return None
        try:
            self._do_something_about(member, chance)
        finally:
            member.lock.release()

    def _do_something_about(self, member: Member, chance: random.Random) -> None:
        how = self.plugin
        if chance.random() < 0.2 and not member.reference:
            how = self.plugin.killed_after(chance.uniform(0.005, 0.08))
        if member.state == ATTACHED:
            chance.choice((self._look_at, self._look_at, self._delete, self._delete, self._add))(member, how)
        elif member.state == UNKNOWN:
            chance.choice((self._delete, self._delete, self._add))(member, how)
        else:
            chance.choice((self._add, self._add, self._add, self._delete))(member, how)

    def _add(self, member: Member, plugin: Plugin) -> None:
        reply = self._call("ADD", member, plugin)
        if reply.status in KILLED:
            self._forget(member, UNKNOWN)
        elif reply.status == 0:
            assert member.state != ATTACHED, "attached twice"
            member.result, member.state = reply.json, ATTACHED
            with self._counting:
                for ip in addresses_of(member.result):
                    assert ip not in self.owners, f"{ip} is given out twice"
                    self.owners[ip] = member
        else:
            self._was_refused(member, reply)

    def _was_refused(self, member: Member, reply: Reply) -> None:
        # A killed call may have left a veth, which counts as an attachment until the DEL.
        assert member.state != ABSENT, reply
        assert reply.error["code"] == ALREADY_ATTACHED or member.reference, reply

    def _delete(self, member: Member, plugin: Plugin) -> None:
        self._forget(member, UNKNOWN)
        reply = self._call("DEL", member, plugin)
        if reply.status not in KILLED:
            assert reply.result == {}
            member.state = ABSENT

    def _look_at(self, member: Member, plugin: Plugin) -> None:
        reply = self._call("CHECK", member, plugin)
        assert reply.status in (0, *KILLED), reply
        if not member.reference:
            # The multicast of a pod that comes goes to all ports. What exceeds 1,000 packets at a time for a processor,
            # the kernel drops, whatever it is (net.core.netdev_max_backlog, /proc/net/softnet_stat).
            silent = [gateway for gateway in member.gateways if not member.pod.ping(gateway, count=3)]
            assert not silent, f"{member.result} does not reach {silent}: {self._diagnosis(member)}"

    def _diagnosis(self, member: Member) -> str:
        """What may be the matter, as the kernel has it now."""
        asked = [
            (member.pod, ["ip", "neigh"]),
            (member.pod, ["ip", "-d", "address"]),
            (self.node, ["bridge", "fdb"]),
            (self.node, ["ip", "address", "show", "dev", member.conf["bridge"]]),
            (self.node, ["nft", "list", "table", "bridge", "cni-bridge-py"]),
        ]
        again = {gateway: member.pod.ping(gateway) for gateway in member.gateways}
        return "\n".join([str(again), *(machine.run(*argv, check=False).stdout for machine, argv in asked)])

    def _ask_for_status(self, conf: Json) -> None:
        self._count("STATUS")
        reply = self.plugin.status(self.node, conf)
        # Where all are attached, it is true that no other could be.
        assert reply.status == 0 or reply.error["code"] == NO_ADDRESS_LEFT, reply

    def _collect(self, conf: Json, chance: random.Random) -> None:
        """GC; no ADD of an attachment that is not listed may begin meanwhile, as the specification has it."""
        self._count("GC")
        with contextlib.ExitStack() as held:
            gone = []
            for member in self.members:
                if member.state != ATTACHED and member.lock.acquire(blocking=False):
                    held.callback(member.lock.release)
                    gone += [member] if member.state != ATTACHED else []
            valid = [member.pod for member in self.members if member not in gone]
            assert self.plugin.gc(self.node, conf, valid).result == {}

    def _forget(self, member: Member, state: str) -> None:
        member.state = state
        with self._counting:
            self.owners = {ip: owner for ip, owner in self.owners.items() if owner is not member}

    def _call(self, verb: str, member: Member, plugin: Plugin) -> Reply:
        self._count(verb)
        conf = member.conf
        if member.reference:
            plugin, conf = member.reference, {**conf, "cniVersion": "1.0.0"}
        if verb == "CHECK":
            conf = {**conf, "prevResult": member.result}
        reply = plugin.call(self.node, verb, conf, member.pod)
        if reply.status in KILLED:
            self._count("SIGKILL")
        return reply

    def _count(self, what: str) -> None:
        with self._counting:
            self.done[what] = self.done.get(what, 0) + 1

    def assert_settled(self) -> None:
        """After a GC nothing is there but the members that are attached, all of it as their ADDs said."""
        attached = [member for member in self.members if member.state == ATTACHED]
        for conf in self.confs:
            assert self.plugin.gc(self.node, conf, [member.pod for member in attached]).result == {}
        ours = [member for member in attached if not member.reference]
        for conf in self.confs:
            held = {ip: member for ip, member in self.owners.items() if member.conf is conf}
            leases = self.node.leases(conf["name"])
            assert leases == {ip: (member.pod.container_id, "eth0") for ip, member in held.items()}
            indexed = {path.split("/")[1] for path in store_files(self.node, conf["name"]) if "/" in path}
            assert indexed == {host_veth(member.result) for member in ours if member.conf is conf}
        assert sorted(veths(self.node)) == sorted(host_veth(member.result) for member in ours)
        assert len(guarded(self.node)) == len(ours)
        for member in ours:
            self._look_at(member, self.plugin)

    def leave(self) -> None:
        """All go, and nothing is left of them."""
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda member: self._delete(member, self.plugin), self.members))
        for conf in self.confs:
            assert_nothing_left(self.node, conf["name"])
        for bridge in {conf["bridge"] for conf in self.confs}:
            assert bridge in self.node.links()
        assert "hook postrouting" in self.node.run("nft", "list", "table", *TABLE.split()).stdout


class UprootedCrowd(Crowd):
    """A crowd whose bridges, addresses and rules disappear while it comes and goes. `mend` brings them back."""

    has_ground = False

    def _do_something(self, chance: random.Random) -> None:
        if chance.random() < 0.1:
            self._count("loss")
            loss = chance.choice(LOSSES).replace("BRIDGE", chance.choice(self.confs)["bridge"])
            self.node.run("sh", "-c", loss, check=False)
        else:
            super()._do_something(chance)

    def _was_refused(self, member: Member, reply: Reply) -> None:
        if member.state == ATTACHED or reply.error["code"] == ALREADY_ATTACHED:
            super()._was_refused(member, reply)
        else:
            assert reply.error["code"] in (KERNEL_REFUSED, NOT_AS_EXPECTED), reply
            self._forget(member, UNKNOWN)

    def _look_at(self, member: Member, plugin: Plugin) -> None:
        if self.has_ground:
            super()._look_at(member, plugin)

    def mend(self) -> None:
        """Add a pod to each network."""
        for conf in self.confs:
            member = next(each for each in self.members if each.conf is conf)
            self._delete(member, self.plugin)
            self._add(member, self.plugin)
            assert member.state == ATTACHED
        self.has_ground = True


def each_of(what: str) -> str:
    """A command that flushes a random chain or set of our masquerade table."""
    found = rf"""nft list {what}s inet | sed -n 's/^\t{what} \([^ ]*\) .*/flush {what} {TABLE} \1/p'"""
    return f"{found} | shuf -n 1 | nft -f -"


LOSSES = [
    "ip link delete BRIDGE",
    "ip link set BRIDGE down",
    "ip address flush dev BRIDGE scope global",
    "nft flush ruleset",
    f"nft delete table {TABLE}",
    "nft delete table bridge cni-bridge-py",
    "nft flush chain bridge cni-bridge-py macspoofchk",
    "nft flush set bridge cni-bridge-py macs",
    "nft flush set bridge cni-bridge-py attachments",
    each_of("chain"),
    each_of("set"),
]


@pytest.fixture
def seed() -> int:
    """What to do; pytest shows it where a test fails."""
    seed = int(os.environ.get("CROWD_SEED") or secrets.randbelow(1_000_000))
    print(f"CROWD_SEED={seed}")
    return seed


SCENARIOS: dict[str, Callable[[int], list[Json]]] = {
    # The ranges have no more addresses than there are members: what the dead hold is needed.
    "one network": lambda size: [bridged("podnet", "cni0", 22, 2, size + 1)],
    "two networks on one bridge": lambda size: [
        bridged("one", "cni0", 22, 2, size // 2 + 1),
        bridged("two", "cni0", 22, size // 2 + 2, size + 1),
    ],
    "two bridges": lambda size: [
        bridged("one", "cni0", 22, 2, size // 2 + 1),
        bridged("two", "cni1", 33, 2, size // 2 + 1),
    ],
    # The reference reclaims nothing, and needs room for what the dead hold.
    "the reference beside ours": lambda size: [bridged("podnet", "cni0", 22, 2, 2 * size + 1)],
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("size", "seconds"), [(20, 4), pytest.param(200, 30, marks=pytest.mark.slow)])
def test_crowd(node: Node, plugin: Plugin, seed: int, scenario: str, size: int, seconds: float) -> None:
    if size == 200 and scenario != "one network":
        size, seconds = 60, 12
    reference = Plugin(REFERENCE_BIN_DIR / "host-local") if "reference" in scenario else None
    crowd = Crowd(node, plugin, SCENARIOS[scenario](size), reference, size)
    crowd.arrive()
    crowd.run(seed, seconds)
    print(", ".join(f"{count} {what}" for what, count in sorted(crowd.done.items())))
    crowd.assert_settled()
    crowd.leave()


@pytest.mark.parametrize("scenario", ["two networks on one bridge", "two bridges"])
@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_crowd_whose_ground_goes(node: Node, plugin: Plugin, seed: int, scenario: str, seconds: float) -> None:
    """The next ADD of each network mends bridges, addresses and rules for the pods of both networks."""
    crowd = UprootedCrowd(node, plugin, SCENARIOS[scenario](20), None, 20)
    crowd.arrive()
    crowd.run(seed, seconds)
    print(", ".join(f"{count} {what}" for what, count in sorted(crowd.done.items())))
    crowd.mend()
    crowd.assert_settled()
    crowd.leave()
