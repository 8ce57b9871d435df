"""Network configurations for tests, and readers for what attachments to them leave in a node."""

from __future__ import annotations

import re
from typing import Any

from tests.harness import Json, Node, Plugin, Pod

NAME = "podnet"
BRIDGE = "cni0"
SUBNET = {4: "10.22.0.0/24", 6: "fd00:22::/64"}
GATEWAY = {4: "10.22.0.1/24", 6: "fd00:22::1/64"}
FIRST = {4: "10.22.0.2/24", 6: "fd00:22::2/64"}
"""What the first pod of a network gets."""
DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}
TABLE = "inet cni-bridge-py"
FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


def network(*versions: int, ipam: Json | None = None, **keys: Any) -> Json:
    """A configuration with one range set for each IP version; `keys` and `ipam` go over it."""
    ranges = [[{"subnet": SUBNET[version]}] for version in versions]
    return {
        "cniVersion": "1.1.0",
        "name": NAME,
        "bridge": BRIDGE,
        "ipam": {"type": "host-local", "ranges": ranges, **(ipam or {})},
        **keys,
    }


def dual_stack(**keys: Any) -> Json:
    """A configuration with all that a pod usually has: both IP versions, a gateway, a way out."""
    return network(4, 6, **{"isDefaultGateway": True, "ipMasq": True, **keys})


def small(subnet: str = "10.22.0.0/29", **keys: Any) -> Json:
    """A network with few addresses: a /29 has five for pods."""
    return network(**{"isGateway": True, "ipam": {"ranges": [[{"subnet": subnet}]]}, **keys})


def bare(address: str) -> str:
    """An address without its prefix length."""
    return address.partition("/")[0]


def host_veth(result: Json) -> str:
    """The name of the host's end in a result: the interface of the host that is no bridge."""
    _, host, _ = result["interfaces"]
    assert "sandbox" not in host
    return str(host["name"])


def addresses_of(result: Json) -> list[str]:
    """The addresses in a result, without prefix lengths."""
    return [bare(ip["address"]) for ip in result["ips"]]


def add_pod(plugin: Plugin, node: Node, conf: Json, **kwargs: Any) -> tuple[Pod, Json]:
    """Make a pod and attach it; the pod and the result. `kwargs` are `Plugin.call`'s."""
    pod = node.pod()
    return pod, plugin.add(node, conf, pod, **kwargs)


def masquerade_rules(node: Node, name: str = NAME) -> list[str]:
    """The rules of a network's chain as nft prints them, comments left out; [] without chain."""
    printed = node.run("nft", "list", "chain", *TABLE.split(), f"masquerade-{name}", check=False).stdout
    lines = [line.strip() for line in printed.splitlines()]
    return [re.sub(' comment ".*"', "", line) for line in lines if line.startswith(("ip ", "ip6 "))]


def expected_rules(*versions: int) -> list[str]:
    """The masquerade rules of a network with the usual subnets and no exceptions."""
    family = {4: "ip", 6: "ip6"}
    multicast = {4: "224.0.0.0/4", 6: "ff00::/8"}
    return [
        *(f"{family[v]} daddr {SUBNET[v]} return" for v in versions),
        *(f"{family[v]} daddr {multicast[v]} return" for v in versions),
        *(f"{family[v]} saddr {SUBNET[v]} masquerade fully-random" for v in versions),
    ]


def sysctl(node: Node | Pod, name: str) -> str:
    """A kernel parameter as that machine's processes see it; a dot in an interface's name is a slash in `name`."""
    return node.run("sysctl", "-n", name).stdout.strip()


def veths(node: Node) -> list[str]:
    """The names of the node's veth ends."""
    return [name for name, link in node.links().items() if link.get("linkinfo", {}).get("info_kind") == "veth"]


def store_files(node: Node, name: str = NAME) -> list[str]:
    """Everything in a network's lease directory but what stays: the lock, the marks, the empty index."""
    directory = node.root / "var/lib/cni/networks" / name
    found = [str(path.relative_to(directory)) for path in sorted(directory.rglob("*"))]
    return [path for path in found if path not in ("lock", ".attachments") and "last_reserved_ip" not in path]


def assert_nothing_left(node: Node, name: str = NAME) -> None:
    """No attachment has left anything in the node: no veth, no lease, nothing in the leases' index."""
    assert veths(node) == []
    assert store_files(node, name) == []
