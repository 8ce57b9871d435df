"""What our two nftables tables hold, and how it is kept right.

    table inet cni-bridge-py
      chain postrouting
        ip daddr 224.0.0.0/4 return, ...
        ip saddr @pods4-DIGEST jump masquerade-DIGEST, ...
      chain masquerade-DIGEST
        ip daddr @exceptions4-DIGEST return, ...
        masquerade fully-random
      set pods4-DIGEST: 10.22.0.5
      set exceptions4-DIGEST: 10.22.0.0/16, ...
      set attachments: veth1... . 0
    table bridge cni-bridge-py
      chain macspoofchk
        iifname @attachments iifname . ether saddr != @macs drop
      set attachments: veth1...
      set macs: veth1... . 0a:58:0a:16:00:05

An attachment is an element of each set. In `attachments`, the key is its host veth's name. The element's comment begins
with that link's MAC, from which GC knows the network, and goes on with the attachment's elements in the other sets. So
what we send for a pod does not depend on how many others there are, and neither does the kernel's work. (With a chain
for each pod it would: the kernel follows every jump of a table again whenever one is added.)

A chain `masquerade-DIGEST` is named after the pod's own networks and its exceptions. Pods with the same networks and
exceptions share it, and it is deleted with the last of them. So a pod keeps the exceptions that it was made with.

Each set has one element that belongs to no pod. If that element is missing, somebody has flushed the set. An ADD looks
at those of the first few chains only, so it does not cost more with more networks. If such an element, a rule or a
chain is missing, the ADD puts back everything in both tables, for the pods of every network.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from errno import ENOENT
from functools import cached_property

from netaddr import IPNetwork, cidr_merge

from cni_bridge_py.addresses import InterfaceAddress, IPVersion, parse_address
from cni_bridge_py.kernel import nftables
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import Message, NetlinkError
from cni_bridge_py.kernel.nftables import (
    ADDRESS,
    IFNAME,
    IFNAME_AND_MAC,
    IFNAME_AND_MARK,
    NF_BR_PRE_ROUTING,
    NF_BR_PRI_NAT_DST_BRIDGED,
    NF_INET_POST_ROUTING,
    NF_IP_PRI_NAT_SRC,
    NFPROTO_BRIDGE,
    NFPROTO_INET,
    Chain,
    Element,
    Nftables,
    Rule,
    Seen,
    Set,
    interface_and_mac_key,
    interface_and_mark_key,
    interface_key,
)
from cni_bridge_py.wiring import names
from cni_bridge_py.wiring.pod_filter import Exceptions, PodFilter, digest, read_altnames

NOBODY = (IPNetwork("0.0.0.0/32"), IPNetwork("::/128"))
"""Addresses that nobody has. They are in every set, so an empty set means that somebody has flushed it."""

MULTICAST = (IPNetwork("224.0.0.0/4"), IPNetwork("ff00::/8"))

POSTROUTING = Chain(NFPROTO_INET, "postrouting", "nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC)
POSTROUTING_RULES = [nftables.return_to_network(network, "multicast") for network in MULTICAST]
ATTACHMENTS = Set(NFPROTO_INET, "attachments", IFNAME_AND_MARK)

MACSPOOFCHK = Chain(NFPROTO_BRIDGE, "macspoofchk", "filter", NF_BR_PRE_ROUTING, NF_BR_PRI_NAT_DST_BRIDGED)
GUARDED = Set(NFPROTO_BRIDGE, "attachments", IFNAME)
MACS = Set(NFPROTO_BRIDGE, "macs", IFNAME_AND_MAC)
MACSPOOFCHK_RULES = [nftables.drop_other_macs(GUARDED, MACS, "guarded pods send from their own MAC only")]

NO_POD = "of no pod: gone after a flush"
UNTIL_NEXT_ADD = "of no pod: nonMasqueradeCIDRs come with the next ADD of the network"
ANCHORS: dict[Element, str] = {(ATTACHMENTS, interface_and_mark_key("lo", 0)): NO_POD}
GUARD_ANCHORS: dict[Element, str] = {
    (GUARDED, interface_key("lo")): NO_POD,
    (MACS, interface_and_mac_key("lo", "00:00:00:00:00:00")): NO_POD,
}
"""The elements that belong to no pod."""


@dataclass(frozen=True)
class MasqueradeChain:
    """What pods with the same networks and exceptions share: a chain and its sets."""

    own: tuple[IPNetwork, ...]
    exceptions: Exceptions

    @cached_property
    def name(self) -> str:
        """The digest in the names of the chain and its sets."""
        return digest(" ".join([self.exceptions.digest, *map(str, self.own)]))

    @cached_property
    def networks(self) -> dict[IPVersion, list[IPNetwork]]:
        """What is not masqueraded, by IP version. Networks that overlap or touch are merged, as the kernel requires."""
        networks = cidr_merge([*NOBODY, *self.own, *self.exceptions.networks])
        return {version: [each for each in networks if each.version == version] for version in ADDRESS}

    @property
    def anchors(self) -> dict[Element, str]:
        """Its elements that belong to no pod. They also say whether the exceptions are in the sets."""
        told = UNTIL_NEXT_ADD if self.exceptions.told else NO_POD
        return dict.fromkeys(_of_nobody(pods_sets(self.name)), told)


def chain_of(pod: PodFilter) -> MasqueradeChain:
    """The chain of a masqueraded pod."""
    # A network of one address is the pod itself, which sends nothing to itself through the node.
    own = {each.cidr for each in pod.masqueraded if each.prefixlen < 8 * ADDRESS[each.version].length}
    return MasqueradeChain(tuple(sorted(own)), pod.exceptions)


def masquerade_chain(name: str) -> Chain:
    """The chain that masquerades, of that name."""
    return Chain(NFPROTO_INET, f"masquerade-{name}")


def pods_sets(name: str) -> dict[IPVersion, Set]:
    """The sets of the addresses of its pods."""
    return {version: Set(NFPROTO_INET, f"pods{version}-{name}", ADDRESS[version]) for version in ADDRESS}


def exceptions_sets(name: str) -> dict[IPVersion, Set]:
    """The sets of the networks to which it does not masquerade."""
    return {version: Set(NFPROTO_INET, f"exceptions{version}-{name}", ADDRESS[version], True) for version in ADDRESS}


def _of_nobody(sets: dict[IPVersion, Set]) -> list[Element]:
    return [(each, bytes(each.key.length)) for each in sets.values()]


def jumps(name: str) -> list[Rule]:
    """The rules of the base chain that jump to it. Their comment is its name."""
    chain = masquerade_chain(name)
    return [nftables.jump_from_set(version, pods, chain, name) for version, pods in pods_sets(name).items()]


def masquerade_rules(name: str) -> list[Rule]:
    """The rules in it."""
    returns = [
        nftables.return_to_set(version, networks, "own networks of pods, and nonMasqueradeCIDRs")
        for version, networks in exceptions_sets(name).items()
    ]
    return [*returns, nftables.masquerade("what leaves the node")]


USES = len(masquerade_rules("")) + len(jumps(""))
"""How many rules a chain has, plus how many jump to it. Computed once, because making them takes a tenth of an ADD."""


def _chain_names(nft: Nftables) -> set[str]:
    """The names of the chains that exist."""
    return set(filter(is_name, (each.rpartition("-")[2] for each in nft.chains(NFPROTO_INET))))


def is_name(comment: str) -> bool:
    """Whether a comment in the base chain is the name of such a chain."""
    return len(comment) == 12 and all(each in "0123456789abcdef" for each in comment)


def comments(rules: list[Rule]) -> list[str]:
    """The comments of these rules, to recognise them in a chain."""
    return [rule.comment for rule in rules]


# What pods share


def ensure_masquerade(kernel: Kernel, own: MasqueradeChain | None = None) -> None:
    """Ensure the table that masquerades. If something is missing in it, put it back, for all pods that are there.

    `own` is the chain of this network. It is left out here, because `masquerade` looks at it.
    """
    if _has_masquerade(kernel.nftables, own):
        return
    pods = put_back_masquerade(kernel, own.exceptions if own else Exceptions())
    if any(pod.mac for pod in pods) and not _has_guards(kernel.nftables):
        put_back_guards(kernel)


def ensure_guards(kernel: Kernel) -> None:
    """Ensure the table for macspoofchk. If something is missing in it, put it back, for all pods that are there."""
    if _has_guards(kernel.nftables):
        return
    pods = put_back_guards(kernel)
    if any(pod.masqueraded for pod in pods) and not _has_masquerade(kernel.nftables, None):
        put_back_masquerade(kernel, Exceptions())


def _has_masquerade(nft: Nftables, own: MasqueradeChain | None) -> bool:
    wanted, found = comments(POSTROUTING_RULES), nft.first_comments(POSTROUTING)
    chains = {name for name in found[len(wanted) :] if is_name(name) and not (own and own.name == name)}
    return found[: len(wanted)] == wanted and _are_there(nft, ANCHORS) and all(_has_chain(nft, name) for name in chains)


def _has_guards(nft: Nftables) -> bool:
    return nft.uses(MACSPOOFCHK) == len(MACSPOOFCHK_RULES) and _are_there(nft, GUARD_ANCHORS)


def put_back_masquerade(kernel: Kernel, known: Exceptions) -> list[PodFilter]:
    """Write the table that masquerades again, for all pods whose host veths have a note of it.

    `known` are the exceptions of one network, which some of the pods may have. Returns what the packet filter does for
    all pods.
    """
    nft = kernel.nftables
    changed = False
    while not changed:
        generation = nft.generation()
        found = read_altnames(kernel.host.links(), known)
        pods = [pod for pod in found if pod.masqueraded]
        messages = [nftables.new_table(NFPROTO_INET), nftables.new_set(ATTACHMENTS), *_put(ANCHORS)]
        messages += nftables.chain_with(POSTROUTING, POSTROUTING_RULES)
        chains = {each.name: each for each in map(chain_of, pods)}
        for name in _chain_names(nft) - chains.keys():
            messages += _drop_chain(name)  # of pods that have gone
        for chain in chains.values():
            whole = chain.exceptions.told and _has_exceptions(nft, chain)
            messages += _chain_messages(chain, with_networks=not whole)
            messages += map(nftables.flush_set, pods_sets(chain.name).values())
            messages += _put(dict.fromkeys(chain.anchors, NO_POD) if whole else chain.anchors)
            messages += [nftables.new_rule(POSTROUTING, jump) for jump in jumps(chain.name)]
        messages += _put({element: told for pod in pods for element, told in elements_of_masqueraded(pod).items()})
        changed = nft.change(messages, generation)
    _clear_gone(kernel, pods)
    return found


def put_back_guards(kernel: Kernel) -> list[PodFilter]:
    """Write the table for macspoofchk again, for all pods whose host veths have a note of their MAC.

    Returns what the packet filter does for all pods.
    """
    changed = False
    while not changed:
        generation = kernel.nftables.generation()
        found = read_altnames(kernel.host.links(), Exceptions())
        pods = [pod for pod in found if pod.mac]
        messages = [nftables.new_table(NFPROTO_BRIDGE)]
        for each in (GUARDED, MACS):
            messages += [nftables.new_set(each), nftables.flush_set(each)]
        messages += nftables.chain_with(MACSPOOFCHK, MACSPOOFCHK_RULES)
        messages += _put(GUARD_ANCHORS)
        messages += _put({element: told for pod in pods for element, told in elements_of_guarded(pod).items()})
        changed = kernel.nftables.change(messages, generation)
    _clear_gone(kernel, pods)
    return found


def _clear_gone(kernel: Kernel, pods: list[PodFilter]) -> None:
    """Remove what was put back for pods whose DEL came meanwhile: DEL deletes the link first."""
    there = {link.name for link in kernel.host.links()} if pods else set()
    for pod in pods:
        if pod.host not in there:
            clear(kernel, pod.host)


# What is one pod's


def masquerade(kernel: Kernel, pod: PodFilter) -> None:
    """Masquerade a pod's addresses, except to its own networks, to the exceptions, and in multicast."""
    nft, chain, wanted = kernel.nftables, chain_of(pod), elements_of_masqueraded(pod)
    comments_of_pod = _comments_of(pod)
    told_at = [(ATTACHMENTS, interface_and_mark_key(pod.host, number)) for number in range(len(comments_of_pod) + 1)]
    elements = list(dict.fromkeys([*told_at, *wanted, *_of_nobody_in(chain.name)]))
    changed = mended = False
    while not changed:
        seen = nft.look(masquerade_chain(chain.name), elements)
        if [comment for each in told_at if (comment := seen.comments[each]) is not None] not in ([], comments_of_pod):
            clear(kernel, pod.host)  # an ADD of the same attachment, which was killed, left it
            continue
        whole = _is_complete(seen, chain.name) and chain.anchors.items() <= seen.comments.items()
        if not whole and not mended and seen.uses:
            put_back_masquerade(kernel, pod.exceptions)
            mended = True
            continue
        messages = [] if whole else _new_chain(nft, chain)
        try:
            changed = nft.change([*messages, *_replace(wanted, seen.comments)], seen.generation)
        except NetlinkError as error:
            if error.errno != ENOENT:
                raise
            ensure_masquerade(kernel, chain)  # somebody deleted our table in between


def guard(kernel: Kernel, pod: PodFilter) -> None:
    """Let a pod send from its own MAC only."""
    nft = kernel.nftables
    changed = False
    while not changed:
        generation = nft.generation()
        old = _guarded_now(nft, pod.host, nft.comment(GUARDED, interface_key(pod.host)))
        messages = [*_take(old), *_put(elements_of_guarded(pod))]
        try:
            changed = nft.change(messages, generation)
        except NetlinkError as error:
            if error.errno != ENOENT:
                raise
            ensure_guards(kernel)  # somebody deleted our table in between


def clear(kernel: Kernel, host: str, owner: str = "") -> None:
    """Remove what the packet filter does for an attachment. It is no error if there is nothing.

    With `owner`, only if it belongs to that network (names.host_veth_mac).
    """
    unmasquerade(kernel, host, owner)
    nft = kernel.nftables
    changed = False
    while not changed:
        generation = nft.generation()
        comment = nft.comment(GUARDED, interface_key(host))
        if not (comment or owner).startswith(owner):
            return
        messages = _take(_guarded_now(nft, host, comment))
        changed = not messages or nft.change(messages, generation)


def unmasquerade(kernel: Kernel, host: str, owner: str = "") -> None:
    """Remove what masquerades an attachment, like `clear`."""
    nft = kernel.nftables
    changed = False
    while not changed:
        generation = nft.generation()
        addresses = told(nft, host)
        if not all(each.startswith(owner) for each in addresses):
            return
        elements, chains = _masqueraded_now(nft, host, addresses)
        messages = _take(elements)
        for name in chains:
            if _is_unused(nft, name, elements):
                messages += [*_del_jumps(nft, name), *_drop_chain(name)]
        changed = not messages or nft.change(messages, generation)


def attachments(kernel: Kernel, network: str) -> set[str]:
    """The host veths, existing or not, of a network's attachments for which the packet filter does something."""
    found = [*kernel.nftables.elements(ATTACHMENTS).items(), *kernel.nftables.elements(GUARDED).items()]
    hosts = [(key[: IFNAME.length].rstrip(b"\0").decode(errors="replace"), comment) for key, comment in found]
    return {host for host, comment in hosts if comment.startswith(f"{names.host_veth_mac(network, host)}: ")}


def told(nft: Nftables, host: str) -> list[str]:
    """A masqueraded pod's comments in `attachments`: `OWNER: NAME ADDRESS` for each of its addresses."""
    found: list[str] = []
    while (comment := nft.comment(ATTACHMENTS, interface_and_mark_key(host, len(found)))) is not None:
        found.append(comment)
    return found


def _comments_of(pod: PodFilter) -> list[str]:
    name = chain_of(pod).name
    return [f"{pod.owner}: {name} {address}" for address in pod.masqueraded]


# Elements


def elements_of_masqueraded(pod: PodFilter) -> dict[Element, str]:
    """What the sets have of a masqueraded pod."""
    name = chain_of(pod).name
    elements: dict[Element, str] = {_address(name, address): pod.host for address in pod.masqueraded}
    for number, comment in enumerate(_comments_of(pod)):
        elements[ATTACHMENTS, interface_and_mark_key(pod.host, number)] = comment
    return elements


def elements_of_guarded(pod: PodFilter) -> dict[Element, str]:
    """What the sets have of a guarded pod."""
    return {
        (GUARDED, interface_key(pod.host)): f"{pod.owner}: {pod.mac}",
        (MACS, interface_and_mac_key(pod.host, pod.mac)): pod.host,
    }


def _masqueraded_now(nft: Nftables, host: str, addresses: list[str]) -> tuple[list[Element], set[str]]:
    """An attachment's elements in the sets, from its comments in `attachments`, and the names of its chains."""
    if not addresses and nft.uses(POSTROUTING) and not _are_there(nft, ANCHORS):
        return _by_comment(nft, host)
    elements = [(ATTACHMENTS, interface_and_mark_key(host, number)) for number in range(len(addresses))]
    chains = set()
    for each in addresses:
        with suppress(ValueError):  # somebody else wrote it
            _, name, address = each.split(" ")
            element = _address(name, parse_address(address))
            chains.add(name)
            if nft.comment(*element) == host:  # it may be another pod's by now
                elements.append(element)
    return elements, chains


def _by_comment(nft: Nftables, host: str) -> tuple[list[Element], set[str]]:
    """The same if somebody has flushed `attachments`."""
    chains = {comment for comment in nft.comments(POSTROUTING) if comment not in comments(POSTROUTING_RULES)}
    sets = [pods for name in chains for pods in pods_sets(name).values()]
    return [(pods, key) for pods in sets for key, comment in nft.elements(pods).items() if comment == host], chains


def _guarded_now(nft: Nftables, host: str, comment: str | None) -> list[Element]:
    """An attachment's elements in the sets, from its comment in `guarded`."""
    if comment is None:
        if nft.uses(MACSPOOFCHK) and not _are_there(nft, GUARD_ANCHORS):  # somebody flushed the set
            return [(MACS, key) for key in nft.elements(MACS) if key.startswith(interface_key(host))]
        return []
    found = [(GUARDED, interface_key(host))]
    with suppress(ValueError):  # somebody else wrote it
        allowed = (MACS, interface_and_mac_key(host, comment.rpartition(" ")[2]))
        found += [allowed] if nft.comment(*allowed) is not None else []
    return found


def _address(name: str, address: InterfaceAddress) -> Element:
    return pods_sets(name)[address.version], address.ip.packed


def _are_there(nft: Nftables, elements: dict[Element, str]) -> bool:
    return nft.comments_of(list(elements)) == list(elements.values())


def _put(elements: dict[Element, str]) -> list[Message]:
    by_set: dict[Set, dict[bytes, str]] = {}
    for (of, key), comment in elements.items():
        by_set.setdefault(of, {})[key] = comment
    return [message for of, comments in by_set.items() for message in nftables.new_elements(of, comments)]


def _take(elements: list[Element]) -> list[Message]:
    by_set: dict[Set, list[bytes]] = {}
    for of, key in dict.fromkeys(elements):
        by_set.setdefault(of, []).append(key)
    return [nftables.del_elements(of, keys) for of, keys in by_set.items()]


def _replace(elements: dict[Element, str], present: dict[Element, str | None]) -> list[Message]:
    """Put them where they are, and take away what is `present` with another comment: a dead pod's address."""
    others = [element for element, comment in elements.items() if present[element] not in (None, comment)]
    return [*_take(others), *_put(elements)]


# Chains


def _of_nobody_in(name: str) -> list[Element]:
    return [*_of_nobody(pods_sets(name)), *_of_nobody(exceptions_sets(name))]


def _has_chain(nft: Nftables, name: str) -> bool:
    """Whether a chain is there with its rules, those that lead to it, and what is in its sets."""
    return _is_complete(nft.look(masquerade_chain(name), _of_nobody_in(name)), name)


def _is_complete(seen: Seen, name: str) -> bool:
    return seen.uses >= USES and all(seen.comments[each] is not None for each in _of_nobody_in(name))


def _has_exceptions(nft: Nftables, chain: MasqueradeChain) -> bool:
    """Whether somebody who knew the exceptions of a chain has put them into its sets."""
    exceptions = _of_nobody(exceptions_sets(chain.name))
    return _are_there(nft, dict.fromkeys(chain.anchors, NO_POD)) and None not in nft.comments_of(exceptions)


def _new_chain(nft: Nftables, chain: MasqueradeChain) -> list[Message]:
    """Make a chain, and everything that it needs."""
    return [
        *_chain_messages(chain),
        *_replace(chain.anchors, dict(zip(chain.anchors, nft.comments_of(list(chain.anchors)), strict=True))),
        *_del_jumps(nft, chain.name),
        *(nftables.new_rule(POSTROUTING, jump) for jump in jumps(chain.name)),
    ]


def _chain_messages(chain: MasqueradeChain, with_networks: bool = True) -> list[Message]:
    sets = exceptions_sets(chain.name)
    messages = [nftables.new_set(each) for each in (*pods_sets(chain.name).values(), *sets.values())]
    if with_networks:
        messages += map(nftables.flush_set, sets.values())
        for version, networks in chain.networks.items():
            messages += nftables.new_networks(sets[version], networks)
    return messages + nftables.chain_with(masquerade_chain(chain.name), masquerade_rules(chain.name))


def _del_jumps(nft: Nftables, name: str) -> list[Message]:
    return [nftables.del_rule(POSTROUTING, handle) for handle, comment in nft.rules(POSTROUTING) if comment == name]


def _is_unused(nft: Nftables, name: str, but: list[Element]) -> bool:
    """Whether a chain has no pods but those of these elements."""
    for pods in pods_sets(name).values():
        known = {bytes(pods.key.length), *(key for of, key in but if of == pods)}
        if set(nft.some_elements(pods)) - known or set(nft.elements(pods)) - known:
            return False
    return True


def _drop_chain(name: str) -> list[Message]:
    """Delete a chain, to which nothing leads any more, and its sets."""
    chain, sets = masquerade_chain(name), [*pods_sets(name).values(), *exceptions_sets(name).values()]
    messages = []
    for new, delete in [(nftables.new_chain(chain), nftables.del_chain(chain))] + [
        (nftables.new_set(each), nftables.del_set(each)) for each in sets
    ]:
        messages += [new, delete]  # made first, since somebody may have deleted it
    return messages
