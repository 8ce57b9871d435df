"""An ADD that cannot succeed says why, with the right code, and leaves node and pod as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import (
    BRIDGE,
    FIRST,
    FORWARDING,
    GATEWAY,
    NAME,
    add_pod,
    addresses_of,
    bare,
    dual_stack,
    network,
    small,
    store_files,
    sysctl,
    veths,
)

INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
KERNEL_REFUSED = 100
NOT_PERMITTED = 101
NO_ADDRESS = 102
ALREADY_ATTACHED = 103
BRIDGE_IN_USE = 104

LEASES = f"/var/lib/cni/networks/{NAME}"


def state(node: Node, pod: Pod | None) -> Json:
    """All that a failed ADD must leave alone."""
    return {
        **node.snapshot(),
        "store": store_files(node),
        "pod": {name: pod.addresses(name) for name in pod.links()} if pod else {},
        "pod routes": [route["dst"] for version in (4, 6) for route in pod.routes(version)] if pod else [],
    }


def refused(plugin: Plugin, node: Node, conf: Json, pod: Pod | None, verb: str = "ADD", **kwargs: Any) -> Json:
    """The error of a call that must fail without changing anything."""
    before = state(node, pod)
    error = plugin.call(node, verb, conf, pod, **kwargs).error
    assert state(node, pod) == before
    return error


@pytest.fixture
def used(node: Node, plugin: Plugin) -> Node:
    """A node that has what pods share already, so that a failed ADD may leave nothing new at all."""
    conf = dual_stack()
    pod, _ = add_pod(plugin, node, conf)
    while "anycast" not in [route["type"] for route in node.routes(6, table="all") if route["dev"] == BRIDGE]:
        pass  # the kernel adds the bridge's IPv6 routes in its own time, this one last
    plugin.delete(node, conf, pod)
    pod.close()
    return node


class TestNetworkNamespace:
    """CNI_NETNS that is none, or not a pod's."""

    @pytest.mark.parametrize("verb", ["ADD", "CHECK"])
    @pytest.mark.parametrize(
        "path",
        [
            "/run/netns/nowhere",
            "/run/netns",
            "/etc/passwd",
            "/run/fifo",
            "/dev/null",
            "/proc/self/ns/mnt",
            "/proc/self/ns/user",
            "/proc/self/ns/net",
            "/proc/1/ns/net",
            "/run/bound",
        ],
    )
    def test_refused(self, used: Node, plugin: Plugin, verb: str, path: str) -> None:
        used.run("mkfifo", "/run/fifo")
        used.run("touch", "/run/bound")
        used.run("mount", "--bind", "/proc/1/ns/net", "/run/bound")
        conf = dual_stack(prevResult={"cniVersion": "1.1.0", "interfaces": [], "ips": []})
        error = refused(plugin, used, conf, None, verb, container_id="c1", netns=path)
        assert error["code"] == INVALID_ENVIRONMENT
        assert "CNI_NETNS" in error["msg"]
        assert path in error["msg"]


class TestBridge:
    """A bridge that is none, or another's."""

    def test_name_is_a_veth(self, node: Node, plugin: Plugin) -> None:
        node.run("ip", "link", "add", BRIDGE, "type", "veth", "peer", "name", "other")
        error = refused(plugin, node, dual_stack(), node.pod())
        assert error["code"] == BRIDGE_IN_USE
        assert "it is a veth interface" in error["msg"]

    def test_name_is_the_loopback(self, node: Node, plugin: Plugin) -> None:
        error = refused(plugin, node, dual_stack(bridge="lo"), node.pod())
        assert error["code"] == BRIDGE_IN_USE
        assert '"lo" already exists but is not a bridge' in error["msg"]

    @pytest.mark.parametrize("present", ["10.99.0.1/24", "10.22.0.254/24", "10.22.0.1/16", "fd00:22::5/64"])
    def test_another_address(self, node: Node, plugin: Plugin, present: str) -> None:
        node.run("ip", "link", "add", BRIDGE, "type", "bridge")
        node.run("ip", "address", "add", present, "dev", BRIDGE, *(["nodad"] if ":" in present else []))
        wanted = GATEWAY[6 if ":" in present else 4]
        # IPv4 comes first; its gateway is there by the time that IPv6's is refused.
        conf = network(6 if ":" in present else 4, isGateway=True, ipMasq=True)
        node.run("ip", "link", "set", BRIDGE, "up")
        node.run("sysctl", "-qw", f"net.ipv6.conf.{BRIDGE}.accept_ra=0")
        pod = node.pod()

        error = refused(plugin, node, conf, pod)
        assert error["code"] == BRIDGE_IN_USE
        said = f"{error['msg']} {error['details']}"
        command = f"ip address del {present} dev {BRIDGE}"
        assert all(word in said for word in (BRIDGE, present, wanted, "forceAddress", command)), said
        # Whose it is nobody knows but the operator: what harms no other network comes first.
        assert "bridge of its own" in error["details"].partition("forceAddress")[0]

        node.run(*command.split())
        plugin.add(node, conf, pod)
        assert node.addresses(BRIDGE) == [wanted]

    @pytest.mark.parametrize("present", ["10.99.0.1/24", "10.22.0.254/24", "10.22.0.1/16", "fd00:22::5/64"])
    def test_another_address_is_replaced_when_asked(self, node: Node, plugin: Plugin, present: str) -> None:
        node.run("ip", "link", "add", BRIDGE, "type", "bridge")
        node.run("ip", "address", "add", present, "dev", BRIDGE)
        pod, result = add_pod(plugin, node, dual_stack(forceAddress=True))
        assert sorted(node.addresses(BRIDGE)) == sorted(GATEWAY.values())
        assert all(pod.ping(gateway) for gateway in GATEWAY.values())
        assert plugin.check(node, dual_stack(), pod, result).result == {}

    def test_another_subnets_second_address_is_replaced_when_asked(self, node: Node, plugin: Plugin) -> None:
        """The kernel takes it away with the first."""
        node.run("ip", "link", "add", BRIDGE, "type", "bridge")
        for present in ("10.99.0.1/24", "10.99.0.2/24"):
            node.run("ip", "address", "add", present, "dev", BRIDGE)
        add_pod(plugin, node, network(4, isGateway=True, forceAddress=True))
        assert node.addresses(BRIDGE) == [GATEWAY[4]]

    @pytest.mark.parametrize("force", [False, True])
    def test_ipv6_address_of_another_network_stays(self, node: Node, plugin: Plugin, force: bool) -> None:
        node.run("ip", "link", "add", BRIDGE, "type", "bridge")
        node.run("ip", "address", "add", "fd99::1/64", "dev", BRIDGE, "nodad")
        add_pod(plugin, node, dual_stack(forceAddress=force))
        assert sorted(node.addresses(BRIDGE)) == sorted([*GATEWAY.values(), "fd99::1/64"])

    @pytest.mark.slow
    def test_without_room_for_a_port(self, used: Node, plugin: Plugin) -> None:
        """The kernel allows a bridge 1,023 ports."""
        pairs = [f"link add a{n} master {BRIDGE} type veth peer name b{n}" for n in range(512)]
        ports = [f"link set b{n} master {BRIDGE}" for n in range(511)]
        used.run("ip", "-batch", "-", input="\n".join(pairs + ports), timeout=250)
        error = refused(plugin, used, dual_stack(), used.pod())
        assert error["code"] == KERNEL_REFUSED
        assert f"bridge {BRIDGE} has 1023 ports" in error["msg"]

    def test_addresses_do_not_matter_without_gateway(self, node: Node, plugin: Plugin) -> None:
        node.run("ip", "link", "add", BRIDGE, "type", "bridge")
        node.run("ip", "address", "add", "10.99.0.1/24", "dev", BRIDGE)
        add_pod(plugin, node, network(4))
        assert node.addresses(BRIDGE) == ["10.99.0.1/24"]

    @pytest.mark.parametrize("ranges", [[[{"subnet": "fd00:22::/64"}]], dual_stack()["ipam"]["ranges"]])
    def test_mtu_that_is_too_small_for_ipv6(self, node: Node, plugin: Plugin, ranges: Json) -> None:
        error = refused(plugin, node, network(mtu=1279, ipam={"ranges": ranges}), node.pod())
        assert (error["code"], error["msg"]) == (7, "mtu: 1279 is less than 1280, the least that IPv6 needs")
        assert BRIDGE not in node.links()

    @pytest.mark.parametrize(
        "ipam", [{"type": "static", "addresses": [{"address": "fd00:22::77/64"}]}, network(4)["ipam"], {}]
    )
    def test_mtu_that_takes_ipv6_off_the_bridge(self, used: Node, plugin: Plugin, ipam: Json) -> None:
        """The kernel would lower the bridge's MTU to this port's, so other pods would lose their IPv6 gateway."""
        conf = network(mtu=1279, cniVersion="1.0.0", name="other") | {"ipam": ipam}
        error = refused(plugin, used, conf, used.pod())
        assert (error["code"], error["msg"]) == (7, "mtu: 1279 is less than 1280, the least that IPv6 needs")
        assert all(word in error["details"] for word in (BRIDGE, GATEWAY[6]))
        status = plugin.status(used, conf | {"cniVersion": "1.1.0"}).error
        assert (status["code"], status["msg"]) == (50, error["msg"])
        pod, result = add_pod(plugin, used, dual_stack())
        assert plugin.check(used, dual_stack(), pod, result).result == {}

    def test_small_mtu_on_a_bridge_without_ipv6(self, node: Node, plugin: Plugin) -> None:
        """The bridge's link-local address is no reason to refuse the MTU."""
        pods = [add_pod(plugin, node, network(4, isGateway=True, mtu=1200))[0] for _ in range(2)]
        assert all(pod.ping(GATEWAY[4]) for pod in pods)
        assert node.link(BRIDGE)["mtu"] == 1200

    def test_mtu_that_is_too_small_for_an_address_of_a_delegate(self, node: Node, plugin: Plugin) -> None:
        """The delegate only answers after the veth pair is made, so the plugin must remove the pair."""
        static = {"type": "static", "addresses": [{"address": "fd00:22::77/64"}]}
        pod = node.pod()
        error = plugin.call(node, "ADD", network(mtu=1279, cniVersion="1.0.0") | {"ipam": static}, pod).error
        assert (error["code"], error["msg"]) == (7, "mtu: 1279 is less than 1280, the least that IPv6 needs")
        assert (veths(node), set(pod.links())) == ([], {"lo"})

    def test_bridge_whose_mtu_is_too_small_for_ipv6(self, node: Node, plugin: Plugin) -> None:
        node.run(*f"ip link add {BRIDGE} up mtu 1200 type bridge".split())
        pod = node.pod()
        error = refused(plugin, node, network(6, isGateway=True), pod)
        assert error["code"] == KERNEL_REFUSED
        assert f"{BRIDGE} has an MTU of 1200, but IPv6 needs 1280" in error["msg"]
        node.run("ip", "link", "set", BRIDGE, "mtu", "1280")
        plugin.add(node, network(6, isGateway=True), pod)
        assert pod.ping(GATEWAY[6])

    @pytest.mark.parametrize("mtu", [60, 67])
    def test_mtu_that_the_kernel_refuses(self, node: Node, plugin: Plugin, mtu: int) -> None:
        error = refused(plugin, node, network(4, mtu=mtu), node.pod())
        assert error["code"] == KERNEL_REFUSED
        assert "mtu" in error["msg"].lower()


@pytest.mark.parametrize("conf", [network(6, isGateway=True), network(6)], ids=["gateway", "no gateway"])
def test_kernel_without_ipv6(node: Node, plugin: Plugin, conf: Json) -> None:
    """ipv6.disable=1 takes the parameters away, too."""
    pod = node.pod()
    for machine in (node, pod):
        machine.run("mount", "-t", "tmpfs", "tmpfs", "/proc/sys/net/ipv6")
    error = plugin.call(node, "ADD", conf, pod).error
    assert error["code"] == KERNEL_REFUSED
    assert "this node's kernel has no IPv6" in error["msg"]
    assert "ipv6.disable=1" in error["details"]
    assert veths(node) == []
    assert store_files(node) == []
    plugin.add(node, network(4, isGateway=True, bridge="br4", name="four"), pod)
    assert pod.ping(GATEWAY[4])


class TestInterface:
    """CNI_IFNAME that is taken, by somebody or by ourselves."""

    def test_taken_in_the_pod(self, used: Node, plugin: Plugin) -> None:
        pod = used.pod()
        pod.run("ip", "link", "add", "eth0", "type", "bridge")
        pod.run("ip", "address", "add", "10.77.0.1/24", "dev", "eth0")
        error = refused(plugin, used, dual_stack(), pod)
        assert error["code"] == ALREADY_ATTACHED
        assert "eth0" in error["msg"]
        assert pod.path in error["msg"]

    def test_loopback(self, used: Node, plugin: Plugin) -> None:
        """Every pod has one; nothing is made before that is said."""
        error = refused(plugin, used, dual_stack(), used.pod(), ifname="lo")
        assert error["code"] == 4
        assert "CNI_IFNAME" in error["msg"]

    def test_taken_by_another_attachment(self, used: Node, plugin: Plugin) -> None:
        pod, result = add_pod(plugin, used, dual_stack())
        error = refused(plugin, used, dual_stack(), pod, container_id="other")
        assert error["code"] == ALREADY_ATTACHED
        assert plugin.check(used, dual_stack(), pod, result).result == {}

    @pytest.mark.parametrize("conf", [dual_stack(), dual_stack(name="other", bridge="br2")], ids=lambda c: c["name"])
    def test_added_twice(self, used: Node, plugin: Plugin, conf: Json) -> None:
        """The first attachment stays as it was, though the second asks for another network."""
        pod, result = add_pod(plugin, used, dual_stack())
        error = refused(plugin, used, conf, pod)
        assert error["code"] == ALREADY_ATTACHED
        assert pod.container_id in error["msg"]
        assert "eth0" in error["msg"]
        assert plugin.check(used, dual_stack(), pod, result).result == {}
        assert all(pod.ping(gateway) for gateway in GATEWAY.values())
        plugin.delete(used, dual_stack(), pod)
        assert used.leases(NAME) == {}

    def test_added_twice_into_different_namespaces(self, used: Node, plugin: Plugin) -> None:
        pod, result = add_pod(plugin, used, dual_stack())
        error = refused(plugin, used, dual_stack(), used.pod(), container_id=pod.container_id)
        assert error["code"] == ALREADY_ATTACHED
        assert plugin.check(used, dual_stack(), pod, result).result == {}


class TestRanges:
    """No address left."""

    def test_exhausted(self, node: Node, plugin: Plugin) -> None:
        conf = small("10.22.0.0/30", ipMasq=True)
        pod, result = add_pod(plugin, node, conf)
        assert addresses_of(result) == ["10.22.0.2"]
        error = refused(plugin, node, conf, node.pod())
        assert error["code"] == NO_ADDRESS
        assert "10.22.0.2-10.22.0.2" in error["msg"] or "10.22.0.1-10.22.0.2" in error["msg"]
        assert LEASES in error["details"]
        plugin.delete(node, conf, pod)
        assert addresses_of(add_pod(plugin, node, conf)[1]) == ["10.22.0.2"]

    def test_second_set_exhausted(self, node: Node, plugin: Plugin) -> None:
        """The address of the first set is given back, and not skipped for good."""
        ranges = [[{"subnet": "10.22.0.0/29"}], [{"subnet": "fd00:22::/126"}]]
        conf = network(isGateway=True, ipam={"ranges": ranges})
        for _ in range(2):  # fd00:22::2 and fd00:22::3: IPv6 has no broadcast address
            add_pod(plugin, node, conf)
        error = refused(plugin, node, conf, node.pod())
        assert error["code"] == NO_ADDRESS
        assert "fd00:22::" in error["msg"]
        assert sorted(node.leases(NAME)) == ["10.22.0.2", "10.22.0.3", "fd00:22::2", "fd00:22::3"]


class TestRoutes:
    """Routes that the kernel refuses: the pod had its interface, address and earlier routes by then."""

    @pytest.mark.parametrize(("dst", "gw"), [("198.51.100.0/24", "203.0.113.1"), ("2001:db8:7::/64", "2001:db8:8::1")])
    def test_unreachable_gateway(self, used: Node, plugin: Plugin, dst: str, gw: str) -> None:
        conf = dual_stack(ipam={"routes": [{"dst": "198.18.0.0/15"}, {"dst": dst, "gw": gw}]})
        pod = used.pod()
        error = refused(plugin, used, conf, pod)
        assert error["code"] == KERNEL_REFUSED
        assert dst in error["msg"]
        assert set(pod.links()) == {"lo"}
        assert veths(used) == []
        assert store_files(used) == []

    def test_the_same_attachment_can_be_added_afterwards(self, used: Node, plugin: Plugin) -> None:
        pod = used.pod()
        refused(plugin, used, dual_stack(ipam={"routes": [{"dst": "198.51.100.0/24", "gw": "203.0.113.1"}]}), pod)
        plugin.delete(used, dual_stack(), pod)
        plugin.add(used, dual_stack(), pod)
        assert all(pod.ping(gateway) for gateway in GATEWAY.values())


def test_resolv_conf_is_missing(used: Node, plugin: Plugin) -> None:
    error = refused(plugin, used, dual_stack(ipam={"resolvConf": "/run/no/resolv.conf"}), used.pod())
    assert error["code"] == IO_FAILURE
    assert "/run/no/resolv.conf" in error["msg"]


class TestDataDir:
    """A lease directory that takes no lease."""

    def test_read_only(self, used: Node, plugin: Plugin) -> None:
        used.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/var/lib/cni/networks")
        error = refused(plugin, used, dual_stack(), used.pod())
        assert error["code"] == IO_FAILURE
        assert LEASES in error["msg"]
        assert "Read-only file system" in error["msg"]

    def test_read_only_with_leases_in_it(self, used: Node, plugin: Plugin) -> None:
        used.run("mount", "--bind", "/var/lib/cni", "/var/lib/cni")
        used.run("mount", "-o", "remount,ro,bind", "/var/lib/cni")
        error = refused(plugin, used, dual_stack(), used.pod())
        assert error["code"] == IO_FAILURE
        assert LEASES in error["msg"]

    def test_below_a_file(self, used: Node, plugin: Plugin) -> None:
        error = refused(plugin, used, dual_stack(ipam={"dataDir": "/etc/passwd/leases"}), used.pod())
        assert error["code"] == IO_FAILURE
        assert "/etc/passwd" in error["msg"]

    def test_full_at_any_point(self, used: Node, plugin: Plugin) -> None:
        """However far the ADD comes before there is no room for one more file, it leaves none."""
        outcomes = []
        for room in range(1, 12):
            data_dir = f"/run/room{room}"
            used.run("mkdir", data_dir)
            used.run("mount", "-t", "tmpfs", "-o", f"nr_inodes={room}", "tmpfs", data_dir)
            conf, pod = dual_stack(ipam={"dataDir": data_dir}), used.pod()
            before = used.snapshot()
            reply = plugin.call(used, "ADD", conf, pod)
            outcomes.append(reply.status)
            if reply.status:
                assert reply.error["code"] == IO_FAILURE
                assert data_dir in reply.error["msg"]
                assert used.snapshot() == before
            else:
                plugin.delete(used, conf, pod)
            directory = used.root / data_dir.lstrip("/") / NAME
            left = [path.name for path in directory.rglob("*") if path.name not in ("lock", ".attachments")]
            assert [name for name in left if "last_reserved_ip" not in name] == []
        assert 0 in outcomes
        assert outcomes.count(1) >= 3


class TestRights:
    """Root without some of root's rights, as in a container."""

    def test_without_the_right_to_make_links(self, node: Node, plugin: Plugin) -> None:
        error = refused(plugin.confined("net_admin"), node, dual_stack(), node.pod())
        assert error["code"] == NOT_PERMITTED
        assert BRIDGE in error["msg"]

    def test_without_the_right_to_enter_namespaces(self, used: Node, plugin: Plugin) -> None:
        pod = used.pod()
        error = refused(plugin.confined("sys_admin"), used, dual_stack(), pod)
        assert error["code"] == NOT_PERMITTED
        assert "namespace" in error["msg"]
        assert "None" not in error["msg"]

    def test_sysctls_cannot_be_written(self, node: Node, plugin: Plugin) -> None:
        make_sysctls_read_only(node)
        pod = node.pod()
        error = plugin.call(node, "ADD", network(4, isGateway=True), pod).error
        assert "/proc/sys/net/" in error["msg"]
        assert veths(node) == []
        assert store_files(node) == []

    def test_sysctls_cannot_be_written_and_need_not(self, node: Node, plugin: Plugin) -> None:
        """As in a node that is a container itself: forwarding is on, and /proc/sys read-only."""
        for name in FORWARDING.values():
            node.run("sysctl", "-qw", f"{name}=1")
        make_sysctls_read_only(node)
        pod, _ = add_pod(plugin, node, dual_stack())
        assert all(pod.ping(gateway) for gateway in GATEWAY.values())


def make_sysctls_read_only(node: Node) -> None:
    node.run("mount", "--bind", "/proc/sys", "/proc/sys")
    node.run("mount", "-o", "remount,ro,bind", "/proc/sys")


def test_network_name_that_leaves_the_data_dir(node: Node, plugin: Plugin) -> None:
    victim = node.root / "var/lib/cni/victim"
    victim.write_text("mine")
    for name in ("../victim", "..", "a/../../victim", "/var/lib/cni/victim"):
        error = refused(plugin, node, dual_stack(name=name), node.pod())
        assert "name" in error["msg"]
    assert victim.read_text() == "mine"
    assert sorted(path.name for path in (node.root / "var/lib/cni").iterdir()) == ["victim"]


def test_container_id_that_leaves_the_data_dir(node: Node, plugin: Plugin) -> None:
    for container_id in ("../victim", "..", "a/b"):
        error = refused(plugin, node, dual_stack(), node.pod(), container_id=container_id)
        assert error["code"] == INVALID_ENVIRONMENT
        assert "CNI_CONTAINERID" in error["msg"]


def test_ipv6_was_turned_off_for_new_interfaces(node: Node, plugin: Plugin) -> None:
    """Container runtimes do that to a pod's namespace."""
    pod = node.pod()
    for scope in ("default", "all"):
        pod.run("sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=1")
    plugin.add(node, dual_stack(), pod)
    assert pod.addresses() == list(FIRST.values())
    assert all(pod.ping(gateway) for gateway in GATEWAY.values())
    assert sysctl(pod, "net.ipv6.conf.eth0.disable_ipv6") == "0"


@pytest.mark.parametrize("prepare", ["", f"ip link add {BRIDGE} up type bridge", f"ip link add {BRIDGE} type bridge"])
def test_ipv6_is_off_on_the_node(node: Node, plugin: Plugin, prepare: str) -> None:
    """It is on where pods need it, and nowhere else."""
    node.run("ip", "link", "add", "other", "type", "veth", "peer", "name", "far")
    for scope in ("default", "all"):
        node.run("sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=1")
    node.run("sh", "-ec", prepare)
    pod, result = add_pod(plugin, node, dual_stack())
    assert plugin.check(node, dual_stack(), pod, result).result == {}
    assert all(pod.ping(gateway) for gateway in GATEWAY.values())
    assert sysctl(node, f"net.ipv6.conf.{BRIDGE}.disable_ipv6") == "0"
    assert sysctl(node, "net.ipv6.conf.other.disable_ipv6") == "1"


def test_ipv6_is_off_on_the_node_and_pods_have_none(node: Node, plugin: Plugin) -> None:
    for scope in ("default", "all"):
        node.run("sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=1")
    pod, _ = add_pod(plugin, node, network(4, isGateway=True))
    assert pod.ping(GATEWAY[4])
    assert sysctl(node, f"net.ipv6.conf.{BRIDGE}.disable_ipv6") == "1"


def test_ipv6_stays_off_in_a_pod_that_has_none(node: Node, plugin: Plugin) -> None:
    pod = node.pod()
    pod.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    plugin.add(node, network(4, isGateway=True), pod)
    assert sysctl(pod, "net.ipv6.conf.eth0.disable_ipv6") == "1"
    assert pod.ping(bare(GATEWAY[4]))


def test_error_is_json_and_nothing_else(node: Node, plugin: Plugin) -> None:
    reply = plugin.call(node, "ADD", dual_stack(), None, container_id="c1", netns="/nowhere")
    assert (reply.status, reply.stderr) == (1, "")
    assert set(reply.json) <= {"cniVersion", "code", "msg", "details"}
    assert reply.json["cniVersion"] == "1.1.0"


def test_data_dir_of_the_configuration(node: Node, plugin: Plugin) -> None:
    """Leases are written there, and nowhere else."""
    add_pod(plugin, node, dual_stack(ipam={"dataDir": "/run/elsewhere"}))
    assert list((node.root / "var/lib/cni").iterdir()) == []
    found = {path.name for path in Path(node.root / "run/elsewhere" / NAME).iterdir()}
    assert found == {"lock", ".attachments", "last_reserved_ip.0", "last_reserved_ip.1", "10.22.0.2", "fd00:22::2"}
