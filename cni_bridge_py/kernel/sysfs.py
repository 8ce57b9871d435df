"""What the kernel tells of a link in /sys/class/net alone (Documentation/ABI/testing/sysfs-class-net)."""

from __future__ import annotations

from cni_bridge_py.kernel.sysctl import read_file

NET_ADDR_SET = 3


def follows_its_ports(name: str, index: int) -> bool:
    """Whether a bridge's MAC is still its ports' lowest, because nobody has set it.

    Where /sys is another network namespace's, as behind `nsenter --net`, this cannot be known: False.
    """
    try:
        if read_file(f"/sys/class/net/{name}/ifindex") != str(index):
            return False
        return read_file(f"/sys/class/net/{name}/addr_assign_type") != str(NET_ADDR_SET)
    except OSError:
        return False
