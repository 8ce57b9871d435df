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
        "derived from the pod's address and from the veth's name. So neighbours' ARP entries stay valid when an "
        "address is used again, and GC knows which network a veth belongs to. The reference's are random",
        r"links/(HOST-VETH|eth0|net1|a-name-so-loong)/mac", "IPv4",
    ),
    Difference(
        "MAC address of the bridge",
        "derived from the gateway, or else fixed when the bridge is made. Without isGateway, the reference's changes "
        "with the bridge's ports, and pods' neighbour entries for it become stale",
        r"links/(cni0|br-other)/mac", "IPv4",
    ),
    Difference(
        "names of host veths",
        "derived from container id and interface name, so that no state is needed to find them (the tests write "
        "HOST-VETH for all of them). The reference's are random",
        r"name of the host veth", "IPv4",
    ),
    Difference(
        "alias of host veths",
        "namespace/pod if the runtime passes them on, for anybody who runs `ip link`",
        r"links/HOST-VETH/ifalias", "Kubernetes' CNI_ARGS",
    ),
    Difference(
        "txqueuelen of veths",
        "the kernel's default of 1000. The reference sets 0 on the host's end (1.1.1: on both), which leaves no room "
        "to a queueing discipline that is added later",
        r"links/[^/]+/txqlen", "IPv4",
    ),
    Difference(
        "index of leases",
        "each lease has a second name in .attachments, so that a release need not read all leases",
        r"(leases|modes)/.*/\.attachments/.*", "IPv4",
    ),
    Difference(
        "mode of leases",
        "0644, so that monitoring can read who has which address. Since 1.4, only root can read the reference's",
        r"modes/.*", "IPv4", (NEWEST,),
    ),
    Difference(
        "lock of leases",
        "has the name of the network namespace that made the leases, so that two nodes with the same directory do not "
        "take each other's pods for dead. Only root may open it, because a process that can open it can also hold it. "
        "The reference's is empty, and its group may open it",
        r"(leases|modes)/.*/lock", "IPv4",
    ),
    Difference(
        "keep_addr_on_down",
        "set in the pod, as the reference does since 1.7, and also on the bridge, so that an IPv6 gateway survives "
        "when the bridge goes down",
        r"node/sysctls/ipv6/conf/(cni0|br-other)/keep_addr_on_down|pod/sysctls/ipv6/conf/[^/]+/keep_addr_on_down",
        "isGateway, IPv6",
    ),
    Difference(
        "accept_ra of the node's links",
        "changed from 1 to 2 when IPv6 forwarding is switched on. Otherwise the kernel drops a default route that it "
        "learned from router advertisements",
        r"node/sysctls/ipv6/conf/[^/]+/accept_ra", "isGateway, IPv6",
    ),
    Difference(
        "one nftables table",
        "masquerade and macspoofchk are in tables of our own, made over netlink. The reference runs iptables or nft, "
        "and makes chains for each pod in tables that it shares with others",
        r"packet filter/.*", "ipMasq",
    ),
    Difference(
        "duplicate address detection",
        "off, with the flag nodad on the addresses of pods and of the bridge, because our store gives no address "
        "twice. Both plugins set the pod's sysctl accept_dad to 0. The reference sets no flag, and waits for the "
        "bridge's address",
        r"addresses/[^/]+/\d+ on [^/]+/nodad", "IPv6",
    ),
    Difference(
        "arp_notify in pods",
        "set only if the runtime asks for a MAC (and ndisc_notify with it). Otherwise an address always has the same "
        "MAC, so there is nothing to notify",
        r"pod/sysctls/ipv[46]/conf/[^/]+/(arp|ndisc)_notify", "IPv4",
    ),
    Difference(
        "accept_ra of host veths",
        "not changed: a bridge port does not process router advertisements, whatever its accept_ra is",
        r"sysctls/ipv6/conf/HOST-VETH/accept_ra", "IPv4",
    ),
    Difference("dns that is empty", "left out from 1.0.0 on, as 1.9.1 does", r".*/result/dns", "IPv4", (DEBIAN,)),
    Difference(
        "dns of the IPAM plugin",
        "passed on unless the configuration has a `dns` of its own. The reference dropped it before 1.2",
        r"(resolvConf|static|static, default gateway)/result/dns/.*", "resolvConf", (DEBIAN,),
    ),
    Difference(
        "layer 2 in 0.1.0 and 0.2.0",
        "works, with a result that has no address. The reference wires the pod, and then fails because there is no "
        "address",
        r"no ipam in 0.\d.0/.*", "no ipam in 0.2.0",
    ),
    Difference(
        "prevResult of an ADD",
        "passed on, as the specification asks. The reference leaves it out of its result",
        r"after another plugin/result/.*", "after another plugin",
    ),
    Difference(
        "CHECK without ipam",
        "works. The reference runs an IPAM plugin with an empty name",
        r"(no ipam|no ipam in [\d.]+|disableContainerInterface|ipam that is empty)/CHECK/.*", "no ipam",
    ),
    Difference(
        "CHECK of routes without gateway",
        "works. The reference looks for routes that differ from those that its ADD made",
        r"(routes|routes without isGateway|static|static, default gateway)/CHECK/.*", "routes", (DEBIAN,),
    ),
    Difference(
        "several gateways of one IP version",
        "the bridge gets all of them. The reference takes the first for an address of somebody else, and fails or, "
        "with forceAddress, removes it",
        r"several gateways/.*", "several gateways",
    ),
    Difference(
        "error codes",
        "specific. The reference has 999 for most errors",
        r"answer/code", "hairpinMode and promiscMode",
    ),
    Difference(
        "cniVersion of errors",
        "present, as the specification asks",
        r"answer/cniVersion", "hairpinMode and promiscMode",
    ),
    Difference(
        "what refused input leaves",
        "nothing of the pod, and nothing at all if the input is refused before anything is made. The reference leaves "
        "a bridge and, until the DEL, a veth pair",
        r"answer/left .*", "subnet that is no network",
    ),
    Difference(
        "mtu below zero",
        "refused. The reference takes it for 0",
        r"mtu below zero/.*", "mtu below zero",
    ),
    Difference(
        "subnets that no pod can use",
        "refused: loopback, multicast and link-local addresses, and 0.0.0.0/8. The reference gives them out",
        r"subnet of multicast addresses/.*", "subnet of multicast addresses",
    ),
    Difference(
        "gateway of another IP version than its subnet",
        "refused, because no pod could use it. The reference ignores it",
        r"gateway of another IP version( from a plugin)?/.*", "gateway of another IP version",
    ),
    Difference(
        "two addresses of one IP version in 0.1.0 and 0.2.0 from an IPAM plugin",
        "refused, because results of these versions have room for one. The reference gives the pod both, and reports "
        "the first",
        r"two addresses in 0.2.0 from a plugin/answer/.*", "two addresses in 0.2.0 from a plugin",
    ),
    Difference(
        "a network configuration list on standard input",
        "refused, because a runtime must split it into one configuration per plugin. The reference takes it for a "
        "network without ipam",
        r"list on standard input/answer/.*", "list on standard input",
    ),
    Difference(
        "numbers beyond all bounds",
        "refused in any key, for example 1e999. The reference ignores them in keys that it does not know",
        r"number beyond all bounds/answer/.*", "number beyond all bounds",
    ),
    Difference(
        "the node's own namespace as CNI_NETNS",
        "refused unless CNI_NETNS_OVERRIDE is set. The reference wired the node itself before 1.2",
        r"namespace that is the node's/.*", "namespace that is the node's", (DEBIAN,),
    ),
    Difference(
        "DEL with a range that is refused",
        "works, because a runtime calls DEL after an ADD that was refused. The reference's host-local fails again",
        r"DEL with a range that is wrong/answer/.*", "DEL with a range that is wrong",
    ),
    Difference(
        "network and broadcast address",
        "never given out, even if `rangeStart` or `rangeEnd` names them. The reference then gives them out",
        r"rangeStart that is the network's address/.*", "rangeStart that is the network's address",
    ),
    Difference(
        "CNI_PATH",
        "may be missing, because our own address store needs no other plugin",
        r"no CNI_PATH/.*", "no CNI_PATH",
    ),
    Difference(
        "IP in CNI_ARGS",
        "needs no IgnoreUnknown, because this plugin is the IPAM plugin, too. The reference's bridge does not know it",
        r"IP in CNI_ARGS without IgnoreUnknown/.*", "IP in CNI_ARGS without IgnoreUnknown",
    ),
    Difference(
        "addresses asked for in several places",
        "runtimeConfig comes before args, and args before CNI_ARGS, as the CNI conventions say. The reference wants "
        "all of these addresses at once",
        r"addresses asked for in several places/.*", "addresses asked for in several places",
    ),
    Difference(
        "CNI_ARGS that end with a semicolon",
        "accepted. The reference refuses the empty pair",
        r"CNI_ARGS that end with a semicolon/.*", "CNI_ARGS that end with a semicolon",
    ),
    Difference(
        "GC",
        "removes what is not listed, and is refused without a list. The reference's does nothing",
        r"GC (of a lease|without a list)/answer/.*", "GC of a lease", (NEWEST,),
    ),
    Difference(
        "STATUS",
        "reports what would make every ADD fail. The reference's only asks the IPAM plugin, and its host-local "
        "always succeeds",
        r"STATUS of a full range/answer/.*", "STATUS of a full range", (NEWEST,),
    ),
    Difference(
        "ipMasqBackend",
        "`iptables` and `nftables` are accepted, and both mean our own nftables table",
        r"ipMasqBackend nftables/.*packet filter/.*", "ipMasqBackend nftables", (NEWEST,),
    ),
    Difference(
        "mtu of interfaces in results",
        "present in 1.1.0, which has the key. The reference leaves it out",
        r"result/interfaces", "cniVersion 1.1.0", (NEWEST,),
    ),
    Difference(
        "mtu and advmss of routes",
        "set on the route. The reference only repeats them in its result",
        r"routes with mtu and advmss/pod/routes/.*", "routes with mtu and advmss", (NEWEST,),
    ),
    Difference(
        "CHECK of routes in other tables and of several routes to one network",
        "works. The reference looks in the main table only, and for one gateway only",
        r"(routes in a table|several routes to one network)/CHECK/.*", "routes in a table", (NEWEST,),
    ),
    Difference(
        "routes on link",
        "made if the gateway is 0.0.0.0 or ::, or if the scope is link. They come before the routes whose gateways "
        "they reach. The reference makes only those with gateway 0.0.0.0, in the order of the configuration, and its "
        "CHECK does not find them",
        r"route on link[^/]*/.*", "route on link",
    ),
    Difference(
        "a route that is listed twice",
        "is made once. The reference fails, and leaves what it has made",
        r"(a route twice|default route without gateway and isDefaultGateway)/.*", "a route twice",
    ),
    Difference(
        "a route's dst with host bits",
        "means its network. The reference leaves it to the kernel, which refuses it",
        r"route to a network with host bits/.*", "route to a network with host bits",
    ),
    Difference(
        "a route's numbers out of range",
        "refused. The reference truncates them",
        r"(scope above 255|priority below zero)/answer/.*", "scope above 255", (NEWEST,),
    ),
    Difference(
        "cniVersion of VERSION",
        "the version of the request, as the specification says. The reference always answers with its newest",
        r"VERSION in 0.4.0/answer/answer/cniVersion|VERSION/answer/answer/cniVersion", "VERSION in 0.4.0",
    ),
    Difference(
        "CNI 1.1.0",
        "supported. The reference supports it since 1.6",
        r"VERSION.*/answer/answer/(cniVersion|supportedVersions)", "VERSION", (DEBIAN,),
    ),
]
"""What is meant, and docs/from-the-reference.md lists."""
# fmt: on


def differences_at(release: str, path: str) -> list[Difference]:
    """The listed differences from a release that show at a place."""
    return [each for each in MEANT if release in each.releases and re.search(f"/({each.places})$", path)]
