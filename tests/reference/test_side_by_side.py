"""The same configurations through Debian's `bridge` and `host-local` and through ours, and what each makes of them.

Each runs in two fresh nodes, one for each plugin, which must look alike afterwards: links, addresses, routes, bridge
ports, sysctls, leases, the result, and what a runtime is told of refused input. What may differ is in `MEANT`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.harness import Json, Node, Outside, Plugin, Pod
from tests.kernel.networks import DEFAULT, GATEWAY, NAME, SUBNET, network
from tests.reference import picture

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")
"""Those that Debian's plugins speak."""

VERSION = VERSIONS[-1]
HAVE_CHECK = VERSIONS[-2:]

INCOMPATIBLE, ENVIRONMENT, IO, DECODING, CONFIGURATION, KERNEL, ADDRESS, ATTACHED, BRIDGE = (
    1,
    4,
    5,
    6,
    7,
    100,
    102,
    103,
    104,
)
"""Our codes for refused input."""

VAGUE = 999
"""The reference's code for whatever the specification has none for, and for much else."""


class Meant(NamedTuple):
    """A difference that is meant: its name, why it is, and the places in the pictures where it shows."""

    name: str
    reason: str
    places: str
    """A regular expression for the ends of paths, which begin with the case's name."""
    example: str
    """A case in which it shows, so that one that is no more is not listed for ever."""


# fmt: off
MEANT = [
    Meant(
        "MAC addresses of pods and host veths",
        "derived from the pod's address and the veth's name, so that neighbours' entries stay true when an address is "
        "used again, and GC knows whose a veth is; the reference's are random",
        r"links/(HOST-VETH|eth0|net1|a-name-so-loong)/mac", "IPv4",
    ),
    Meant(
        "MAC address of the bridge",
        "derived from the gateway, or else pinned as it is made; the reference's without isGateway changes with the "
        "bridge's ports, and pods' neighbour entries for it go stale",
        r"links/(cni0|br-other)/mac", "IPv4",
    ),
    Meant(
        "names of host veths",
        "derived from container id and interface name, so that no state is needed to find them (the pictures call all "
        "of them HOST-VETH); the reference's are random",
        r"name of the host veth", "IPv4",
    ),
    Meant(
        "alias of host veths",
        "namespace/pod where Kubernetes tells it, for whoever runs `ip link`",
        r"links/HOST-VETH/ifalias", "Kubernetes' CNI_ARGS",
    ),
    Meant(
        "txqueuelen of veths",
        "the kernel's default of 1000; the reference makes them with none, which leaves queueing disciplines put on "
        "them later without room",
        r"links/[^/]+/txqlen", "IPv4",
    ),
    Meant(
        "index of leases",
        "leases have a second name in .attachments, so that a release need not read all of them",
        r"leases/.*/\.attachments/.*", "IPv4",
    ),
    Meant(
        "one nftables table",
        "masquerading and macspoofchk are in a table of our own, made over netlink; the reference runs iptables or nft "
        "to have chains for each pod in tables that are everybody's",
        r"packet filter/.*", "ipMasq",
    ),
    Meant(
        "duplicate address detection",
        "addresses from our store are no duplicates, so pods and bridge get them with the flag nodad; the reference "
        "sets the pod's sysctl accept_dad to 0, and waits for the bridge's address",
        r"addresses/[^/]+/\d+ on [^/]+/nodad|pod/sysctls/ipv6/conf/[^/]+/accept_dad", "IPv6",
    ),
    Meant(
        "arp_notify in pods",
        "set only where a MAC is asked for (and ndisc_notify with it): else an address keeps its MAC, and neighbours "
        "need not be told",
        r"pod/sysctls/ipv[46]/conf/[^/]+/(arp|ndisc)_notify", "IPv4",
    ),
    Meant(
        "accept_ra of host veths",
        "not touched: a bridge's port gets no router advertisements, whatever it says",
        r"sysctls/ipv6/conf/HOST-VETH/accept_ra", "IPv4",
    ),
    Meant(
        "dns of the IPAM plugin",
        "handed on unless the configuration has its own, as the reference does since 1.2; Debian's 1.1.1 drops it",
        r"(resolvConf|static|static, default gateway)/result/dns/.*", "resolvConf",
    ),
    Meant(
        "CHECK without ipam",
        "works; the reference's runs an IPAM plugin without a name",
        r"(no ipam|ipam that is empty)/CHECK/.*", "no ipam",
    ),
    Meant(
        "CHECK of routes without gateway",
        "works; the reference's looks for routes that its ADD made differently",
        r"(routes|routes without isGateway|static|static, default gateway)/CHECK/.*", "routes",
    ),
    Meant(
        "several gateways of one IP version",
        "the bridge gets all of them; the reference takes the first for somebody else's address, and refuses or, with "
        "forceAddress, removes it",
        r"several gateways/.*", "several gateways",
    ),
    Meant(
        "error codes",
        f"specific; the reference has {VAGUE} for most",
        r"answer/code", "hairpinMode and promiscMode",
    ),
    Meant(
        "cniVersion of errors",
        "there, as the specification asks",
        r"answer/cniVersion", "hairpinMode and promiscMode",
    ),
    Meant(
        "what refused input leaves",
        "nothing of the pod, and nothing at all where it is refused before anything is made; the reference leaves a "
        "bridge and, until the DEL, a veth pair",
        r"answer/left .*", "subnet that is no network",
    ),
    Meant(
        "mtu below zero",
        "refused; the reference takes it for 0",
        r"mtu below zero/.*", "mtu below zero",
    ),
    Meant(
        "gateway of another IP version than its subnet",
        "refused, for no pod could use it; the reference goes on without",
        r"gateway of another IP version/.*", "gateway of another IP version",
    ),
    Meant(
        "the node's own namespace as CNI_NETNS",
        "refused unless CNI_NETNS_OVERRIDE says so, as the reference does since 1.2; Debian's 1.1.1 wires the node",
        r"namespace that is the node's/.*", "namespace that is the node's",
    ),
    Meant(
        "DEL with a range that is refused",
        "works: a runtime calls it after the ADD that was refused; the reference's host-local refuses it again",
        r"DEL with a range that is wrong/answer/.*", "DEL with a range that is wrong",
    ),
    Meant(
        "network and broadcast address",
        "never given out, also where `rangeStart` or `rangeEnd` names them; the reference does then",
        r"rangeStart that is the network's address/.*", "rangeStart that is the network's address",
    ),
    Meant(
        "CNI_PATH",
        "may be missing: our own store needs no other plugin",
        r"no CNI_PATH/.*", "no CNI_PATH",
    ),
    Meant(
        "IP in CNI_ARGS",
        "needs no IgnoreUnknown: we are the IPAM plugin, too; the reference's bridge does not know it",
        r"IP in CNI_ARGS without IgnoreUnknown/.*", "IP in CNI_ARGS without IgnoreUnknown",
    ),
    Meant(
        "ipMasqBackend",
        "`iptables` and `nftables` are accepted, and end in the same table of ours",
        r"ipMasqBackend/.*packet filter/.*", "ipMasqBackend",
    ),
]
# fmt: on


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
    """The verb that is to refuse it."""


def net(*versions: int, **keys: Any) -> Json:
    """A configuration that the reference understands."""
    return network(*(versions or (4,)), **{"cniVersion": VERSION, **keys})


GATEWAYS: Json = {"isDefaultGateway": True}
ALL: Json = {"isDefaultGateway": True, "ipMasq": True, "hairpinMode": True}
ROUTES = [{"dst": "10.96.0.0/12"}, {"dst": "192.168.0.0/16", "gw": "10.22.0.9"}, {"dst": "fd00:96::/112"}]
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
    Case("ipMasqBackend", net(ipMasq=True, ipMasqBackend="nftables")),
    *(Case(f"ipMasq, default gateway, IPv{v}", net(v, ipMasq=True, **GATEWAYS)) for v in (4, 6)),
    Case("all that is usual", net(4, 6, **ALL)),
    Case("bridge", net(bridge="br-other", isGateway=True)),
    Case("bridge's default name", {key: value for key, value in net().items() if key != "bridge"}),
    Case("mtu", net(4, 6, mtu=1400, isGateway=True)),
    Case("hairpinMode", net(hairpinMode=True)),
    Case("promiscMode", net(promiscMode=True, isGateway=True)),
    Case("macspoofchk", net(macspoofchk=True)),
    Case("no ipam", {"cniVersion": VERSION, "name": NAME}),
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
    Case("resolvConf", net(ipam={"resolvConf": "/etc/resolv.pods"}), RESOLV_CONF),
    Case(
        "dns", net(dns={"nameservers": ["10.96.0.10"], "domain": "x.example", "search": ["y"], "options": ["ndots:5"]})
    ),
    Case(
        "dns and resolvConf",
        net(dns={"nameservers": ["10.96.0.99"]}, ipam={"resolvConf": "/etc/resolv.pods"}),
        RESOLV_CONF,
    ),
    Case("runtimeConfig.mac", net(runtimeConfig={"mac": "02:11:22:33:44:55"}, capabilities={"mac": True})),
    Case("args.cni.mac", net(args={"cni": {"mac": "02:11:22:33:44:66"}})),
    Case("MAC in CNI_ARGS", net(), call={"args": "IgnoreUnknown=1;MAC=02:11:22:33:44:77"}),
    Case("runtimeConfig.ips", net(4, 6, runtimeConfig={"ips": ["10.22.0.55", "fd00:22::55/64"]})),
    Case("args.cni.ips", net(args={"cni": {"ips": ["10.22.0.66"]}})),
    Case("IP in CNI_ARGS without IgnoreUnknown", net(), call={"args": "IP=10.22.0.77"}),
    Case("IP in CNI_ARGS", net(4, 6), call={"args": "IgnoreUnknown=1;IP=10.22.0.77"}),
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
]


def refused(name: str, conf: Json | str, code: int, verb: str = "ADD", prepare: str = "", **call: Any) -> Case:
    """A case whose input is to be refused."""
    return Case(name, conf, prepare, call, code, verb)


def deleted(name: str, conf: Json, **call: Any) -> Case:
    """A case in which there is nothing to delete, which is no error."""
    return Case(name, conf, call=call, verb="DEL")


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
    refused("DEL with dataDir that is a file", net(ipam={"dataDir": "/etc/hostname"}), IO, "DEL"),
]

DELETED = [
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
]
"""What a runtime's clean-up may come with: a DEL that fails is tried again and again."""


Look = Callable[[Case], tuple[Json, Json]]


@pytest.fixture(scope="module")
def look(root: None, plugin: Plugin, reference: Plugin) -> Look:
    """A function that has the pictures of a case: the reference's, and ours. It takes them once."""
    taken: dict[str, tuple[Json, Json]] = {}

    def pictures(case: Case) -> tuple[Json, Json]:
        if case.name not in taken:
            with ThreadPoolExecutor() as pool:
                theirs, ours = pool.map(outcome, (reference, plugin), (case, case))
            taken[case.name] = (theirs, ours)
        return taken[case.name]

    return pictures


def outcome(plugin: Plugin, case: Case) -> Json:
    """What a plugin makes of a case."""
    with Node() as node:
        # Whether a bridge's address has passed its detection yet is a matter of time.
        node.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        node.run("sh", "-ec", case.prepare)
        if case in SERVED:
            return {case.name: _life(plugin, case, node, node.pod())}
        return {case.name: {"answer": _answer(plugin, case, node, node.pod())}}


def _answer(plugin: Plugin, case: Case, node: Node, pod: Pod) -> Json:
    """What one call has to say, and what it leaves."""
    before, pods = node.snapshot(), picture.of_pods(node)
    reply = plugin.call(node, case.verb, case.conf, pod, **case.call)
    after = node.snapshot()
    changed = [key for key in after if after[key] != before[key]]
    left = [each for each in picture.of_pods(node) if each not in pods]
    return {**picture.of_reply(reply), "left on the node": changed, "left of the pod": left}


def _life(plugin: Plugin, case: Case, node: Node, pod: Pod) -> Json:
    """What there is from an ADD until after a second DEL."""
    assert isinstance(case.conf, dict)
    if case.conf.get("isDefaultGateway"):
        Outside(node)
        node.run("ip", "link", "set", "uplink0", "address", "02:00:00:00:00:01")
    added = plugin.call(node, "ADD", case.conf, pod, **case.call)
    if added.status:
        return {"answer": picture.of_reply(added)}
    found = picture.of_success(node, pod, added.result)
    found["traffic"] = _traffic(pod, case.conf)
    conf = case.conf
    if conf.get("cniVersion") in HAVE_CHECK:
        conf = {**conf, "prevResult": added.result}
        found["CHECK"] = picture.of_reply(plugin.call(node, "CHECK", conf, pod, **case.call))
    for verb in ("DEL", "DEL again"):
        found[verb] = picture.of_reply(plugin.call(node, "DEL", conf, pod, **case.call))
        found[f"after {verb}"] = {"node": picture.of_node(node), "pod": picture.of_machine(pod)}
    return found


def _traffic(pod: Pod, conf: Json) -> Json:
    """What the pod reaches, and as whom."""
    seen: Json = {}
    if conf.get("isGateway") or conf.get("isDefaultGateway"):
        seen["gateways"] = [pod.ping(gateway) for gateway in GATEWAY.values()]
    if conf.get("isDefaultGateway"):
        seen["outside"] = [pod.seen_as(address) for address in (Outside.address, Outside.address6)]
    return seen


def unexpected(theirs: Json, ours: Json) -> list[str]:
    """The differences between the reference's picture and ours that are not meant."""
    found = picture.differences(theirs, ours)
    return [f"{path}: {one!r} is {other!r} here" for path, one, other in found if not meant(path)]


def meant(path: str) -> list[str]:
    """The names of the meant differences that show at a place."""
    return [each.name for each in MEANT if re.search(f"/({each.places})$", path)]


def named(value: Any) -> str:
    """A test's name."""
    return str(value.name)


@pytest.mark.parametrize("case", SERVED, ids=named)
def test_served(look: Look, case: Case) -> None:
    theirs, ours = look(case)
    assert "answer" not in ours[case.name], ours
    assert unexpected(theirs, ours) == []


@pytest.mark.parametrize("case", REFUSED, ids=named)
def test_refused(look: Look, case: Case) -> None:
    theirs, ours = look(case)
    assert unexpected(theirs, ours) == []
    answer = ours[case.name]["answer"]
    assert answer["code"] == case.code
    assert theirs[case.name]["answer"].get("code", VAGUE) in (case.code, VAGUE)
    assert not answer["left of the pod"]
    assert not answer["left on the node"] or case.code in (KERNEL, BRIDGE)


@pytest.mark.parametrize("case", DELETED, ids=named)
def test_cleaned_up(look: Look, case: Case) -> None:
    theirs, ours = look(case)
    assert unexpected(theirs, ours) == []
    assert ours[case.name]["answer"]["status"] == 0


@pytest.mark.parametrize("difference", MEANT, ids=named)
def test_meant_difference_is_there(look: Look, difference: Meant) -> None:
    """What is no more must not be listed, in README neither."""
    (case,) = (case for case in SERVED + REFUSED + DELETED if case.name == difference.example)
    assert any(difference.name in meant(path) for path, _, _ in picture.differences(*look(case)))
