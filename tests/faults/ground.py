"""Where calls fail: a node with a living pod on a small network, and what must be true of it afterwards."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.harness import Json, Node, Plugin, Pod, Reply
from tests.kernel.networks import GATEWAY, NAME, addresses_of, host_veth, network, veths

NO_ADDRESS = 102
REFUSED = "refused ADD"
"""As a verb: an ADD that the kernel refuses when nearly all is made, which it then takes back."""
RANGES = {
    4: {"subnet": "10.22.0.0/24", "rangeStart": "10.22.0.2", "rangeEnd": "10.22.0.3"},
    6: {"subnet": "fd00:22::/64", "rangeStart": "fd00:22::2", "rangeEnd": "fd00:22::3"},
}


class Case(NamedTuple):
    """A network, and what its second pod asks for in CNI_ARGS."""

    conf: Json
    args: str | None = None


def two_pods(*versions: int, **keys: Any) -> Json:
    """A network with addresses for two pods, which get all that a pod usually has."""
    ipam = {"ranges": [[RANGES[version]] for version in versions]}
    return network(ipam=ipam, isDefaultGateway=True, ipMasq=True, **keys)


EARLIER = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "wan0", "mac": "02:00:00:00:00:01"}],
    "routes": [{"dst": "192.168.0.0/16", "gw": "192.168.7.1"}],
    "dns": {"nameservers": ["9.9.9.9"]},
}
"""What a plugin that comes before ours in a chain has made."""

CASES = {
    "ipv4": Case(two_pods(4)),
    "dual-stack": Case(two_pods(4, 6)),
    "requested": Case(two_pods(4), args="IP=10.22.0.3"),
    "guarded": Case(two_pods(4, 6, macspoofchk=True)),
    "chained": Case(two_pods(4, 6, prevResult=EARLIER)),
    "delegated": Case(two_pods(4, 6) | {"ipam": {"type": "delegated", "ranges": [[RANGES[4]], [RANGES[6]]]}}),
}
"""`guarded` has every kind of thing that a pod can leave behind."""

DELEGATE_DIR = "/run/delegate"

NO_WAY = {"dst": "198.51.100.0/24", "gw": "203.0.113.1"}
"""A route whose gateway is not in the pod's network."""


class Ground:
    """A node, and in it a pod, the victim, which the calls are about that fail."""

    def __init__(self, node: Node, plugin: Plugin, case: Case) -> None:
        self.node = node
        self.plugin = Plugin(plugin.argv, cni_path=f"{DELEGATE_DIR}:{plugin.cni_path}")
        self.case = case
        # Another plugin, as far as ours knows: a process of its own, with the store that we know all about.
        node.write(f"{DELEGATE_DIR}/delegated", f"#!/bin/sh\nexec {DELEGATE_DIR}/host-local-py\n")
        node.run("chmod", "+x", f"{DELEGATE_DIR}/delegated")
        node.run("ln", "-s", plugin.argv[0], f"{DELEGATE_DIR}/host-local-py")
        self.victim = node.pod("victim")
        self.others: list[tuple[Pod, Json]] = []
        self.before: Json = {}
        self.wired: Json = {}
        self._result: Json = {}

    def settle(self, others: int) -> Self:
        """Have other pods that live, see a healthy pod come and go, and keep that picture: so it must always be."""
        for number in range(others):
            pod = self.node.pod(f"other{number}")
            self.others.append((pod, self.plugin.add(self.node, self.case.conf, pod)))
        self.attach()
        self.wired = self.picture()
        assert self.call("DEL").result == {}
        self.before = self.picture()
        return self

    def call(self, verb: str, plugin: Plugin | None = None) -> Reply:
        """Have the plugin, or the one given, do something about the victim; to GC it is no valid attachment."""
        plugin = plugin or self.plugin
        if verb == "GC":
            return plugin.gc(self.node, self.case.conf, [pod for pod, _ in self.others])
        conf = {**self.case.conf, "prevResult": self._result} if verb == "CHECK" else self.case.conf
        if verb == REFUSED:
            verb, conf = "ADD", {**conf, "ipam": {**conf["ipam"], "routes": [NO_WAY]}}
        return plugin.call(self.node, verb, conf, self.victim, args=self.case.args)

    def prepare(self, verb: str) -> None:
        """Attach the victim where a verb wants that and it is not."""
        if verb in ("DEL", "GC"):
            self._result = self.call("ADD").result

    def lose_store(self) -> None:
        """Somebody deletes the leases, as people are told to when a range is exhausted."""
        shutil.rmtree(self.node.root / "var/lib/cni/networks" / NAME)

    def attach(self) -> None:
        """ADD, which must succeed, and wire the victim as its result says."""
        self.assert_attached(self.call("ADD").result)

    def assert_attached(self, result: Json) -> None:
        """The victim is wired as an ADD's result says: it has those addresses alone, and is reached."""
        self._result = result
        addresses = addresses_of(result)
        assert sorted(_addresses(self.victim)) == sorted(addresses)
        self.assert_leased()
        assert all(self.victim.ping(GATEWAY[6 if ":" in address else 4]) for address in addresses)
        assert self.call("CHECK").result == {}

    def assert_works(self) -> None:
        """The victim can be attached, and leaves nothing when it goes."""
        self.attach()
        assert self.call("DEL").result == {}
        self.assert_as_before()

    def assert_others_live(self) -> None:
        """The other pods are as their ADDs left them."""
        for pod, result in self.others:
            assert self.plugin.check(self.node, self.case.conf, pod, result).result == {}

    def assert_leased(self) -> None:
        """Each address that a pod has is that pod's alone, and nobody else can be given it."""
        holders = {address: pod.container_id for pod in self._pods() for address in _addresses(pod)}
        assert len(holders) == sum(len(_addresses(pod)) for pod in self._pods()), "an address was given twice"
        # A lease that was written anew, the store being lost, names the host veth, which the others' results tell.
        rewritten = {host_veth(result): pod.container_id for pod, result in self.others}
        leases = {address: rewritten.get(owner, owner) for address, (owner, _) in self.node.leases(NAME).items()}
        assert holders.items() <= leases.items()

    def assert_absent(self) -> None:
        """The victim has neither a veth nor a lease."""
        assert not self.has_veth()
        assert self.victim.container_id not in [container_id for container_id, _ in self.node.leases(NAME).values()]

    def assert_as_before(self) -> None:
        """Nothing of the victim is left, and nothing else was touched."""
        _assert_same(self.before, self.picture())

    def assert_wired(self) -> None:
        """All is there that an ADD makes, and nothing else was touched."""
        _assert_same(self.wired, self.picture())

    def _pods(self) -> list[Pod]:
        return [self.victim, *(pod for pod, _ in self.others)]

    def picture(self) -> Json:
        """All that a pod which came and went leaves as it was: the node, its files, its pods' links."""
        pods = {pod.name: _links(pod) for pod in self._pods()}
        routes = [each for v in (4, 6) for each in self.victim.routes(v) if not each["dst"].startswith("fe80:")]
        return {**self.node.snapshot(), "files": files(self.node), "pods": pods, "victim's routes": routes}

    # What may follow when the plugin was killed. Each way ends with the ground as it was.

    def deleted(self) -> None:
        """The runtime calls DEL, and may ADD the same pod once more."""
        self.assert_leased()
        assert self.call("DEL").result == {}
        self.assert_as_before()
        self.assert_works()

    def begun_anew(self) -> None:
        """The same on a node where no pod has been: what pods share may be there in part, and is completed."""
        assert self.call("DEL").result == {}
        self.assert_absent()
        self.assert_works()

    def collected(self) -> None:
        """The runtime never calls DEL, but GC."""
        self.assert_leased()
        assert self.call("GC").result == {}
        self.assert_as_before()
        self.assert_others_live()

    def forgotten(self) -> None:
        """The runtime calls nothing, and another pod needs the address.

        While the dead call's pod has a veth it may be running, and keeps its address.
        """
        self.assert_leased()
        dead, self.victim = self.victim, self.node.pod("heir")
        if self.has_veth():
            assert self.call("ADD").error["code"] == NO_ADDRESS
        dead.close()
        self._await_end_of_veth()
        self.attach()
        self.plugin.delete(self.node, self.case.conf, dead)  # it has come at last, and is too late
        assert self.call("CHECK").result == {}
        assert self.call("DEL").result == {}
        self.victim.close()
        self.victim = self.node.pod("victim")
        self.assert_as_before()
        self.assert_others_live()

    def has_veth(self) -> bool:
        """Whether the victim has a veth, and with it a right to its address."""
        return len(veths(self.node)) > len(self.others)

    def _await_end_of_veth(self) -> None:
        """Wait for the kernel, which takes down what is in a namespace when that is gone already."""
        deadline = time.monotonic() + 10
        while self.has_veth():
            assert time.monotonic() < deadline, "the kernel keeps a veth whose pod is gone"
            time.sleep(0.01)


def _assert_same(wanted: Json, found: Json) -> None:
    differences = list(_differences("", wanted, found))
    assert not differences, "; ".join(differences)


def _differences(place: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differences(f"{place}/{key}", before.get(key), now.get(key))
    elif before != now:
        yield f"{place} should be {before}, is {now}"


def files(node: Node) -> Json:
    """Every file where something could be left, and what the plugin's own hold.

    Which address was given out last is no one's to restore. The lock names the node, which is another in each trial.
    """
    found = [path for tree in ("var/lib", "run", "dev/shm") for path in sorted((node.root / tree).rglob("*"))]
    return {str(path.relative_to(node.root)): _file(path) for path in found}


MARKS = ("last_reserved_ip.", "lock")


def _file(path: Path) -> list[Any]:
    about = path.lstat()
    if "cni" not in path.parts or not stat.S_ISREG(about.st_mode) or path.name.startswith(MARKS):
        return [stat.filemode(about.st_mode)]
    return [stat.filemode(about.st_mode), about.st_nlink, path.read_bytes()]


def _links(pod: Pod) -> Json:
    """A pod's links and addresses, without what the kernel numbers or makes in its own time."""
    return {
        link["ifname"]: [link["address"], link["mtu"], *_global(link["addr_info"])]
        for link in pod.ip_json("address", "show")
    }


def _addresses(pod: Pod) -> list[str]:
    """The addresses of all a pod's links but its loopback's, without the link-local ones."""
    return [address for link in pod.ip_json("address", "show") for address in _global(link["addr_info"])]


def _global(addresses: list[Json]) -> list[str]:
    return [each["local"] for each in addresses if each["scope"] == "global"]
