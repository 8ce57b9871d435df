"""Follows a packet through the node's packet filter, to find the rule that would drop it.

A packet must pass every base chain of a hook: even if one chain accepts it, another can drop it. nft lists
the rules, except for those of iptables, which iptables-save lists. If we do not know a condition, such as a rate limit,
we assume that it is not met.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from netaddr import IPAddress, IPNetwork, IPRange

from cni_bridge_py.addresses import IPVersion

ACCEPT, DROP, RETURN = "accept", "drop", "return"
TERMINAL = {"accept": ACCEPT, "drop": DROP, "reject": DROP, "return": RETURN}
FAMILY = {4: "ip", 6: "ip6"}
NFT_SAVE = {4: "iptables-nft-save", 6: "ip6tables-nft-save"}
LEGACY = {
    4: ("iptables-legacy-save", "ip_tables_names"),
    6: ("ip6tables-legacy-save", "ip6_tables_names"),
}
"""The command that lists the rules, and the file in /proc/net that lists the tables."""

MOST_JUMPS = 32
SECONDS = 20

Json = dict[str, Any]


class CannotLook(Exception):
    """The rules could not be read. The text says why, and what to do."""


@dataclass(frozen=True)
class Packet:
    """A packet between two links of the node. `state` is its state in connection tracking."""

    iif: str
    oif: str
    saddr: IPAddress
    daddr: IPAddress
    state: str = "new"

    @property
    def version(self) -> IPVersion:
        """The IP version."""
        version: IPVersion = self.saddr.version
        return version

    @property
    def answer(self) -> Packet:
        """The answer to this packet."""
        return Packet(self.oif, self.iif, self.daddr, self.saddr, "established")

    def __str__(self) -> str:
        return f"{self.saddr} to {self.daddr} ({self.iif} to {self.oif}, {self.state})"


@dataclass(frozen=True)
class Verdict:
    """What a chain does with a packet: the chain, and the rule or policy that decides."""

    family: str
    table: str
    chain: str
    base: str
    how: str
    chains: frozenset[str] = frozenset()
    """All chains of the table. They show which program made it."""
    legacy: bool = False

    @property
    def is_iptables(self) -> bool:
        """Whether iptables made the chain."""
        return self.legacy or (self.family in ("ip", "ip6") and self.table == "filter" and self.base == "FORWARD")

    @property
    def has_docker(self) -> bool:
        """Whether docker has its rules there, and a chain for rules of others."""
        return "DOCKER-USER" in self.chains

    @property
    def has_ufw(self) -> bool:
        """Whether ufw has its rules there."""
        return any(each.startswith("ufw") for each in self.chains)

    def __str__(self) -> str:
        tool = "iptables-legacy" if self.legacy else "nftables"
        return f"{tool} {self.family} {self.table}, chain {self.chain}: {self.how}"


@dataclass(frozen=True)
class Chain:
    """A chain's rules as nft lists them; for a base chain, also its `hook`, `prio` and `policy`."""

    family: str
    table: str
    name: str
    hook: str = ""
    policy: str = ACCEPT
    rules: list[list[Json]] = field(default_factory=list)


class PacketFilter:
    """The rules of this process's network namespace. Methods raise CannotLook."""

    @cached_property
    def _listed(self) -> list[Json]:
        """The base chains of all tables, and all chains of the tables that filter forwarded packets."""
        chains = _nft("list", "chains")
        tables = dict.fromkeys(
            (each["family"], each["table"])
            for entry in chains
            if (each := entry.get("chain")) and each.get("hook") == "forward"
        )
        return [entry for table in tables for entry in _nft("list", "table", *table)]

    @cached_property
    def chains(self) -> dict[tuple[str, str, str], Chain]:
        """The chains of the tables that filter forwarded packets, by family, table and name."""
        found = {}
        for entry in self._listed:
            if told := entry.get("chain"):
                hook, policy = told.get("hook", ""), told.get("policy", ACCEPT)
                chain = Chain(told["family"], told["table"], told["name"], hook, policy, [])
                found[chain.family, chain.table, chain.name] = chain
        for entry in self._listed:
            if told := entry.get("rule"):
                found[told["family"], told["table"], told["chain"]].rules.append(told.get("expr", []))
        for version, family in FAMILY.items():
            # nft does not list the conditions of iptables extensions, such as a connection tracking state.
            if any("xt" in each for chain in found.values() if chain.family == family for each in _flat(chain)):
                saved = _saved(NFT_SAVE[version], family)
                found |= {(family, chain.table, chain.name): chain for chain in saved.values()}
        return found

    @cached_property
    def _sets(self) -> dict[tuple[str, str, str], Json]:
        entries = [entry.get("set") or entry.get("map") for entry in self._listed]
        return {(each["family"], each["table"], each["name"]): each for each in entries if each}

    @cached_property
    def legacy(self) -> dict[int, dict[str, Chain]]:
        """The chains of iptables-legacy's table `filter`, by IP version and name."""
        return {version: legacy(version) for version in FAMILY}

    def drops(self, packet: Packet) -> list[Verdict]:
        """The chains that would drop a packet which the node forwards."""
        family = FAMILY[packet.version]
        legacy = [replace(each, legacy=True) for each in self._ask(self.legacy[packet.version].values(), packet)]
        return legacy + self._ask((c for c in self.chains.values() if c.family in ("inet", family)), packet)

    def drops_frame(self, packet: Packet) -> list[Verdict]:
        """The chains that would drop a packet between two ports of a bridge, as a frame. Its links are the ports."""
        return self._ask((chain for chain in self.chains.values() if chain.family == "bridge"), packet)

    def _ask(self, chains: Iterable[Chain], packet: Packet) -> list[Verdict]:
        tables: dict[tuple[str, str], dict[str, Chain]] = {}
        for chain in chains:
            tables.setdefault((chain.family, chain.table), {})[chain.name] = chain
        walks = [(Walk(packet, table, self._elements), table.values()) for table in tables.values()]
        hooked = [(walk, chain) for walk, table in walks for chain in table if chain.hook == "forward"]
        return [verdict for walk, chain in hooked for verdict in walk.verdict(chain)]

    def _elements(self, chain: Chain, name: str) -> list[Any]:
        found = self._sets.get((chain.family, chain.table, name), {})
        elements: list[Any] = found.get("elem", [])
        return elements


class Walk:
    """One packet in the chains of one table."""

    def __init__(self, packet: Packet, chains: dict[str, Chain], elements: Any) -> None:
        self._packet = packet
        self._chains = chains
        self._elements = elements

    def verdict(self, base: Chain) -> Iterator[Verdict]:
        """The verdict of a base chain, if it drops the packet."""
        decided, chains = self._through(base, 0), frozenset(self._chains)
        if decided is None and base.policy == DROP:
            yield Verdict(base.family, base.table, base.name, base.name, "policy drop, and no rule accepts", chains)
        elif decided and decided[0] == DROP:
            yield Verdict(base.family, base.table, decided[1].name, base.name, f"rule {decided[2]}", chains)

    def _through(self, chain: Chain, depth: int) -> tuple[str, Chain, int] | None:
        """What a chain decides, in which chain, and by which rule (from 1); None if nothing decides."""
        if depth > MOST_JUMPS:
            return None
        for number, rule in enumerate(chain.rules, 1):
            for action, target in self._actions(chain, rule):
                if action in (ACCEPT, DROP):
                    return action, chain, number
                if action == RETURN:
                    return None
                into = self._chains.get(target)
                decided = self._through(into, depth + 1) if into else None
                if decided or action == "goto":
                    return decided
        return None

    def _actions(self, chain: Chain, rule: list[Json]) -> Iterator[tuple[str, str]]:
        """What a rule does with the packet, as (action, target), if its conditions are met."""
        for statement in rule:
            ((kind, told),) = statement.items()
            if kind in TERMINAL:
                yield TERMINAL[kind], ""
            elif kind in ("jump", "goto"):
                yield kind, told["target"]
            elif kind == "match":
                if not self._matches(chain, told):
                    return
            elif kind == "vmap":
                verdict = self._mapped(chain, told)
                if verdict is None:
                    return
                yield verdict
            elif kind == "xt":
                # nft shows only the name of an iptables extension.
                name = told.get("name", "")
                if told.get("type") == "target" and name in ("REJECT", "DROP"):
                    yield DROP, ""
                elif told.get("type") != "target" and name != "comment":
                    return
            elif kind in ("limit", "quota"):
                return

    def _mapped(self, chain: Chain, told: Json) -> tuple[str, str] | None:
        key = self._value(told["key"])
        data = told["data"]
        pairs = self._elements(chain, data[1:]) if isinstance(data, str) else data["set"]
        for pair in pairs:
            element, verdict = pair
            if _holds(key, element.get("elem", {}).get("val", element) if isinstance(element, dict) else element):
                ((kind, target),) = verdict.items()
                return TERMINAL.get(kind, kind), target["target"] if target else ""
        return None

    def _matches(self, chain: Chain, told: Json) -> bool:
        left, right = self._value(told["left"]), told["right"]
        if left is None:
            return False
        if isinstance(right, str) and right.startswith("@"):
            right = {"set": self._elements(chain, right[1:])}
        holds = _holds(left, right)
        return not holds if told["op"] == "!=" else holds

    def _value(self, expression: Any) -> Any:
        """The packet's value for an expression; None if it is not known."""
        if not isinstance(expression, dict):
            return None
        ((kind, told),) = expression.items()
        packet = self._packet
        if kind == "meta":
            family = "ipv4" if packet.version == 4 else "ipv6"
            ether = "ip" if packet.version == 4 else "ip6"
            return {
                "iifname": packet.iif,
                "oifname": packet.oif,
                "iif": packet.iif,
                "oif": packet.oif,
                "nfproto": family,
                "protocol": ether,
                "l4proto": "tcp",
                "pkttype": "host",
                "mark": 0,
                "ibrname": packet.iif,
                "obrname": packet.oif,
            }.get(told["key"])
        if kind == "ct":
            if told["key"] == "direction":
                return "original" if packet.state == "new" else "reply"
            return {"state": packet.state, "mark": 0, "status": "none"}.get(told["key"])
        if kind == "payload" and told.get("protocol") in ("ip", "ip6"):
            if told["protocol"] != ("ip" if packet.version == 4 else "ip6"):
                return None
            return {"saddr": packet.saddr, "daddr": packet.daddr, "protocol": "tcp"}.get(told["field"])
        if kind == "payload" and told.get("protocol") == "ether" and told.get("field") == "type":
            return "ip" if packet.version == 4 else "ip6"
        if kind == "&":
            return self._value(told[0])
        if kind == "concat":
            return [self._value(each) for each in told]
        return None


def _holds(value: Any, pattern: Any) -> bool:
    """Whether a packet's value matches a rule's."""
    if isinstance(pattern, dict):
        if "set" in pattern:
            return any(_holds(value, each) for each in pattern["set"])
        if "elem" in pattern:
            return _holds(value, pattern["elem"]["val"])
        if "concat" in pattern:
            return isinstance(value, list) and all(map(_holds, value, pattern["concat"]))
        if not isinstance(value, IPAddress):
            return False
        if "prefix" in pattern:
            network = IPNetwork(f"{pattern['prefix']['addr']}/{pattern['prefix']['len']}")
            return network.version == value.version and value in network
        if "range" in pattern:
            return _is_within(value, pattern["range"])
        return False
    if isinstance(pattern, list):
        return any(_holds(value, each) for each in pattern)
    if isinstance(value, IPAddress):
        return str(value) == str(pattern)
    if isinstance(value, str) and isinstance(pattern, str):
        return fnmatchcase(value, pattern)
    return bool(value == pattern)


def _is_within(value: IPAddress, bounds: list[str]) -> bool:
    first, last = map(IPAddress, bounds)
    return first.version == value.version and value in IPRange(first, last)


def _nft(*words: str) -> list[Json]:
    if not shutil.which("nft"):
        raise CannotLook("there is no nft command here to list the rules: apt-get install nftables")
    command = f"nft -j {' '.join(words)}"
    try:
        done = subprocess.run(command.split(), capture_output=True, text=True, timeout=SECONDS)
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"exit status {done.returncode}"
            raise CannotLook(f"{command}: {reason}")
        found: list[Json] = json.loads(done.stdout)["nftables"]
    except subprocess.TimeoutExpired:
        raise CannotLook(f"{command}: no answer in {SECONDS} s") from None
    except (ValueError, LookupError):
        raise CannotLook(f"{command}: its answer is no list of rules") from None
    return found


def _flat(chain: Chain) -> list[Json]:
    return [statement for rule in chain.rules for statement in rule]


def legacy(version: int) -> dict[str, Chain]:
    """The chains of iptables-legacy's filter table, by name. Raises CannotLook.

    If the kernel has no such table, the result is empty: iptables-save is not run, because it would make the table.
    """
    save, names = LEGACY[version]
    try:
        if "filter" not in Path("/proc/self/net", names).read_text().split():
            return {}
    except OSError:
        return {}
    return _saved(save, FAMILY[version])


def _saved(save: str, family: str) -> dict[str, Chain]:
    """The chains of the filter table as iptables-save writes them."""
    if not shutil.which(save):
        raise CannotLook(f"there are iptables rules here, but no command {save} to list them: apt-get install iptables")
    done = subprocess.run([save, "-t", "filter"], capture_output=True, text=True, timeout=SECONDS)
    chains: dict[str, Chain] = {}
    for line in done.stdout.splitlines():
        if line.startswith(":"):
            name, policy, *_ = line[1:].split()
            hook = "forward" if name == "FORWARD" else ""
            chains[name] = Chain(family, "filter", name, hook, DROP if policy == "DROP" else ACCEPT, [])
        elif line.startswith("-A "):
            words = shlex.split(line)
            chains[words[1]].rules.append(list(_statements(words[2:], chains, family)))
    return chains


def _statements(words: list[str], chains: dict[str, Chain], family: str) -> Iterator[Json]:
    """A rule of iptables-save, as the statements that nft would list."""
    iterator = iter(words)
    op = "=="
    for word in iterator:
        if word == "!":
            op = "!="
            continue
        if word == "-m":
            next(iterator)
            continue
        left = {
            "-i": {"meta": {"key": "iifname"}},
            "-o": {"meta": {"key": "oifname"}},
            "-p": {"meta": {"key": "l4proto"}},
            "-s": {"payload": {"protocol": family, "field": "saddr"}},
            "-d": {"payload": {"protocol": family, "field": "daddr"}},
            "--ctstate": {"ct": {"key": "state"}},
            "--state": {"ct": {"key": "state"}},
        }.get(word)
        if left:
            yield {"match": {"op": op, "left": left, "right": _pattern(word, next(iterator))}}
        elif word in ("-j", "-g"):
            target = next(iterator)
            if target in chains:
                yield {"jump" if word == "-j" else "goto": {"target": target}}
            elif target.lower() in TERMINAL:
                yield {target.lower(): None}
            return
        elif word == "--comment":
            next(iterator)
        else:
            yield {"limit": None}  # a condition that we do not know
            return
        op = "=="


def _pattern(option: str, value: str) -> Any:
    if option in ("-i", "-o"):
        return f"{value[:-1]}*" if value.endswith("+") else value
    if option in ("-s", "-d"):
        address, _, length = value.partition("/")
        return {"prefix": {"addr": address, "len": int(length)}} if length else address
    return [each.lower() for each in value.split(",")]
