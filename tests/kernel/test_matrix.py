"""Every combination of gateway, masquerade, IP versions, MTU and hairpin: all that an ADD makes and a DEL takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.harness import Json, Node, Plugin, Pod
from tests.kernel.networks import (
    BRIDGE,
    DEFAULT,
    FIRST,
    FORWARDING,
    GATEWAY,
    NAME,
    add_pod,
    addresses_of,
    bare,
    host_veth,
    masqueraded,
    network,
    sysctl,
    veths,
)


class Case(NamedTuple):
    """One combination."""

    gateway: str
    masquerade: bool
    versions: tuple[int, ...]
    mtu: int
    hairpin: bool

    def __str__(self) -> str:
        words = [self.gateway, "+".join(f"v{version}" for version in self.versions)]
        words += ["masq"] if self.masquerade else []
        words += [f"mtu{self.mtu}"] if self.mtu else []
        words += ["hairpin"] if self.hairpin else []
        return "-".join(words)

    @property
    def conf(self) -> Json:
        """The configuration; what is off or default is left out."""
        keys: Json = {}
        if self.gateway != "L2":
            keys[self.gateway] = True
        if self.masquerade:
            keys["ipMasq"] = True
        if self.mtu:
            keys["mtu"] = self.mtu
        if self.hairpin:
            keys["hairpinMode"] = True
        return network(*self.versions, **keys)

    @property
    def has_gateway(self) -> bool:
        """Whether the bridge has the gateway's addresses."""
        return self.gateway != "L2"

    @property
    def default_routes(self) -> dict[int, str]:
        """The default route's gateway for each IP version."""
        if self.gateway != "isDefaultGateway":
            return {}
        return {version: bare(GATEWAY[version]) for version in self.versions}


CASES = [
    Case(*values)
    for values in itertools.product(
        ("L2", "isGateway", "isDefaultGateway"), (False, True), ((4,), (6,), (4, 6)), (0, 1400), (False, True)
    )
]


class Attached(NamedTuple):
    """A fresh node with one pod attached."""

    case: Case
    node: Node
    before: Json
    pod: Pod
    result: Json

    @property
    def veth(self) -> str:
        """The host's end."""
        return host_veth(self.result)


def _param(case: Case) -> object:
    # MTU and hairpin mode have nothing to do with each other: both or neither shows as much, in half the time.
    marks = [pytest.mark.slow] if bool(case.mtu) != case.hairpin else []
    return pytest.param(case, marks=marks, id=str(case))


@pytest.fixture(scope="module", params=[_param(case) for case in CASES])
def attached(request: pytest.FixtureRequest, root: None, plugin: Plugin) -> Iterator[Attached]:
    """The tests below look at it one after the other; the last one takes the pod away."""
    case: Case = request.param
    with Node() as node:
        pod = node.pod()
        before = node.snapshot()
        yield Attached(case, node, before, pod, plugin.add(node, case.conf, pod))


def test_links(attached: Attached) -> None:
    links = attached.node.links()
    assert set(links) == {"lo", BRIDGE, attached.veth}
    bridge, host, pod = links[BRIDGE], links[attached.veth], attached.pod.link("eth0")
    assert set(attached.pod.links()) == {"lo", "eth0"}
    assert [link["linkinfo"]["info_kind"] for link in (bridge, host, pod)] == ["bridge", "veth", "veth"]
    assert all("UP" in link["flags"] for link in (bridge, host, pod))
    assert host["master"] == BRIDGE
    assert (host["link_index"], pod["link_index"]) == (pod["ifindex"], host["ifindex"])


def test_mtu(attached: Attached) -> None:
    links = attached.node.links()
    expected = attached.case.mtu or 1500
    assert [links[BRIDGE]["mtu"], links[attached.veth]["mtu"], attached.pod.link("eth0")["mtu"]] == [expected] * 3


def test_pod_addresses(attached: Attached) -> None:
    assert attached.pod.addresses() == [FIRST[version] for version in attached.case.versions]
    (link,) = attached.pod.ip_json("address", "show", "dev", "eth0")
    told = [address for address in link["addr_info"] if address["scope"] != "link"]
    assert not any(address.get("tentative") for address in told), "the pod would have to wait for its address"
    if 4 in attached.case.versions:
        assert told[0]["broadcast"] == "10.22.0.255"


def test_pod_routes(attached: Attached) -> None:
    for version in (4, 6):
        routes = [route for route in attached.pod.routes(version) if not route["dst"].startswith("fe80")]
        found = {route["dst"]: (route["dev"], route.get("gateway")) for route in routes}
        expected: dict[str, tuple[str, str | None]] = {}
        if version in attached.case.versions:
            expected[network(version)["ipam"]["ranges"][0][0]["subnet"]] = ("eth0", None)
        if version in attached.case.default_routes:
            expected["default"] = ("eth0", attached.case.default_routes[version])
        assert found == expected


def test_bridge_addresses(attached: Attached) -> None:
    expected = [GATEWAY[version] for version in attached.case.versions] if attached.case.has_gateway else []
    assert attached.node.addresses(BRIDGE) == expected


def test_forwarding(attached: Attached) -> None:
    on = attached.case.versions if attached.case.has_gateway else ()
    found = {version: sysctl(attached.node, FORWARDING[version]) for version in (4, 6)}
    assert found == {version: "1" if version in on else "0" for version in (4, 6)}


def test_hairpin(attached: Attached) -> None:
    port = attached.node.link(attached.veth)["linkinfo"]["info_slave_data"]
    assert port["hairpin"] is attached.case.hairpin


def test_masquerade(attached: Attached) -> None:
    expected = addresses_of(attached.result) if attached.case.masquerade else []
    assert sorted(masqueraded(attached.node)) == sorted(expected)
    chains = attached.node.run("nft", "list", "chains").stdout
    assert chains.count("hook postrouting priority srcnat") == attached.case.masquerade
    assert chains.count("chain ") == 2 * attached.case.masquerade, "the one, and the network's"


def test_leases(attached: Attached) -> None:
    addresses = [bare(FIRST[version]) for version in attached.case.versions]
    assert attached.node.leases(NAME) == dict.fromkeys(addresses, (attached.pod.container_id, "eth0"))
    directory = attached.node.root / "var/lib/cni/networks" / NAME
    for position, address in enumerate(addresses):
        assert (directory / address).read_bytes() == f"{attached.pod.container_id}\r\neth0".encode()
        assert (directory / f"last_reserved_ip.{position}").read_text() == address


def test_result(attached: Attached) -> None:
    case, links, pod = attached.case, attached.node.links(), attached.pod
    mtu = case.mtu or 1500
    assert attached.result == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": BRIDGE, "mac": links[BRIDGE]["address"], "mtu": mtu},
            {"name": attached.veth, "mac": links[attached.veth]["address"], "mtu": mtu},
            {"name": "eth0", "mac": pod.link("eth0")["address"], "mtu": mtu, "sandbox": pod.path},
        ],
        "ips": [
            {"address": FIRST[version], "gateway": bare(GATEWAY[version]), "interface": 2} for version in case.versions
        ],
        **(
            {"routes": [{"dst": DEFAULT[v], "gw": gateway} for v, gateway in case.default_routes.items()]}
            if case.default_routes
            else {}
        ),
    }


def test_check(attached: Attached, plugin: Plugin) -> None:
    before = attached.node.snapshot()
    reply = plugin.check(attached.node, attached.case.conf, attached.pod, attached.result)
    assert (reply.result, reply.stdout) == ({}, "")
    assert attached.node.snapshot() == before


def test_delete(attached: Attached, plugin: Plugin) -> None:
    """Only what pods share stays, and a second pod leaves not even that much."""
    node, conf = attached.node, attached.case.conf
    plugin.delete(node, {**conf, "prevResult": attached.result}, attached.pod)
    after = node.snapshot()
    assert set(after["links"]) == {*attached.before["links"], BRIDGE}
    for kept in ("leases", "namespaces", "rules"):
        assert after[kept] == attached.before[kept]
    assert set(attached.pod.links()) == {"lo"}
    assert veths(node) == []

    second, _ = add_pod(plugin, node, conf)
    plugin.delete(node, conf, second)
    second.close()
    assert node.snapshot() == after
