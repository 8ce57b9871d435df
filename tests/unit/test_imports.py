"""The exact set of modules that an ADD loads: what it imports is its speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.support import CHECKOUT

OURS = {
    "cni_bridge_py",
    "cni_bridge_py.addresses",
    "cni_bridge_py.cni",
    "cni_bridge_py.cni.delegate",
    "cni_bridge_py.cni.errors",
    "cni_bridge_py.cni.jsontext",
    "cni_bridge_py.cni.request",
    "cni_bridge_py.cni.result",
    "cni_bridge_py.cni.runner",
    "cni_bridge_py.config",
    "cni_bridge_py.ipam",
    "cni_bridge_py.ipam.delegated",
    "cni_bridge_py.ipam.host_local",
    "cni_bridge_py.ipam.leases",
    "cni_bridge_py.ipam.none",
    "cni_bridge_py.ipam.ranges",
    "cni_bridge_py.kernel",
    "cni_bridge_py.kernel.access",
    "cni_bridge_py.kernel.netlink",
    "cni_bridge_py.kernel.netns",
    "cni_bridge_py.kernel.nftables",
    "cni_bridge_py.kernel.rtnetlink",
    "cni_bridge_py.kernel.sysctl",
    "cni_bridge_py.kernel.sysfs",
    "cni_bridge_py.plugin",
    "cni_bridge_py.record",
    "cni_bridge_py.section",
    "cni_bridge_py.wiring",
    "cni_bridge_py.wiring.names",
    "cni_bridge_py.wiring.node_steps",
    "cni_bridge_py.wiring.plan",
    "cni_bridge_py.wiring.pod_steps",
    "cni_bridge_py.wiring.step",
}

STANDARD = {"__future__", "_blake2", "_json", "_socket", "_struct", "errno", "fcntl"}
if sys.version_info < (3, 12):
    STANDARD.add("_ctypes")  # setns(2), which posix has from 3.12 on, and in our executable

# What a bare interpreter has loaded differs between versions; it is seen in the same run.
RUN = f"""
import sys
bare = set(sys.modules)
sys.path.insert(0, {str(CHECKOUT)!r})
from cni_bridge_py import plugin
status = plugin.main()
sys.stderr.write("\\n".join(set(sys.modules) - bare))
sys.exit(status)
"""

# Two namespaces of this test's own: the node, in which it runs, and the pod. They go with the last process in them.
IN_NAMESPACES = """
unshare --net sleep 60 &
pod=$!
trap 'kill $pod' EXIT
while [ "$(readlink /proc/$pod/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
CNI_NETNS=/proc/$pod/ns/net "$@"
"""

UNSHARE = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--fork"]


def run(conf: dict[str, object], *prefix: str) -> tuple[dict[str, object], set[str]]:
    """The answer of an ADD, and the modules it loaded."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/proc/self/ns/mnt",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0",
    }
    done = subprocess.run(
        [*prefix, sys.executable, "-I", "-S", "-c", RUN],
        input=json.dumps({"cniVersion": "1.0.0", "name": "net", **conf}),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer, set(done.stderr.split())


def test_an_add_that_is_refused_loads_no_more() -> None:
    answer, modules = run({"mtu": "x"})
    assert answer["code"] == 7
    assert modules == OURS | STANDARD - {"_ctypes"}


def test_an_add_of_everything_loads_no_more(tmp_path: Path) -> None:
    if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode != 0:
        pytest.skip("this user may make no user namespaces, in which an ADD needs no root")
    conf = {
        "isDefaultGateway": True,
        "ipMasq": True,
        "nonMasqueradeCIDRs": ["10.0.0.0/8"],
        "macspoofchk": True,
        "hairpinMode": True,
        "bridgeNetfilter": True,
        "mtu": 1400,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.1.0.0/16"}], [{"subnet": "fd00::/64"}]],
            "routes": [{"dst": "192.168.0.0/16"}],
            "dataDir": str(tmp_path),
            "resolvConf": "/dev/null",
        },
    }
    answer, modules = run(conf, *UNSHARE, "sh", "-c", IN_NAMESPACES, "sh")
    assert [ip["address"] for ip in answer["ips"]] == ["10.1.0.2/16", "fd00::2/64"], answer  # type: ignore[attr-defined]
    assert modules == OURS | STANDARD
