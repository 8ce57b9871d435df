"""What pods share: bridge, gateway, forwarding, masquerade. Made if missing, mended if damaged, never torn down."""

from __future__ import annotations

import pytest

from tests.harness import Json, Node, Outside, Plugin
from tests.kernel.networks import (
    BRIDGE,
    FORWARDING,
    GATEWAY,
    SUBNET,
    TABLE,
    add_pod,
    addresses_of,
    bare,
    dual_stack,
    exceptions,
    filter_left,
    host_veth,
    masqueraded,
    network,
    sysctl,
    veths,
)

CONF = dual_stack()


@pytest.mark.parametrize(
    "damage",
    [
        f"ip address del 10.22.0.1/24 dev {BRIDGE}",
        f"ip -6 address del fd00:22::1/64 dev {BRIDGE}",
        f"ip link set {BRIDGE} down",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        f"nft delete table {TABLE}",
        f"nft flush table {TABLE}",
        "nft flush ruleset",
    ],
)
def test_next_add_mends_it_for_everyone(node: Node, plugin: Plugin, damage: str) -> None:
    Outside(node)
    pod, result = add_pod(plugin, node, CONF)
    node.run("sh", "-ec", damage)
    assert plugin.check(node, CONF, pod, result).status == 1
    add_pod(plugin, node, CONF)
    assert plugin.check(node, CONF, pod, result).result == {}
    assert pod.seen_as(Outside.address) == Outside.node_address
    assert pod.seen_as(Outside.address6) == Outside.node_address6


def test_bridge_removed(node: Node, plugin: Plugin) -> None:
    """The network's next ADD makes it again, and plugs in the pods that were on it as they were."""
    conf = CONF | {"hairpinMode": True}
    old, result = add_pod(plugin, node, conf)
    _, theirs = add_pod(plugin, node, network(4, name="other", bridge="cni1"))
    node.run("ip", "link", "delete", BRIDGE)
    node.run("ip", "link", "delete", "cni1")
    new, _ = add_pod(plugin, node, conf)
    assert all(new.ping(gateway) for gateway in GATEWAY.values())
    assert node.link(BRIDGE)["address"] == result["interfaces"][0]["mac"], "pods would have to learn a new one"
    assert plugin.check(node, conf, old, result).result == {}
    assert all(new.ping(address) for address in addresses_of(result))
    assert "master" not in node.link(host_veth(theirs)), "another network's bridge is that network's to make"


@pytest.mark.parametrize("name", ["other", "o" * 180])
def test_bridge_of_two_networks_removed(node: Node, plugin: Plugin, name: str) -> None:
    """Whichever network makes the bridge, each network's next ADD plugs in its own pods, but only once."""
    ipam = {"ranges": [[{"subnet": SUBNET[4], "rangeStart": "10.22.0.100"}]]}
    other_conf = network(name=name, isGateway=True, hairpinMode=True, ipam=ipam)
    pods = [(conf, *add_pod(plugin, node, conf)) for conf in (CONF, other_conf, CONF, other_conf)]
    for first, second in ((CONF, other_conf), (other_conf, CONF)):
        node.run("ip", "link", "delete", BRIDGE)
        pods += [(conf, *add_pod(plugin, node, conf)) for conf in (first, second, first)]
        for conf, pod, result in pods:
            assert plugin.check(node, conf, pod, result).result == {}
            assert pod.ping(GATEWAY[4], count=3)
        alone = host_veth(pods[0][2])
        node.run("ip", "link", "set", alone, "nomaster")
        add_pod(plugin, node, CONF)
        assert "master" not in node.link(alone), "an operator took it out"
        node.run("ip", "link", "set", alone, "master", BRIDGE)


def test_nothing_is_torn_down_by_the_last_pod(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, CONF)
    plugin.delete(node, CONF, pod)
    assert sorted(node.addresses(BRIDGE)) == sorted(GATEWAY.values())
    assert "hook postrouting" in node.run("nft", "list", "table", *TABLE.split()).stdout
    assert filter_left(node) == []
    assert [sysctl(node, name) for name in FORWARDING.values()] == ["1", "1"]
    assert node.link(BRIDGE)["address"] == result["interfaces"][0]["mac"]


def test_others_firewall_is_left_alone(node: Node, plugin: Plugin) -> None:
    node.run("nft", "add table inet theirs; add chain inet theirs masquerade-podnet; add table ip cni-bridge-py")
    tables = ("inet theirs", "ip cni-bridge-py")

    def listed() -> list[str]:
        return [node.run("nft", "list", "table", *table.split()).stdout for table in tables]

    before = listed()
    pod, _ = add_pod(plugin, node, CONF)
    plugin.delete(node, CONF, pod)
    assert listed() == before


class TestBridgeMac:
    """The bridge's MAC is in every pod's ARP table, for the gateway: it may not change as ports come and go."""

    @staticmethod
    def come_and_go(plugin: Plugin, node: Node, conf: Json) -> set[str]:
        """The MACs that the bridge has while ports of low and high MACs come and go."""
        macs = set()

        def look() -> None:
            macs.add(str(node.link(BRIDGE)["address"]))

        pods = []
        for _ in range(4):
            pods.append(add_pod(plugin, node, conf)[0])
            look()
        node.run("ip", "link", "add", "low", "address", "00:00:00:00:00:01", "type", "veth", "peer", "name", "low2")
        for change in ("master", BRIDGE), ("nomaster",):
            node.run("ip", "link", "set", "low", *change)
            look()
        node.run("ip", "link", "set", "low", "master", BRIDGE)
        for pod in pods:
            plugin.delete(node, conf, pod)
            look()
        return macs

    @pytest.mark.parametrize("conf", [CONF, network(6, isGateway=True), network(4)], ids=["dual", "v6", "L2"])
    def test_bridge_of_ours(self, node: Node, plugin: Plugin, conf: Json) -> None:
        assert len(self.come_and_go(plugin, node, conf)) == 1

    def test_told_by_the_gateway(self, make_node: type[Node], plugin: Plugin) -> None:
        """So it is the same after a reboot."""
        macs = set()
        for _ in range(2):
            with make_node() as node:
                macs.add(add_pod(plugin, node, CONF)[1]["interfaces"][0]["mac"])
        assert macs == {"0a:58:0a:16:00:01"}

    def test_bridge_made_by_hand(self, node: Node, plugin: Plugin) -> None:
        """It keeps the MAC that it had."""
        node.run("ip", "link", "add", BRIDGE, "type", "bridge")
        mac = node.link(BRIDGE)["address"]
        assert self.come_and_go(plugin, node, CONF) == {mac}

    def test_bridge_made_by_hand_with_its_address(self, node: Node, plugin: Plugin) -> None:
        node.run("ip", "link", "add", BRIDGE, "type", "bridge")
        for gateway in GATEWAY.values():
            node.run("ip", "address", "add", gateway, "dev", BRIDGE)
        mac = node.link(BRIDGE)["address"]
        assert self.come_and_go(plugin, node, CONF) == {mac}

    def test_bridge_of_ours_without_sysfs(self, node: Node, plugin: Plugin) -> None:
        """Behind `nsenter --net` /sys is another machine's."""
        node.run("umount", "--lazy", "/sys")
        node.run("ip", "link", "add", BRIDGE, "type", "bridge")
        mac = node.link(BRIDGE)["address"]
        assert self.come_and_go(plugin, node, CONF) == {mac}

    def test_bridge_made_by_hand_whose_only_port_has_gone(self, node: Node, plugin: Plugin) -> None:
        """The kernel has left it without a MAC."""
        lan_bridge(node)
        node.run("ip", "link", "set", "card", "nomaster")
        assert node.link(BRIDGE)["address"] == "00:00:00:00:00:00"
        assert self.come_and_go(plugin, node, CONF) == {"0a:58:0a:16:00:01"}


CARD_MACS = ["00:16:3e:00:00:01", "52:54:00:12:34:56", "c8:ff:77:00:00:01", "fe:54:00:12:34:56"]
"""Real cards, and such as hypervisors make up."""


def lan_bridge(node: Node, mac: str = CARD_MACS[1]) -> None:
    """A bridge with a network card in it, as nodes have it whose pods are in the LAN."""
    node.run(*f"ip link add card address {mac} type veth peer name wire".split())
    node.run("ip", "link", "set", "wire", "up")
    node.run(*f"ip link add {BRIDGE} up type bridge".split())
    node.run(*f"ip link set card master {BRIDGE} up".split())


@pytest.mark.parametrize("conf", [CONF, network(4), network() | {"ipam": {}}], ids=["gateway", "no gateway", "no ipam"])
class TestBridgeMacOfACard:
    """What the LAN knows of the node is its card's MAC; pods that come and go must not change it."""

    @pytest.mark.parametrize("mac", CARD_MACS)
    def test_stays(self, node: Node, plugin: Plugin, conf: Json, mac: str) -> None:
        lan_bridge(node, mac)
        pods = []
        for _ in range(4):
            pods.append(add_pod(plugin, node, conf)[0])
            assert node.link(BRIDGE)["address"] == mac
        for pod in pods:
            plugin.delete(node, conf, pod)
            assert node.link(BRIDGE)["address"] == mac

    def test_another_card(self, node: Node, plugin: Plugin, conf: Json) -> None:
        """Nobody has pinned the first one's."""
        lan_bridge(node)
        add_pod(plugin, node, conf)
        node.run(*f"ip link set card address {CARD_MACS[2]}".split())
        add_pod(plugin, node, conf)
        assert node.link(BRIDGE)["address"] == CARD_MACS[2]

    def test_set_by_the_operator(self, node: Node, plugin: Plugin, conf: Json) -> None:
        lan_bridge(node)
        node.run("ip", "link", "set", BRIDGE, "address", "02:00:00:00:00:aa")
        add_pod(plugin, node, conf)
        assert node.link(BRIDGE)["address"] == "02:00:00:00:00:aa"


def test_card_that_comes_after_the_pods(node: Node, plugin: Plugin) -> None:
    """A bridge made by hand, without gateway: the pods in it are no reason not to take the card's MAC."""
    node.run("ip", "link", "add", BRIDGE, "up", "type", "bridge")
    for _ in range(2):
        add_pod(plugin, node, network(4))
    node.run(*f"ip link add card address {CARD_MACS[3]} type veth peer name wire".split())
    node.run("ip", "link", "set", "card", "master", BRIDGE)
    add_pod(plugin, node, network(4))
    assert node.link(BRIDGE)["address"] == CARD_MACS[3]


class TestBridgeMadeByHand:
    """A bridge that was there keeps what its owner gave it."""

    def test_settings_and_ports_stay(self, node: Node, plugin: Plugin) -> None:
        node.run(*f"ip link add {BRIDGE} mtu 1450 type bridge stp_state 1 ageing_time 1000".split())
        node.run("ip", "link", "add", "port", "mtu", "1450", "type", "veth", "peer", "name", "far")
        node.run("ip", "link", "set", "port", "master", BRIDGE)
        add_pod(plugin, node, dual_stack(mtu=1450))
        bridge = node.link(BRIDGE)
        data = bridge["linkinfo"]["info_data"]
        assert (data["stp_state"], data["ageing_time"], bridge["mtu"]) == (1, 1000, 1450)
        assert node.link("port")["master"] == BRIDGE

    def test_that_is_down(self, node: Node, plugin: Plugin) -> None:
        node.run("ip", "link", "add", BRIDGE, "type", "bridge")
        pod, _ = add_pod(plugin, node, CONF)
        assert "UP" in node.link(BRIDGE)["flags"]
        assert all(pod.ping(gateway) for gateway in GATEWAY.values())


class TestOthersAddresses:
    """What else is on the bridge, once the gateway is: an operator's, keepalived's, a load balancer's."""

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize(
        "other", ["10.50.0.1/24", "10.22.0.250/32", "10.22.0.9/24", "fd00:22::53/64", "fd00:22::99/128", "fd99::1/64"]
    )
    def test_stay(self, node: Node, plugin: Plugin, other: str, force: bool) -> None:
        conf = dual_stack(forceAddress=force)
        before, result = add_pod(plugin, node, conf)
        node.run("ip", "address", "add", other, "dev", BRIDGE)
        after, after_result = add_pod(plugin, node, conf)
        assert sorted(node.addresses(BRIDGE)) == sorted([*GATEWAY.values(), other])
        for pod, each in ((before, result), (after, after_result)):
            assert plugin.check(node, conf, pod, each).result == {}
            assert all(pod.ping(gateway) for gateway in GATEWAY.values())

    @pytest.mark.parametrize("force", [False, True])
    def test_stay_where_a_second_range_is_added(self, node: Node, plugin: Plugin, force: bool) -> None:
        """The bridge is this network's, as one of its gateways tells; the other is made."""
        add_pod(plugin, node, network(4, isGateway=True))
        node.run("ip", "address", "add", "10.50.0.1/24", "dev", BRIDGE)
        ranges = [[{"subnet": "10.22.0.0/24"}], [{"subnet": "10.23.0.0/24"}]]
        pod, _ = add_pod(plugin, node, network(isGateway=True, forceAddress=force, ipam={"ranges": ranges}))
        assert sorted(node.addresses(BRIDGE)) == ["10.22.0.1/24", "10.23.0.1/24", "10.50.0.1/24"]
        assert pod.ping("10.23.0.1")


def test_gateway_survives_the_bridges_being_down(node: Node, plugin: Plugin) -> None:
    pod, result = add_pod(plugin, node, CONF)
    node.run("ip", "link", "set", BRIDGE, "down")
    node.run("ip", "link", "set", BRIDGE, "up")
    assert sorted(node.addresses(BRIDGE)) == sorted(GATEWAY.values())
    assert plugin.check(node, CONF, pod, result).result == {}
    assert all(pod.ping(gateway, count=5) for gateway in GATEWAY.values())


def test_pods_addresses_survive_the_interfaces_being_down(node: Node, plugin: Plugin) -> None:
    pod, _ = add_pod(plugin, node, CONF)
    before = pod.addresses()
    pod.run("ip", "link", "set", "eth0", "down")
    assert pod.addresses() == before
    pod.run("ip", "link", "set", "eth0", "up")
    assert pod.addresses() == before
    assert all(pod.ping(gateway, count=5) for gateway in GATEWAY.values())


@pytest.mark.parametrize("name", ["br.100", "a-b_c", "b", "fifteen-bytes-x", "brücke"])
def test_names_of_bridges(node: Node, plugin: Plugin, name: str) -> None:
    conf = dual_stack(bridge=name)
    pod, result = add_pod(plugin, node, conf)
    assert sorted(node.addresses(name)) == sorted(GATEWAY.values())
    assert node.run("cat", f"/proc/sys/net/ipv6/conf/{name}/accept_ra").stdout == "0\n"
    assert plugin.check(node, conf, pod, result).result == {}
    assert all(pod.ping(gateway) for gateway in GATEWAY.values())


@pytest.mark.parametrize("name", ["n", "with.dots-and_more", "x" * 180], ids=["short", "dots", "long"])
def test_names_of_networks(node: Node, plugin: Plugin, name: str) -> None:
    conf = dual_stack(name=name)
    pod, result = add_pod(plugin, node, conf)
    assert plugin.check(node, conf, pod, result).result == {}
    other, second = add_pod(plugin, node, conf)
    assert sorted(masqueraded(node)) == sorted(addresses_of(result) + addresses_of(second))
    for each in (pod, other):
        plugin.delete(node, conf, each)
    assert node.leases(name) == {}
    assert filter_left(node) == []


@pytest.mark.parametrize("name", ["net.1", "fifteen-bytes-x", "ethé"])
def test_names_of_pod_interfaces(node: Node, plugin: Plugin, name: str) -> None:
    pod = node.pod()
    pod.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
    result = plugin.add(node, CONF, pod, ifname=name)
    assert set(pod.links()) == {"lo", name}
    assert plugin.check(node, CONF, pod, result, ifname=name).result == {}
    assert all(pod.ping(gateway) for gateway in GATEWAY.values())
    plugin.delete(node, CONF, pod, ifname=name)
    assert veths(node) == []


class TestAlias:
    """The host's end says whose it is, to whoever runs `ip link`."""

    @staticmethod
    def alias(plugin: Plugin, node: Node, args: str | None) -> str | None:
        pod, result = add_pod(plugin, node, CONF, args=args)
        assert plugin.check(node, CONF, pod, result, args=args).result == {}
        alias = node.link(host_veth(result)).get("ifalias")
        return None if alias is None else str(alias)

    def test_kubernetes(self, node: Node, plugin: Plugin) -> None:
        args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1;K8S_POD_UID=42;FOO=1"
        assert self.alias(plugin, node, args) == "default/web-1"

    @pytest.mark.parametrize("args", [None, "", "IgnoreUnknown=1"])
    def test_others(self, node: Node, plugin: Plugin, args: str | None) -> None:
        assert self.alias(plugin, node, args) is None

    def test_longest(self, node: Node, plugin: Plugin) -> None:
        """Kubernetes allows 63 and 253 bytes, the kernel 255 in all."""
        args = f"K8S_POD_NAMESPACE={'n' * 63};K8S_POD_NAME={'p' * 253}"
        assert self.alias(plugin, node, args) == f"{'n' * 63}/{'p' * 253}"[:255]


class TestChangedConfiguration:
    """A network whose configuration is edited while pods are there."""

    def test_subnet(self, node: Node, plugin: Plugin) -> None:
        """Old pods keep their way out."""
        Outside(node)
        moved = dual_stack(
            forceAddress=True, ipam={"ranges": [[{"subnet": "10.33.0.0/24"}], [{"subnet": "fd00:33::/64"}]]}
        )
        old, old_result = add_pod(plugin, node, CONF)
        new, new_result = add_pod(plugin, node, moved)
        # forceAddress took the old gateway away, which is what it says; an operator who wants both adds it again.
        node.run("ip", "address", "add", GATEWAY[4], "dev", BRIDGE)
        for pod in (old, new):
            assert pod.seen_as(Outside.address) == Outside.node_address
        assert new.seen_as(Outside.address6) == Outside.node_address6
        for conf, pod, result in ((CONF, old, old_result), (moved, new, new_result)):
            assert plugin.check(node, conf, pod, result).result == {}
        for conf, pod in ((CONF, old), (moved, new)):
            plugin.delete(node, conf, pod)
        assert filter_left(node) == []

    def test_exceptions(self, node: Node, plugin: Plugin) -> None:
        """They are those of the time when a pod was made, and go with the last pod that has them."""
        Outside(node)
        old, _ = add_pod(plugin, node, CONF)
        changed = dual_stack(nonMasqueradeCIDRs=["192.0.2.0/24"])
        new, result = add_pod(plugin, node, changed)
        assert new.seen_as(Outside.address) == addresses_of(result)[0]
        assert old.seen_as(Outside.address) == Outside.node_address
        assert plugin.check(node, changed, new, result).result == {}
        assert "192.0.2.0/24" in exceptions(node)
        plugin.delete(node, CONF, new)
        assert "192.0.2.0/24" not in exceptions(node)
        assert old.seen_as(Outside.address) == Outside.node_address
        plugin.delete(node, CONF, old)
        assert filter_left(node) == []

    def test_hairpin_and_mtu(self, node: Node, plugin: Plugin) -> None:
        """They hold for pods made from then on."""
        first, first_result = add_pod(plugin, node, CONF)
        second, second_result = add_pod(plugin, node, dual_stack(hairpinMode=True, mtu=1400))
        ports = [node.link(host_veth(result)) for result in (first_result, second_result)]
        assert [port["linkinfo"]["info_slave_data"]["hairpin"] for port in ports] == [False, True]
        assert [pod.link("eth0")["mtu"] for pod in (first, second)] == [1500, 1400]

    def test_gateway(self, node: Node, plugin: Plugin) -> None:
        """isGateway added later gives the bridge its address."""
        pod, _ = add_pod(plugin, node, network(4))
        assert node.addresses(BRIDGE) == []
        add_pod(plugin, node, network(4, isGateway=True))
        assert node.addresses(BRIDGE) == [GATEWAY[4]]
        assert pod.ping(bare(GATEWAY[4]))
