"""`explain` prints what the plugin does: run as a script, it makes what an ADD makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import Json, Node, Plugin, Pod

CONTAINER_ID = "example"

BASE: Json = {"cniVersion": "1.1.0", "name": "podnet", "bridge": "cni0"}
IPV4: Json = {"type": "host-local", "subnet": "10.22.0.0/16"}
DUAL: Json = {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]]}
ROUTES = [
    {"dst": "192.168.0.0/16", "mtu": 1300, "advmss": 1200, "priority": 50},
    {"dst": "10.99.0.0/16", "gw": "10.22.0.9", "table": 77},
    {"dst": "fd99::/48", "priority": 7},
]

ON_LINK = [
    {"dst": "203.0.113.0/24", "gw": "169.254.1.1"},
    {"dst": "169.254.1.1/32", "gw": "0.0.0.0"},
    {"dst": "198.51.100.0/24", "scope": 253},
    {"dst": "fd98::/48", "gw": "::"},
]

CONFIGURATIONS: dict[str, Json] = {
    "gateway and masquerade": {"isDefaultGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": IPV4},
    "dual stack": {
        "isDefaultGateway": True,
        "ipMasq": True,
        "nonMasqueradeCIDRs": ["10.0.0.0/8", "fd00::/8"],
        "mtu": 1400,
        "ipam": DUAL | {"routes": ROUTES},
    },
    "no gateway": {"ipam": IPV4},
    "promiscuous": {"promiscMode": True, "isGateway": True, "ipam": IPV4},
    "guarded and isolated": {"macspoofchk": True, "portIsolation": True, "isGateway": True, "ipam": DUAL},
    "a MAC of its own": {"args": {"cni": {"mac": "02:00:00:00:00:07"}}, "ipam": IPV4},
    "bridge netfilter": {"bridgeNetfilter": True, "isGateway": True, "ipam": IPV4},
    "layer 2 alone": {"ipam": {}},
    "duplicates looked for": {"enabledad": True, "ipam": DUAL},
    "routes on link": {"ipam": DUAL | {"routes": ON_LINK}},
    "a name that a shell would take apart": {
        "bridge": "b;id>$x'&",
        "promiscMode": True,
        "isGateway": True,
        "ipam": DUAL,
    },
}
VLANS: dict[str, Json] = {
    "VLAN": {"vlan": 100, "isGateway": True, "mtu": 1400, "ipam": DUAL},
    "VLAN, and the default one": {"vlan": 100, "preserveDefaultVlan": True, "ipam": IPV4},
    "trunk": {"vlanTrunk": [{"minID": 1, "maxID": 9}, {"id": 12}], "isGateway": True, "ipam": IPV4},
    "trunk with a native VLAN": {"vlan": 9, "vlanTrunk": [{"minID": 1, "maxID": 9}], "ipam": {}},
}


def explain(plugin: Plugin, node: Node, conf: Json, verb: str = "ADD") -> str:
    argv = (*plugin.argv, "explain", "--verb", verb, "--conf", "-")
    return node.run(*argv, input=json.dumps({"type": plugin.type, **conf})).stdout


def state(node: Node, pod: Pod) -> Json:
    """What both ways must have in common: all but lease files, and MACs that the kernel chose."""
    seen = {"node": node.snapshot(), "pod": (pod.addresses(), pod.link("eth0"))}
    routes = [route for version in (4, 6) for route in pod.routes(version, table="all")]
    # The kernel adds those of link-local addresses when it finds the time.
    seen["detection"] = pod.run("sh", "-c", "grep . /proc/sys/net/ipv6/conf/*/accept_dad").stdout
    seen["vlans"] = node.run("bridge", "vlan", "show").stdout
    seen["tables"] = [route for route in routes if not route["dst"].startswith(("fe80:", "ff00:"))]
    kept: Json = without(seen, {"leases", "ifindex", "link_index", "link_netnsid", "link_netns", "linkinfo"})
    return kept


def without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: without(item, keys) for key, item in value.items() if key not in keys}
    if isinstance(value, list | tuple):
        return [without(item, keys) for item in value]
    return value


@pytest.mark.parametrize(
    "name", [*CONFIGURATIONS, *(pytest.param(name, marks=pytest.mark.vlan_filtering) for name in VLANS)]
)
def test_the_script_makes_what_the_plugin_makes(name: str, plugin: Plugin, make_node: Any) -> None:
    conf = BASE | (CONFIGURATIONS | VLANS)[name]
    typed, called = make_node(), make_node()
    by_hand, by_plugin = typed.pod("example"), called.pod("example")
    typed.run("sh", "-e", input=explain(plugin, typed, conf))
    args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=example"
    plugin.add(called, conf, by_plugin, container_id=CONTAINER_ID, args=args)

    expected, found = state(called, by_plugin), state(typed, by_hand)
    if "vlan" in conf or ("isGateway" not in conf and "isDefaultGateway" not in conf):
        expected, found = (without(each, {"address"}) for each in (expected, found))  # the kernel chose the bridge's
    assert found == expected


def test_the_script_for_del_undoes_the_one_for_add(plugin: Plugin, node: Node) -> None:
    conf = BASE | CONFIGURATIONS["guarded and isolated"]
    node.run("sh", "-e", input=explain(plugin, node, conf))
    veths = [name for name in node.links() if name.startswith("veth")]
    node.run("sh", "-e", input=explain(plugin, node, conf, "DEL"))
    assert len(veths) == 1
    assert veths[0] not in node.links()
    assert veths[0] not in node.run("nft", "list", "ruleset").stdout


def test_it_takes_our_entry_of_a_list(plugin: Plugin, node: Node) -> None:
    entry = {"type": "cni-bridge-py", "bridge": "br7", "ipam": IPV4}
    conf = {"cniVersion": "1.0.0", "name": "chained", "plugins": [entry, {"type": "portmap"}]}
    node.write("/etc/cni/net.d/10-bridge.conflist", json.dumps(conf))
    script = node.run(*plugin.argv, "explain").stdout
    assert "ip link add br7 up" in script
    assert "/var/lib/cni/networks/chained" in script


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "standard input: "),
        ("[]", "it is not a JSON object"),
        ('{"name": "x", "mtu": "big"}', "mtu: expected an integer"),
        ('{"name": "x", "plugins": [{"type": "bridge"}]}', "no plugin of type cni-bridge-py"),
    ],
)
def test_a_configuration_that_the_plugin_would_refuse_is_refused(
    text: str, message: str, plugin: Plugin, node: Node
) -> None:
    done = node.run(*plugin.argv, "explain", "--conf", "-", input=text, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_without_a_configuration_it_says_how_to_name_one(plugin: Plugin, node: Node) -> None:
    done = node.run(*plugin.argv, "explain", check=False)
    assert done.returncode == 2
    assert "--conf FILE" in done.stderr


def test_another_plugins_addresses_are_said_where_they_come(plugin: Plugin, node: Node) -> None:
    """The cable first, then the address; and the other way round when it is taken away."""
    conf = BASE | {"ipam": {"type": "dhcp"}}
    lines = explain(plugin, node, conf).splitlines()
    asked = lines.index("# Addresses come from the plugin dhcp, which is not run here.")
    assert "nsenter --net=$POD ip link set eth0 up" in lines[:asked]


def test_a_name_of_a_file_does_not_end_a_comment(plugin: Plugin, node: Node) -> None:
    path = "/run/a\ntouch /run/touched\n"
    node.write(path, json.dumps({"type": plugin.type, **BASE}))
    script = node.run(*plugin.argv, "explain", "--conf", path).stdout
    assert "touch /run/touched" not in script.splitlines()


def test_a_running_pod_is_explained_by_what_made_it(plugin: Plugin, make_node: Callable[[], Node]) -> None:
    """Run on another node, the script makes the same as there is for the pod here."""
    typed, called = make_node(), make_node()
    conf = BASE | {"type": plugin.type} | CONFIGURATIONS["dual stack"] | {"macspoofchk": True}
    plugin.install(called)
    called.write("/etc/cni/net.d/10-bridge.conf", json.dumps(conf))
    by_hand, by_plugin = typed.pod("web"), called.pod("web")
    args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"
    plugin.add(called, conf | {"args": {"cni": {"mac": "02:00:00:00:00:07"}}}, by_plugin, args=args)
    script = called.run(*plugin.argv, "explain", "--pod", "shop/web").stdout
    assert by_plugin.container_id in script
    typed.run("sh", "-e", input=script)
    assert state(typed, by_hand) == state(called, by_plugin)
    called.run("sh", "-e", input=called.run(*plugin.argv, "explain", "--verb", "DEL", "--pod", "shop/web").stdout)
    assert by_plugin.run("ip", "link", "show", "eth0", check=False).returncode != 0


def test_a_running_pods_names_are_quoted(plugin: Plugin, make_node: Callable[[], Node]) -> None:
    typed, called = make_node(), make_node()
    conf = BASE | {"type": plugin.type, "isGateway": True, "ipam": DUAL}
    plugin.install(called)
    called.write("/etc/cni/net.d/10-bridge.conf", json.dumps(conf))
    by_hand, by_plugin = typed.pod("web"), called.pod("web")
    ifname, name = "e;id>$x'&", "web'`touch /run/touched`\ntouch /run/touched\n"
    args = f"K8S_POD_NAMESPACE=shop;K8S_POD_NAME={name}"
    plugin.add(called, conf, by_plugin, args=args, ifname=ifname)
    shown = name.replace("\n", "?")  # as `list` shows it
    for verb in ("ADD", "DEL"):
        script = called.run(*plugin.argv, "explain", "--verb", verb, "--pod", f"shop/{shown}").stdout
        typed.run("sh", "-e", input=script)
        assert (ifname in by_hand.links()) == (verb == "ADD")
    assert not (typed.root / "run/touched").exists()
