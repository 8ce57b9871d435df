"""Every key of the configuration: its default, what it takes, and what is refused in which words."""

from __future__ import annotations

from typing import Any

import netaddr
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_bridge_py.addresses import parse_ip
from cni_bridge_py.cni.result import VERSIONS, Interface, Result
from cni_bridge_py.config import UNUSABLE, read_config, read_ipam_config, valid_attachments
from tests.unit.support import host_local, ip_config, network, range_sets, refusal, route_to, subnets

HOST_LOCAL = {"type": "host-local", "subnet": "10.8.0.0/24"}


def refused(**keys: Any) -> str:
    """The message of the refusal, whose code must be 7."""
    error = refusal(read_config, {"cniVersion": "1.1.0", "name": "net", **keys})
    assert error.code == 7, error.msg
    return error.msg


def refused_ipam(**keys: Any) -> str:
    return refused(ipam={"type": "host-local", **keys})


# The network


@pytest.mark.parametrize(
    ("attribute", "default"),
    [
        ("bridge", "cni0"),
        ("is_gateway", False),
        ("is_default_gateway", False),
        ("force_address", False),
        ("ip_masq", False),
        ("non_masquerade_cidrs", []),
        ("mtu", 0),
        ("hairpin_mode", False),
        ("promisc_mode", False),
        ("bridge_netfilter", False),
        ("port_isolation", False),
        ("mac_spoof_check", False),
        ("enable_dad", False),
        ("disable_container_interface", False),
        ("vlan", 0),
        ("vlan_trunk", []),
        ("preserve_default_vlan", False),
        ("mac", ""),
        ("dns", None),
        ("ipam", None),
        ("prev_result", None),
    ],
)
def test_default(attribute: str, default: object) -> None:
    assert getattr(network(), attribute) == default


KEYS = {
    "bridge": "bridge",
    "isGateway": "is_gateway",
    "isDefaultGateway": "is_default_gateway",
    "forceAddress": "force_address",
    "ipMasq": "ip_masq",
    "nonMasqueradeCIDRs": "non_masquerade_cidrs",
    "mtu": "mtu",
    "hairpinMode": "hairpin_mode",
    "promiscMode": "promisc_mode",
    "bridgeNetfilter": "bridge_netfilter",
    "portIsolation": "port_isolation",
    "macspoofchk": "mac_spoof_check",
    "enabledad": "enable_dad",
    "disableContainerInterface": "disable_container_interface",
    "vlan": "vlan",
    "vlanTrunk": "vlan_trunk",
    "preserveDefaultVlan": "preserve_default_vlan",
    "ipMasqBackend": "ip_masq",
    "args": "mac",
    "runtimeConfig": "mac",
    "dns": "dns",
    "ipam": "ipam",
    "prevResult": "prev_result",
}


@pytest.mark.parametrize("key", KEYS)
def test_null_is_the_same_as_leaving_a_key_out(key: str) -> None:
    assert getattr(network(**{key: None}), KEYS[key]) == getattr(network(), KEYS[key])


@pytest.mark.parametrize(
    ("keys", "attribute", "value"),
    [
        ({"name": "a.b_c-9"}, "name", "a.b_c-9"),
        ({"name": "n" * 255}, "name", "n" * 255),
        ({"bridge": "br-é"}, "bridge", "br-é"),
        ({"bridge": "a" * 15}, "bridge", "a" * 15),
        ({"isGateway": True}, "is_gateway", True),
        ({"isGateway": True}, "is_default_gateway", False),
        ({"isDefaultGateway": True}, "is_default_gateway", True),
        pytest.param({"isDefaultGateway": True}, "is_gateway", True, id="isDefaultGateway is isGateway, too"),
        ({"isDefaultGateway": True, "isGateway": False}, "is_gateway", True),
        ({"forceAddress": True}, "force_address", True),
        ({"ipMasq": True}, "ip_masq", True),
        (
            {"nonMasqueradeCIDRs": ["10.0.0.0/8", "fd00::/8"]},
            "non_masquerade_cidrs",
            [netaddr.IPNetwork("10.0.0.0/8"), netaddr.IPNetwork("fd00::/8")],
        ),
        ({"nonMasqueradeCIDRs": ["10.1.2.3/8"]}, "non_masquerade_cidrs", [netaddr.IPNetwork("10.0.0.0/8")]),
        ({"mtu": 0}, "mtu", 0),
        ({"mtu": 1400}, "mtu", 1400),
        ({"mtu": 65535}, "mtu", 65535),
        ({"hairpinMode": True}, "hairpin_mode", True),
        ({"promiscMode": True}, "promisc_mode", True),
        ({"bridgeNetfilter": True}, "bridge_netfilter", True),
        ({"portIsolation": True}, "port_isolation", True),
        ({"macspoofchk": True}, "mac_spoof_check", True),
        ({"enabledad": True}, "enable_dad", True),
        ({"disableContainerInterface": True}, "disable_container_interface", True),
        ({"ipMasq": True, "ipMasqBackend": "iptables"}, "ip_masq", True),
        ({"ipMasq": True, "ipMasqBackend": "nftables"}, "ip_masq", True),
        ({"ipMasq": True, "ipMasqBackend": None, "ipam": HOST_LOCAL}, "ip_masq", True),
        ({"vlan": 0}, "vlan", 0),
        ({"vlan": 4094}, "vlan", 4094),
        ({"vlanTrunk": []}, "vlan_trunk", []),
        ({"vlanTrunk": [{"id": 4094}, {"id": 1}, {"id": 4094}]}, "vlan_trunk", [1, 4094]),
        ({"vlanTrunk": [{"id": 7}], "vlan": 7}, "vlan_trunk", [7]),
        ({"vlanTrunk": [{"minID": 5, "maxID": 7}, {"id": 6}]}, "vlan_trunk", [5, 6, 7]),
        ({"vlanTrunk": [{"minID": 5, "maxID": 5, "id": 3}]}, "vlan_trunk", [3, 5]),
        ({"preserveDefaultVlan": False}, "preserve_default_vlan", False),
        ({"preserveDefaultVlan": True}, "preserve_default_vlan", True),
        pytest.param(
            {"bridge": "br-0123456789a", "vlan": 4}, "vlan", 4, id="a VLAN's gateway needs a name only if it is one"
        ),
        ({"bridge": "br-0123456", "vlan": 4094, "isGateway": True}, "vlan", 4094),
        ({"dns": {}}, "dns", None),
        ({"dns": {"nameservers": None, "domain": ""}}, "dns", None),
        ({"dns": {"nameservers": []}}, "dns", {}),
        (
            {"dns": {"nameservers": ["10.0.0.1"], "domain": "a.test", "search": ["b.test"], "options": ["ndots:2"]}},
            "dns",
            {"nameservers": ["10.0.0.1"], "domain": "a.test", "search": ["b.test"], "options": ["ndots:2"]},
        ),
        pytest.param({"ipam": {}}, "ipam", None, id="an ipam without type is no ipam"),
        ({"ipam": {"type": ""}}, "ipam", None),
        ({"prevResult": {}}, "prev_result", Result([], [], [], {})),
    ],
)
def test_accepted(keys: dict[str, Any], attribute: str, value: object) -> None:
    assert getattr(network(**keys), attribute) == value


@pytest.mark.parametrize("version", VERSIONS)
def test_keeps_the_version(version: str) -> None:
    assert network(cniVersion=version).cni_version == version


def test_no_version_is_the_oldest() -> None:
    assert read_config({"name": "net"}).cni_version == "0.1.0"


def test_ignores_keys_that_it_does_not_know() -> None:
    keys = {"$comment": "x", "capabilities": {"portMappings": True}, "is-gateway": "x", "ipam": HOST_LOCAL | {"x": [1]}}
    assert network(**keys) == network(ipam=HOST_LOCAL)


def test_finds_keys_whatever_their_case_as_the_reference_does() -> None:
    keys = {"ISGATEWAY": True, "Bridge": "br0", "IPAM": {"Type": "host-local", "SUBNET": "10.8.0.0/24"}}
    config = network(**keys)
    assert (config.is_gateway, config.bridge, config.ipam) == (True, "br0", network(ipam=HOST_LOCAL).ipam)


def test_the_key_that_is_written_exactly_goes_first() -> None:
    assert network(BRIDGE="br1", bridge="br2", Bridge="br3").bridge == "br2"


PREV_RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "cni0", "mac": "0a:58:0a:08:00:01"}, {"name": "eth0", "sandbox": "/run/netns/pod"}],
    "ips": [{"address": "10.8.0.2/24", "gateway": "10.8.0.1", "interface": 1}],
    "routes": [{"dst": "0.0.0.0/0", "mtu": 1300}],
    "dns": {"nameservers": ["10.8.0.1"]},
}


def test_reads_the_previous_result() -> None:
    assert network(prevResult=PREV_RESULT).prev_result == Result(
        [Interface("cni0", "0a:58:0a:08:00:01"), Interface("eth0", "", "/run/netns/pod")],
        [ip_config("10.8.0.2/24", "10.8.0.1", 1)],
        [route_to("0.0.0.0/0", "", 1300)],
        {"nameservers": ["10.8.0.1"]},
    )


SWITCHES = [
    "isGateway",
    "isDefaultGateway",
    "forceAddress",
    "ipMasq",
    "hairpinMode",
    "promiscMode",
    "bridgeNetfilter",
    "portIsolation",
    "macspoofchk",
    "enabledad",
    "disableContainerInterface",
    "preserveDefaultVlan",
]


@pytest.mark.parametrize("key", SWITCHES)
@pytest.mark.parametrize("value", ["true", 1, 0, [], {}])
def test_switches_are_true_or_false(key: str, value: object) -> None:
    assert refused(**{key: value}) == f"{key}: expected true or false, got {value!r}"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": 5}, "name: expected a string, got 5"),
        ({"name": "n" * 256}, "name: must have at most 255 characters"),
        ({"cniVersion": 1}, "cniVersion: expected a string, got 1"),
        ({"bridge": 1}, "bridge: expected a string, got 1"),
        ({"bridge": "a" * 16}, "bridge: 'aaaaaaaaaaaaaaaa': interface name is too long: at most 15 bytes fit"),
        ({"bridge": ""}, "bridge: '': interface name is empty"),
        ({"bridge": ".."}, "bridge: '..': interface name is . or .."),
        (
            {"bridge": "br%d"},
            "bridge: 'br%d': interface name contains / or : or whitespace characters, or %, or unprintable ones",
        ),
        ({"mtu": "1500"}, "mtu: expected an integer, got '1500'"),
        ({"mtu": 1500.0}, "mtu: expected an integer, got 1500.0"),
        ({"mtu": True}, "mtu: expected an integer, got True"),
        ({"mtu": -1}, "mtu: expected 0 to 65535, got -1"),
        ({"mtu": 65536}, "mtu: expected 0 to 65535, got 65536"),
        ({"nonMasqueradeCIDRs": "10.0.0.0/8"}, "nonMasqueradeCIDRs: expected a list of strings, got '10.0.0.0/8'"),
        ({"nonMasqueradeCIDRs": ["10.0.0.0/8", 1]}, "nonMasqueradeCIDRs[1]: expected a string, got 1"),
        (
            {"nonMasqueradeCIDRs": ["10.0.0.0"]},
            "nonMasqueradeCIDRs[0]: invalid CIDR address: '10.0.0.0' is not a network in CIDR notation",
        ),
        (
            {"nonMasqueradeCIDRs": ["::/0", "x/8"]},
            "nonMasqueradeCIDRs[1]: invalid CIDR address: 'x/8' is not a network in CIDR notation",
        ),
        ({"dns": []}, "dns: expected an object, got []"),
        ({"dns": {"nameservers": "10.0.0.1"}}, "dns.nameservers: expected a list of strings, got '10.0.0.1'"),
        ({"dns": {"nameservers": ["10.0.0.1", None]}}, "dns.nameservers[1]: expected a string, got None"),
        ({"dns": {"domain": ["a"]}}, "dns.domain: expected a string, got ['a']"),
        ({"dns": {"search": {}}}, "dns.search: expected a list of strings, got {}"),
        ({"dns": {"options": [5]}}, "dns.options[0]: expected a string, got 5"),
        (
            {"hairpinMode": True, "promiscMode": True},
            "hairpinMode: cannot set hairpin mode and promiscuous mode at the same time",
        ),
        (
            {"ipMasq": True, "ipMasqBackend": "ipvs", "ipam": HOST_LOCAL},
            'ipMasqBackend: unknown ipmasq backend "ipvs", expected iptables or nftables',
        ),
        (
            {"ipMasq": True, "ipMasqBackend": "", "ipam": HOST_LOCAL},
            'ipMasqBackend: unknown ipmasq backend "", expected iptables or nftables',
        ),
        ({"ipMasqBackend": 1}, "ipMasqBackend: expected a string, got 1"),
        (
            {"disableContainerInterface": True, "ipam": HOST_LOCAL},
            "disableContainerInterface: cannot use IPAM when DisableContainerInterface flag is set",
        ),
        ({"vlan": "100"}, "vlan: expected an integer, got '100'"),
        ({"vlan": -1}, "vlan: invalid VLAN ID -1 (must be between 0 and 4094)"),
        ({"vlan": 4095}, "vlan: invalid VLAN ID 4095 (must be between 0 and 4094)"),
        (
            {"vlan": 100, "isGateway": True, "bridge": "br-0123456789"},
            "bridge: br-0123456789.100, the gateway's interface: interface name is too long: at most 15 bytes fit",
        ),
        ({"vlanTrunk": {}}, "vlanTrunk: expected a list of objects, got {}"),
        ({"vlanTrunk": [5]}, "vlanTrunk[0]: expected an object, got 5"),
        ({"vlanTrunk": [{}]}, "vlanTrunk[0].id: expected a VLAN id here, or minID and maxID"),
        ({"vlanTrunk": [{"id": 4}, {"ID": None}]}, "vlanTrunk[1].id: expected a VLAN id here, or minID and maxID"),
        ({"vlanTrunk": [{"id": 0}]}, "vlanTrunk[0].id: incorrect trunk id parameter: expected 1 to 4094, got 0"),
        (
            {"vlanTrunk": [{"id": 1}, {"id": 4095}]},
            "vlanTrunk[1].id: incorrect trunk id parameter: expected 1 to 4094, got 4095",
        ),
        (
            {"vlanTrunk": [{"minID": 5}]},
            "vlanTrunk[0].maxID: minID and maxID should be configured simultaneously, maxID is missing",
        ),
        (
            {"vlanTrunk": [{"maxID": 5}]},
            "vlanTrunk[0].minID: minID and maxID should be configured simultaneously, minID is missing",
        ),
        (
            {"vlanTrunk": [{"minID": 0, "maxID": 5}]},
            "vlanTrunk[0].minID: incorrect trunk minID parameter: expected 1 to 4094, got 0",
        ),
        (
            {"vlanTrunk": [{"minID": 5, "maxID": 4095}]},
            "vlanTrunk[0].maxID: incorrect trunk maxID parameter: expected 1 to 4094, got 4095",
        ),
        (
            {"vlanTrunk": [{"minID": 6, "maxID": 5}]},
            "vlanTrunk[0].maxID: minID is greater than maxID in trunk parameter: 6 and 5",
        ),
        ({"args": "MAC=x"}, "args: expected an object, got 'MAC=x'"),
        ({"args": {"cni": []}}, "args.cni: expected an object, got []"),
        ({"args": {"cni": {"mac": 5}}}, "args.cni.mac: expected a string, got 5"),
        ({"args": {"cni": {"mac": "c2:11"}}}, "args.cni.mac: 'c2:11' is not a MAC address"),
        ({"runtimeConfig": []}, "runtimeConfig: expected an object, got []"),
        (
            {"runtimeConfig": {"mac": "c2-11-22-33-44-zz"}},
            "runtimeConfig.mac: 'c2-11-22-33-44-zz' is not a MAC address",
        ),
        (
            {"runtimeConfig": {"mac": "01:11:22:33:44:55"}},
            "runtimeConfig.mac: 01:11:22:33:44:55 is a multicast MAC address; an interface needs a unicast one",
        ),
        (
            {"ipam": HOST_LOCAL, "runtimeConfig": {"ips": "10.8.0.5"}},
            "runtimeConfig.ips: expected a list of strings, got '10.8.0.5'",
        ),
        ({"ipam": HOST_LOCAL, "runtimeConfig": {"ips": ["x"]}}, "runtimeConfig.ips[0]: 'x' is not an IP address"),
        ({"ipam": HOST_LOCAL, "args": {"cni": {"ips": ["10.8.0.5", 1]}}}, "args.cni.ips[1]: expected a string, got 1"),
        (
            {"ipam": HOST_LOCAL, "runtimeConfig": {"ipRanges": [[{"subnet": "10.9.0.1/24"}]]}},
            (
                "runtimeConfig.ipRanges[0][0].subnet: 10.9.0.1/24: Network has host "
                "bits set. For a subnet mask of length 24 the network address is 10.9.0.0"
            ),
        ),
        ({"ipam": "host-local"}, "ipam: expected an object, got 'host-local'"),
        ({"ipam": {"type": "../dhcp"}}, "ipam.type: expected a plugin's file name, got '../dhcp'"),
        ({"ipam": {"type": 1}}, "ipam.type: expected a string, got 1"),
        ({"prevResult": []}, "prevResult: expected an object, got []"),
    ],
)
def test_refused(keys: dict[str, Any], message: str) -> None:
    assert refused(**keys) == message


@pytest.mark.parametrize("name", [".", "..", "../x", "../../etc/cron.d", "/etc", "a/b", "a b", "_a", "é", "a\0"])
def test_the_name_is_an_identifier(name: str) -> None:
    must = "it must start with a letter or digit and go on with letters, digits, '_', '.' and '-'"
    assert refused(name=name) == f"name: invalid characters found in network name {name!r}: {must}"


@pytest.mark.parametrize("name", ["", None])
def test_there_is_a_name(name: str | None) -> None:
    assert refused(name=name) == "name: missing network name"


@pytest.mark.parametrize(
    "keys",
    [
        {"bridge": "\ud800"},
        {"ipam": {**HOST_LOCAL, "dataDir": "/\ud800"}},
        {"ipam": {**HOST_LOCAL, "resolvConf": "/\ud800"}},
    ],
    ids=["bridge", "dataDir", "resolvConf"],
)
def test_half_a_surrogate_pair_names_nothing(keys: dict[str, Any]) -> None:
    # JSON can write "\ud800", which no name of an interface or file can hold.
    [key] = keys if "bridge" in keys else [f"ipam.{key}" for key in ("dataDir", "resolvConf") if key in keys["ipam"]]
    assert refused(**keys).startswith(f"{key}: ")


@pytest.mark.parametrize(
    "result",
    [
        {"ips": "x"},
        {"ips": [5]},
        {"ips": [{}]},
        {"ips": [{"address": 5}]},
        {"ips": [{"address": "nonsense"}]},
        {"ips": [{"address": "10.8.0.2"}]},
        {"ips": [{"address": "10.8.0.2/24", "gateway": 7}]},
        {"ips": [{"address": "10.8.0.2/24", "gateway": "nonsense"}]},
        {"routes": [{"gw": "10.8.0.1"}]},
        {"routes": [{"dst": "nonsense"}]},
        {"routes": [{"dst": "10.0.0.0/8", "gw": "nonsense"}]},
        {"routes": [{"dst": "10.0.0.0/8", "mtu": "1300"}]},
        {"interfaces": [{"mac": "0a:58:0a:08:00:01"}]},
        {"interfaces": [{"name": "eth0", "sandbox": "/run/netns/pod", "mac": 5}]},
        {"interfaces": {"name": "eth0"}},
        {"ip4": {"gateway": "10.8.0.1"}},
        {"ip4": "10.8.0.2/24"},
        {"ip6": {"ip": "nonsense"}},
    ],
    ids=str,
)
def test_refuses_a_previous_result_that_is_none(result: dict[str, Any]) -> None:
    assert refused(prevResult=result).startswith("prevResult")


# ipam


@pytest.mark.parametrize(
    ("attribute", "default"), [("routes", []), ("data_dir", "/var/lib/cni/networks"), ("resolv_conf", "")]
)
def test_default_of_ipam(attribute: str, default: object) -> None:
    assert getattr(host_local(subnet="10.8.0.0/24"), attribute) == default


@pytest.mark.parametrize("key", ["routes", "dataDir", "resolvConf", "ranges", "gateway", "rangeStart", "rangeEnd"])
def test_null_is_the_same_as_leaving_a_key_of_ipam_out(key: str) -> None:
    assert network(ipam=HOST_LOCAL | {key: None}).ipam == network(ipam=HOST_LOCAL).ipam


@pytest.mark.parametrize(
    ("keys", "attribute", "value"),
    [
        ({"dataDir": "/run/leases"}, "data_dir", "/run/leases"),
        ({"dataDir": ""}, "data_dir", "/var/lib/cni/networks"),
        ({"resolvConf": "/etc/resolv.conf"}, "resolv_conf", "/etc/resolv.conf"),
        ({"routes": [{"dst": "0.0.0.0/0"}]}, "routes", [route_to("0.0.0.0/0")]),
        ({"routes": [{"dst": "::/0", "gw": "fd00::9"}]}, "routes", [route_to("::/0", "fd00::9")]),
        pytest.param(
            {"routes": [{"dst": "10.9.1.2/16"}]}, "routes", [route_to("10.9.0.0/16")], id="a route without host bits"
        ),
        (
            {
                "routes": [
                    {"dst": "10.9.0.0/16", "mtu": 1300, "advmss": 1260, "priority": 5, "table": 100, "scope": 253},
                    {"dst": "10.7.0.0/16", "table": 0, "scope": 0},
                ]
            },
            "routes",
            [route_to("10.9.0.0/16", "", 1300, 1260, 5, 100, 253), route_to("10.7.0.0/16", "", 0, 0, 0, 0, 0)],
        ),
    ],
)
def test_accepted_in_ipam(keys: dict[str, Any], attribute: str, value: object) -> None:
    assert getattr(host_local(subnet="10.8.0.0/24", **keys), attribute) == value


@pytest.mark.parametrize("version", VERSIONS)
def test_routes_are_as_they_are_configured_in_every_version(version: str) -> None:
    """Their fields came with 1.1.0, but a route that is meant for another table is so in every version."""
    route = {"dst": "10.9.0.0/16", "mtu": 1300, "advmss": 1260, "priority": 5, "table": 100, "scope": 253}
    ipam = network(cniVersion=version, ipam=HOST_LOCAL | {"routes": [route]}).ipam
    assert ipam
    assert ipam.routes == [route_to("10.9.0.0/16", "", 1300, 1260, 5, 100, 253)]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "ipam.subnet: no IP ranges specified, expected a network in CIDR notation (or ranges)"),
        ({"subnet": ""}, "ipam.subnet: no IP ranges specified, expected a network in CIDR notation (or ranges)"),
        ({"ranges": []}, "ipam.subnet: no IP ranges specified, expected a network in CIDR notation (or ranges)"),
        ({"subnet": 10}, "ipam.subnet: expected a string, got 10"),
        ({"subnet": "10.8.0.0"}, "ipam.subnet: invalid CIDR address: '10.8.0.0' is not a network in CIDR notation"),
        (
            {"subnet": "10.8.0.0/33"},
            "ipam.subnet: invalid CIDR address: '10.8.0.0/33' is not a network in CIDR notation",
        ),
        ({"subnet": "pods/24"}, "ipam.subnet: invalid CIDR address: 'pods/24' is not a network in CIDR notation"),
        (
            {"subnet": "10.8.0.5/24"},
            (
                "ipam.subnet: 10.8.0.5/24: Network has host bits set. For a subnet "
                "mask of length 24 the network address is 10.8.0.0"
            ),
        ),
        (
            {"subnet": "fd00::1/64"},
            (
                "ipam.subnet: fd00::1/64: Network has host bits set. For a subnet mask "
                "of length 64 the network address is fd00::"
            ),
        ),
        ({"subnet": "10.8.0.0/31"}, "ipam.subnet: Network 10.8.0.0/31 too small to allocate from"),
        ({"subnet": "10.8.0.1/32"}, "ipam.subnet: Network 10.8.0.1/32 too small to allocate from"),
        ({"subnet": "fd00::/127"}, "ipam.subnet: Network fd00::/127 too small to allocate from"),
        *(
            ({"subnet": subnet}, f"ipam.subnet: {subnet} overlaps {network}, {what}: no pod can use it")
            for subnet, network, what in (
                ("127.0.0.0/8", "127.0.0.0/8", "the loopback addresses"),
                ("127.8.0.0/16", "127.0.0.0/8", "the loopback addresses"),
                ("126.0.0.0/7", "127.0.0.0/8", "the loopback addresses"),
                ("0.0.0.0/0", "0.0.0.0/8", "which stands for this host (RFC 1122)"),
                ("239.1.0.0/16", "224.0.0.0/4", "the multicast addresses"),
                ("::/64", "::/127", "no address and the loopback address"),
                ("fe80::/64", "fe80::/10", "the link-local addresses"),
                ("ff02::/64", "ff00::/8", "the multicast addresses"),
            )
        ),
        (
            {"subnet": "10.8.0.0/255.255.255.0"},
            "ipam.subnet: invalid CIDR address: '10.8.0.0/255.255.255.0' is not a network in CIDR notation",
        ),
        (
            {"subnet": "::ffff:10.0.0.0/112"},
            "ipam.subnet: invalid CIDR address: '::ffff:10.0.0.0/112' is not a network in CIDR notation",
        ),
        ({"subnet": "10.8.0.0/24", "gateway": 1}, "ipam.gateway: expected a string, got 1"),
        ({"subnet": "10.8.0.0/24", "gateway": "gw"}, "ipam.gateway: 'gw' is not an IP address"),
        ({"subnet": "10.8.0.0/24", "rangeStart": "10.8.0"}, "ipam.rangeStart: '10.8.0' is not an IP address"),
        (
            {"subnet": "10.8.0.0/24", "rangeStart": "10.7.255.255"},
            "ipam.rangeStart: RangeStart 10.7.255.255 not in network 10.8.0.0/24",
        ),
        (
            {"subnet": "10.8.0.0/24", "rangeEnd": "10.8.1.0"},
            "ipam.rangeEnd: RangeEnd 10.8.1.0 not in network 10.8.0.0/24",
        ),
        (
            {"subnet": "10.8.0.0/24", "rangeEnd": "fd00::5"},
            "ipam.rangeEnd: RangeEnd fd00::5 not in network 10.8.0.0/24",
        ),
        (
            {"subnet": "10.8.0.0/24", "rangeStart": "10.8.0.9", "rangeEnd": "10.8.0.5"},
            "ipam.rangeEnd: 10.8.0.5 is before rangeStart 10.8.0.9",
        ),
        ({"ranges": {}}, "ipam.ranges: expected a list of lists, got {}"),
        (
            {"ranges": [{"subnet": "10.8.0.0/24"}]},
            "ipam.ranges[0]: expected a list of objects, got {'subnet': '10.8.0.0/24'}",
        ),
        ({"ranges": [["10.8.0.0/24"]]}, "ipam.ranges[0][0]: expected an object, got '10.8.0.0/24'"),
        ({"ranges": [[]]}, "ipam.ranges[0]: expected a list of objects, got []"),
        ({"ranges": [[{}]]}, "ipam.ranges[0][0].subnet: invalid CIDR address: '' is not a network in CIDR notation"),
        (
            {
                "ranges": [
                    [
                        {"subnet": "10.8.0.0/24", "rangeEnd": "10.8.0.9"},
                        {"subnet": "10.8.0.0/24", "rangeEnd": "10.9.0.1"},
                    ]
                ]
            },
            "ipam.ranges[0][1].rangeEnd: RangeEnd 10.9.0.1 not in network 10.8.0.0/24",
        ),
        (
            {"ranges": [[{"subnet": "fd00::/64"}], [{"subnet": "10.8.0.7/24"}]]},
            (
                "ipam.ranges[1][0].subnet: 10.8.0.7/24: Network has host bits set. For "
                "a subnet mask of length 24 the network address is 10.8.0.0"
            ),
        ),
        (
            {"ranges": [[{"subnet": "10.8.0.0/24"}, {"subnet": "fd00::/64"}]]},
            "ipam.ranges[0][1].subnet: mixed address families: fd00::/64 is not of the same IP version as 10.8.0.0/24",
        ),
        (
            {"ranges": [[{"subnet": "10.8.0.0/24"}], [{"subnet": "10.8.0.0/25"}]]},
            (
                "ipam.ranges[1][0].subnet: range set 0 overlaps with 1: subnets "
                "10.8.0.1-10.8.0.254 and 10.8.0.1-10.8.0.126 overlap"
            ),
        ),
        (
            {"ranges": [[{"subnet": "fd00::/120"}, {"subnet": "fd00::/124"}]]},
            "ipam.ranges[0][1].subnet: subnets fd00::1-fd00::ff and fd00::1-fd00::f overlap",
        ),
        ({"routes": {}}, "ipam.routes: expected a list of objects, got {}"),
        ({"routes": ["0.0.0.0/0"]}, "ipam.routes[0]: expected an object, got '0.0.0.0/0'"),
        ({"routes": [{}]}, "ipam.routes[0].dst: invalid CIDR address: '' is not a network in CIDR notation"),
        (
            {"routes": [{"dst": "default"}]},
            "ipam.routes[0].dst: invalid CIDR address: 'default' is not a network in CIDR notation",
        ),
        (
            {"routes": [{"dst": "::/0"}, {"dst": "10.0.0.0"}]},
            "ipam.routes[1].dst: invalid CIDR address: '10.0.0.0' is not a network in CIDR notation",
        ),
        ({"routes": [{"dst": "::/0", "gw": "x"}]}, "ipam.routes[0].gw: 'x' is not an IP address"),
        ({"routes": [{"dst": "::/0", "gw": "fd00::1/64"}]}, "ipam.routes[0].gw: 'fd00::1/64' is not an IP address"),
        ({"subnet": "10.8.0.0/24", "gateway": "10.8.0.1/24"}, "ipam.gateway: '10.8.0.1/24' is not an IP address"),
        ({"subnet": "10.8.0.0/24", "rangeEnd": "10.8.0.9/x"}, "ipam.rangeEnd: '10.8.0.9/x' is not an IP address"),
        (
            {"routes": [{"dst": "::/0", "gw": "10.8.0.1"}]},
            "ipam.routes[0].gw: 10.8.0.1 is not of the same IP version as ::/0",
        ),
        ({"routes": [{"dst": "::/0", "mtu": "1"}]}, "ipam.routes[0].mtu: expected an integer, got '1'"),
        ({"routes": [{"dst": "::/0", "advmss": -1}]}, "ipam.routes[0].advmss: expected 0 to 4294967295, got -1"),
        ({"routes": [{"dst": "::/0", "priority": 1.5}]}, "ipam.routes[0].priority: expected an integer, got 1.5"),
        (
            {"routes": [{"dst": "::/0", "table": 1 << 32}]},
            "ipam.routes[0].table: expected 0 to 4294967295, got 4294967296",
        ),
        ({"routes": [{"dst": "::/0", "scope": 256}]}, "ipam.routes[0].scope: expected 0 to 255, got 256"),
        ({"dataDir": "/a\0b"}, "ipam.dataDir: expected a path, got '/a\\x00b'"),
        ({"dataDir": 1}, "ipam.dataDir: expected a string, got 1"),
        ({"resolvConf": True}, "ipam.resolvConf: expected a string, got True"),
    ],
)
def test_refused_in_ipam(keys: dict[str, Any], message: str) -> None:
    about_ranges = {"subnet", "ranges"} & set(keys) or not keys
    assert refused_ipam(**({} if about_ranges else {"subnet": "10.8.0.0/24"}), **keys) == message


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"rangeStart": "10.8.0.255"}, "10.8.0.255"),
        ({"rangeEnd": "10.8.0.0"}, "10.8.0.0"),
        ({"rangeStart": "10.8.0.255", "rangeEnd": "10.8.0.255"}, "10.8.0.255"),
        ({"rangeStart": "10.8.0.0", "rangeEnd": "10.8.0.0"}, "10.8.0.0"),
    ],
    ids=str,
)
def test_a_range_without_any_address_for_a_pod_says_why(keys: dict[str, str], wrong: str) -> None:
    # Network and broadcast addresses are never given out.
    message = refused_ipam(subnet="10.8.0.0/24", **keys)
    assert message.startswith("ipam.range")
    assert wrong in message
    assert "  " not in message, "a value that nobody wrote is quoted"
    assert not message.endswith(" ")


def test_a_range_beside_ranges_does_not_move_their_numbers() -> None:
    ranges = [[{"subnet": "fd00::/64"}, {"subnet": "10.9.0.0/24"}]]
    message = "ipam.ranges[0][1].subnet: mixed address families: 10.9.0.0/24 is not of the same IP version as fd00::/64"
    assert refused_ipam(subnet="10.8.0.0/24", ranges=ranges) == message


def test_a_range_beside_ranges_is_the_first_set() -> None:
    sets = host_local(subnet="10.8.0.0/24", ranges=[[{"subnet": "fd00::/64"}]]).range_sets
    assert [[str(each.subnet) for each in ranges] for ranges in sets] == [["10.8.0.0/24"], ["fd00::/64"]]


def test_sets_and_their_ranges_keep_their_order() -> None:
    sets = range_sets([{"subnet": "10.9.0.0/24"}, {"subnet": "10.8.0.0/24"}], [{"subnet": "10.7.0.0/24"}])
    subnets = [[str(each.subnet) for each in ranges] for ranges in sets]
    assert subnets == [["10.9.0.0/24", "10.8.0.0/24"], ["10.7.0.0/24"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("sets", "too_many"),
    [
        (["10.8.0.0/24", "10.9.0.0/24"], "IPv4"),
        (["fd00::/64", "fd01::/64"], "IPv6"),
        (["10.8.0.0/24", "fd00::/64"], ""),
        (["10.8.0.0/24"], ""),
    ],
    ids=str,
)
def test_old_versions_hold_one_address_of_a_family(version: str, sets: list[str], too_many: str) -> None:
    raw = {
        "cniVersion": version,
        "name": "net",
        "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}] for subnet in sets]},
    }
    if too_many and version in ("0.1.0", "0.2.0"):
        error = refusal(read_config, raw)
        expected = (
            f"ipam.ranges: CNI version {version} does not support more than 1 "
            f"address per family; there are two of {too_many}"
        )
        assert (error.code, error.msg) == (7, expected)
    else:
        ipam = read_config(raw).ipam
        assert ipam
        assert len(ipam.range_sets) == len(sets)


# What the runtime asks for in one attachment


@pytest.mark.parametrize(
    ("keys", "environment", "mac"),
    [
        ({}, {"MAC": "C2:11:22:33:44:55"}, "c2:11:22:33:44:55"),
        ({"args": {"cni": {"mac": "c2-11-22-33-44-66"}}}, {}, "c2:11:22:33:44:66"),
        ({"runtimeConfig": {"mac": "c2:11:22:33:44:77"}}, {}, "c2:11:22:33:44:77"),
        ({"args": {"cni": {"mac": "c2:11:22:33:44:66"}}}, {"MAC": "c2:11:22:33:44:55"}, "c2:11:22:33:44:66"),
        (
            {"args": {"cni": {"mac": "c2:11:22:33:44:66"}}, "runtimeConfig": {"mac": "c2:11:22:33:44:77"}},
            {"MAC": "c2:11:22:33:44:55"},
            "c2:11:22:33:44:77",
        ),
        ({"runtimeConfig": {"mac": ""}, "args": {"cni": None}}, {"MAC": ""}, ""),
        ({}, {"MAC": "02aa.bbcc.dd02"}, "02:aa:bb:cc:dd:02"),
    ],
)
def test_the_mac_that_is_asked_for(keys: dict[str, Any], environment: dict[str, str], mac: str) -> None:
    assert read_config({"name": "net", **keys}, environment).mac == mac


@pytest.mark.parametrize(
    "mac",
    [
        "c2:11:22:33:44",
        "c2:11:22:33:44:5",
        "c2:11:22:33:44:555",
        "c2:11:22-33:44:55",
        "c2.11.22.33.44.55",
        "c211:2233:4455",
        "c211.2233.445",
        "c211.2233.4455.6677",
        "c21122334455",
        "x",
        "٣2:11:22:33:44:55",
    ],
)
def test_a_mac_of_cni_args_that_is_none_is_error_4(mac: str) -> None:
    error = refusal(read_config, {"name": "net"}, {"MAC": mac})
    assert (error.code, error.msg) == (4, f"CNI_ARGS.MAC: {mac!r} is not a MAC address")


@pytest.mark.parametrize("mac", ["00:00:00:00:00:00", "00-00-00-00-00-00", "0000.0000.0000"])
def test_the_mac_of_no_interface_is_refused_before_the_kernel_does_it(mac: str) -> None:
    error = refusal(read_config, {"name": "net", "runtimeConfig": {"mac": mac}})
    assert (error.code, error.msg) == (
        7,
        f"runtimeConfig.mac: {mac} is not a MAC address that an interface can have",
    )


@pytest.mark.parametrize(
    ("keys", "environment", "ips"),
    [
        ({}, {}, []),
        ({}, {"IP": ""}, []),
        ({}, {"IP": "10.8.0.5"}, ["10.8.0.5"]),
        ({}, {"IP": "10.8.0.5/24, fd00::5,"}, ["10.8.0.5", "fd00::5"]),
        ({"args": {"cni": {"ips": ["10.8.0.6"]}}}, {"IP": "10.8.0.5"}, ["10.8.0.6"]),
        ({"args": {"cni": {"ips": ["10.8.0.6"]}}}, {"IP": "nonsense"}, ["10.8.0.6"]),
        ({"args": {"cni": {"ips": []}}, "runtimeConfig": {"ips": None}}, {"IP": "10.8.0.5"}, ["10.8.0.5"]),
        (
            {"args": {"cni": {"ips": ["10.8.0.6"]}}, "runtimeConfig": {"ips": ["10.8.0.7/24", "fd00::5", "10.8.0.7"]}},
            {"IP": "10.8.0.5"},
            ["10.8.0.7", "fd00::5"],
        ),
    ],
)
def test_the_addresses_that_are_asked_for(keys: dict[str, Any], environment: dict[str, str], ips: list[str]) -> None:
    ipam = read_config({"name": "net", "ipam": HOST_LOCAL, **keys}, environment).ipam
    assert ipam
    assert ipam.requested == [parse_ip(ip) for ip in ips]


def test_an_address_of_cni_args_that_is_none_is_error_4() -> None:
    error = refusal(read_config, {"name": "net", "ipam": HOST_LOCAL}, {"IP": "10.8.0.5,x"})
    assert (error.code, error.msg) == (4, "CNI_ARGS.IP[1]: 'x' is not an IP address")


def test_the_runtimes_ranges_come_first() -> None:
    config = network(ipam=HOST_LOCAL, runtimeConfig={"ipRanges": [[{"subnet": "10.9.0.0/24"}]]})
    assert config.ipam
    assert [[str(each.subnet) for each in ranges] for ranges in config.ipam.range_sets] == [
        ["10.9.0.0/24"],
        ["10.8.0.0/24"],
    ]
    config = network(ipam={"type": "host-local"}, runtimeConfig={"ipRanges": [[{"subnet": "10.9.0.0/24"}]]})
    assert config.ipam
    assert len(config.ipam.range_sets) == 1


@pytest.mark.parametrize("kind", ["dhcp", "static", "whereabouts"])
def test_another_ipam_plugin_reads_its_own_keys(kind: str) -> None:
    ipam = network(ipam={"type": kind, "subnet": 5, "ranges": "x", "addresses": [{"address": "10.1.0.2/16"}]}).ipam
    assert ipam
    assert ipam.type == kind


# GC


def test_reads_the_attachments_that_gc_is_to_leave() -> None:
    raw = {
        "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c1", "ifname": "net1"}]
    }
    assert valid_attachments(raw) == [("c1", "eth0"), ("c1", "net1")]
    assert valid_attachments({"cni.dev/valid-attachments": []}) == []


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({}, "cni.dev/valid-attachments: expected a list of objects, got {}"),
        (["c1"], "cni.dev/valid-attachments[0]: expected an object, got 'c1'"),
        ([{"ifname": "eth0"}], "cni.dev/valid-attachments[0].containerID: expected a string"),
        ([{"containerID": "c1", "ifname": ""}], "cni.dev/valid-attachments[0].ifname: expected a string"),
        ([{"containerID": 5, "ifname": "eth0"}], "cni.dev/valid-attachments[0].containerID: expected a string, got 5"),
    ],
)
def test_refuses_a_list_of_attachments_that_is_none(listed: object, message: str) -> None:
    # Were it taken for an empty one, every pod of the network would lose its address.
    error = refusal(valid_attachments, {"cni.dev/valid-attachments": listed})
    assert (error.code, error.msg) == (7, message)


def test_no_list_of_attachments_is_no_empty_one() -> None:
    # As `cnitool gc` asks it.
    error = refusal(valid_attachments, {"name": "net"})
    assert (error.code, error.msg) == (
        7,
        (
            "cni.dev/valid-attachments: nothing was removed: "
            "neither cni.dev/valid-attachments nor cni.dev/attachments says which attachments are valid"
        ),
    )


ATTACHMENT = {"containerID": "c1", "ifname": "eth0"}


@pytest.mark.parametrize(
    ("keys", "valid"),
    [
        ({"cni.dev/valid-attachments": None}, []),
        ({"cni.dev/valid-attachments": None, "cni.dev/attachments": None}, []),
        ({"cni.dev/attachments": None}, []),
        ({"cni.dev/attachments": [ATTACHMENT]}, [("c1", "eth0")]),
        ({"cni.dev/attachments": [ATTACHMENT], "cni.dev/valid-attachments": []}, []),
        ({"CNI.dev/Attachments": [{"ContainerID": "c1", "IFName": "eth0"}]}, [("c1", "eth0")]),
    ],
)
def test_the_attachments_as_libcni_writes_them(keys: dict[str, Any], valid: list[tuple[str, str]]) -> None:
    assert valid_attachments(keys) == valid


@pytest.mark.parametrize("keys", [{}, {"ipMasq": False, "ipam": HOST_LOCAL}, {"ipMasq": True}], ids=str)
def test_a_backend_that_is_not_asked_to_masquerade_may_be_any(keys: dict[str, Any]) -> None:
    # As the reference has it since 1.6: it looks at the backend when it has something to masquerade.
    assert network(**keys, ipMasqBackend="ipvs")


# The IPAM alone


def test_reads_what_an_ipam_plugin_looks_at() -> None:
    raw = {
        "cniVersion": "1.0.0",
        "name": "net",
        "type": "ptp",
        "mtu": "theirs",
        "ipam": HOST_LOCAL | {"type": "host-local-py"},
    }
    name, ipam, prev_result = read_ipam_config(raw | {"prevResult": PREV_RESULT}, {"IP": "10.8.0.5"})
    assert name == "net"
    assert [[str(each) for each in ranges] for ranges in ipam.range_sets] == [["10.8.0.1-10.8.0.254"]]
    assert ipam.requested == [parse_ip("10.8.0.5")]
    assert prev_result
    assert prev_result.ips == [ip_config("10.8.0.2/24", "10.8.0.1", 1)]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"name": "net"}, "ipam: IPAM config missing 'ipam' key: expected an object"),
        (
            {"name": "net", "ipam": {}},
            "ipam.subnet: no IP ranges specified, expected a network in CIDR notation (or ranges)",
        ),
        (
            {"name": "../x", "ipam": HOST_LOCAL},
            "name: invalid characters found in network name '../x': it must start with a letter or digit",
        ),
    ],
)
def test_refuses_what_an_ipam_plugin_cannot_use(raw: dict[str, Any], message: str) -> None:
    error = refusal(read_ipam_config, raw, {})
    assert error.code == 7
    assert error.msg.startswith(message)


# Ranges


def usable(subnet: netaddr.IPNetwork) -> bool:
    return not any(subnet in network or network in subnet for network, _ in UNUSABLE)


@given(subnet=subnets((4, 30), (8, 126)).filter(usable), data=st.data())
def test_a_range_is_what_netaddr_computes(subnet: netaddr.IPNetwork, data: st.DataObject) -> None:
    inside = st.integers(subnet.first, subnet.last).map(lambda value: netaddr.IPAddress(value, subnet.version))
    given = {key: data.draw(st.none() | inside) for key in ("rangeStart", "rangeEnd", "gateway")}
    keys = {key: ip for key, ip in given.items() if ip is not None}
    lowest, highest = subnet.first + 1, subnet.last - (1 if subnet.version == 4 else 0)
    start = max(int(keys["rangeStart"]), lowest) if "rangeStart" in keys else lowest
    end = min(int(keys["rangeEnd"]), highest) if "rangeEnd" in keys else highest
    gateway = int(keys["gateway"]) if "gateway" in keys else lowest
    if start > end or start == end == gateway:
        return  # refused, which another test covers
    [[found]] = range_sets([{"subnet": str(subnet)} | {key: str(ip) for key, ip in keys.items()}])
    assert (found.start, found.end, found.gateway) == (start, end, gateway)
    assert found.subnet == subnet
    assert found.version == subnet.version
    assert str(found) == f"{netaddr.IPAddress(start, subnet.version)}-{netaddr.IPAddress(end, subnet.version)}"


@given(
    subnet=subnets((4, 30), (8, 126)).filter(usable), key=st.sampled_from(["rangeStart", "rangeEnd"]), data=st.data()
)
def test_refuses_what_netaddr_finds_outside_the_subnet(
    subnet: netaddr.IPNetwork, key: str, data: st.DataObject
) -> None:
    width = 32 if subnet.version == 4 else 128
    value = data.draw(
        st.integers(0, (1 << width) - 1)
        | st.sampled_from([max(subnet.first - 1, 0), min(subnet.last + 1, (1 << width) - 1)])
    )
    address = netaddr.IPAddress(value, subnet.version)
    if address in subnet or parse_ip(str(address)).version != subnet.version:
        return
    assert (
        refused_ipam(subnet=str(subnet), **{key: str(address)})
        == f"ipam.{key}: {key.replace('range', 'Range')} {address} not in network {subnet}"
    )
