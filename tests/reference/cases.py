"""The configurations that run through the reference and through ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.harness import Json
from tests.kernel.networks import DEFAULT, NAME, SUBNET, network
from tests.reference.releases import NEWEST, RELEASES

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")
"""Those that every release here speaks."""

VERSION = VERSIONS[-1]
HAVE_CHECK = ("0.4.0", "1.0.0", "1.1.0")

INCOMPATIBLE, ENVIRONMENT, IO, DECODING, CONFIGURATION, UNAVAILABLE, KERNEL, ADDRESS, ATTACHED, BRIDGE = (
    1,
    4,
    5,
    6,
    7,
    50,
    100,
    102,
    103,
    104,
)
"""Our codes for refused input."""

VAGUE = (0, 999)
"""The reference's codes for whatever the specification has none for, and for much else."""


class Case(NamedTuple):
    """A configuration to run through both, and what is special about its call and its node."""

    name: str
    conf: Json | str
    prepare: str = ""
    """Run by sh in the node, before the call."""
    call: Mapping[str, Any] = MappingProxyType({})
    """`Plugin.call`'s further arguments."""
    code: int = 0
    """Our code where the input is to be refused."""
    verb: str = "ADD"
    """The verb that is to refuse it, or to answer."""
    releases: tuple[str, ...] = RELEASES
    """The reference's releases that know what it is about."""


def net(*versions: int, **keys: Any) -> Json:
    """A configuration that the reference understands."""
    return network(*(versions or (4,)), **{"cniVersion": VERSION, **keys})


def new(*versions: int, **keys: Any) -> Json:
    """A configuration that the reference's newest release understands."""
    return net(*versions, **{"cniVersion": "1.1.0", **keys})


NO_IPAM: Json = {"cniVersion": "1.1.0", "name": NAME}
GATEWAYS: Json = {"isDefaultGateway": True}
ALL: Json = {"isDefaultGateway": True, "ipMasq": True, "hairpinMode": True}
ROUTES = [{"dst": "10.96.0.0/12"}, {"dst": "192.168.0.0/16", "gw": "10.22.0.9"}, {"dst": "fd00:96::/112"}]
TWO_WAYS = [{"dst": "fd00:97::/64", "gw": "fd00:22::5"}, {"dst": "fd00:97::/64", "gw": "fd00:22::6"}]
STATIC: Json = {
    "type": "static",
    "addresses": [{"address": "10.22.0.77/24", "gateway": "10.22.0.1"}, {"address": "fd00:22::77/64"}],
    "routes": ROUTES,
    "dns": {"nameservers": ["10.96.0.10"]},
}
RESOLV_CONF = """cat > /etc/resolv.pods <<EOF
# a comment
nameserver 10.96.0.10
nameserver fd00:96::a
domain cluster.local
search a.example b.example
options ndots:5 rotate
EOF"""
BEFORE: Json = {
    "cniVersion": VERSION,
    "interfaces": [{"name": "tun0", "mac": "02:00:00:00:00:09", "sandbox": "/run/netns/other"}],
    "ips": [{"address": "10.99.0.5/24", "interface": 0}],
    "routes": [{"dst": "10.98.0.0/16"}],
    "dns": {"nameservers": ["10.99.0.1"]},
}
"""The result of an earlier plugin in the chain."""


def prioritised(priority: int) -> list[Json]:
    """Routes of both IP versions with a priority."""
    return [{"dst": dst, "priority": priority} for dst in ("10.96.0.0/12", "fd00:96::/64")]


def fake(answer: Json) -> str:
    """A command that makes an IPAM plugin `fake` with this answer."""
    script = f"#!/bin/sh\n[ $CNI_COMMAND = DEL ] || echo '{json.dumps(answer)}'\n"
    return f"cat > /usr/lib/cni/fake <<'EOF'\n{script}EOF\nchmod +x /usr/lib/cni/fake"


def ranges(*sets: list[Json], **keys: Any) -> Json:
    """`ipam` with these range sets."""
    return {"ranges": list(sets), **keys}


SERVED = [
    *(Case(f"IPv{v}", net(v)) for v in (4, 6)),
    Case("dual stack", net(4, 6)),
    *(Case(f"cniVersion {v}", net(4, 6, cniVersion=v, **ALL)) for v in VERSIONS),
    Case("no cniVersion", {key: value for key, value in net().items() if key != "cniVersion"}),
    *(Case(f"isGateway, IPv{v}", net(v, isGateway=True)) for v in (4, 6)),
    *(Case(f"isDefaultGateway, IPv{v}", net(v, isDefaultGateway=True)) for v in (4, 6)),
    Case("isDefaultGateway, isGateway false", net(isDefaultGateway=True, isGateway=False)),
    Case("ipMasq", net(ipMasq=True)),
    *(Case(f"ipMasq, default gateway, IPv{v}", net(v, ipMasq=True, **GATEWAYS)) for v in (4, 6)),
    Case("all that is usual", net(4, 6, **ALL)),
    Case("bridge", net(bridge="br-other", isGateway=True)),
    Case("bridge's default name", {key: value for key, value in net().items() if key != "bridge"}),
    Case("mtu", net(4, 6, mtu=1400, isGateway=True)),
    Case("hairpinMode", net(hairpinMode=True)),
    Case("promiscMode", net(promiscMode=True, isGateway=True)),
    Case("macspoofchk", net(macspoofchk=True)),
    Case("no ipam", {"cniVersion": VERSION, "name": NAME}),
    *(Case(f"no ipam in {v}", {"cniVersion": v, "name": NAME}) for v in VERSIONS[:2]),
    Case("after another plugin", net(prevResult=BEFORE)),
    Case("ipam that is empty", net(isGateway=True) | {"ipam": {}}),
    Case(
        "bridge made by hand", net(isGateway=True), "ip link add cni0 mtu 1300 type bridge stp_state 1 ageing_time 99"
    ),
    Case(
        "bridge with its address already",
        net(4, 6, isGateway=True),
        "ip link add cni0 up type bridge; ip address add 10.22.0.1/24 dev cni0; ip address add fd00:22::1/64 dev cni0",
    ),
    Case(
        "forceAddress",
        net(isGateway=True, forceAddress=True),
        "ip link add cni0 up type bridge; ip address add 10.9.0.1/16 dev cni0; ip address add 10.22.0.2/24 dev cni0",
    ),
    Case(
        "forceAddress, IPv6",
        net(6, isGateway=True, forceAddress=True),
        "ip link add cni0 up type bridge; ip address add fd00:22::9/64 dev cni0; ip address add fd00:9::1/64 dev cni0",
    ),
    Case(
        "IPv6 beside another network",
        net(6, isGateway=True),
        "ip link add cni0 up type bridge; ip address add fd00:9::1/64 dev cni0",
    ),
    Case("IPv6 off in the pod", net(4, 6), "sysctl -qw net.ipv6.conf.default.disable_ipv6=1"),
    Case(
        "forwarding on already", net(isGateway=True), "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
    ),
    Case("subnet in ipam", net() | {"ipam": {"type": "host-local", "subnet": "10.22.0.0/24"}}),
    Case(
        "subnet and range in ipam",
        net(isGateway=True)
        | {
            "ipam": {
                "type": "host-local",
                "subnet": "10.22.0.0/24",
                "rangeStart": "10.22.0.50",
                "rangeEnd": "10.22.0.60",
                "gateway": "10.22.0.254",
            }
        },
    ),
    Case(
        "rangeStart, rangeEnd",
        net(ipam=ranges([{"subnet": SUBNET[4], "rangeStart": "10.22.0.9", "rangeEnd": "10.22.0.9"}])),
    ),
    Case(
        "rangeStart that is the network's address",
        net(ipam=ranges([{"subnet": SUBNET[4], "rangeStart": "10.22.0.0"}])),
    ),
    Case("gateway", net(4, **GATEWAYS, ipam=ranges([{"subnet": SUBNET[4], "gateway": "10.22.0.254"}]))),
    Case(
        "gateway that is first",
        net(ipam=ranges([{"subnet": SUBNET[4], "rangeStart": "10.22.0.9", "gateway": "10.22.0.9"}])),
    ),
    Case("two range sets of one family", net(ipam=ranges([{"subnet": SUBNET[4]}], [{"subnet": "10.23.0.0/24"}]))),
    Case("several gateways", net(**GATEWAYS, ipam=ranges([{"subnet": SUBNET[4]}], [{"subnet": "10.23.0.0/24"}]))),
    Case(
        "gateway outside of its subnet",
        net(isGateway=True, ipam=ranges([{"subnet": SUBNET[4], "gateway": "10.23.0.1"}])),
    ),
    Case("two ranges in a set", net(ipam=ranges([{"subnet": "10.22.0.0/30"}, {"subnet": "10.22.1.0/24"}]))),
    Case(
        "subnet and ranges",
        net() | {"ipam": {"type": "host-local", "subnet": "10.22.0.0/24", "ranges": [[{"subnet": SUBNET[6]}]]}},
    ),
    Case("smallest subnet", net(isGateway=True, ipam=ranges([{"subnet": "10.22.0.0/30"}]))),
    Case("routes", net(4, 6, isGateway=True, ipam={"routes": ROUTES})),
    Case("routes without isGateway", net(4, 6, ipam={"routes": ROUTES})),
    Case(
        "default routes in ipam", net(4, 6, isGateway=True, ipam={"routes": [{"dst": DEFAULT[4]}, {"dst": DEFAULT[6]}]})
    ),
    Case(
        "default route in ipam and isDefaultGateway",
        net(**GATEWAYS, ipam={"routes": [{"dst": DEFAULT[4], "gw": "10.22.0.1"}]}),
    ),
    Case("dataDir", net(ipam={"dataDir": "/var/lib/cni/elsewhere"})),
    Case("relative dataDir", net(ipam={"dataDir": "var/lib/cni/elsewhere"})),
    Case("resolvConf", net(ipam={"resolvConf": "/etc/resolv.pods"}), RESOLV_CONF),
    Case(
        "dns", net(dns={"nameservers": ["10.96.0.10"], "domain": "x.example", "search": ["y"], "options": ["ndots:5"]})
    ),
    Case(
        "dns and resolvConf",
        net(dns={"nameservers": ["10.96.0.99"]}, ipam={"resolvConf": "/etc/resolv.pods"}),
        RESOLV_CONF,
    ),
    Case(
        "dns that is empty and resolvConf",
        net(dns={"nameservers": []}, ipam={"resolvConf": "/etc/resolv.pods"}),
        RESOLV_CONF,
    ),
    Case("resolvConf that is /dev/null", net(ipam={"resolvConf": "/dev/null"})),
    Case("runtimeConfig.mac", net(runtimeConfig={"mac": "02:11:22:33:44:55"}, capabilities={"mac": True})),
    Case("args.cni.mac", net(args={"cni": {"mac": "02:11:22:33:44:66"}})),
    Case("MAC in CNI_ARGS", net(), call={"args": "IgnoreUnknown=1;MAC=02:11:22:33:44:77"}),
    Case("runtimeConfig.ips", net(4, 6, runtimeConfig={"ips": ["10.22.0.55", "fd00:22::55/64"]})),
    Case("args.cni.ips", net(args={"cni": {"ips": ["10.22.0.66"]}})),
    Case("IP in CNI_ARGS without IgnoreUnknown", net(), call={"args": "IP=10.22.0.77"}),
    Case("IP in CNI_ARGS", net(4, 6), call={"args": "IgnoreUnknown=1;IP=10.22.0.77"}),
    Case(
        "addresses asked for in several places",
        net(runtimeConfig={"ips": ["10.22.0.55"]}, args={"cni": {"ips": ["10.22.0.66"]}}),
        call={"args": "IgnoreUnknown=1;IP=10.22.0.77"},
    ),
    Case("CNI_ARGS that end with a semicolon", net(), call={"args": "IgnoreUnknown=1;"}),
    Case("runtimeConfig.ipRanges", net(6, runtimeConfig={"ipRanges": [[{"subnet": "10.33.0.0/24"}]]})),
    Case("no CNI_PATH", net(), call={"env": {"CNI_PATH": None}}),
    Case(
        "Kubernetes' CNI_ARGS",
        net(),
        call={"args": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=1"},
    ),
    Case("keys in other cases", net(ISGATEWAY=True, Mtu=1400, hairpinmode=True)),
    Case("keys that are unknown or null", net(isGateway=True, mtu=None, vlan=0, unheardOf={"x": [1]})),
    Case("another interface's name", net(**GATEWAYS), call={"ifname": "net1"}),
    Case("an interface's name of 15 characters", net(), call={"ifname": "a-name-so-loong"}),
    Case("static", net(4, 6, isGateway=True) | {"ipam": STATIC}),
    Case("static, default gateway", net(4, 6, **ALL) | {"ipam": STATIC}),
    Case("route on link", net(ipam={"routes": [{"dst": "10.96.0.0/12", "gw": "0.0.0.0"}]})),
    Case("route on link, IPv6", net(6, ipam={"routes": [{"dst": "fd00:96::/112", "gw": "::"}]})),
    Case(
        "route on link to a gateway",
        net(ipam={"routes": [{"dst": DEFAULT[4], "gw": "169.254.1.1"}, {"dst": "169.254.1.1/32", "gw": "0.0.0.0"}]}),
    ),
    Case(
        "route on link by its scope",
        new(ipam={"routes": [{"dst": "10.96.0.0/12", "scope": 253}]}),
        releases=(NEWEST,),
    ),
    Case("a route twice", net(ipam={"routes": [{"dst": "10.96.0.0/12", "gw": "10.22.0.5"}] * 2})),
    Case("default route without gateway and isDefaultGateway", net(**GATEWAYS, ipam={"routes": [{"dst": DEFAULT[4]}]})),
    Case("route to a network with host bits", net(ipam={"routes": [{"dst": "10.98.1.5/16", "gw": "10.22.0.5"}]})),
    Case("address asked for with another length", net(runtimeConfig={"ips": ["10.22.0.55/16"]})),
    Case("cniVersion 1.1.0", new(4, 6, **ALL), releases=(NEWEST,)),
    Case("no ipam in 1.1.0", NO_IPAM, releases=(NEWEST,)),
    Case("disableContainerInterface", {**NO_IPAM, "disableContainerInterface": True}, releases=(NEWEST,)),
    Case("portIsolation", new(portIsolation=True, isGateway=True), releases=(NEWEST,)),
    Case("enabledad", new(6, enabledad=True, isGateway=True), releases=(NEWEST,)),
    Case("preserveDefaultVlan without vlan", new(preserveDefaultVlan=True), releases=(NEWEST,)),
    Case("ipMasqBackend iptables", new(**ALL, ipMasqBackend="iptables"), releases=(NEWEST,)),
    Case(
        "ipMasqBackend nftables",
        new(**ALL, ipMasqBackend="nftables"),
        # Without iptables: the reference's DEL looks for a chain there, too, and fails for want of it with Debian 12's.
        prepare="mount --bind /dev/null $(readlink -f $(command -v iptables))",
        releases=(NEWEST,),
    ),
    Case("routes with a priority", new(4, 6, ipam={"routes": prioritised(10)}), releases=(NEWEST,)),
    Case("routes in a table", new(ipam={"routes": [{"dst": "10.96.0.0/12", "table": 100}]}), releases=(NEWEST,)),
    Case("route in table 0", new(ipam={"routes": [{"dst": "10.96.0.0/12", "table": 0}]}), releases=(NEWEST,)),
    Case(
        "routes with mtu and advmss",
        new(ipam={"routes": [{"dst": "10.96.0.0/12", "mtu": 1300, "advmss": 1200}]}),
        releases=(NEWEST,),
    ),
    Case(
        "several routes to one network",
        new(4, 6, ipam={"routes": [*ROUTES, {"dst": "192.168.0.0/16", "gw": "10.22.0.10"}, *TWO_WAYS]}),
        releases=(NEWEST,),
    ),
    Case(
        "default route with a priority and isDefaultGateway",
        new(**GATEWAYS, ipam={"routes": [{"dst": DEFAULT[4], "gw": "10.22.0.1", "priority": 50}]}),
        releases=(NEWEST,),
    ),
]


def refused(
    name: str,
    conf: Json | str,
    code: int,
    verb: str = "ADD",
    prepare: str = "",
    releases: tuple[str, ...] = RELEASES,
    **call: Any,
) -> Case:
    """A case whose input is to be refused."""
    return Case(name, conf, prepare, call, code, verb, releases)


def answered(
    name: str, conf: Json, verb: str, prepare: str = "", releases: tuple[str, ...] = RELEASES, **call: Any
) -> Case:
    """A case that has one call, which is no ADD and succeeds."""
    return Case(name, conf, prepare, call, verb=verb, releases=releases)


def deleted(name: str, conf: Json, **call: Any) -> Case:
    """A case in which there is nothing to delete, which is no error."""
    return answered(name, conf, "DEL", **call)


def one_range(**keys: str) -> Json:
    """A configuration with one range."""
    return net(ipam=ranges([{"subnet": SUBNET[4], **keys}]))


def without(key: str) -> Json:
    """The environment without a variable."""
    return {"env": {key: None}}


TAKEN = "mkdir -p /var/lib/cni/networks/podnet; printf 'other\\r\\neth0' > /var/lib/cni/networks/podnet/10.22.0.2"

REFUSED = [
    refused("hairpinMode and promiscMode", net(hairpinMode=True, promiscMode=True), CONFIGURATION),
    refused("subnet that is no network", one_range(subnet="ten"), CONFIGURATION),
    refused("subnet without length", one_range(subnet="10.22.0.0"), CONFIGURATION),
    refused("subnet with host bits", one_range(subnet="10.22.0.5/24"), CONFIGURATION),
    refused("subnet too small", one_range(subnet="10.22.0.0/31"), CONFIGURATION),
    refused("subnet too small, IPv6", one_range(subnet="fd00:22::/127"), CONFIGURATION),
    refused("subnet of multicast addresses", one_range(subnet="224.0.0.0/24"), CONFIGURATION),
    refused("range without subnet", net(ipam=ranges([{"rangeStart": "10.22.0.9"}])), CONFIGURATION),
    refused("no ranges", net(ipam=ranges()), CONFIGURATION),
    refused("empty range set", net(ipam=ranges([])), CONFIGURATION),
    refused("gateway that is no address", one_range(gateway="ten"), CONFIGURATION),
    refused("gateway of another IP version", one_range(gateway="fd00::1"), CONFIGURATION),
    refused("rangeStart outside", one_range(rangeStart="10.99.0.1"), CONFIGURATION),
    refused("rangeEnd outside", one_range(rangeEnd="10.99.0.1"), CONFIGURATION),
    refused("rangeEnd before rangeStart", one_range(rangeStart="10.22.0.9", rangeEnd="10.22.0.8"), CONFIGURATION),
    refused(
        "ranges that overlap", net(ipam=ranges([{"subnet": SUBNET[4]}, {"subnet": "10.22.0.0/25"}])), CONFIGURATION
    ),
    refused(
        "range sets that overlap", net(ipam=ranges([{"subnet": SUBNET[4]}], [{"subnet": SUBNET[4]}])), CONFIGURATION
    ),
    refused("mixed range set", net(ipam=ranges([{"subnet": SUBNET[4]}, {"subnet": SUBNET[6]}])), CONFIGURATION),
    refused(
        "two addresses in 0.2.0",
        net(cniVersion="0.2.0", ipam=ranges([{"subnet": SUBNET[4]}], [{"subnet": "10.23.0.0/24"}])),
        CONFIGURATION,
    ),
    refused("route without dst", net(ipam={"routes": [{"gw": "10.22.0.1"}]}), CONFIGURATION),
    refused("route to no network", net(ipam={"routes": [{"dst": "ten"}]}), CONFIGURATION),
    refused(
        "route over another IP version", net(ipam={"routes": [{"dst": DEFAULT[4], "gw": "fd00::1"}]}), CONFIGURATION
    ),
    refused(
        "route over what cannot be reached", net(ipam={"routes": [{"dst": "10.5.0.0/16", "gw": "10.99.0.1"}]}), KERNEL
    ),
    refused("resolvConf that is not there", net(ipam={"resolvConf": "/none"}), IO),
    refused("dataDir that is a file", net(ipam={"dataDir": "/etc/hostname"}), IO),
    refused("ipam plugin that is not there", net(ipam={"type": "none-such"}), CONFIGURATION),
    refused("ipam plugin by path", net(ipam={"type": "../bridge"}), CONFIGURATION),
    refused("ipam that is a list", net() | {"ipam": []}, CONFIGURATION),
    refused("isGateway that is no boolean", net(isGateway="yes"), CONFIGURATION),
    refused("mtu that is no number", net(mtu="1500"), CONFIGURATION),
    refused("mtu below zero", net(mtu=-1), CONFIGURATION),
    refused("mtu too small for the kernel", net(mtu=60), KERNEL),
    refused("mtu too large", net(mtu=70000), CONFIGURATION),
    refused("vlan below zero", net(vlan=-1), CONFIGURATION),
    refused("vlan too large", net(vlan=4095), CONFIGURATION),
    refused("mac that is none", net(runtimeConfig={"mac": "ten"}), CONFIGURATION),
    refused("mac for multicast", net(runtimeConfig={"mac": "01:00:5e:00:00:01"}), CONFIGURATION),
    refused("MAC in CNI_ARGS that is none", net(), ENVIRONMENT, args="MAC=ten"),
    refused("CNI_ARGS that is unknown", net(), ENVIRONMENT, args="FOO=1"),
    refused("CNI_ARGS that is no pair", net(), ENVIRONMENT, args="FOO"),
    refused("address that is none", net(), ENVIRONMENT, args="IgnoreUnknown=1;IP=ten"),
    refused("address outside", net(), ADDRESS, args="IgnoreUnknown=1;IP=10.99.0.5"),
    refused("address of the gateway", net(), ADDRESS, args="IgnoreUnknown=1;IP=10.22.0.1"),
    refused("address that is taken", net(), ADDRESS, prepare=TAKEN, args="IgnoreUnknown=1;IP=10.22.0.2"),
    refused("runtimeConfig.ips outside", net(runtimeConfig={"ips": ["10.99.0.5"]}), ADDRESS),
    refused("no address left", one_range(subnet="10.22.0.0/30"), ADDRESS, prepare=TAKEN),
    refused("bridge that is none", net(), BRIDGE, prepare="ip link add cni0 type veth peer name other"),
    refused("bridge that is lo", net(bridge="lo"), BRIDGE),
    refused("bridge without name", net(bridge=""), CONFIGURATION),
    refused("bridge of 16 characters", net(bridge="a-bridge-so-long"), CONFIGURATION),
    refused("bridge with a slash", net(bridge="a/b"), CONFIGURATION),
    refused(
        "bridge with another address",
        net(isGateway=True),
        BRIDGE,
        prepare="ip link add cni0 type bridge; ip address add 10.9.0.1/16 dev cni0",
    ),
    refused(
        "bridge with another IPv6 address",
        net(6, isGateway=True),
        BRIDGE,
        prepare="ip link add cni0 type bridge; ip address add fd00:22::9/64 dev cni0 nodad",
    ),
    refused("namespace that is not there", net(), ENVIRONMENT, netns="/run/netns/none"),
    refused("namespace that is a file", net(), ENVIRONMENT, netns="/etc/hostname"),
    refused("namespace that is the node's", net(), ENVIRONMENT, netns="/proc/1/ns/net"),
    *(
        refused(f"no {name}", net(), ENVIRONMENT, **without(name))
        for name in ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS")
    ),
    refused("CNI_CONTAINERID with a slash", net(), ENVIRONMENT, container_id="x/y"),
    refused("CNI_IFNAME with a slash", net(), ENVIRONMENT, ifname="x/y"),
    refused("CNI_IFNAME that is ..", net(), ENVIRONMENT, ifname=".."),
    refused("CNI_IFNAME of 16 characters", net(), ENVIRONMENT, ifname="a-name-too-looong"),
    refused("unknown verb", net(), ENVIRONMENT, "FROB"),
    refused("unknown cniVersion", net(cniVersion="9.9.9"), INCOMPATIBLE),
    refused("cniVersion in short", net(cniVersion="0.3"), INCOMPATIBLE),
    refused("input that is no JSON", "{", DECODING),
    refused("input that is no object", "[]", DECODING),
    refused("no input", "", DECODING),
    refused("no name", net() | {"name": ""}, CONFIGURATION),
    refused("name that is a path", net() | {"name": "../x"}, CONFIGURATION),
    refused("CHECK without prevResult", net(), CONFIGURATION, "CHECK"),
    refused("CHECK in 0.3.1", net(cniVersion="0.3.1"), INCOMPATIBLE, "CHECK"),
    refused("DEL without CNI_CONTAINERID", net(), ENVIRONMENT, "DEL", **without("CNI_CONTAINERID")),
    refused("DEL by an ipam plugin that is not there", net(ipam={"type": "none-such"}), CONFIGURATION, "DEL"),
    *(
        refused(name, new(**keys), CONFIGURATION, releases=(NEWEST,))
        for name, keys in (
            ("disableContainerInterface and ipam", {"disableContainerInterface": True}),
            ("ipMasqBackend that is none", {"ipMasq": True, "ipMasqBackend": "x"}),
            ("scope above 255", {"ipam": {"routes": [{"dst": DEFAULT[4], "scope": 300}]}}),
            ("priority below zero", {"ipam": {"routes": prioritised(-1)}}),
            ("minID without maxID", {"vlanTrunk": [{"minID": 100}]}),
            ("vlanTrunk with an id too large", {"vlanTrunk": [{"id": 5000}]}),
        )
    ),
    refused("list on standard input", json.dumps({"name": NAME, "plugins": [net()]}), CONFIGURATION),
    refused("number beyond all bounds", json.dumps(net())[:-1] + ', "unheardOf": 1e999}', DECODING),
    refused(
        "two addresses in 0.2.0 from a plugin",
        net(cniVersion="0.2.0", ipam={"type": "fake"}),
        INCOMPATIBLE,
        prepare=fake({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": f"10.22.{n}.5/24"} for n in (0, 1)]}),
    ),
    refused(
        "gateway of another IP version from a plugin",
        net(ipam={"type": "fake"}),
        DECODING,
        prepare=fake({"cniVersion": "1.0.0", "ips": [{"address": "fd00:22::5/64", "gateway": "10.22.0.1"}]}),
    ),
    refused("MAC of eight bytes", net(runtimeConfig={"mac": "02:aa:bb:cc:dd:02:00:01"}), CONFIGURATION),
    refused("lo in the pod", net(), ENVIRONMENT, ifname="lo"),
    refused("STATUS in 1.0.0", net(), INCOMPATIBLE, "STATUS", releases=(NEWEST,)),
    refused("GC in 1.0.0", net(), INCOMPATIBLE, "GC", releases=(NEWEST,)),
    refused("GC without a list", new(), CONFIGURATION, "GC", releases=(NEWEST,)),
    refused(
        "STATUS of a full range",
        new(ipam=ranges([{"subnet": "10.22.0.0/30"}])),
        UNAVAILABLE,
        "STATUS",
        prepare=TAKEN,
        releases=(NEWEST,),
    ),
    refused("DEL with dataDir that is a file", net(ipam={"dataDir": "/etc/hostname"}), IO, "DEL"),
]

ANSWERED = [
    deleted("DEL of nothing", net()),
    deleted("DEL without namespace", net(), **without("CNI_NETNS")),
    deleted("DEL when the namespace is gone", net(), netns="/run/netns/none"),
    deleted("DEL without ipam", net() | {"ipam": {}}),
    deleted("DEL with resolvConf that is not there", net(ipam={"resolvConf": "/none"})),
    deleted("DEL with hairpinMode and promiscMode", net(hairpinMode=True, promiscMode=True)),
    deleted("DEL with a MAC that is none", net(runtimeConfig={"mac": "ten"})),
    deleted("DEL with VLANs that the kernel has not", net(vlan=100)),
    deleted("DEL with a prevResult that is broken", net(prevResult={"ips": [{"address": "ten"}]})),
    deleted("DEL with a range that is wrong", one_range(rangeStart="10.99.0.1")),
    answered("VERSION", net(), "VERSION"),
    answered("VERSION in 0.4.0", net(cniVersion="0.4.0"), "VERSION"),
    answered("VERSION in an unknown one", net(cniVersion="9.9.9"), "VERSION"),
    answered("STATUS", new(), "STATUS", releases=(NEWEST,)),
    answered("STATUS without ipam", NO_IPAM, "STATUS", releases=(NEWEST,)),
    answered("GC", new(**{"cni.dev/valid-attachments": []}), "GC", releases=(NEWEST,)),
    answered("GC of a lease", new(**{"cni.dev/valid-attachments": []}), "GC", prepare=TAKEN, releases=(NEWEST,)),
]
"""What a runtime's clean-up may come with: a DEL that fails is tried again and again. And what else is asked."""
