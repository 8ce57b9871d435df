"""The chains of a node's packet filter that drop forwarded packets, so that pods reach nothing beyond the node.

docker and ufw set the policy of iptables' FORWARD chain to DROP. firewalld and other rulesets end an nftables chain
with a rule that rejects. A packet must pass all of them, so a rule in a table of ours cannot let it through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from cni_bridge_py.node import packetfilter
from cni_bridge_py.node.packetfilter import DROP, CannotLook

NF_INET_FORWARD = 2
NF_DROP = 0
FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}
IPTABLES = "filter", "FORWARD"
"""The table and chain of iptables, legacy or over nftables, for forwarded packets."""


@dataclass(frozen=True)
class Blocker:
    """A chain that drops every packet that none of its rules accepts."""

    family: str
    table: str
    chain: str
    how: str

    @property
    def heeds_firewall_plugin(self) -> bool:
        """Whether the reference plugin `firewall`, chained after ours, makes it accept each pod's packets.

        The plugin does so in iptables' FORWARD chain, and through firewalld if that runs.
        """
        return (self.table, self.chain) == IPTABLES or self.table == "firewalld"

    def __str__(self) -> str:
        return f"chain {self.chain} of table {self.family} {self.table}: {self.how}"


def blockers() -> list[Blocker]:
    """The chains that drop forwarded packets. None if we may not look: that needs root."""
    found = [*_legacy()]
    try:
        with NFTables(nfgen_family=0) as nft:
            rules = list(nft.get_rules())
            for chain in nft.get_chains():
                found += _blocker(chain, rules)
    except (NetlinkError, OSError):
        pass  # without nftables in the kernel, nothing is dropped by it
    return found


def _blocker(chain: Any, rules: list[Any]) -> Iterator[Blocker]:
    hook = chain.get("NFTA_CHAIN_HOOK")
    if chain["nfgen_family"] not in FAMILIES or not hook or hook.get("NFTA_HOOK_HOOKNUM") != NF_INET_FORWARD:
        return
    table, name = chain.get("NFTA_CHAIN_TABLE"), chain.get("NFTA_CHAIN_NAME")
    of_chain = [
        rule
        for rule in rules
        if (rule["nfgen_family"], rule.get("NFTA_RULE_TABLE"), rule.get("NFTA_RULE_CHAIN"))
        == (chain["nfgen_family"], table, name)
    ]
    if chain.get("NFTA_CHAIN_POLICY") == NF_DROP:
        yield Blocker(FAMILIES[chain["nfgen_family"]], table, name, "policy drop")
    elif of_chain and _drops_all(of_chain[-1]):
        yield Blocker(FAMILIES[chain["nfgen_family"]], table, name, "its last rule drops or rejects everything")


def _drops_all(rule: Any) -> bool:
    expressions = [each for each in rule.get("NFTA_RULE_EXPRESSIONS") or [] if each.get("NFTA_EXPR_NAME") != "counter"]
    if len(expressions) != 1:
        return False
    name, data = expressions[0].get("NFTA_EXPR_NAME"), expressions[0].get("NFTA_EXPR_DATA")
    if name in ("reject", "target"):
        return name == "reject" or data.get("NFTA_TARGET_NAME") in ("REJECT", "DROP")
    return bool(name == "immediate" and "NF_DROP" in str(data))


def _legacy() -> Iterator[Blocker]:
    for version, family in packetfilter.FAMILY.items():
        try:
            chain = packetfilter.legacy(version).get("FORWARD")
        except CannotLook:
            continue
        if chain and chain.policy == DROP:
            yield Blocker(family, *IPTABLES, "policy drop")
        elif chain and chain.rules and chain.rules[-1] in ([{"drop": None}], [{"reject": None}]):
            yield Blocker(family, *IPTABLES, "its last rule drops or rejects everything")
