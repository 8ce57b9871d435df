"""What the packet filter does for one attachment, and how we note that on the attachment's host veth.

The notes are alternative names of the link. They disappear with the link, and flushing the packet filter does not touch
them. So an ADD that finds our table gone learns from them what to put back, for the pods of every network. `ip link`
shows them:

    veth4935c4fb63a.mac.0a:58:0a:16:00:05           may send from this MAC alone (macspoofchk)
    veth4935c4fb63a.masquerade.10.22.0.5-16         is masqueraded (ipMasq)
    veth4935c4fb63a.exceptions.3a1f09cc52d8         but not to the networks of this digest (nonMasqueradeCIDRs)
    veth4935c4fb63a.exception.10.0.0.0-8            which are these, where they are few

If there are more than a few exceptions, there is only their digest. When our table is put back, pods of such a network
are masqueraded to everything but their own networks, until the network's next ADD, which knows the exceptions.

Kernels before 5.5 have no alternative names. There, a table that was lost comes back only for new pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b

from netaddr import IPNetwork

from cni_bridge_py.addresses import InterfaceAddress, parse_address
from cni_bridge_py.kernel.rtnetlink import Link

MAC, MASQUERADE, DIGEST, EXCEPTION = "mac", "masquerade", "exceptions", "exception"

MOST_EXCEPTIONS = 32
"""How many exceptions we note: with more, nobody could read `ip link`. Then only an ADD of the network knows them."""


@dataclass(frozen=True)
class Exceptions:
    """Networks to which a pod's packets go with the pod's own address (nonMasqueradeCIDRs).

    If only their digest is known, it is `told`.
    """

    networks: tuple[IPNetwork, ...] = ()
    told: str = ""

    @cached_property
    def digest(self) -> str:
        """A name for these networks, whatever their order."""
        return self.told or digest(" ".join(sorted(map(str, self.networks))))


@dataclass(frozen=True)
class PodFilter:
    """What the packet filter does for one attachment.

    `host` is its host veth, `owner` that link's MAC, which identifies the network (names.host_veth_mac). `mac` is the
    only MAC from which it may send, or empty if it may send from any. `masqueraded` are its masqueraded addresses.
    """

    host: str
    owner: str
    mac: str = ""
    masqueraded: tuple[InterfaceAddress, ...] = ()
    exceptions: Exceptions = field(default_factory=Exceptions)


def digest(text: str) -> str:
    """A name for a text: 12 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=6).hexdigest()


def altnames(pod: PodFilter) -> list[str]:
    """The alternative names that the host veth gets."""
    facts = [(MAC, pod.mac)] if pod.mac else []
    facts += [(MASQUERADE, _dashed(address)) for address in pod.masqueraded]
    networks = pod.exceptions.networks if pod.masqueraded else ()
    if networks:
        facts.append((DIGEST, pod.exceptions.digest))
    if len(networks) <= MOST_EXCEPTIONS:
        facts += [(EXCEPTION, _dashed(network)) for network in networks]
    return [f"{pod.host}.{key}.{value}" for key, value in facts]


def read_altnames(links: Iterable[Link], known: Exceptions) -> list[PodFilter]:
    """What the packet filter does for the attachments of these links. `known` are exceptions for their digests."""
    found = [(link, facts) for link in links if (facts := _facts(link))]
    lists = [known, *(Exceptions(tuple(each.cidr for each in _addresses(facts, EXCEPTION))) for _, facts in found)]
    by_digest = {each.digest: each for each in lists}

    def exceptions(facts: dict[str, list[str]]) -> Exceptions:
        told = _first(facts, DIGEST)
        return by_digest.get(told) or Exceptions(told=told) if told else Exceptions()

    return [
        PodFilter(
            host=link.name,
            owner=link.mac,
            mac=_first(facts, MAC),
            masqueraded=tuple(_addresses(facts, MASQUERADE)),
            exceptions=by_digest.get(told) or Exceptions(told=told)
            if (told := _first(facts, DIGEST))
            else Exceptions(),
        )
        for link, facts in found
    ]


def _facts(link: Link) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in link.altnames:
        key, dot, value = name.removeprefix(f"{link.name}.").partition(".")
        if dot and name.startswith(f"{link.name}.") and key in (MAC, MASQUERADE, DIGEST, EXCEPTION):
            found.setdefault(key, []).append(value)
    return found


def _first(facts: dict[str, list[str]], key: str) -> str:
    return next(iter(facts.get(key, [])), "")


def _dashed(network: IPNetwork) -> str:
    # ip(8) takes no slash in a name.
    return str(network).replace("/", "-")


def _addresses(facts: dict[str, list[str]], key: str) -> list[InterfaceAddress]:
    found = []
    for value in facts.get(key, []):
        with suppress(ValueError):  # not one of ours
            found.append(parse_address(value.replace("-", "/")))
    return found
