"""A picture of an attachment: all that its pod and the node's operator see of it, in a form to compare.

What differs from one run to the next (veth names, indexes, container ids) is left out or called by its role.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.harness import Json, Machine, Node, Pod, Reply

VETH = re.compile(r"\bveth[0-9a-f]{6,11}\b")
CONTAINER_ID = re.compile(r"\b[0-9a-f]{64}\b")

VOLATILE = ("timer", "root_", "topology", "bridge_id", "designated", "state", "learned")
"""What a bridge and its ports count, elect or learn."""

ROUTE_KEYS = ("type", "dst", "gateway", "dev", "table", "protocol", "scope", "prefsrc", "metric", "metrics")


def of_success(node: Node, pod: Pod, result: Json) -> Json:
    """What there is after an ADD."""
    seen = {"result": of_result(result), "node": of_node(node), "pod": of_machine(pod)}
    return {**seen, "name of the host veth": result["interfaces"][1]["name"] if "interfaces" in result else None}


def of_reply(reply: Reply) -> Json:
    """What a runtime is told by a call that has no result."""
    if reply.status == 0:
        return {"status": 0, "answer": json.loads(reply.stdout) if reply.stdout else None}
    return {"status": reply.status, "code": reply.error["code"], "cniVersion": reply.error.get("cniVersion")}


def of_pods(node: Node) -> list[str]:
    """What the node has of its pods: host veths and leases."""
    veths = [name for name in node.links() if VETH.fullmatch(name)]
    return veths + [file for file in _lease_files(node) if not file.endswith("lock") and "last_reserved" not in file]


def of_result(result: Json) -> Json:
    """A result: its MACs are left out, which the links' tell."""
    named = _renamed(result)
    for interface in named.get("interfaces", []):
        assert interface.pop("mac"), f"an interface without a MAC: {result}"
        interface["sandbox"] = "the pod" if interface.get("sandbox") else "the node"
    assert isinstance(named, dict)
    return named


def of_node(node: Node) -> Json:
    """The node: its network, and who holds which address."""
    directory = node.root / "var/lib/cni"
    leases = {file: (directory / file).read_bytes().decode() for file in _lease_files(node)}
    modes = {file: oct((directory / file).stat().st_mode & 0o777) for file in leases}
    found = {"leases": _renamed(leases), "modes": _renamed(modes), "packet filter": _packet_filter(node)}
    return {**of_machine(node), **found}


def of_machine(machine: Machine) -> Json:
    """A network namespace: links, addresses, routes, and the parameters of its IP stack."""
    names = {link["ifindex"]: name for name, link in machine.links().items()}
    found: Json = _renamed(
        {
            "links": {name: _link(link, names) for name, link in machine.links().items()},
            "addresses": {
                f"{address['local']}/{address['prefixlen']} on {link['ifname']}": _address(address)
                for link in machine.ip_json("address", "show")
                for address in link["addr_info"]
                if not address["local"].startswith("fe80:")
            },
            "routes": {
                " ".join(f"{key} {route[key]}" for key in ROUTE_KEYS if route.get(key)): True
                for version in (4, 6)
                for route in machine.routes(version, table="all")
                if not route["dst"].startswith(("fe80:", "ff00:"))
            },
            "sysctls": _sysctls(machine),
        }
    )
    return found


def differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two pictures differ: the path to the place, and what is there in each (None for nothing)."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}/{key}")
    elif one != other:
        yield path, one, other


def _link(link: Json, names: dict[int, str]) -> Json:
    info = link.get("linkinfo", {})
    settings = {f"{key} (bridge)": value for key, value in info.get("info_data", {}).items()}
    settings |= {f"{key} (port)": value for key, value in info.get("info_slave_data", {}).items()}
    return {
        "kind": info.get("info_kind"),
        "flags": [flag for flag in link["flags"] if flag not in ("LOWER_UP", "NO-CARRIER")],
        "mac": link["address"],
        **{key: link.get(key) for key in ("mtu", "master", "txqlen", "qdisc", "ifalias", "group", "promiscuity")},
        "settings": {key: value for key, value in settings.items() if not any(word in key for word in VOLATILE)},
    }


def _address(address: Json) -> Json:
    return {key: address.get(key) for key in ("broadcast", "scope", "label", "valid_life_time", "nodad", "dynamic")}


def _sysctls(machine: Machine) -> dict[str, str]:
    # Read by a process of the namespace: /proc/sys/net shows its reader's.
    trees = ("ipv4/conf", "ipv6/conf", "ipv4/ip_forward")
    argv = ("grep", "-rs", ".", *(f"/proc/sys/net/{tree}" for tree in trees))
    lines = machine.run(*argv, check=False).stdout.splitlines()
    return dict(line.removeprefix("/proc/sys/net/").split(":", 1) for line in lines if "stable_secret" not in line)


def _lease_files(node: Node) -> list[str]:
    directory = node.root / "var/lib/cni"
    return [str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()]


def _packet_filter(node: Node) -> dict[str, bool]:
    lines = node.run("nft", "list", "ruleset").stdout.splitlines()
    return {line.removesuffix(" {"): True for line in lines if line.startswith("table")}


def _renamed(value: Any) -> Any:
    """The same with host veths and container ids called by their role."""
    if isinstance(value, dict):
        return {_renamed(key): _renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    return VETH.sub("HOST-VETH", CONTAINER_ID.sub("ID", value)) if isinstance(value, str) else value
