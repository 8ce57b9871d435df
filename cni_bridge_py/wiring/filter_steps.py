"""Steps on the packet filter: what masquerades pods, and what keeps them to their MAC."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EOPNOTSUPP

from cni_bridge_py.kernel import nftables, rtnetlink
from cni_bridge_py.kernel.access import Kernel
from cni_bridge_py.kernel.netlink import NetlinkError, NoAnswer, Tolerating
from cni_bridge_py.kernel.nftables import Chain, Rule, Set
from cni_bridge_py.wiring import packet_filter
from cni_bridge_py.wiring.packet_filter import GUARDED, MACSPOOFCHK, MASQUERADE, MASQUERADED, comments
from cni_bridge_py.wiring.pod_filter import Exceptions, PodFilter, altnames
from cni_bridge_py.wiring.step import Step, expect


@dataclass(frozen=True)
class EnsureMasquerade(Step):
    """There is a table that masquerades pods: a packet finds its pod's chain with one look into a map.

    `known` are the exceptions of this network, for when the table has to be put back for all its pods.
    """

    known: Exceptions

    def __str__(self) -> str:
        return "where pods are masqueraded"

    def apply(self, kernel: Kernel) -> None:
        packet_filter.ensure_masquerade(kernel, self.known)

    def check(self, kernel: Kernel) -> None:
        _check_rules(kernel, MASQUERADE, packet_filter.MASQUERADE_RULES)

    def commands(self) -> list[str]:
        return _base_commands(MASQUERADE, list(MASQUERADED.values()), packet_filter.MASQUERADE_RULES)


@dataclass(frozen=True)
class EnsureMacSpoofCheck(Step):
    """There is a table that keeps pods to their MAC: a frame finds its pod's chain with one look into a map."""

    def __str__(self) -> str:
        return "where frames of guarded pods are looked at"

    def apply(self, kernel: Kernel) -> None:
        packet_filter.ensure_guards(kernel)

    def check(self, kernel: Kernel) -> None:
        _check_rules(kernel, MACSPOOFCHK, packet_filter.MACSPOOFCHK_RULES)

    def commands(self) -> list[str]:
        return _base_commands(MACSPOOFCHK, [GUARDED], packet_filter.MACSPOOFCHK_RULES)


@dataclass(frozen=True)
class WriteAltnames(Step):
    """What the packet filter does for the pod is written on its host veth, where no flush reaches it."""

    pod: PodFilter

    def __str__(self) -> str:
        return f"what the packet filter does for the pod is written on {self.pod.host}"

    def apply(self, kernel: Kernel) -> None:
        with Tolerating(EOPNOTSUPP):  # kernels before 5.5
            kernel.host.ask(rtnetlink.add_altnames(self.pod.host, altnames(self.pod)))

    def commands(self) -> list[str]:
        names = " ".join(f"altname {each}" for each in altnames(self.pod))
        return [f"ip link property add dev {self.pod.host} {names}"]


@dataclass(frozen=True)
class MasqueradePod(Step):
    """What the pod sends to other networks has the node's address."""

    pod: PodFilter

    def __str__(self) -> str:
        return f"masquerade for {', '.join(str(address.ip) for address in self.pod.masqueraded)}"

    def apply(self, kernel: Kernel) -> None:
        packet_filter.masquerade(kernel, self.pod)

    def check(self, kernel: Kernel) -> None:
        pod = self.pod
        chain = packet_filter.masquerade_chain(pod.host)
        *addresses, told = kernel.nftables.comments(chain) or [""]
        owner, _, name = told.partition(": ")
        # The exceptions are those of the time when the pod was made.
        expect(
            (addresses, owner) == ([str(each) for each in pod.masqueraded], pod.owner),
            f"nftables chain {chain.place} is missing or was changed: no masquerade",
        )
        _check_rules(kernel, Chain(chain.family, name), packet_filter.exceptions_rules(pod.exceptions))
        for address in pod.masqueraded:
            chains = MASQUERADED[address.version]
            found = kernel.nftables.jump(chains, address.ip.packed) == pod.host
            expect(found, f"nftables map {chains.place} lacks {address.ip}: no masquerade")

    def commands(self) -> list[str]:
        pod = self.pod
        exceptions, chain = packet_filter.exceptions_chain(pod.exceptions), packet_filter.masquerade_chain(pod.host)
        networks = packet_filter.merged(pod.exceptions)
        lines = []
        for version, networks_set in packet_filter.exceptions_sets(pod.exceptions.digest).items():
            lines.append(_add_set(networks_set))
            if networks[version]:
                elements = ", ".join(map(str, networks[version]))
                lines.append(f"nft add element {networks_set.place} '{{ {elements} }}'")
        lines += _chain_commands(exceptions, packet_filter.exceptions_rules(pod.exceptions))
        lines += _chain_commands(chain, packet_filter.masquerade_rules(pod))
        return lines + [
            f"nft add element {MASQUERADED[address.version].place} '{{ {address.ip} : jump {pod.host} }}'"
            for address in pod.masqueraded
        ]


@dataclass(frozen=True)
class GuardMac(Step):
    """The pod may send from its own MAC and no other."""

    pod: PodFilter

    def __str__(self) -> str:
        return f"what comes out of {self.pod.host} has the pod's MAC"

    def apply(self, kernel: Kernel) -> None:
        packet_filter.guard(kernel, self.pod)

    def check(self, kernel: Kernel) -> None:
        host = self.pod.host
        guarded = kernel.nftables.jump(GUARDED, host.encode()) == host
        expect(guarded, f"nftables map {GUARDED.place} lacks {host}: no MAC spoof check")
        chain = packet_filter.guard_chain(host)
        found = kernel.nftables.comments(chain) == comments(packet_filter.guard_rules(self.pod))
        expect(found, f"nftables chain {chain.place} was changed: no MAC spoof check")

    def commands(self) -> list[str]:
        host = self.pod.host
        return [
            *_chain_commands(packet_filter.guard_chain(host), packet_filter.guard_rules(self.pod)),
            f"nft add element {GUARDED.place} '{{ {host} : jump {host} }}'",
        ]


@dataclass(frozen=True)
class ClearFilter(Step):
    """The packet filter does nothing for the attachment any more.

    `pod` is what it did, as far as that is known here; what is taken away is what is found. Where the configuration
    asks for nothing (not `expected`), an earlier one may have.
    """

    pod: PodFilter
    expected: bool

    def __str__(self) -> str:
        return f"no more rules for {self.pod.host}"

    def apply(self, kernel: Kernel) -> None:
        if self.expected or has_nftables(kernel):
            packet_filter.clear(kernel, self.pod.host)

    def commands(self) -> list[str]:
        pod, lines = self.pod, []
        if pod.masqueraded:
            lines += [
                f"nft delete element {MASQUERADED[address.version].place} '{{ {address.ip} }}'"
                for address in pod.masqueraded
            ]
            lines.append(f"nft delete chain {packet_filter.masquerade_chain(pod.host).place}")
        if pod.mac:
            lines.append(f"nft delete element {GUARDED.place} '{{ {pod.host} }}'")
            lines.append(f"nft delete chain {packet_filter.guard_chain(pod.host).place}")
        return lines


def has_nftables(kernel: Kernel) -> bool:
    """Whether the kernel has nf_tables."""
    try:
        kernel.nftables.generation()
    except (NetlinkError, NoAnswer):
        return False
    return True


def _check_rules(kernel: Kernel, chain: Chain, rules: list[Rule]) -> None:
    holds = kernel.nftables.comments(chain) == comments(rules)
    expect(holds, f"nftables chain {chain.place} is missing or was changed")


def _base_commands(chain: Chain, sets: list[Set], rules: list[Rule]) -> list[str]:
    return [f"nft add table {nftables.table_name(chain.family)}", *map(_add_set, sets), *_chain_commands(chain, rules)]


def _add_set(of: Set) -> str:
    return f"nft add {of.kind} {of.place} '{of.definition}'"


def _chain_commands(chain: Chain, rules: list[Rule]) -> list[str]:
    definition = f" '{chain.definition}'" if chain.definition else ""
    return [
        f"nft add chain {chain.place}{definition}",
        f"nft flush chain {chain.place}",
        *(f"nft add rule {chain.place} '{rule}'" for rule in rules),
    ]
