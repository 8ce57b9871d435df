"""The named network namespaces of this node (ip-netns(8)); container runtimes name theirs, too."""

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
    """The name of the namespace with a veth's other end; empty if it has no name."""
    return _names().get(veth.peer_netns, "")


@cache
def _names() -> dict[bytes, str]:
    """The names, by the id that the namespace has in the host's namespace, as the kernel writes it."""
    found = {}
    socket = NetlinkSocket(NETLINK_ROUTE)
    for path in FOLDER.iterdir() if FOLDER.is_dir() else ():
        try:
            with NetNS(str(path)) as netns:
                answer = socket.get(
                    Message(RTM_GETNSID, 0, pack("=Bxxx", 0) + attribute(NETNSA_FD, pack("=I", netns.fd)))
                )
        except (NotANetworkNamespace, NetlinkError, OSError):
            continue  # it is just being deleted
        nsid = dict(attributes(answer[4:])).get(NETNSA_NSID, b"")
        if len(nsid) == 4 and unpack_from("=i", nsid)[0] >= 0:
            found[nsid] = path.name
    return found


def path_of(veth: Link) -> str:
    """The path of the namespace with a veth's other end; empty if it has no name."""
    name = name_of(veth)
    return os.fspath(FOLDER / name) if name else ""
