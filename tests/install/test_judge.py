"""What the plugin, and the node, have against a configuration: said before anything is changed."""

from __future__ import annotations

import json

import pytest

from tests.install.conftest import BIN, Installer, shipped

NO_NETWORKS = [
    "10.99.0.0",
    "10.99.0.1/16",
    "10.99.0.0/33",
    "10.99.0.0/31",
    "10.99.0.0/255.255.0.0",
    "10.299.0.0/16",
    "pods",
    '10.0.0.0/8", "x": "',
    "10.99.0.0/16,",
]
IMPOSSIBLE = [
    "127.0.0.0/8",
    "fe80::/64",
    "::ffff:10.0.0.0/112",
    "224.0.0.0/8",
    "ff00::/64",
    "0.0.0.0/8",
    "0.0.0.0/0",
]


def uplink(installer: Installer) -> None:
    installer.node.run(*["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far"])
    for command in ("link set eth0 up", "link set far up", "address add 10.99.3.7/24 dev eth0"):
        installer.node.run("ip", *command.split())
    installer.node.run(*["ip", "-6", "address", "add", "fd00:99::7/64", "dev", "eth0", "nodad"])
    installer.node.run(*["ip", "route", "add", "172.30.0.0/16", "via", "10.99.3.1"])
    installer.node.run(*["ip", "route", "add", "default", "via", "10.99.3.1"])


@pytest.mark.parametrize("subnet", NO_NETWORKS)
def test_a_subnet_that_is_none_is_refused(installer: Installer, subnet: str) -> None:
    assert "--subnet " in installer.refuse_install(f"--subnet={subnet}")


@pytest.mark.parametrize("subnet", IMPOSSIBLE)
def test_a_subnet_that_no_pod_can_have_is_refused(installer: Installer, subnet: str) -> None:
    assert subnet in installer.refuse_install(f"--subnet={subnet}")


@pytest.mark.parametrize("subnets", ["10.1.0.0/16,10.2.0.0/16", "fd00::/64,fd01::/64"])
def test_two_subnets_of_one_ip_version_are_refused(installer: Installer, subnets: str) -> None:
    assert "two IPv" in installer.refuse_install(f"--subnet={subnets}")


@pytest.mark.parametrize("mtu", ["0", "67", "65536", "-1", "many", "1500.0", "\u0661\u0664\u0660\u0660", "9" * 5000])
def test_an_mtu_that_is_none_is_refused(installer: Installer, mtu: str) -> None:
    assert "--mtu" in installer.refuse_install(f"--mtu={mtu}")


@pytest.mark.parametrize(
    ("subnet", "reason"),
    [
        ("10.99.0.0/16", "overlaps the address 10.99.3.7/24 of eth0"),
        ("10.99.3.128/25", "overlaps the address 10.99.3.7/24 of eth0"),
        ("172.30.4.0/24", "overlaps the route 172.30.0.0/16 by eth0"),
        ("172.16.0.0/12", "overlaps the route 172.30.0.0/16 by eth0"),
        ("fd00:99::/48", "overlaps the address fd00:99::7/64 of eth0"),
    ],
)
def test_a_subnet_that_the_node_uses_is_refused(installer: Installer, subnet: str, reason: str) -> None:
    uplink(installer)
    complaint = installer.refuse_install(f"--subnet={subnet}")
    assert reason in complaint
    assert "--force" in complaint


def test_the_shipped_subnet_is_judged_as_well(installer: Installer) -> None:
    installer.node.run(*["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far"])
    installer.node.run(*["ip", "address", "add", "10.22.5.5/24", "dev", "eth0"])
    assert "overlaps the address 10.22.5.5/24 of eth0" in installer.refuse_install()
    installer.install("--subnet=10.23.0.0/16")


def test_force_installs_and_warns(installer: Installer) -> None:
    uplink(installer)
    said = installer.install("--subnet=10.99.0.0/16", "--force")
    assert "WARNING: 10.99.0.0/16 overlaps the address" in said
    assert installer.conf()["ipam"]["subnet"] == "10.99.0.0/16"


def test_the_bridges_own_address_and_route_are_not_in_the_way(installer: Installer) -> None:
    installer.install()
    installer.node.run(*["ip", "link", "add", "cni0", "type", "bridge"])
    installer.node.run(*["ip", "address", "add", "10.22.0.1/16", "dev", "cni0"])
    installer.node.run(*["ip", "link", "set", "cni0", "up"])
    assert "WARNING" not in installer.install("--mtu=1400")


def test_a_bridge_that_has_another_address_is_told_with_the_way_out(installer: Installer) -> None:
    installer.node.run(*["ip", "link", "add", "cni0", "type", "bridge"])
    installer.node.run(*["ip", "address", "add", "10.4.0.1/24", "dev", "cni0"])
    said = installer.install()
    assert "WARNING: the bridge cni0 has the address 10.4.0.1/24, not the pods' gateway 10.22.0.1/16" in said
    assert "ip address del 10.4.0.1/24 dev cni0" in said


def test_a_bridge_that_is_no_bridge_is_told(installer: Installer) -> None:
    installer.build_source()
    installer.node.run(*["ip", "link", "add", "cni0", "type", "veth", "peer", "name", "far"])
    said = installer.install()
    assert "is not a bridge" in said
    assert "WARNING: the plugin cannot serve a pod now" in said


def test_a_configuration_that_the_plugin_refuses_is_not_installed(installer: Installer) -> None:
    installer.install()
    conf = installer.conf()
    conf["vlan"] = 5000
    installer.write_conf("10-bridge.conf", conf)
    assert "vlan: " in installer.refuse_install("--mtu=1400")


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_an_upgrade_leaves_a_configuration_that_the_plugin_refuses_and_says_so(
    installer: Installer, options: list[str]
) -> None:
    installer.install()
    conf = installer.conf() | {"ipam": ["host-local"]}
    installer.write_conf("10-bridge.conf", conf)
    installer.build("two")
    said = installer.install(*options)
    assert "WARNING: no pod gets a network until /etc/cni/net.d/10-bridge.conf is mended by hand" in said
    assert "ipam: expected an object" in said
    assert installer.conf() == conf
    assert installer.version() == "two"


@pytest.mark.parametrize(
    "ipam",
    [
        ["host-local"],
        "host-local",
        {"type": "dhcp"},
        {"type": 7},
        {"type": "host-local", "ranges": "10.0.0.0/8"},
        {"type": "host-local", "ranges": [{"subnet": "10.1.0.0/16"}]},
        {"type": "host-local", "ranges": [["10.1.0.0/16"]]},
    ],
    ids=json.dumps,
)
def test_a_subnet_where_none_can_be_set_is_refused(installer: Installer, ipam: object) -> None:
    installer.write_conf("10-bridge.conf", shipped() | {"ipam": ipam})
    for subnets in ("10.99.0.0/16", "10.99.0.0/16,fd00:99::/64"):
        assert "--subnet" in installer.refuse_install(f"--subnet={subnets}")


@pytest.mark.parametrize("ipam", [None, {}])
def test_a_subnet_where_there_was_none_is_host_locals(installer: Installer, ipam: object) -> None:
    installer.write_conf("10-bridge.conf", shipped() | {"ipam": ipam})
    installer.install("--subnet=10.99.0.0/16")
    assert installer.conf()["ipam"] == {"type": "host-local", "subnet": "10.99.0.0/16"}


# --- chains ---


def test_a_plugin_of_the_chain_that_is_missing_is_said_first(installer: Installer) -> None:
    complaint = installer.refuse_install("--conf=10-bridge.conflist")
    assert f"needs the plugin portmap, which is not in {BIN}" in complaint
    assert "apt-get install containernetworking-plugins" in complaint


def test_force_installs_the_chain_all_the_same(installer: Installer) -> None:
    said = installer.install("--conf=10-bridge.conflist", "--force")
    assert "WARNING: 10-bridge.conflist needs the plugin portmap" in said
    assert installer.picked_up() == ["10-bridge.conflist"]


def test_an_ipam_plugin_that_is_missing_is_said_first(installer: Installer) -> None:
    conf = {"cniVersion": "1.0.0", "name": "podnet", "type": "cni-bridge-py", "ipam": {"type": "dhcp"}}
    installer.write_conf("10-bridge.conf", conf)
    assert "needs the plugin dhcp" in installer.refuse_install()


# --- FORWARD ---

RULES = {
    "policy": "iptables -P FORWARD DROP",
    "last rule": "iptables -A FORWARD -p tcp -j ACCEPT; iptables -A FORWARD -j REJECT",
    "IPv6": "ip6tables -P FORWARD DROP",
    "legacy": "iptables-legacy -P FORWARD DROP",
}
NATIVE = (
    "nft add table inet guard; nft add chain inet guard forward '{ type filter hook forward priority 0; policy drop; }'"
)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_what_drops_forwarded_packets_is_said(installer: Installer, rules: str) -> None:
    installer.node.run("sh", "-c", rules)
    said = installer.install()
    assert "WARNING: pods reach nothing beyond this node, unless a rule accepts their packets: chain FORWARD" in said
    assert "--conf 10-bridge-firewall.conflist" in said
    assert installer.picked_up() == ["10-bridge.conf"]


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_the_list_with_firewall_is_chosen_where_that_plugin_is_there(installer: Installer, rules: str) -> None:
    installer.node.run("sh", "-c", f"cp /usr/lib/cni/portmap /usr/lib/cni/firewall {BIN}; {rules}")
    said = installer.install()
    assert "This node drops forwarded packets" in said
    assert "WARNING" not in said
    assert installer.picked_up() == ["10-bridge-firewall.conflist"]


def test_an_upgrade_keeps_its_configuration_there_and_says_what_would_help(installer: Installer) -> None:
    installer.node.run("sh", "-c", f"cp /usr/lib/cni/portmap /usr/lib/cni/firewall {BIN}")
    installer.install()
    installer.node.run("iptables", "-P", "FORWARD", "DROP")
    assert "--conf 10-bridge-firewall.conflist" in installer.install()
    assert installer.picked_up() == ["10-bridge.conf"]


def test_a_table_that_the_plugin_firewall_cannot_open_is_said_with_the_rules_that_do(installer: Installer) -> None:
    installer.node.run("sh", "-c", f"cp /usr/lib/cni/portmap /usr/lib/cni/firewall {BIN}; {NATIVE}")
    said = installer.install()
    assert "chain forward of table inet guard: policy drop" in said
    (rules,) = [line.partition("policy drop. ")[2] for line in said.splitlines() if "inet guard" in line]
    installer.node.run("sh", "-c", rules)
    assert "accept" in installer.node.run("nft", "list", "table", "inet", "guard").stdout
    assert installer.picked_up() == ["10-bridge.conf"]


def test_nothing_is_said_where_nothing_drops(installer: Installer) -> None:
    installer.node.run("sh", "-c", "iptables -A FORWARD -p tcp -j DROP; iptables -A FORWARD -j ACCEPT")
    assert "WARNING" not in installer.install()
