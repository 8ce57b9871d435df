"""Our errors contain the newest reference's words, because people and test suites search for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import network
from tests.reference.cases import ranges
from tests.reference.releases import NEWEST, reference


class Refused(NamedTuple):
    """A call that both plugins refuse, and the words that both errors contain."""

    conf: Json
    phrase: str
    verb: str = "ADD"
    prepare: str = "true"
    call: Mapping[str, Any] = {}


def net(**keys: Any) -> Json:
    return network(4, **{"cniVersion": "1.0.0", **keys})


def trunk(**keys: int) -> Json:
    return net(vlanTrunk=[keys])


def asked(*ips: str) -> Json:
    return net(args={"cni": {"ips": ips}})


TAKEN = "mkdir -p /var/lib/cni/networks/podnet; printf 'other\\r\\neth0' > /var/lib/cni/networks/podnet/10.22.0.2"
GARBAGE = "printf '#!/bin/sh\\nexit 3\\n' > /usr/lib/cni/fake; chmod +x /usr/lib/cni/fake"
KILLED = "printf '#!/bin/sh\\nkill -9 $$\\n' > /usr/lib/cni/fake; chmod +x /usr/lib/cni/fake"
FAKE: Json = {"type": "fake"}
FAKE_PATH = {"env": {"CNI_PATH": "/usr/lib/cni"}}

REFUSED = {
    "vlan": Refused(net(vlan=4095), "invalid VLAN ID 4095 (must be between 0 and 4094)"),
    "minID": Refused(trunk(minID=0, maxID=9), "incorrect trunk minID parameter"),
    "maxID": Refused(trunk(minID=9, maxID=4095), "incorrect trunk maxID parameter"),
    "id": Refused(trunk(id=0), "incorrect trunk id parameter"),
    "maxID below minID": Refused(trunk(minID=9, maxID=8), "minID is greater than maxID in trunk parameter"),
    "no maxID": Refused(trunk(minID=9), "minID and maxID should be configured simultaneously, maxID is missing"),
    "no minID": Refused(trunk(maxID=9), "minID and maxID should be configured simultaneously, minID is missing"),
    "hairpinMode": Refused(
        net(hairpinMode=True, promiscMode=True), "cannot set hairpin mode and promiscuous mode at the same time"
    ),
    "disableContainerInterface": Refused(
        net(disableContainerInterface=True), "cannot use IPAM when DisableContainerInterface flag is set"
    ),
    "ipMasqBackend": Refused(net(ipMasq=True, ipMasqBackend="ipvs"), 'unknown ipmasq backend "ipvs"'),
    "ipMasqBackend, empty": Refused(net(ipMasq=True, ipMasqBackend=""), 'unknown ipmasq backend ""'),
    "no bridge": Refused(
        net(), '"cni0" already exists but is not a bridge', prepare="ip link add cni0 type veth peer name other"
    ),
    "another address": Refused(
        net(isGateway=True),
        '"cni0" already has an IP address different from 10.22.0.1/24',
        prepare="ip link add cni0 type bridge; ip address add 10.9.0.1/24 dev cni0",
    ),
    "no plugin": Refused(net() | {"ipam": {"type": "none"}}, 'failed to find plugin "none" in path ['),
    "a plugin that fails": Refused(
        net() | {"ipam": FAKE}, "netplugin failed with no error message: exit status 3", "ADD", GARBAGE, FAKE_PATH
    ),
    "a plugin that is killed": Refused(
        net() | {"ipam": FAKE}, "netplugin failed with no error message: signal: killed", "ADD", KILLED, FAKE_PATH
    ),
    "no ranges": Refused(net(ipam={"ranges": []}), "no IP ranges specified"),
    "no CIDR": Refused(net(ipam={"subnet": "usePodCidr"}), "invalid CIDR address: "),
    "too small": Refused(net(ipam={"subnet": "10.1.2.0/31"}), "Network 10.1.2.0/31 too small to allocate from"),
    "host bits": Refused(
        net(ipam={"subnet": "10.1.2.3/24"}),
        "Network has host bits set. For a subnet mask of length 24 the network address is 10.1.2.0",
    ),
    "rangeStart": Refused(
        net(ipam={"subnet": "10.1.2.0/24", "rangeStart": "10.1.3.0"}), "RangeStart 10.1.3.0 not in network 10.1.2.0/24"
    ),
    "rangeEnd": Refused(
        net(ipam={"subnet": "10.1.2.0/24", "rangeEnd": "10.1.3.0"}), "RangeEnd 10.1.3.0 not in network 10.1.2.0/24"
    ),
    "two families": Refused(
        net(ipam=ranges([{"subnet": "10.1.2.0/24"}, {"subnet": "fd00::/64"}])), "mixed address families"
    ),
    "overlap": Refused(
        net(ipam=ranges([{"subnet": "10.1.0.0/16"}, {"subnet": "10.1.2.0/24"}])),
        "subnets 10.1.0.1-10.1.255.254 and 10.1.2.1-10.1.2.254 overlap",
    ),
    "overlap of sets": Refused(
        net(ipam=ranges([{"subnet": "10.1.0.0/16"}], [{"subnet": "10.1.2.0/24"}])), "range set 0 overlaps with 1"
    ),
    "two addresses in 0.2.0": Refused(
        net(cniVersion="0.2.0", ipam=ranges([{"subnet": "10.1.0.0/16"}], [{"subnet": "10.2.0.0/16"}])),
        "CNI version 0.2.0 does not support more than 1 address per family",
    ),
    "addresses elsewhere": Refused(asked("10.23.0.1"), "failed to allocate all requested IPs: 10.23.0.1"),
    "two addresses of one set": Refused(
        asked("10.22.0.7", "10.22.0.8"), "failed to allocate all requested IPs: 10.22.0."
    ),
    "the gateway": Refused(asked("10.22.0.1"), "requested ip 10.22.0.1 is subnet's gateway"),
    "an address that is taken": Refused(
        asked("10.22.0.2"),
        "requested IP address 10.22.0.2 is not available in range set 10.22.0.1-10.22.0.254",
        prepare=TAKEN,
    ),
    "no address left": Refused(
        net(ipam=ranges([{"subnet": "10.22.0.0/30"}])),
        "no IP addresses available in range set: 10.22.0.1-10.22.0.2",
        prepare=TAKEN,
    ),
    "no name": Refused(net(name=""), "missing network name"),
    "name": Refused(net(name="a/b"), "invalid characters found in network name"),
    "version": Refused(net(cniVersion="9.9.9"), 'config is "9.9.9", plugin supports ["0.1.0" "0.2.0" "0.3.0" '),
    "CHECK": Refused(net(cniVersion="0.3.1"), "config version does not allow CHECK", "CHECK"),
    "STATUS": Refused(net(), "config version does not allow STATUS", "STATUS"),
    "GC": Refused(net(), "config version does not allow GC", "GC"),
    "verb": Refused(net(), "unknown CNI_COMMAND: FROB", "FROB"),
    "variable": Refused(net(), "required env variables [CNI_CONTAINERID] missing", call={"container_id": ""}),
    "container id": Refused(net(), "invalid characters in containerID", call={"container_id": "a/b"}),
    "interface name": Refused(net(), "interface name is too long", call={"ifname": "a" * 16}),
    "interface name with a slash": Refused(
        net(), "interface name contains / or : or whitespace characters", call={"ifname": "a/b"}
    ),
    "namespace": Refused(net(), 'failed to open netns "/run/netns/none"', call={"netns": "/run/netns/none"}),
    "arguments": Refused(net(), "ARGS: unknown args", call={"args": "FOO=BAR"}),
    "half an argument": Refused(net(), "ARGS: invalid pair", call={"args": "FOO"}),
}


def said(plugin: Plugin, node: Node, refused: Refused) -> str:
    """The error's whole text, as a runtime sees it."""
    node.run("sh", "-ec", refused.prepare)
    call = dict(refused.call)
    if call.get("container_id") == "":
        call = {"env": {"CNI_CONTAINERID": ""}}
    reply = plugin.call(node, refused.verb, refused.conf, node.pod(), **call)
    assert reply.status != 0
    return f"{reply.error['msg']}; {reply.error.get('details', '')}"


@pytest.mark.parametrize("name", REFUSED)
def test_ours_has_the_same_words(make_node: Callable[[], Node], plugin: Plugin, name: str) -> None:
    refused = REFUSED[name]
    assert refused.phrase in said(reference(NEWEST), make_node(), refused)
    assert refused.phrase in said(plugin, make_node(), refused)
