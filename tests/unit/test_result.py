"""Results in every version of the specification, against documents written out here."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cni_bridge_py.cni.result import (
    NEWEST,
    VERSIONS,
    Interface,
    IPConfig,
    Result,
    Route,
    decode,
    encode,
    passed_on,
    speaks,
)
from tests.unit.support import ip_config, refusal, route_to

INTERFACES = [
    Interface("cni0", "0a:58:0a:01:00:01", "", 1400),
    Interface("veth1", "02:00:00:00:00:01", "", 1400),
    Interface("eth0", "0a:58:0a:01:00:02", "/run/netns/pod", 1400, "/run/socket", "0000:00:1f.6"),
]
PLAIN_INTERFACES = [
    {"name": "cni0", "mac": "0a:58:0a:01:00:01"},
    {"name": "veth1", "mac": "02:00:00:00:00:01"},
    {"name": "eth0", "mac": "0a:58:0a:01:00:02", "sandbox": "/run/netns/pod"},
]
FULL_INTERFACES = [
    {"name": "cni0", "mac": "0a:58:0a:01:00:01", "mtu": 1400},
    {"name": "veth1", "mac": "02:00:00:00:00:01", "mtu": 1400},
    {
        "name": "eth0",
        "mac": "0a:58:0a:01:00:02",
        "mtu": 1400,
        "socketPath": "/run/socket",
        "pciID": "0000:00:1f.6",
        "sandbox": "/run/netns/pod",
    },
]
DNS = {"nameservers": ["10.1.0.1"], "domain": "example.test", "search": ["a.test"], "options": ["ndots:5"]}
ROUTE_FIELDS = {"mtu": 1300, "advmss": 1260, "priority": 7, "table": 0, "scope": 0}

IPV4 = ip_config("10.1.0.2/16", "10.1.0.1", 2)
IPV6 = ip_config("fd00::2/64", "fd00::1", 2)
DEFAULT4 = route_to("0.0.0.0/0", "10.1.0.1")
DEFAULT6 = route_to("::/0", "fd00::1")
SPECIAL4 = route_to("192.168.0.0/16", "", 1300, 1260, 7, 0, 0)
SPECIAL6 = route_to("fd01::/64")

RESULTS = {
    "IPv4": Result(INTERFACES, [IPV4], [], {}),
    "IPv6": Result(INTERFACES, [IPV6], [], {}),
    "dual stack": Result(INTERFACES, [IPV4, IPV6], [DEFAULT4, DEFAULT6], {}),
    "routes": Result(INTERFACES, [IPV6, IPV4], [SPECIAL6, DEFAULT4, SPECIAL4], {}),
    "dns": Result(INTERFACES, [ip_config("10.1.0.2/16", "", 2)], [], DNS),
    "no ips": Result(INTERFACES, [], [], {}),
    "nothing": Result([], [], [], {}),
}

VERSION_4 = {"version": "4", "interface": 2, "address": "10.1.0.2/16", "gateway": "10.1.0.1"}
VERSION_6 = {"version": "6", "interface": 2, "address": "fd00::2/64", "gateway": "fd00::1"}
ADDRESS_4 = {"interface": 2, "address": "10.1.0.2/16", "gateway": "10.1.0.1"}
ADDRESS_6 = {"interface": 2, "address": "fd00::2/64", "gateway": "fd00::1"}
TO_DEFAULT4 = {"dst": "0.0.0.0/0", "gw": "10.1.0.1"}
TO_DEFAULT6 = {"dst": "::/0", "gw": "fd00::1"}
TO_SPECIAL4 = {"dst": "192.168.0.0/16"}
TO_SPECIAL6 = {"dst": "fd01::/64"}

OF_0_1: dict[str, dict[str, Any]] = {
    "IPv4": {"ip4": {"ip": "10.1.0.2/16", "gateway": "10.1.0.1"}, "dns": {}},
    "IPv6": {"ip6": {"ip": "fd00::2/64", "gateway": "fd00::1"}, "dns": {}},
    "dual stack": {
        "ip4": {"ip": "10.1.0.2/16", "gateway": "10.1.0.1", "routes": [TO_DEFAULT4]},
        "ip6": {"ip": "fd00::2/64", "gateway": "fd00::1", "routes": [TO_DEFAULT6]},
        "dns": {},
    },
    "routes": {
        "ip4": {"ip": "10.1.0.2/16", "gateway": "10.1.0.1", "routes": [TO_DEFAULT4, TO_SPECIAL4]},
        "ip6": {"ip": "fd00::2/64", "gateway": "fd00::1", "routes": [TO_SPECIAL6]},
        "dns": {},
    },
    "dns": {"ip4": {"ip": "10.1.0.2/16"}, "dns": DNS},
    "no ips": {"dns": {}},
    "nothing": {"dns": {}},
}
OF_0_3: dict[str, dict[str, Any]] = {
    "IPv4": {"interfaces": PLAIN_INTERFACES, "ips": [VERSION_4], "dns": {}},
    "IPv6": {"interfaces": PLAIN_INTERFACES, "ips": [VERSION_6], "dns": {}},
    "dual stack": {
        "interfaces": PLAIN_INTERFACES,
        "ips": [VERSION_4, VERSION_6],
        "routes": [TO_DEFAULT4, TO_DEFAULT6],
        "dns": {},
    },
    "routes": {
        "interfaces": PLAIN_INTERFACES,
        "ips": [VERSION_6, VERSION_4],
        "routes": [TO_SPECIAL6, TO_DEFAULT4, {**TO_SPECIAL4, **ROUTE_FIELDS}],
        "dns": {},
    },
    "dns": {
        "interfaces": PLAIN_INTERFACES,
        "ips": [{"version": "4", "interface": 2, "address": "10.1.0.2/16"}],
        "dns": DNS,
    },
    "no ips": {"interfaces": PLAIN_INTERFACES, "dns": {}},
    "nothing": {"dns": {}},
}
OF_1_0: dict[str, dict[str, Any]] = {
    "IPv4": {"interfaces": PLAIN_INTERFACES, "ips": [ADDRESS_4]},
    "IPv6": {"interfaces": PLAIN_INTERFACES, "ips": [ADDRESS_6]},
    "dual stack": {
        "interfaces": PLAIN_INTERFACES,
        "ips": [ADDRESS_4, ADDRESS_6],
        "routes": [TO_DEFAULT4, TO_DEFAULT6],
    },
    "routes": {
        "interfaces": PLAIN_INTERFACES,
        "ips": [ADDRESS_6, ADDRESS_4],
        "routes": [TO_SPECIAL6, TO_DEFAULT4, {**TO_SPECIAL4, **ROUTE_FIELDS}],
    },
    "dns": {"interfaces": PLAIN_INTERFACES, "ips": [{"interface": 2, "address": "10.1.0.2/16"}], "dns": DNS},
    "no ips": {"interfaces": PLAIN_INTERFACES},
    "nothing": {},
}
OF_1_1: dict[str, dict[str, Any]] = {
    "IPv4": {"interfaces": FULL_INTERFACES, "ips": [ADDRESS_4]},
    "IPv6": {"interfaces": FULL_INTERFACES, "ips": [ADDRESS_6]},
    "dual stack": {
        "interfaces": FULL_INTERFACES,
        "ips": [ADDRESS_4, ADDRESS_6],
        "routes": [TO_DEFAULT4, TO_DEFAULT6],
    },
    "routes": {
        "interfaces": FULL_INTERFACES,
        "ips": [ADDRESS_6, ADDRESS_4],
        "routes": [TO_SPECIAL6, TO_DEFAULT4, {**TO_SPECIAL4, **ROUTE_FIELDS}],
    },
    "dns": {"interfaces": FULL_INTERFACES, "ips": [{"interface": 2, "address": "10.1.0.2/16"}], "dns": DNS},
    "no ips": {"interfaces": FULL_INTERFACES},
    "nothing": {},
}
DOCUMENTS = {
    "0.1.0": OF_0_1,
    "0.2.0": OF_0_1,
    "0.3.0": OF_0_3,
    "0.3.1": OF_0_3,
    "0.4.0": OF_0_3,
    "1.0.0": OF_1_0,
    "1.1.0": OF_1_1,
}


def test_the_versions_are_the_specifications() -> None:
    assert list(VERSIONS) == list(DOCUMENTS)
    assert NEWEST == "1.1.0"


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("version", DOCUMENTS)
def test_is_written_as_the_version_has_it(version: str, kind: str) -> None:
    assert encode(RESULTS[kind], version) == {"cniVersion": version, **DOCUMENTS[version][kind]}


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("version", DOCUMENTS)
def test_is_read_back_but_for_what_the_version_cannot_hold(version: str, kind: str) -> None:
    result = RESULTS[kind]
    interfaces, ips, routes = result.interfaces, result.ips, result.routes
    if not speaks(version, "1.1.0"):
        interfaces = [Interface(each.name, each.mac, each.sandbox) for each in interfaces]
    if not speaks(version, "0.3.0"):
        interfaces = []
        ips = [IPConfig(each.address, each.gateway) for each in sorted(ips, key=lambda ip: ip.version)]
        routes = [Route(each.dst, each.gw) for each in sorted(routes, key=lambda route: route.version)]
    assert decode(encode(result, version)) == Result(interfaces, ips, routes, result.dns)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
@pytest.mark.parametrize(
    ("addresses", "family"),
    [(["10.1.0.2/16", "10.2.0.2/16"], "IPv4"), (["fd00::2/64", "10.1.0.2/16", "fd01::2/64"], "IPv6")],
)
def test_old_versions_hold_one_address_of_a_family(version: str, addresses: list[str], family: str) -> None:
    result = Result([], [ip_config(each) for each in addresses], [], {})
    error = refusal(encode, result, version)
    assert (error.code, error.msg) == (
        1,
        f"CNI version {version} does not support more than 1 address per family; there are two of {family}",
    )
    for newer in VERSIONS[2:]:
        assert [ip["address"] for ip in encode(result, newer)["ips"]] == addresses


@pytest.mark.parametrize(
    ("document", "result"),
    [
        ({}, Result([], [], [], {})),
        ({"ips": None, "routes": None, "interfaces": None, "dns": None}, Result([], [], [], {})),
        (
            {"ips": [{"version": "4", "address": "10.1.0.2/16"}]},
            Result([], [ip_config("10.1.0.2/16", "", None)], [], {}),
        ),
        (
            {"ips": [{"address": "fd00::2/64", "interface": 0}]},
            Result([], [ip_config("fd00::2/64", "", 0)], [], {}),
        ),
        ({"routes": [{"dst": "::/0", "gw": None}]}, Result([], [], [route_to("::/0")], {})),
        ({"ip4": {"ip": "10.1.0.2/16"}, "ip6": None}, Result([], [ip_config("10.1.0.2/16")], [], {})),
        ({"interfaces": [{"name": "eth0"}], "more": 1}, Result([Interface("eth0", "")], [], [], {})),
    ],
)
def test_reads_what_other_plugins_write(document: dict[str, Any], result: Result) -> None:
    assert decode(document) == result


@pytest.mark.parametrize(
    ("version", "at_least", "answer"),
    [("0.1.0", "0.1.0", True), ("0.3.1", "0.4.0", False), ("1.0.0", "0.4.0", True), ("1.0.0", "1.1.0", False)],
)
def test_versions_are_ordered(version: str, at_least: str, answer: bool) -> None:
    assert speaks(version, at_least) is answer


def test_the_first_of_a_chain_passes_nothing_on() -> None:
    made = RESULTS["dual stack"]
    assert passed_on(None, made) == made


def test_what_was_there_stays_and_numbers_shift() -> None:
    earlier = decode(
        {
            "interfaces": [
                {"name": "wlan0", "mac": "02:00:00:00:00:01", "mtu": 1400},
                {"name": "net1", "sandbox": "/p"},
            ],
            "ips": [{"address": "192.168.7.7/24", "interface": 1}, {"address": "192.168.8.8/24"}],
            "routes": [{"dst": "192.168.0.0/16"}],
            "dns": {"nameservers": ["9.9.9.9", "8.8.8.8"], "domain": "one.test"},
        }
    )
    ours = [Interface("cni0", ""), Interface("veth1", ""), Interface("eth0", "", "/p")]
    dns = {"nameservers": ["8.8.8.8", "1.1.1.1"], "search": ["two.test"], "domain": "two.test"}
    made = Result(ours, [ip_config("10.1.0.2/16", "10.1.0.1", 2), ip_config("fd00::2/64")], [route_to("::/0")], dns)
    assert passed_on(earlier, made) == Result(
        [*earlier.interfaces, *ours],
        [*earlier.ips, ip_config("10.1.0.2/16", "10.1.0.1", 4), ip_config("fd00::2/64")],
        [*earlier.routes, route_to("::/0")],
        {"nameservers": ["9.9.9.9", "8.8.8.8", "1.1.1.1"], "domain": "one.test", "search": ["two.test"]},
    )


def test_keys_of_any_case_are_read() -> None:
    document = {
        "Interfaces": [{"Name": "eth0", "MAC": "02:00:00:00:00:01", "Sandbox": "/p", "SocketPath": "/s"}],
        "IPs": [{"Address": "10.1.0.2/16", "Gateway": "10.1.0.1", "Interface": 0}],
        "Routes": [{"Dst": "10.9.0.0/16", "GW": "10.1.0.9", "AdvMSS": 1260}],
        "DNS": {"Nameservers": ["9.9.9.9"]},
    }
    assert decode(document) == Result(
        [Interface("eth0", "02:00:00:00:00:01", "/p", socket_path="/s")],
        [ip_config("10.1.0.2/16", "10.1.0.1", 0)],
        [route_to("10.9.0.0/16", "10.1.0.9", advmss=1260)],
        {"nameservers": ["9.9.9.9"]},
    )


@pytest.mark.parametrize(
    ("route", "on_link"),
    [
        (route_to("10.9.0.0/16"), False),
        (route_to("10.9.0.0/16", "10.1.0.1"), False),
        (route_to("10.9.0.0/16", "0.0.0.0"), True),
        (route_to("fd01::/64", "::"), True),
        (route_to("10.9.0.0/16", scope=0), False),
        (route_to("10.9.0.0/16", scope=253), True),
        (route_to("10.9.0.0/16", scope=254), True),
        (route_to("10.9.0.0/16", "10.1.0.1", scope=253), False),
    ],
    ids=repr,
)
def test_routes_on_link(route: Route, on_link: bool) -> None:
    assert route.is_on_link == on_link


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        ({"ips": {"a": 1}}, "ips is not a list"),
        ({"ips": [None]}, "ips has a value that is not an object"),
        ({"ips": [{"address": 5}]}, "address is not a string"),
        ({"ips": [{"address": "10.0.0.1/8", "interface": "a"}]}, "interface is not a number from 0 to 4294967295"),
        (
            {"ips": [{"address": "10.0.0.1/8", "gateway": "fd00::1"}]},
            "gateway fd00::1 is not of the same IP version as 10.0.0.1/8",
        ),
        ({"ip4": "x"}, "ip4 is not an object"),
        ({"ip6": {"ip": "x"}}, "invalid CIDR address: 'x' is not a network in CIDR notation"),
        ({"interfaces": ["eth0"]}, "interfaces has a value that is not an object"),
        ({"interfaces": [{}]}, "name is missing"),
        ({"routes": [5]}, "routes has a value that is not an object"),
        ({"routes": [{"dst": "x"}]}, "invalid CIDR address: 'x' is not a network in CIDR notation"),
        ({"routes": [{"dst": "0.0.0.0/0", "scope": 256}]}, "scope is not a number from 0 to 255"),
        ({"dns": ["10.0.0.1"]}, "dns is not an object"),
        ({"dns": {"search": [1]}}, "dns has a value that is not a string"),
    ],
    ids=repr,
)
def test_what_is_no_result_is_said_in_words(encoded: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        decode(encoded)
