"""Where ours differs from the reference, and why."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.reference.releases import DEBIAN, NEWEST, RELEASES


class Difference(NamedTuple):
    """A difference: its name, why it is, and the places in the pictures where it shows."""

    name: str
    reason: str
    places: str
    """A regular expression for the ends of paths, which begin with the case's name."""
    example: str
    """A case in which it shows, so that one that is no more is not listed for ever."""
    releases: tuple[str, ...] = RELEASES
    """The reference's releases that it is true of."""


# fmt: off
MEANT = [
    Difference(
        "MAC addresses of pods and host veths",
        "derived from the pod's address and the veth's name, so that neighbours' entries stay true when an address is "
        "used again, and GC knows whose a veth is; the reference's are random",
        r"links/(HOST-VETH|eth0|net1|a-name-so-loong)/mac", "IPv4",
    ),
    Difference(
        "MAC address of the bridge",
        "derived from the gateway, or else pinned as it is made; the reference's without isGateway changes with the "
        "bridge's ports, and pods' neighbour entries for it go stale",
        r"links/(cni0|br-other)/mac", "IPv4",
    ),
    Difference(
        "names of host veths",
        "derived from container id and interface name, so that no state is needed to find them (the pictures call all "
        "of them HOST-VETH); the reference's are random",
        r"name of the host veth", "IPv4",
    ),
    Difference(
        "alias of host veths",
        "namespace/pod where Kubernetes tells it, for whoever runs `ip link`",
        r"links/HOST-VETH/ifalias", "Kubernetes' CNI_ARGS",
    ),
    Difference(
        "txqueuelen of veths",
        "the kernel's default of 1000; the reference makes the host's end with none (1.1.1: both), which leaves "
        "queueing disciplines put on it later without room",
        r"links/[^/]+/txqlen", "IPv4",
    ),
    Difference(
        "index of leases",
        "leases have a second name in .attachments, so that a release need not read all of them",
        r"(leases|modes)/.*/\.attachments/.*", "IPv4",
    ),
    Difference(
        "mode of leases",
        "0644, so that monitoring may read who has which address; the reference's are root's alone since 1.4",
        r"modes/.*", "IPv4", (NEWEST,),
    ),
    Difference(
        "lock of leases",
        "says which network namespace made them, so that nodes made of namespaces that share a directory do not take "
        "each other's pods for dead, and is root's alone: who opens it can hold it; the reference's is empty, and its "
        "group's too",
        r"(leases|modes)/.*/lock", "IPv4",
    ),
    Difference(
        "keep_addr_on_down",
        "set in the pod, as the reference does since 1.7, and on the bridge: an IPv6 gateway outlives its link's going "
        "down, too",
        r"node/sysctls/ipv6/conf/(cni0|br-other)/keep_addr_on_down|pod/sysctls/ipv6/conf/[^/]+/keep_addr_on_down",
        "isGateway, IPv6",
    ),
    Difference(
        "accept_ra of the node's links",
        "2 where it was 1 and IPv6 forwarding is switched on: else the kernel drops a default route that it learned",
        r"node/sysctls/ipv6/conf/[^/]+/accept_ra", "isGateway, IPv6",
    ),
    Difference(
        "one nftables table",
        "masquerading and macspoofchk are in a table of our own, made over netlink; the reference runs iptables or nft "
        "to have chains for each pod in tables that are everybody's",
        r"packet filter/.*", "ipMasq",
    ),
    Difference(
        "duplicate address detection",
        "our store gives no address twice, so pods and bridge get theirs with the flag nodad; the reference is content "
        "with the pod's sysctl accept_dad, which we set to 0 as well, and waits for the bridge's address",
        r"addresses/[^/]+/\d+ on [^/]+/nodad", "IPv6",
    ),
    Difference(
        "arp_notify in pods",
        "set only where a MAC is asked for (and ndisc_notify with it): else an address keeps its MAC, and neighbours "
        "need not be told",
        r"pod/sysctls/ipv[46]/conf/[^/]+/(arp|ndisc)_notify", "IPv4",
    ),
    Difference(
        "accept_ra of host veths",
        "not touched: a bridge's port gets no router advertisements, whatever it says",
        r"sysctls/ipv6/conf/HOST-VETH/accept_ra", "IPv4",
    ),
    Difference("dns that is empty", "left out from 1.0.0 on, as by 1.9.1", r".*/result/dns", "IPv4", (DEBIAN,)),
    Difference(
        "dns of the IPAM plugin",
        "handed on unless the configuration has its own; the reference dropped it before 1.2",
        r"(resolvConf|static|static, default gateway)/result/dns/.*", "resolvConf", (DEBIAN,),
    ),
    Difference(
        "layer 2 in 0.1.0 and 0.2.0",
        "works, with a result that has nothing to tell; the reference fails for want of an address, with the pod wired",
        r"no ipam in 0.\d.0/.*", "no ipam in 0.2.0",
    ),
    Difference(
        "prevResult of an ADD",
        "passed on, as the specification asks; the reference's result has nothing of it",
        r"after another plugin/result/.*", "after another plugin",
    ),
    Difference(
        "CHECK without ipam",
        "works; the reference's runs an IPAM plugin without a name",
        r"(no ipam|no ipam in [\d.]+|disableContainerInterface|ipam that is empty)/CHECK/.*", "no ipam",
    ),
    Difference(
        "CHECK of routes without gateway",
        "works; the reference's looks for routes that its ADD made differently",
        r"(routes|routes without isGateway|static|static, default gateway)/CHECK/.*", "routes", (DEBIAN,),
    ),
    Difference(
        "several gateways of one IP version",
        "the bridge gets all of them; the reference takes the first for somebody else's address, and refuses or, with "
        "forceAddress, removes it",
        r"several gateways/.*", "several gateways",
    ),
    Difference(
        "error codes",
        "specific; the reference has 999 for most",
        r"answer/code", "hairpinMode and promiscMode",
    ),
    Difference(
        "cniVersion of errors",
        "there, as the specification asks",
        r"answer/cniVersion", "hairpinMode and promiscMode",
    ),
    Difference(
        "what refused input leaves",
        "nothing of the pod, and nothing at all where it is refused before anything is made; the reference leaves a "
        "bridge and, until the DEL, a veth pair",
        r"answer/left .*", "subnet that is no network",
    ),
    Difference(
        "mtu below zero",
        "refused; the reference takes it for 0",
        r"mtu below zero/.*", "mtu below zero",
    ),
    Difference(
        "subnets that no pod can use",
        "refused: those of loopback, multicast and link-local addresses, and 0.0.0.0/8; the reference gives them out",
        r"subnet of multicast addresses/.*", "subnet of multicast addresses",
    ),
    Difference(
        "gateway of another IP version than its subnet",
        "refused, for no pod could use it; the reference goes on without",
        r"gateway of another IP version( from a plugin)?/.*", "gateway of another IP version",
    ),
    Difference(
        "two addresses of one IP version in 0.1.0 and 0.2.0 from an IPAM plugin",
        "refused, for their results have room for one; the reference gives the pod both, and tells the first",
        r"two addresses in 0.2.0 from a plugin/answer/.*", "two addresses in 0.2.0 from a plugin",
    ),
    Difference(
        "a network configuration list on standard input",
        "refused: a runtime has to take it apart; the reference takes it for a network without ipam",
        r"list on standard input/answer/.*", "list on standard input",
    ),
    Difference(
        "numbers beyond all bounds",
        "refused wherever they are, 1e999 say; the reference overlooks those of keys that it does not know",
        r"number beyond all bounds/answer/.*", "number beyond all bounds",
    ),
    Difference(
        "the node's own namespace as CNI_NETNS",
        "refused unless CNI_NETNS_OVERRIDE says so; the reference wired the node before 1.2",
        r"namespace that is the node's/.*", "namespace that is the node's", (DEBIAN,),
    ),
    Difference(
        "DEL with a range that is refused",
        "works: a runtime calls it after the ADD that was refused; the reference's host-local refuses it again",
        r"DEL with a range that is wrong/answer/.*", "DEL with a range that is wrong",
    ),
    Difference(
        "network and broadcast address",
        "never given out, also where `rangeStart` or `rangeEnd` names them; the reference does then",
        r"rangeStart that is the network's address/.*", "rangeStart that is the network's address",
    ),
    Difference(
        "CNI_PATH",
        "may be missing: our own store needs no other plugin",
        r"no CNI_PATH/.*", "no CNI_PATH",
    ),
    Difference(
        "IP in CNI_ARGS",
        "needs no IgnoreUnknown: we are the IPAM plugin, too; the reference's bridge does not know it",
        r"IP in CNI_ARGS without IgnoreUnknown/.*", "IP in CNI_ARGS without IgnoreUnknown",
    ),
    Difference(
        "addresses asked for in several places",
        "runtimeConfig's count before args' before CNI_ARGS', as the conventions have it; the reference wants all of "
        "them at once",
        r"addresses asked for in several places/.*", "addresses asked for in several places",
    ),
    Difference(
        "CNI_ARGS that end with a semicolon",
        "read; the reference refuses the empty pair",
        r"CNI_ARGS that end with a semicolon/.*", "CNI_ARGS that end with a semicolon",
    ),
    Difference(
        "GC",
        "removes what is not listed, and is refused without a list; the reference's does nothing",
        r"GC (of a lease|without a list)/answer/.*", "GC of a lease", (NEWEST,),
    ),
    Difference(
        "STATUS",
        "tells what each ADD would be refused for; the reference's asks the IPAM plugin alone, and its host-local "
        "is always content",
        r"STATUS of a full range/answer/.*", "STATUS of a full range", (NEWEST,),
    ),
    Difference(
        "ipMasqBackend",
        "`iptables` and `nftables` are accepted, and end in the same table of ours",
        r"ipMasqBackend nftables/.*packet filter/.*", "ipMasqBackend nftables", (NEWEST,),
    ),
    Difference(
        "mtu of interfaces in results",
        "told in 1.1.0, which has a place for it; the reference leaves it out",
        r"result/interfaces", "cniVersion 1.1.0", (NEWEST,),
    ),
    Difference(
        "mtu and advmss of routes",
        "set; the reference hands them on in its result alone",
        r"routes with mtu and advmss/pod/routes/.*", "routes with mtu and advmss", (NEWEST,),
    ),
    Difference(
        "CHECK of routes in other tables and of several routes to one network",
        "works; the reference's looks in the main table, and for one gateway",
        r"(routes in a table|several routes to one network)/CHECK/.*", "routes in a table", (NEWEST,),
    ),
    Difference(
        "routes on link",
        "made where the gateway is 0.0.0.0 or ::, or the scope is link, and before those whose gateways they reach; "
        "the reference makes those of gateway 0.0.0.0 alone, in the order of the configuration, and its CHECK does not "
        "find them",
        r"route on link[^/]*/.*", "route on link",
    ),
    Difference(
        "a route that is listed twice",
        "is made once; the reference fails with what it has made left",
        r"(a route twice|default route without gateway and isDefaultGateway)/.*", "a route twice",
    ),
    Difference(
        "a route's dst with host bits",
        "means its network; the reference leaves it to the kernel, which refuses",
        r"route to a network with host bits/.*", "route to a network with host bits",
    ),
    Difference(
        "a route's numbers out of range",
        "refused; the reference cuts them off",
        r"(scope above 255|priority below zero)/answer/.*", "scope above 255", (NEWEST,),
    ),
    Difference(
        "cniVersion of VERSION",
        "the one that was asked in, as the specification has it; the reference's is always its newest",
        r"VERSION in 0.4.0/answer/answer/cniVersion|VERSION/answer/answer/cniVersion", "VERSION in 0.4.0",
    ),
    Difference(
        "CNI 1.1.0",
        "spoken; the reference speaks it since 1.6",
        r"VERSION.*/answer/answer/(cniVersion|supportedVersions)", "VERSION", (DEBIAN,),
    ),
]
"""What is meant, and docs/from-the-reference.md lists."""
# fmt: on


def differences_at(release: str, path: str) -> list[Difference]:
    """The listed differences from a release that show at a place."""
    return [each for each in MEANT if release in each.releases and re.search(f"/({each.places})$", path)]
