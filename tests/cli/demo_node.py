"""The node of the picture in README: `python -m tests.cli.demo_node PLUGIN docs/map.svg` draws it.

Everything in it is derived from what is written here, so that the picture is the same wherever it is made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.harness import Json, Node, Outside, Plugin

NETWORKS: dict[str, Json] = {
    "podnet": {
        "bridge": "cni0",
        "isDefaultGateway": True,
        "ipMasq": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]]},
    },
    "storage": {
        "bridge": "storage0",
        "isGateway": True,
        "mtu": 9000,
        "ipam": {"type": "host-local", "subnet": "10.77.0.0/24"},
    },
}

PODS = {
    "podnet": [
        *("kube-system/coredns-7db6d8ff4d-4xkzt", "kube-system/coredns-7db6d8ff4d-p2m8c", "monitoring/prometheus-0"),
        *("shop/web-5c9f7b6d8-2lq4v", "shop/web-5c9f7b6d8-8dkfm", "shop/web-5c9f7b6d8-xv7tn", "shop/cart-6b8d9f-q9wzx"),
        "shop/payments-84c5f-hb6rs",
    ],
    "storage": ["storage/ceph-osd-0", "storage/ceph-osd-1", "storage/ceph-mon-0"],
}

UNPLUGGED = "shop/cart-6b8d9f-q9wzx"


def make(node: Node, plugin: Plugin) -> None:
    """Wire the pods; one of them is unplugged, and another one's end was killed without a DEL."""
    plugin.install(node)
    Outside(node)
    for number, (name, keys) in enumerate(NETWORKS.items()):
        conf = {"cniVersion": "1.0.0", "name": name, "type": plugin.type, **keys}
        node.write(f"/etc/cni/net.d/{number}0-{name}.conf", json.dumps(conf))
        for pod_name in PODS[name]:
            namespace, _, pod = pod_name.partition("/")
            netns = node.pod(pod)
            netns.container_id = pod
            args = f"K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={pod}"
            plugin.add(node, conf, netns, container_id=pod, args=args)
    host = next(name for name, link in node.links().items() if link.get("ifalias") == UNPLUGGED)
    node.run("ip", "link", "set", host, "nomaster")


def draw(node: Node, program: str, svg: Path) -> None:
    """Draw the node; its name is node1."""
    node.run("unshare", "--uts", "sh", "-ec", f"hostname node1; {program} map --svg {node.directory}/map.svg")
    svg.write_text((node.directory / "map.svg").read_text())


if __name__ == "__main__":
    with Node() as demo:
        tested = Plugin(Path(sys.argv[1]))
        make(demo, tested)
        draw(demo, sys.argv[1], Path(sys.argv[2]))
