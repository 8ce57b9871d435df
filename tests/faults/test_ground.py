"""Hostile ground: leases that are none, disks that are full or gone, and whatever else somebody did to the node."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.strace import failed, moments
from tests.harness import Json, Node, Plugin, Pod, Reply
from tests.kernel.networks import (
    BRIDGE,
    GATEWAY,
    NAME,
    TABLE,
    add_pod,
    addresses_of,
    assert_nothing_left,
    bare,
    dual_stack,
    host_veth,
    small,
    store_files,
    veths,
)
from tests.kernel.pausing import paused

IO_FAILURE = 5
PLUGIN_NOT_AVAILABLE = 50
NO_ADDRESS = 102
ALREADY_ATTACHED = 103
INTERNAL = 999

LEASES = f"/var/lib/cni/networks/{NAME}"
CONF = small(ipMasq=True)
"""Five addresses for pods, 10.22.0.2 to 10.22.0.6."""


def reaches_gateway(pod: Pod) -> bool:
    return pod.ping(bare(GATEWAY[4]))


def refused(reply: Reply, path: str) -> None:
    """The lease store could not do it, and says over which file."""
    assert reply.error["code"] == IO_FAILURE, reply
    assert path in reply.error["msg"]
    assert reply.stderr == ""


def fill(plugin: Plugin, node: Node) -> list[Pod]:
    """Attach pods until there is no address left; all of them."""
    pods = []
    while (reply := plugin.call(node, "ADD", CONF, pod := node.pod())).status == 0:
        pods.append(pod)
    assert reply.error["code"] == NO_ADDRESS
    return pods


class TestGarbage:
    """Files in the lease directory that no plugin wrote."""

    @pytest.mark.parametrize(
        ("garbage", "taken"),
        [
            pytest.param("mkdir 10.22.0.3", 1, id="directory"),
            pytest.param("mkfifo 10.22.0.3", 1, id="pipe"),
            pytest.param("ln -s /nowhere 10.22.0.3", 1, id="link to nowhere"),
            pytest.param("ln -s 10.22.0.3 10.22.0.3", 1, id="link to itself"),
            pytest.param("ln -s /dev/zero 10.22.0.3", 1, id="link to an endless file"),
            pytest.param("ln -s / 10.22.0.3", 1, id="link to a directory"),
            pytest.param("head -c 300000 /dev/urandom > 10.22.0.3", 1, id="noise"),
            pytest.param("printf 'c9\\r\\neth0' > 10.22.0.9", 0, id="address outside the range"),
            pytest.param("printf 'c9\\r\\neth0' > 192.0.2.1", 0, id="address outside the network"),
            pytest.param(": > last_reserved_ip.0", 0, id="empty mark"),
            pytest.param("printf 192.0.2.1 > last_reserved_ip.0", 0, id="mark outside the range"),
            pytest.param("head -c 300000 /dev/urandom > last_reserved_ip.0", 0, id="mark of noise"),
            pytest.param("rm last_reserved_ip.0; mkdir last_reserved_ip.0", 0, id="mark is a directory"),
            pytest.param("rm last_reserved_ip.0; mkfifo last_reserved_ip.0", 0, id="mark is a pipe"),
            pytest.param("rm last_reserved_ip.0; ln -s /etc/victim last_reserved_ip.0", 0, id="mark is a link"),
            pytest.param("rm lock; mkfifo lock", 0, id="lock is a pipe"),
            pytest.param("rm lock", 0, id="no lock"),
            pytest.param("rm -r .attachments", 0, id="no index"),
            pytest.param("touch .attachments/veth0 .attachments/x; mkdir .attachments/veth1", 0, id="index"),
            pytest.param("ln -s . .attachments/veth0; ln -s ../.. .attachments/veth1", 0, id="index with loops"),
            pytest.param("touch 10.22.0.3 10.22.0.4 fd00:22::3", 0, id="empty: whose writer died over them"),
            pytest.param("touch x 10.22.0 10.22.0.3.bak $(printf '\\377'); mkdir y", 0, id="names of no meaning"),
        ],
    )
    def test_is_worked_around(self, node: Node, plugin: Plugin, garbage: str, taken: int) -> None:
        first, result = add_pod(plugin, node, CONF)
        node.run("sh", "-ec", f"cd {LEASES}; {garbage}")
        assert plugin.status(node, CONF).result == {}
        others = fill(plugin, node)
        assert len(others) == 4 - taken
        assert all(reaches_gateway(pod) for pod in (first, *others))
        assert len({ip for pod in (first, *others) for ip in pod.addresses()}) == 5 - taken
        assert plugin.check(node, CONF, first, result).result == {}
        plugin.delete(node, CONF, node.pod())
        plugin.delete(node, CONF, others.pop())
        assert plugin.gc(node, CONF, [first]).result == {}
        assert veths(node) == [host_veth(result)]
        plugin.delete(node, CONF, first)
        assert not (node.root / "etc/victim").exists()

    @pytest.mark.parametrize(
        ("garbage", "named"),
        [
            pytest.param("rm lock; mkdir lock", "lock", id="lock is a directory"),
            pytest.param("rm lock; ln -s /etc/victim lock", "lock", id="lock is a link"),
            pytest.param("rm -r .attachments; touch .attachments", ".attachments", id="index is a file"),
        ],
    )
    def test_in_the_way_is_named_until_it_goes(self, node: Node, plugin: Plugin, garbage: str, named: str) -> None:
        pod, _ = add_pod(plugin, node, CONF)
        plugin.delete(node, CONF, pod)
        pod.close()
        node.run("sh", "-ec", f"cd {LEASES}; {garbage}")
        before, pod = node.snapshot(), node.pod("pod")
        refused(plugin.call(node, "ADD", CONF, pod), f"{LEASES}/{named}")
        assert node.snapshot() == {**before, "namespaces": ["pod"]}
        assert not (node.root / "etc/victim").exists()
        node.run("rm", "-r", f"{LEASES}/{named}")
        plugin.add(node, CONF, pod)
        assert reaches_gateway(pod)


class TestFullDisk:
    """There is room for no lease, in blocks or in inodes."""

    @pytest.fixture(
        params=[
            pytest.param(("size=64k", "yes > filler"), id="no blocks"),
            pytest.param(("nr_inodes=30", "while true > filler$((i = i + 1)); do true; done"), id="no inodes"),
        ]
    )
    def full(self, node: Node, plugin: Plugin, request: pytest.FixtureRequest) -> tuple[Pod, Json]:
        """A pod on the node, whose disk is filled then."""
        option, filling = request.param
        node.run("mount", "-t", "tmpfs", "-o", option, "tmpfs", "/var/lib/cni")
        pod, result = add_pod(plugin, node, CONF)
        node.run("sh", "-c", f"cd /var/lib/cni; {filling}", check=False)
        return pod, result

    def test_add_leaves_nothing(self, node: Node, plugin: Plugin, full: tuple[Pod, Json]) -> None:
        before, pod = node.snapshot(), node.pod("pod")
        refused(plugin.call(node, "ADD", CONF, pod), LEASES)
        assert node.snapshot() == {**before, "namespaces": sorted([*before["namespaces"], "pod"])}
        plugin.delete(node, CONF, pod)

    def test_pods_that_are_there_pass_check_and_go(self, node: Node, plugin: Plugin, full: tuple[Pod, Json]) -> None:
        pod, result = full
        assert plugin.check(node, CONF, pod, result).result == {}
        plugin.delete(node, CONF, pod)
        assert_nothing_left(node)

    def test_status_tells(self, node: Node, plugin: Plugin, full: tuple[Pod, Json]) -> None:
        error = plugin.status(node, CONF).error
        assert error["code"] == PLUGIN_NOT_AVAILABLE
        assert LEASES in error["msg"]
        assert "no room" in error["msg"]


class TestReadOnly:
    """What an ADD cannot write, a DEL need not remove: else its pod could never be cleaned up."""

    def test_pod_that_was_refused_goes(self, node: Node, plugin: Plugin) -> None:
        node.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/var/lib/cni")
        pod = node.pod()
        refused(plugin.call(node, "ADD", CONF, pod), "/var/lib/cni/networks")
        plugin.delete(node, CONF, pod)
        node.run("mount", "-o", "remount,rw", "/var/lib/cni")
        plugin.add(node, CONF, pod)

    def test_pod_that_was_refused_goes_where_leases_are(self, node: Node, plugin: Plugin) -> None:
        node.run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/cni")
        add_pod(plugin, node, CONF)
        node.run("mount", "-o", "remount,ro", "/var/lib/cni")
        pod = node.pod()
        refused(plugin.call(node, "ADD", CONF, pod), LEASES)
        plugin.delete(node, CONF, pod)

    def test_lease_that_cannot_be_removed(self, node: Node, plugin: Plugin) -> None:
        """The pod is unplugged, and the runtime is told to come again for the rest."""
        node.run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/cni")
        pod, _ = add_pod(plugin, node, CONF)
        node.run("mount", "-o", "remount,ro", "/var/lib/cni")
        refused(plugin.call(node, "DEL", CONF, pod), LEASES)
        assert veths(node) == []
        node.run("mount", "-o", "remount,rw", "/var/lib/cni")
        plugin.delete(node, CONF, pod)
        assert_nothing_left(node)


class TestLeasesDeleted:
    """Somebody removes the lease directory, which is what people are told to do when a range is exhausted."""

    def test_pod_whose_lease_is_gone_goes(self, node: Node, plugin: Plugin) -> None:
        pod, result = add_pod(plugin, node, CONF)
        node.run("rm", "-r", LEASES)
        assert bare(addresses_of(result)[0]) in plugin.check(node, CONF, pod, result).error["msg"]
        plugin.delete(node, CONF, pod)
        assert_nothing_left(node)

    @pytest.mark.parametrize(
        "damage", [f"rm -r {LEASES}", f"rm -r {LEASES}/*", f"rm -r {LEASES}/* {LEASES}/.*s", "rm -r /var/lib/cni", ""]
    )
    def test_addresses_of_pods_that_are_there_are_not_given_again(
        self, node: Node, plugin: Plugin, damage: str
    ) -> None:
        """The kernel knows them: the next ADD writes their leases anew. So it is where another dataDir is named."""
        living = [add_pod(plugin, node, CONF) for _ in range(2)]
        dead, result = add_pod(plugin, node, CONF)
        node.run("ip", "link", "delete", host_veth(result))
        node.run("sh", "-ec", damage)
        conf = CONF if damage else small(ipMasq=True)
        if not damage:
            conf["ipam"]["dataDir"] = "/run/leases"
        pods = [add_pod(plugin, node, conf) for _ in range(3)]
        given = [ip for _, each in (*living, *pods) for ip in addresses_of(each)]
        assert len(set(given)) == 5
        assert plugin.call(node, "ADD", conf, node.pod()).error["code"] == NO_ADDRESS
        for pod, each in (*living, *pods):
            assert plugin.check(node, conf, pod, each).result == {}
            assert reaches_gateway(pod)
            plugin.delete(node, conf, pod)
        plugin.delete(node, conf, dead)
        assert veths(node) == []
        assert node.run("find", "/run/leases" if not damage else LEASES, "-name", "10.*").stdout == ""

    def test_while_calls_wait_for_the_lock(self, node: Node, plugin: Plugin) -> None:
        """They take the lock of the directory that is there when their turn comes."""
        add_pod(plugin, node, CONF)
        holder = node.popen("flock", f"{LEASES}/lock", "sh", "-c", "echo locked; read _", stdin=-1, stdout=-1)
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        pods = [node.pod() for _ in range(4)]
        with ThreadPoolExecutor() as pool:
            calls = [pool.submit(plugin.call, node, "ADD", CONF, pod) for pod in pods]
            waiting(node, 4)
            node.run("rm", "-r", LEASES)
            holder.communicate("\n")
            results = [call.result().result for call in calls]
        assert len({ip for result in results for ip in addresses_of(result)}) == 4
        for pod, result in zip(pods, results, strict=True):
            assert plugin.check(node, CONF, pod, result).result == {}


def waiting(node: Node, count: int) -> None:
    """Return when that many processes wait for a lock."""
    while node.run("cat", "/proc/locks").stdout.count("-> FLOCK") < count:
        pass


class TestOtherTimes:
    """A clock that was set back makes files of the future; a reboot leaves leases of pods that are no more."""

    @pytest.mark.parametrize("date", ["2100-01-01", "1970-01-02"])
    def test_files_of_another_time(self, node: Node, plugin: Plugin, date: str) -> None:
        shutil.copytree(plugin.bin_dir, node.root / "run/plugin", symlinks=True)
        moved = Plugin(f"/run/plugin/{plugin.type}", cni_path=plugin.cni_path)
        pods = [add_pod(moved, node, CONF) for _ in range(2)]
        node.run("find", "/var/lib/cni", "/run/plugin", "-exec", "touch", "-h", "-d", date, "{}", "+")
        for pod, result in pods:
            assert moved.check(node, CONF, pod, result).result == {}
        more = fill(moved, node)
        assert len(more) == 3
        for pod in (*more, *(pod for pod, _ in pods)):
            moved.delete(node, CONF, pod)
        assert_nothing_left(node)

    @pytest.mark.parametrize("emptied", [False, True])
    def test_leases_of_a_former_boot(self, make_node: type[Node], plugin: Plugin, emptied: bool) -> None:
        """A node comes back after a power failure, which may leave files empty: nobody calls DEL for its pods."""
        node = make_node()
        with make_node() as before:
            assert len(fill(plugin, before)) == 5
            subprocess.run(["cp", "-a", before.root / "var/lib/cni", node.root / "var/lib"], check=True)
        node.reboot()
        assert len(node.leases(CONF["name"])) == 5
        if emptied:
            node.run("find", "/var/lib/cni", "-type", "f", "-exec", "truncate", "--size=0", "{}", "+")
        assert plugin.status(node, CONF).result == {}
        pods = fill(plugin, node)
        assert len(pods) == 5
        assert all(reaches_gateway(pod) for pod in pods)
        for pod in pods:
            plugin.delete(node, CONF, pod)
        assert_nothing_left(node)


class TestNameTaken:
    """The name that the pod's host veth is to have belongs to something else."""

    def test_by_something_else(self, node: Node, plugin: Plugin) -> None:
        """It stays, though the runtime calls DEL for the ADD that was refused."""
        pod, result = add_pod(plugin, node, CONF)
        plugin.delete(node, CONF, pod)
        name = host_veth(result)
        node.run("ip", "link", "add", name, "type", "bridge")
        before = node.snapshot()
        error = plugin.call(node, "ADD", CONF, pod).error
        assert error["code"] == ALREADY_ATTACHED
        assert name in error["msg"]
        assert node.snapshot() == before
        plugin.delete(node, CONF, pod)
        assert plugin.gc(node, CONF).result == {}
        assert node.snapshot() == before
        assert store_files(node) == []


DAMAGES = {
    "bridge deleted": f"ip link delete {BRIDGE}",
    "bridge down": f"ip link set {BRIDGE} down",
    "address removed": f"ip address flush dev {BRIDGE}",
    "rules deleted": f"nft delete table {TABLE}",
    "leases deleted": f"rm -r {LEASES}",
    "namespace deleted": "ip netns delete pod",
    "veth deleted": "for veth in /sys/class/net/veth*; do ip link delete ${veth##*/}; done",
}


class TestMeanwhile:
    """Somebody takes away what an ADD under way has just looked at, or just made."""

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_add(self, node: Node, plugin: Plugin, damage: str) -> None:
        """It succeeds, or fails and leaves nothing; either way, the pod goes and the next one is served."""
        conf = dual_stack()
        for moment in itertools.count(1):
            pod = node.pod("pod")
            with paused(plugin, node, conf, pod, moment) as adding:
                over = adding.done()
                node.run("sh", "-c", DAMAGES[damage], check=False)
            reply = adding.result()
            assert reply.stderr == ""
            if reply.status:
                assert reply.error["code"] != INTERNAL
                assert_nothing_left(node)
            plugin.delete(node, conf, pod)
            assert_nothing_left(node)
            other, result = add_pod(plugin, node, conf)
            assert plugin.check(node, conf, other, result).result == {}
            assert all(other.ping(gateway) for gateway in GATEWAY.values())
            plugin.delete(node, conf, other)
            for each in (pod, other):
                node.run("ip", "netns", "delete", each.name, check=False)
            if over:
                assert moment > 10, "an ADD has more to say to the kernel than that"
                return

    def test_status(self, node: Node, plugin: Plugin) -> None:
        """It takes no lock: whatever file of a full range goes before it is looked at, the range is full or is not."""
        fill(plugin, node)

        def call(plugin: Plugin) -> Reply:
            return plugin.status(node, CONF)

        looks = [moment for moment in moments(node, plugin, call) if f'"{LEASES}/' in moment.arguments]
        assert len(looks) > 5, "it has a look at each lease, and at the index"
        for look in looks:
            reply = failed(node, plugin, look, "ENOENT", call)
            assert reply.status == 0 or reply.error["code"] == PLUGIN_NOT_AVAILABLE, (look, reply)
