"""Steps on the packet filter: masquerade, and macspoofchk."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from errno import EAFNOSUPPORT, EINVAL, EOPNOTSUPP, EPROTONOSUPPORT

from cni_bridge_py.kernel import nftables, rtnetlink
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import NetlinkError, NoAnswer, Tolerating
from cni_bridge_py.kernel.nftables import Chain, Element, Rule, Set
from cni_bridge_py.wiring import packet_filter
from cni_bridge_py.wiring.packet_filter import (
    ANCHORS,
    ATTACHMENTS,
    GUARD_ANCHORS,
    MACSPOOFCHK,
    MACSPOOFCHK_RULES,
    POSTROUTING,
    POSTROUTING_RULES,
    MasqueradeChain,
    comments,
)
from cni_bridge_py.wiring.pod_filter import PodFilter, altnames
from cni_bridge_py.wiring.step import Step, expect


@dataclass(frozen=True)
class EnsureMasquerade(Step):
    """There is a table that masquerades pods.

    `chain` is the chain of this network. It has the exceptions that are needed if the table must be put back.
    """

    chain: MasqueradeChain

    def __str__(self) -> str:
        return "the nftables table that masquerades pods"

    def apply(self, kernel: Kernel) -> None:
        packet_filter.ensure_masquerade(kernel, self.chain)

    def check(self, kernel: Kernel) -> None:
        own = comments(POSTROUTING_RULES)
        found = kernel.nftables.comments(POSTROUTING)
        names = found[len(own) :]
        jumps = all(packet_filter.is_name(name) and names.count(name) == 2 for name in names)
        expect(found[: len(own)] == own and jumps, f"nftables chain {POSTROUTING.place} is missing or was changed")

    def commands(self) -> list[str]:
        return _base_commands(POSTROUTING, ANCHORS, POSTROUTING_RULES)


@dataclass(frozen=True)
class EnsureMacSpoofCheck(Step):
    """There is a table that drops pods' frames with another MAC."""

    def __str__(self) -> str:
        return "the nftables table that checks pods' MAC addresses"

    def apply(self, kernel: Kernel) -> None:
        packet_filter.ensure_guards(kernel)

    def check(self, kernel: Kernel) -> None:
        _check_rules(kernel, MACSPOOFCHK, MACSPOOFCHK_RULES)

    def commands(self) -> list[str]:
        return _base_commands(MACSPOOFCHK, GUARD_ANCHORS, MACSPOOFCHK_RULES)


@dataclass(frozen=True)
class WriteAltnames(Step):
    """The host veth has a note of what the packet filter does for the pod. A flush of the ruleset does not reach it."""

    pod: PodFilter

    def __str__(self) -> str:
        return f"write on {self.pod.host} what the packet filter does for the pod"

    def apply(self, kernel: Kernel) -> None:
        with Tolerating(EOPNOTSUPP):  # kernels before 5.5
            kernel.host.ask(rtnetlink.add_altnames(self.pod.host, altnames(self.pod)))

    def commands(self) -> list[str]:
        names = " ".join(f"altname {each}" for each in altnames(self.pod))
        return [f"ip link property add dev {self.pod.host} {names}"]


@dataclass(frozen=True)
class MasqueradePod(Step):
    """Packets of the pod to other networks get the node's address."""

    pod: PodFilter

    def __str__(self) -> str:
        return f"masquerade for {', '.join(str(address.ip) for address in self.pod.masqueraded)}"

    def apply(self, kernel: Kernel) -> None:
        packet_filter.masquerade(kernel, self.pod)

    def check(self, kernel: Kernel) -> None:
        pod = self.pod
        told = packet_filter.told(kernel.nftables, pod.host)
        # The pod has the exceptions from the time when it was made.
        name = told[0].rpartition(" ")[0].rpartition(" ")[2] if told else packet_filter.chain_of(pod).name
        expect(
            told == [f"{pod.owner}: {name} {address}" for address in pod.masqueraded],
            f"nftables set {ATTACHMENTS.place} lacks {pod.host} or was changed: no masquerade",
        )
        _check_rules(kernel, packet_filter.masquerade_chain(name), packet_filter.masquerade_rules(name))
        jumps = kernel.nftables.comments(POSTROUTING).count(name)
        expect(jumps == 2, f"nftables chain {POSTROUTING.place} does not lead to masquerade-{name}")
        for of in packet_filter.exceptions_sets(name).values():
            found = kernel.nftables.comment(of, bytes(of.key.length)) is not None
            expect(found, f"nftables set {of.place} lacks networks")
        for address in pod.masqueraded:
            pods = packet_filter.pods_sets(name)[address.version]
            found = kernel.nftables.comment(pods, address.ip.packed) == pod.host
            expect(found, f"nftables set {pods.place} lacks {address.ip}: no masquerade")

    def commands(self) -> list[str]:
        pod, chain = self.pod, packet_filter.chain_of(self.pod)
        sets = packet_filter.exceptions_sets(chain.name)
        lines = [_add_set(each) for each in (*packet_filter.pods_sets(chain.name).values(), *sets.values())]
        lines += [f"nft flush set {each.place}" for each in sets.values()]
        for version, networks in chain.networks.items():
            lines.append(f"nft add element {sets[version].place} '{{ {', '.join(map(str, networks))} }}'")
        lines += _chain_commands(packet_filter.masquerade_chain(chain.name), packet_filter.masquerade_rules(chain.name))
        lines += _add_elements(chain.anchors)
        lines += _add_rules(POSTROUTING, packet_filter.jumps(chain.name))
        return lines + _add_elements(packet_filter.elements_of_masqueraded(pod))


@dataclass(frozen=True)
class GuardMac(Step):
    """The pod may send from its own MAC and no other."""

    pod: PodFilter

    def __str__(self) -> str:
        return f"frames from {self.pod.host} must have the pod's MAC"

    def apply(self, kernel: Kernel) -> None:
        packet_filter.guard(kernel, self.pod)

    def check(self, kernel: Kernel) -> None:
        for (of, key), comment in packet_filter.elements_of_guarded(self.pod).items():
            found = kernel.nftables.comment(of, key) == comment
            expect(found, f"nftables set {of.place} lacks {self.pod.host} or was changed: no MAC spoof check")

    def commands(self) -> list[str]:
        return _add_elements(packet_filter.elements_of_guarded(self.pod))


@dataclass(frozen=True)
class UnmasqueradePod(Step):
    """Nothing is masqueraded for the attachment any more.

    `pod` is what the packet filter did, as far as we know. We remove what we find; with `owner`, only if it belongs to
    that network.

    This step comes before the cable is deleted: the kernel then frees the rules while it waits for the cable anyway.
    Nothing depends on the step: ClearFilter does the same after the cable is gone.
    """

    pod: PodFilter
    owner: str = ""

    def __str__(self) -> str:
        return f"stop masquerading for {self.pod.host}"

    def apply(self, kernel: Kernel) -> None:
        with suppress(NetlinkError, NoAnswer):
            packet_filter.unmasquerade(kernel, self.pod.host, self.owner)

    def commands(self) -> list[str]:
        if not self.pod.masqueraded:
            return []
        name = packet_filter.chain_of(self.pod).name
        return [
            *_delete_elements(packet_filter.elements_of_masqueraded(self.pod)),
            f"# masquerade-{name} and its sets are deleted with their last pod",
        ]


@dataclass(frozen=True)
class ClearFilter(Step):
    """The packet filter does nothing for the attachment any more. Its fields are those of UnmasqueradePod.

    This step comes after the cable is gone, because macspoofchk must hold until then. It also removes what an ADD may
    have put back meanwhile, together with our tables.
    """

    pod: PodFilter
    owner: str = ""

    def __str__(self) -> str:
        return f"remove what the packet filter has of {self.pod.host}"

    def apply(self, kernel: Kernel) -> None:
        if has_nftables(kernel):
            packet_filter.clear(kernel, self.pod.host, self.owner)

    def commands(self) -> list[str]:
        return _delete_elements(packet_filter.elements_of_guarded(self.pod)) if self.pod.mac else []


def has_nftables(kernel: Kernel) -> bool:
    """Whether the kernel has nf_tables."""
    try:
        kernel.nftables.generation()
    except (NetlinkError, NoAnswer) as error:
        # There is no nfnetlink, or it does not know nf_tables.
        if error.errno not in (EPROTONOSUPPORT, EAFNOSUPPORT, EINVAL, EOPNOTSUPP):
            raise
        return False
    return True


def _check_rules(kernel: Kernel, chain: Chain, rules: list[Rule]) -> None:
    holds = kernel.nftables.comments(chain) == comments(rules)
    expect(holds, f"nftables chain {chain.place} is missing or was changed")


def _base_commands(chain: Chain, anchors: dict[Element, str], rules: list[Rule]) -> list[str]:
    sets = dict.fromkeys(of for of, _ in anchors)
    table = f"nft add table {nftables.table_name(chain.family)}"
    return [table, *map(_add_set, sets), *_chain_commands(chain, rules), *_add_elements(anchors)]


def _add_set(of: Set) -> str:
    return f"nft add set {of.place} '{of.definition}'"


def _add_elements(elements: dict[Element, str]) -> list[str]:
    return [
        f"nft add element {of.place} '{{ {of.key.words(key)} comment \"{comment}\" }}'"
        for (of, key), comment in elements.items()
    ]


def _delete_elements(elements: dict[Element, str]) -> list[str]:
    return [f"nft delete element {of.place} '{{ {of.key.words(key)} }}'" for of, key in elements]


def _chain_commands(chain: Chain, rules: list[Rule]) -> list[str]:
    definition = f" '{chain.definition}'" if chain.definition else ""
    return [f"nft add chain {chain.place}{definition}", f"nft flush chain {chain.place}", *_add_rules(chain, rules)]


def _add_rules(chain: Chain, rules: list[Rule]) -> list[str]:
    return [f"nft add rule {chain.place} '{rule}'" for rule in rules]
