"""Network configurations for tests, and readers for what attachments to them leave in a node."""

from __future__ import annotations

import json
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
    """The name of the host's end in a result, whose last three interfaces are ours: bridge, host's end, pod's."""
    _, host, _ = result["interfaces"][-3:]
    assert "sandbox" not in host
    return str(host["name"])


def addresses_of(result: Json) -> list[str]:
    """The addresses in a result, without prefix lengths."""
    return [bare(ip["address"]) for ip in result["ips"]]


def add_pod(plugin: Plugin, node: Node, conf: Json, **kwargs: Any) -> tuple[Pod, Json]:
    """Make a pod and attach it; the pod and the result. `kwargs` are `Plugin.call`'s."""
    pod = node.pod()
    return pod, plugin.add(node, conf, pod, **kwargs)


def tables(node: Node) -> list[Json]:
    """What our two tables hold, as `nft -j` says it."""
    listed = json.loads(node.run("nft", "-j", "list", "ruleset").stdout)["nftables"]
    return [body for entry in listed for body in entry.values() if body.get("table") == "cni-bridge-py"]


def filter_sets(node: Node) -> dict[str, dict[str, str]]:
    """The sets of our two tables by name: elements and comments of pods, without all other elements."""
    found: dict[str, dict[str, str]] = {}
    for body in tables(node):
        if "type" in body and "hook" not in body and "name" in body:
            elements = [_element(each) for each in body.get("elem", [])]
            found[body["name"]] = {
                key: said for key, said in elements if not said.startswith("of no pod") and key not in ("0.0.0.0", "::")
            }
    return found


def _element(element: Any) -> tuple[str, str]:
    wrapped = element["elem"] if isinstance(element, dict) and "elem" in element else {"val": element}
    value = wrapped["val"]
    if isinstance(value, dict) and "prefix" in value:
        value = f"{value['prefix']['addr']}/{value['prefix']['len']}"
    return " ".join(map(str, value["concat"])) if isinstance(value, dict) else str(value), wrapped.get("comment", "")


def masqueraded(node: Node) -> dict[str, str]:
    """The addresses that are masqueraded, and the host veths of whose pods they are."""
    sets = filter_sets(node).items()
    return {address: veth for name, found in sets if name.startswith("pods") for address, veth in found.items()}


def guarded(node: Node) -> dict[str, str]:
    """The host veths of guarded pods, and the MAC that each may send from."""
    return dict(each.split(" ") for each in filter_sets(node).get("macs", {}))


def exceptions(node: Node) -> set[str]:
    """The networks that are not masqueraded to, of all networks of ours."""
    sets = filter_sets(node).items()
    return {network for name, found in sets if name.startswith("exceptions") for network in found}


def filter_left(node: Node) -> list[str]:
    """What the packet filter has of attachments and networks: nothing, once the last has gone."""
    chains = [body["name"] for body in tables(node) if "handle" in body and "chain" not in body and "hook" not in body]
    sets = filter_sets(node)
    shared = {"attachments", "guarded", "macs"}
    rules = [body["comment"] for body in tables(node) if body.get("chain") == "postrouting"]
    return [
        *(name for name in chains if name not in shared),
        *(f"{name}: {key}" for name in shared & set(sets) for key in sets[name]),
        *(comment for comment in rules if comment != "multicast"),
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
    """No attachment has left anything in the node: no veth, no rule, no lease, nothing in the leases' index."""
    assert veths(node) == []
    assert filter_left(node) == []
    assert store_files(node, name) == []
