"""The network namespaces that have a name on this node (ip-netns(8)), as container runtimes give them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from struct import pack, unpack_from

from cni_bridge_py.kernel.netlink import Message, NetlinkError, NetlinkSocket, attribute, attributes
from cni_bridge_py.kernel.netns import NetNS, NotANetworkNamespace
from cni_bridge_py.kernel.rtnetlink import NETLINK_ROUTE, Link

FOLDER = Path("/run/netns")
RTM_GETNSID = 90
NETNSA_NSID, NETNSA_FD = 1, 3
"""linux/net_namespace.h."""


def name_of(veth: Link) -> str:
    """The name of the namespace that a veth's other end is in; empty where it has none."""
    return _names().get(veth.peer_netns, "")


@cache
def _names() -> dict[bytes, str]:
    """The names by the id that the host's namespace has for them, as the kernel writes it."""
    found = {}
    socket = NetlinkSocket(NETLINK_ROUTE)
    for path in FOLDER.iterdir() if FOLDER.is_dir() else ():
        try:
            with NetNS(str(path)) as netns:
                answer = socket.get(
                    Message(RTM_GETNSID, 0, pack("=Bxxx", 0) + attribute(NETNSA_FD, pack("=I", netns.fd)))
                )
        except (NotANetworkNamespace, NetlinkError, OSError):
            continue  # it goes just now
        nsid = dict(attributes(answer[4:])).get(NETNSA_NSID, b"")
        if len(nsid) == 4 and unpack_from("=i", nsid)[0] >= 0:
            found[nsid] = path.name
    return found


def path_of(veth: Link) -> str:
    """The path of the namespace that a veth's other end is in; empty where it has none."""
    name = name_of(veth)
    return os.fspath(FOLDER / name) if name else ""
