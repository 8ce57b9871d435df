"""What our two nftables tables hold, and how it is kept so.

    table inet cni-bridge-py                          table bridge cni-bridge-py
      chain masquerade                                  chain macspoofchk
        ip saddr vmap @masqueraded4                       iifname vmap @guarded
        ip6 saddr vmap @masqueraded6
      map masqueraded4: 10.22.0.5 : jump veth1...       map guarded: veth1... : jump veth1...
      chain veth1...                                    chain veth1...
        ip daddr 10.22.0.0/16 return                      ether saddr != 0a:58:0a:16:00:05 drop
        goto masquerade-DIGEST
      chain masquerade-DIGEST
        ip daddr @exceptions4-DIGEST return, ...
        masquerade fully-random

What is one attachment's is in a chain called as its host veth, whose last comment begins with that link's MAC, by which
GC knows whose it is. Exceptions are in a chain and sets named by a digest of them, which go with the last pod that uses
them: so pods keep those that they were made with, and what is sent for a pod does not depend on how many others there
are.
"""

from __future__ import annotations

from errno import EBUSY, EEXIST, ENOENT

from netaddr import IPNetwork, cidr_merge

from cni_bridge_py.addresses import InterfaceAddress, IPVersion, parse_address
from cni_bridge_py.kernel import nftables
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import Message, NetlinkError, Tolerating
from cni_bridge_py.kernel.nftables import (
    ADDRESS,
    IFNAME,
    NF_BR_PRE_ROUTING,
    NF_BR_PRI_NAT_DST_BRIDGED,
    NF_INET_POST_ROUTING,
    NF_IP_PRI_NAT_SRC,
    NFPROTO_BRIDGE,
    NFPROTO_INET,
    Chain,
    Nftables,
    Rule,
    Set,
)
from cni_bridge_py.wiring import names
from cni_bridge_py.wiring.pod_filter import Exceptions, PodFilter, read_altnames

MASQUERADE = Chain(NFPROTO_INET, "masquerade", "nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC)
MASQUERADED: dict[IPVersion, Set] = {
    4: Set(NFPROTO_INET, "masqueraded4", ADDRESS[4], is_map=True),
    6: Set(NFPROTO_INET, "masqueraded6", ADDRESS[6], is_map=True),
}
MASQUERADE_RULES = [
    nftables.jump_by_source(version, chains, "each masqueraded pod has a chain")
    for version, chains in MASQUERADED.items()
]

MACSPOOFCHK = Chain(NFPROTO_BRIDGE, "macspoofchk", "filter", NF_BR_PRE_ROUTING, NF_BR_PRI_NAT_DST_BRIDGED)
GUARDED = Set(NFPROTO_BRIDGE, "guarded", IFNAME, is_map=True)
MACSPOOFCHK_RULES = [nftables.jump_by_interface(GUARDED, "each guarded pod has a chain")]

MULTICAST = (IPNetwork("224.0.0.0/4"), IPNetwork("ff00::/8"))


def masquerade_chain(host: str) -> Chain:
    """The chain of a masqueraded pod."""
    return Chain(NFPROTO_INET, host)


def guard_chain(host: str) -> Chain:
    """The chain of a guarded pod."""
    return Chain(NFPROTO_BRIDGE, host)


def exceptions_chain(exceptions: Exceptions) -> Chain:
    """The chain that masquerades what goes to none of these networks."""
    return Chain(NFPROTO_INET, f"masquerade-{exceptions.digest}")


def exceptions_sets(digest: str) -> dict[IPVersion, Set]:
    """The sets with these networks, by IP version."""
    return {version: Set(NFPROTO_INET, f"exceptions{version}-{digest}", ADDRESS[version], False) for version in ADDRESS}


def exceptions_rules(exceptions: Exceptions) -> list[Rule]:
    """The rules of their chain."""
    sets = exceptions_sets(exceptions.digest)
    return [
        *(nftables.return_to_set(version, networks, "nonMasqueradeCIDRs") for version, networks in sets.items()),
        *(nftables.return_to_network(network, "multicast") for network in MULTICAST),
        nftables.masquerade("what leaves the node"),
    ]


def masquerade_rules(pod: PodFilter) -> list[Rule]:
    """The rules of a masqueraded pod's chain, whose comments say for whom they are."""
    chain = exceptions_chain(pod.exceptions)
    own = [nftables.return_to_network(address.cidr, str(address)) for address in pod.masqueraded]
    return [*own, nftables.go_to(chain, f"{pod.owner}: {chain.name}")]


def guard_rules(pod: PodFilter) -> list[Rule]:
    """The rule of a guarded pod's chain."""
    return [nftables.drop_other_sources(pod.mac, f"{pod.owner}: sends from {pod.mac} only")]


def comments(rules: list[Rule]) -> list[str]:
    """The comments, by which a chain is seen to hold these rules."""
    return [rule.comment for rule in rules]


def merged(exceptions: Exceptions) -> dict[IPVersion, list[IPNetwork]]:
    """The networks by IP version, those that overlap or touch made one, as the kernel wants them."""
    networks = cidr_merge(list(exceptions.networks))
    return {version: [each for each in networks if each.version == version] for version in ADDRESS}


# What pods share


def ensure_masquerade(kernel: Kernel, known: Exceptions) -> None:
    """Have the table that masquerades; where it has to be made, with what it did for all pods that are there."""
    if kernel.nftables.comments(MASQUERADE) != comments(MASQUERADE_RULES):
        put_back_masquerade(kernel, known)


def ensure_guards(kernel: Kernel) -> None:
    """Have the table that keeps pods to their MAC; where it has to be made, with all pods that are there."""
    if kernel.nftables.comments(MACSPOOFCHK) != comments(MACSPOOFCHK_RULES):
        put_back_guards(kernel)


def put_back_masquerade(kernel: Kernel, known: Exceptions) -> None:
    """Write the table that masquerades anew, for all pods whose host veths tell that they are."""
    pods = [pod for pod in read_altnames(kernel.host.links(), known) if pod.masqueraded]
    messages = [nftables.new_table(NFPROTO_INET), *map(nftables.new_set, MASQUERADED.values())]
    messages += nftables.chain_of(MASQUERADE, MASQUERADE_RULES)
    for exceptions in {pod.exceptions.digest: pod.exceptions for pod in pods}.values():
        messages += _exceptions_messages(exceptions)
    for pod in pods:
        messages += nftables.chain_of(masquerade_chain(pod.host), masquerade_rules(pod))
    _change(kernel.nftables, messages, {jump: pod.host for pod in pods for jump in _masquerade_jumps(pod)})
    _clear_gone(kernel, pods)


def put_back_guards(kernel: Kernel) -> None:
    """Write the table that keeps pods to their MAC anew, for all pods whose host veths tell theirs."""
    pods = [pod for pod in read_altnames(kernel.host.links(), Exceptions()) if pod.mac]
    messages = [nftables.new_table(NFPROTO_BRIDGE), nftables.new_set(GUARDED)]
    messages += nftables.chain_of(MACSPOOFCHK, MACSPOOFCHK_RULES)
    for pod in pods:
        messages += nftables.chain_of(guard_chain(pod.host), guard_rules(pod))
    _change(kernel.nftables, messages, {(GUARDED, pod.host.encode()): pod.host for pod in pods})
    _clear_gone(kernel, pods)


def _clear_gone(kernel: Kernel, pods: list[PodFilter]) -> None:
    """Take away again what was put back for pods whose DEL came in between: it takes the link away first."""
    there = {link.name for link in kernel.host.links()}
    for pod in pods:
        if pod.host not in there:
            clear(kernel, pod.host)


# What is one pod's


def masquerade(kernel: Kernel, pod: PodFilter) -> None:
    """Have a pod's addresses masqueraded, but not to its own networks, nor to the exceptions, nor in multicast."""
    try:
        _masquerade(kernel.nftables, pod)
    except NetlinkError as error:
        if error.errno != ENOENT:
            raise
        # The last pod with these exceptions went in between, or somebody deleted our table.
        ensure_masquerade(kernel, pod.exceptions)
        _masquerade(kernel.nftables, pod)


def _masquerade(nft: Nftables, pod: PodFilter) -> None:
    wanted = comments(exceptions_rules(pod.exceptions))
    found = nft.comments(exceptions_chain(pod.exceptions))
    messages = [] if found == wanted else _exceptions_messages(pod.exceptions)
    messages += nftables.chain_of(masquerade_chain(pod.host), masquerade_rules(pod))
    _change(nft, messages, dict.fromkeys(_masquerade_jumps(pod), pod.host))


def guard(kernel: Kernel, pod: PodFilter) -> None:
    """Have a pod send from its own MAC alone."""
    messages = nftables.chain_of(guard_chain(pod.host), guard_rules(pod))
    messages.append(nftables.new_jump(GUARDED, pod.host.encode(), pod.host))
    try:
        kernel.nftables.change(messages)
    except NetlinkError as error:
        if error.errno != ENOENT:
            raise
        ensure_guards(kernel)  # somebody deleted our table in between
        kernel.nftables.change(messages)


def clear(kernel: Kernel, host: str) -> None:
    """Take away what the packet filter does for an attachment; nothing there is no error."""
    _clear_masquerade(kernel.nftables, host)
    if kernel.nftables.uses(guard_chain(host)):
        _take_away(kernel.nftables, guard_chain(host), [(GUARDED, host.encode())])


def _clear_masquerade(nft: Nftables, host: str) -> None:
    chain = masquerade_chain(host)
    found = nft.comments(chain)
    if found:
        *addresses, told = found
        jumps = [_jump(parse_address(address)) for address in addresses]
        _take_away(nft, chain, jumps)
        _drop_unused_exceptions(nft, told.rpartition("-")[2])
    elif nft.uses(chain):  # somebody flushed its rules, which told its addresses
        _take_away(nft, chain, [(chains, key) for chains in MASQUERADED.values() for key in nft.keys(chains, host)])


def _take_away(nft: Nftables, chain: Chain, jumps: list[Jump]) -> None:
    """Delete a pod's chain, and the jumps to it: an address may be another pod's by now."""
    messages = [nftables.del_jump(*jump) for jump in jumps if nft.jump(*jump) == chain.name]
    with Tolerating(ENOENT):  # a call of the same attachment was quicker
        nft.change([*messages, nftables.del_chain(chain)])


def _drop_unused_exceptions(nft: Nftables, digest: str) -> None:
    """Delete exceptions that no pod uses any more."""
    chain = Chain(NFPROTO_INET, f"masquerade-{digest}")
    if nft.uses(chain) != len(exceptions_rules(Exceptions())):
        return
    with Tolerating(ENOENT), Tolerating(EBUSY):  # another call was quicker, or a new pod uses them
        nft.change([nftables.del_chain(chain), *map(nftables.del_set, exceptions_sets(digest).values())])


def attachments(kernel: Kernel, network: str) -> set[str]:
    """The host veths, there or gone, of a network's attachments for which the packet filter does something."""
    rules = kernel.nftables.all_comments(NFPROTO_INET) + kernel.nftables.all_comments(NFPROTO_BRIDGE)
    return {host for host, comment in rules if comment.startswith(f"{names.host_veth_mac(network, host)}: ")}


# Messages

Jump = tuple[Set, bytes]
"""A map of ours, and a key in it."""


def _jump(address: InterfaceAddress) -> Jump:
    return MASQUERADED[address.version], address.ip.packed


def _masquerade_jumps(pod: PodFilter) -> list[Jump]:
    return [_jump(address) for address in pod.masqueraded]


def _exceptions_messages(exceptions: Exceptions) -> list[Message]:
    """Make the chain and the sets of these exceptions, if they are not there."""
    sets = exceptions_sets(exceptions.digest)
    networks = merged(exceptions)
    members = [message for version in sets for message in nftables.new_networks(sets[version], networks[version])]
    chain = nftables.chain_of(exceptions_chain(exceptions), exceptions_rules(exceptions))
    return [*map(nftables.new_set, sets.values()), *members, *chain]


def _change(nft: Nftables, messages: list[Message], jumps: dict[Jump, str]) -> None:
    """Make the changes, and have the maps jump to these chains."""
    added = [nftables.new_jump(*jump, chain) for jump, chain in jumps.items()]
    try:
        nft.change(messages + added)
    except NetlinkError as error:
        if error.errno not in (EEXIST, EBUSY):
            raise
        # A killed ADD, which had the address before, left its jump.
        others = [nftables.del_jump(*jump) for jump, chain in jumps.items() if nft.jump(*jump) not in ("", chain)]
        nft.change(others + messages + added)
