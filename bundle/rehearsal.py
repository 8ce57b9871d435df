"""The calls that are rehearsed while the executable is built, with a stand-in for the kernel.

An interpreter that has served some ADDs knows the types that its bytecode meets, and watching a call tells what memory
calls use. Both must not depend on the machine that builds, or on the user. So the functions below answer in place of
netlink: they accept every change, and remember what a verb asks for later. Leases and kernel parameters are in the
working directory, and the pod's network namespace is the process's own. If a verb asks for more, it fails, and so does
the build.
"""

from __future__ import annotations

import json
import os
import posix
import sys
from collections.abc import Callable, Sequence
from errno import ENODEV, ENOENT
from socket import AF_UNIX, SOCK_DGRAM, socket
from typing import Any

from cni_bridge_py.kernel import netlink, netns, sysctl
from cni_bridge_py.kernel import nftables as nft
from cni_bridge_py.kernel import rtnetlink as rt
from cni_bridge_py.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSGHDR,
    attribute,
    attributes,
    be32,
    nested,
    u8,
    u32,
)

ROUNDS = 20
"""After about eight calls, Python specialises a function's bytecode for the types that it has seen (PEP 659)."""

CALLS = (
    ("cni-bridge-py", "VERSION"),
    ("cni-bridge-py", "ADD"),
    ("cni-bridge-py", "CHECK"),
    ("cni-bridge-py", "DEL"),
    ("host-local-py", "ADD"),
    ("host-local-py", "DEL"),
)
"""The name that the executable is run under, and CNI_COMMAND; each finds what those before it left."""

NETWORKS = {"cni-bridge-py": "podnet", "host-local-py": "othernet"}

CONFIG: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "type": "cni-bridge-py",
    "bridge": "cni0",
    "isGateway": True,
    "isDefaultGateway": True,
    "ipMasq": True,
    "hairpinMode": True,
    "ipam": {"type": "host-local", "subnet": "10.22.0.0/16", "dataDir": "networks"},
}
"""The configuration of most networks: conf/10-bridge.conf."""

PARAMETERS = {"ipv4/ip_forward": b"1\n"}
"""Files that take the place of those in /proc/sys/net."""


# Calls


def warm_up(entry: Callable[[], int]) -> None:
    """Fill Python's caches, and let it specialise its bytecode, as calls would."""
    undo = _replace_kernel()
    _rehearse(entry, CALLS[1:2], b"neighbour")
    for _ in range(ROUNDS):
        _rehearse(entry, CALLS, b"pod")
    undo()


def begin(entry: Callable[[], int], number: int) -> str | None:
    """Prepare this process as a runtime would for the call of that number, and everything that the call expects.

    Return the name that the executable is run under, or None if there is no such call.
    """
    if number == len(CALLS):
        return None
    _replace_kernel()
    _rehearse(entry, [call for call in CALLS if call[1] == "DEL"], b"pod")  # of which the leases are still there
    _rehearse(entry, CALLS[1:2], b"neighbour")
    results = _rehearse(entry, CALLS[:number], b"pod")
    name, verb = CALLS[number]
    _put_on_stdin(_config(name, results))
    for variable, value in _environment(verb, b"pod").items():
        posix.putenv(variable, value)
    posix.environ.clear()
    return name


def _rehearse(entry: Callable[[], int], calls: Sequence[tuple[str, str]], pod: bytes) -> dict[str, Any]:
    """Make calls; return the results of the ADDs."""
    results: dict[str, Any] = {}
    for name, verb in calls:
        sys.argv[:] = [name]
        posix.environ.clear()
        posix.environ.update(_environment(verb, pod))
        _put_on_stdin(_config(name, results))
        status, answer = _answer_of(entry)
        if status:
            sys.exit(f"rehearsal: {name}, {verb}: {answer.decode()}")
        if verb == "ADD":
            results[name] = json.loads(answer)
    return results


def _environment(verb: str, pod: bytes) -> dict[bytes, bytes]:
    """The environment that containerd gives a plugin."""
    return {
        b"CNI_COMMAND": verb.encode(),
        b"CNI_CONTAINERID": pod * 8,
        b"CNI_NETNS": b"/proc/self/ns/net",
        b"CNI_NETNS_OVERRIDE": b"1",
        b"CNI_IFNAME": b"eth0",
        b"CNI_ARGS": b"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + pod,
        b"CNI_PATH": b"/opt/cni/bin",
        b"PATH": b"/usr/sbin:/usr/bin:/sbin:/bin",
    }


def _config(name: str, results: dict[str, Any]) -> dict[str, Any]:
    config = {**CONFIG, "name": NETWORKS[name]}
    return {**config, "prevResult": results[name]} if name in results else config


def _put_on_stdin(config: dict[str, Any]) -> None:
    reading, writing = os.pipe()
    os.write(writing, json.dumps(config).encode())
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)


def _answer_of(entry: Callable[[], int]) -> tuple[int, bytes]:
    """The exit status and the standard output of a call."""
    reading, writing = os.pipe()
    stdout = os.dup(1)
    os.dup2(writing, 1)
    os.close(writing)
    status = entry()
    os.dup2(stdout, 1)
    os.close(stdout)
    answer = os.read(reading, 1 << 16)
    os.close(reading)
    return status, answer


# The machine


def _replace_kernel() -> Callable[[], None]:
    """Have the plugin talk to the functions below instead of the kernel; return a function that undoes this."""
    for name, value in PARAMETERS.items():
        os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "wb") as file:
            file.write(value)
    stand_ins: list[tuple[Any, str, Any]] = [
        (netlink, "socket", StandInSocket),
        (netns, "_setns", lambda fd, kind: None),
        (netns, "ioctl", lambda fd, request: netns.CLONE_NEWNET),  # qemu-user has no ioctl_ns(2)
        (os, "geteuid", lambda: 0),
        (sysctl, "net", "."),
    ]
    originals = [(module, name, getattr(module, name)) for module, name, _ in stand_ins]
    _put_in_place(stand_ins)
    return lambda: _put_in_place(originals)


def _put_in_place(values: list[tuple[Any, str, Any]]) -> None:
    for module, name, value in values:
        setattr(module, name, value)


# The state of the stand-in. A call that is watched must not use new attributes: the name's random address would choose
# its slot in Python's attribute cache, and each build would differ. So the state is in these variables.
waiting: dict[StandInSocket, list[bytes]] = {}
answering: dict[StandInSocket, Callable[[int, bytes, bool], list[bytes]]] = {}
links: dict[bytes, bytes] = {}
addresses: dict[bytes, bytes] = {}
routes: list[bytes] = []
rules: dict[bytes, list[bytes]] = {}
elements: dict[bytes, dict[bytes, bytes]] = {}

BRIDGE, HOST, POD = 2, 3, 4
"""Indexes."""


class StandInSocket(socket):
    """A stand-in for a netlink socket. It is a socket of another family, so that closing it is rehearsed as well."""

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        super().__init__(AF_UNIX, SOCK_DGRAM)
        waiting[self] = []
        answering[self] = _rtnetlink if protocol == rt.NETLINK_ROUTE else _nftables

    def setsockopt(self, *_: object) -> None:
        """Accept the option. Nothing depends on it."""

    def send(self, data: Any, *_: object) -> int:
        """Queue the answers."""
        offset = 0
        while offset < len(data):
            length, kind, flags, sequence, _ = NLMSGHDR.unpack_from(data, offset)
            payload = data[offset + 16 : offset + length]
            waiting[self].extend(_answers(answering[self], kind, flags, sequence, payload))
            offset += length + 3 & ~3
        return offset

    def recv(self, *_: object) -> bytes:
        """The next datagram, whatever its size."""
        return waiting[self].pop(0)


def _answers(
    answer: Callable[[int, bytes, bool], list[bytes]], kind: int, flags: int, sequence: int, payload: bytes
) -> list[bytes]:
    """The datagrams that answer a message."""
    is_dump = flags & NLM_F_DUMP == NLM_F_DUMP
    try:
        told = [_message(kind, sequence, each) for each in answer(kind, payload, is_dump)]
    except KeyError:
        errno = ENODEV if answer is _rtnetlink else ENOENT
        return [_message(NLMSG_ERROR, sequence, (-errno).to_bytes(4, "little", signed=True))]
    if is_dump:
        return [b"".join(told), _message(NLMSG_DONE, sequence, bytes(4))]
    return [*told, _message(NLMSG_ERROR, sequence, bytes(4))] if flags & NLM_F_ACK else told


def _message(kind: int, sequence: int, payload: bytes) -> bytes:
    padding = bytes(-len(payload) % 4)
    return NLMSGHDR.pack(16 + len(payload), kind, 0, sequence, 0) + payload + padding


def _rtnetlink(kind: int, payload: bytes, is_dump: bool) -> list[bytes]:
    """Take a message in; return the answers. One pod's links, address and route are there at a time."""
    if kind == rt.RTM_GETLINK:
        told = dict(attributes(payload[rt.IFINFOMSG.size :]))
        return list(links.values()) if is_dump else [links[told[rt.IFLA_IFNAME]]]
    if kind == rt.RTM_NEWLINK:
        _new_link(dict(attributes(payload[rt.IFINFOMSG.size :])))
    elif kind == rt.RTM_DELLINK:
        del links[dict(attributes(payload[rt.IFINFOMSG.size :]))[rt.IFLA_IFNAME]]
    elif kind == rt.RTM_NEWADDR:
        addresses[payload[4:8]] = payload  # by index
    elif kind == rt.RTM_GETADDR:
        return [addresses[payload[4:8]]] if payload[4:8] in addresses else []
    elif kind == rt.RTM_NEWROUTE:
        routes[:] = [payload]
    elif kind == rt.RTM_GETROUTE:
        return routes
    return []


def _new_link(told: dict[int, bytes]) -> None:
    if told[rt.IFLA_IFNAME] in links:
        return  # a change
    info = dict(attributes(told[rt.IFLA_LINKINFO]))
    kind = info[rt.IFLA_INFO_KIND]
    if kind == b"bridge\0":
        _remember_link(told, kind, BRIDGE, 0)
        return
    peer = dict(attributes(info[rt.IFLA_INFO_DATA]))[rt.VETH_INFO_PEER]
    _remember_link(told, kind, HOST, POD)
    _remember_link(dict(attributes(peer[rt.IFINFOMSG.size :])), kind, POD, HOST)


def _remember_link(told: dict[int, bytes], kind: bytes, index: int, peer: int) -> None:
    """Store what the kernel will say of the link, with everything done that a verb wants of it."""
    links[told[rt.IFLA_IFNAME]] = b"".join(
        [
            rt.IFINFOMSG.pack(rt.AF_UNSPEC, 0, index, rt.IFF_UP, 0),
            attribute(rt.IFLA_IFNAME, told[rt.IFLA_IFNAME]),
            attribute(rt.IFLA_ADDRESS, told[rt.IFLA_ADDRESS]),
            u32(rt.IFLA_MTU, 1500),
            u32(rt.IFLA_LINK, peer),
            u32(rt.IFLA_MASTER, BRIDGE if index == HOST else 0),
            nested(
                rt.IFLA_LINKINFO,
                attribute(rt.IFLA_INFO_KIND, kind),
                nested(rt.IFLA_INFO_SLAVE_DATA, u8(rt.IFLA_BRPORT_MODE, 1)),
            ),
        ]
    )


def _nftables(kind: int, payload: bytes, is_dump: bool) -> list[bytes]:
    """Take a message in; return the answers."""
    subsystem, kind = divmod(kind, 256)
    if subsystem != nft.NFNL_SUBSYS_NFTABLES:
        return []  # where a transaction begins and ends
    told = dict(attributes(payload[4:]))
    if kind == nft.NFT_MSG_GETGEN:
        return [payload[:4] + be32(nft.NFTA_GEN_ID, 1)]
    if kind == nft.NFT_MSG_NEWRULE:
        rules.setdefault(told[nft.NFTA_RULE_CHAIN], []).append(payload)
    elif kind == nft.NFT_MSG_DELRULE:
        rules.pop(told[nft.NFTA_RULE_CHAIN], None)  # all of the chain's: the neighbour keeps its own
    elif kind == nft.NFT_MSG_GETRULE:
        return rules.get(told[nft.NFTA_RULE_CHAIN], [])
    elif kind == nft.NFT_MSG_GETCHAIN:
        jumps = 2
        return [payload[:4] + be32(nft.NFTA_CHAIN_USE, len(rules[told[nft.NFTA_CHAIN_NAME]]) + jumps)]
    elif kind in (nft.NFT_MSG_NEWSETELEM, nft.NFT_MSG_GETSETELEM, nft.NFT_MSG_DELSETELEM):
        return _elements(kind, payload[:4], told, is_dump)
    return []


def _elements(kind: int, header: bytes, told: dict[int, bytes], is_dump: bool) -> list[bytes]:
    known = elements.setdefault(told[nft.NFTA_SET_ELEM_LIST_SET], {})
    named = {
        dict(attributes(each))[nft.NFTA_SET_ELEM_KEY]: each
        for _, each in attributes(told.get(nft.NFTA_SET_ELEM_LIST_ELEMENTS, b""))
    }
    if kind == nft.NFT_MSG_NEWSETELEM:
        known.update(named)
        return []
    if kind == nft.NFT_MSG_DELSETELEM:
        for key in named or list(known):
            del known[key]
        return []
    found = known.values() if is_dump else [known[key] for key in named]
    members = (nested(nft.NFTA_LIST_ELEM, each) for each in found)
    return [header + nested(nft.NFTA_SET_ELEM_LIST_ELEMENTS, *members)]
