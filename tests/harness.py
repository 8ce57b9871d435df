"""Machines for tests, made of namespaces alone.

A `Node` is a private machine: network, mount and process namespaces of its own, with an empty /run
and /var/lib and throw-away copies of /etc, /opt, /usr/local and /usr/lib/cni. A `Pod` is a network
namespace in a node, an `Outside` the far end of a node's uplink, and a `Plugin` a CNI executable to
call in a node.
Killing a node's first process takes it away whole: processes, mounts, links and rules.

State is read with iproute2 and nft, never with the code under test.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from pyroute2 import netns

Json = dict[str, Any]

REFERENCE_BIN_DIR = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins package puts the reference plugins."""

SERVER_PORT = 8080

KILLED = (124, 137)
"""What `Plugin.killed_after` ends with; the first where the call was done when its time had come."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

UNSHARE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)

# The cgroup hierarchies are carried over: a new /sys has none, and runc needs them. Forwarding is
# switched off because a new namespace inherits the machine's setting. A first process that ignores
# SIGCHLD reaps every orphan of the node.
NODE_SETUP = """
set -e
directory=$1
sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
ip link set lo up

mount -t tmpfs tmpfs "$directory"
mkdir "$directory/cgroup"
mount --rbind /sys/fs/cgroup "$directory/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$directory/cgroup" /sys/fs/cgroup
for tree in etc opt usr/local usr/lib/cni; do
    mkdir -p "$directory/$tree" "$directory/$tree.work"
    mount -t overlay overlay "/$tree" \
        -o "lowerdir=/$tree,upperdir=$directory/$tree,workdir=$directory/$tree.work"
done
umount --lazy --recursive "$directory"

mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
rm -rf /etc/cni /opt/cni
mkdir -p /run/netns /run/lock /etc/cni/net.d /opt/cni/bin /var/lib/cni
echo ready
exec env --ignore-signal=CHLD sleep infinity
"""

SERVER = """
import socket, sys, threading

def serve_udp(server):
    while True:
        _, peer = server.recvfrom(16)
        server.sendto(peer[0].encode(), peer)

port = int(sys.argv[1])
tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(("::", port))
threading.Thread(target=serve_udp, args=(udp,), daemon=True).start()
print("ready", flush=True)
while True:
    connection, peer = tcp.accept()
    with connection:
        connection.sendall(peer[0].encode())
"""

CLIENT = """
import socket, sys

protocol, address, port = sys.argv[1:]
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[protocol]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as client:
    client.settimeout(3)
    client.connect((address, int(port)))
    client.send(b"?")
    print(client.recv(64).decode())
"""


@cache
def filters_vlans() -> bool:
    """Whether the kernel has CONFIG_BRIDGE_VLAN_FILTERING; tests with the marker `vlan_filtering` need that."""
    probe = ("unshare", "--net", "ip", "link", "add", "probe", "type", "bridge", "vlan_filtering", "1")
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


class Machine:
    """What a node and a pod have in common: a network namespace to run commands in and look at."""

    def __init__(self, enter: Sequence[str]) -> None:
        # setpriv: whoever kills nsenter (a timeout, say) means the command behind it.
        self._enter = ["nsenter", *enter, "setpriv", "--pdeathsig", "KILL", "--"]

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command (in directory /), return its output; `check`: AssertionError if it fails.

        `env` is the whole environment; without it, the command gets ours.
        """
        command = [*self._enter, *map(str, argv)]
        done = subprocess.run(command, input=input or "", env=env, timeout=timeout, capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(map(str, argv))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(self, *argv: str | Path, **kwargs: Any) -> subprocess.Popen[str]:
        """Start a command; killing what is returned kills it. `kwargs` are subprocess.Popen's."""
        return subprocess.Popen([*self._enter, *map(str, argv)], text=True, **kwargs)

    def ip_json(self, *args: str) -> list[Json]:
        """What `ip -j -d ARGS` prints; the empty objects that iproute2 prints are left out."""
        printed = json.loads(self.run("ip", "-j", "-d", *args).stdout or "[]")
        return [entry for entry in printed if entry]

    def links(self) -> dict[str, Json]:
        """The links by name, as `ip -j -d link` says them."""
        return {link["ifname"]: link for link in self.ip_json("link", "show")}

    def link(self, name: str) -> Json:
        """One link, as `ip -j -d link` says it; KeyError if there is none."""
        return self.links()[name]

    def addresses(self, ifname: str = "eth0") -> list[str]:
        """The addresses of a link with their prefix lengths, without the link-local ones."""
        (link,) = self.ip_json("address", "show", "dev", ifname)
        return [
            f"{address['local']}/{address['prefixlen']}" for address in link["addr_info"] if address["scope"] != "link"
        ]

    def routes(self, version: int = 4, table: str = "main") -> list[Json]:
        """The routes of one family (4 or 6), as `ip -j -d route` says them."""
        return self.ip_json(f"-{version}", "route", "show", "table", table)

    def ping(self, address: str, count: int = 1) -> bool:
        """Whether an IPv4 or IPv6 address answers an echo request in 2 s; it is asked up to `count` times."""
        argv = ("busybox", "ping", "-c", "1", "-W", "2", address.partition("/")[0])
        return any(self.run(*argv, check=False).returncode == 0 for _ in range(count))

    def serve(self, port: int = SERVER_PORT) -> subprocess.Popen[str]:
        """Start a server (TCP and UDP, both families) that answers with its client's address."""
        argv = (sys.executable, "-c", SERVER, str(port))
        server = self.popen(*argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        return server

    def seen_as(self, server: str, port: int = SERVER_PORT, protocol: str = "tcp") -> str | None:
        """The source address by which the server at `server` sees us; None if it is unreachable."""
        argv = (sys.executable, "-c", CLIENT, protocol, server, str(port))
        done = self.run(*argv, check=False)
        return done.stdout.strip().removeprefix("::ffff:") if done.returncode == 0 else None


class Node(Machine):
    """A private machine. A context manager: leaving it takes everything away again.

    It also goes when the thread that made it ends, so that not even a killed test leaves one.
    """

    def __init__(self, setup: str = NODE_SETUP, *arguments: str | Path) -> None:
        """setup: a script that makes its file system, says `ready` and stays; it gets an empty directory, and more."""
        self.name = f"node-{secrets.token_hex(3)}"
        self.cgroup = f"cni-bridge-py-{self.name}"
        """A name for runtimes to put their cgroups under, which go with the node."""
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
        self.directory = Path(self._temporary.name)
        """A directory that is the same inside and outside of the node."""
        private = self.directory / ".private"
        private.mkdir()
        self._unshare = subprocess.Popen(
            [*UNSHARE, "sh", "-c", setup, "sh", private, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._first = -1
        assert self._unshare.stdout
        if self._unshare.stdout.readline() != "ready\n":
            self.close()
            raise AssertionError("the node could not be set up: see standard error")
        unshare = self._unshare.pid
        self.pid = int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text())
        """The node's first process, as numbered outside of the node."""
        self._first = os.pidfd_open(self.pid)
        self.netns = f"/proc/{self.pid}/ns/net"
        self.root = Path(f"/proc/{self.pid}/root")
        """The node's file system as seen from outside: `node.root / "var/lib/cni"`."""
        super().__init__(["--target", str(self.pid), "--net", "--mount", "--pid"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the node's processes, remove its directory and cgroups; harmless to call twice."""
        with self._unshare:
            self._unshare.kill()
        if self._first >= 0:
            # Readable when the first process is gone, which is when all others are.
            select.select([self._first], [], [])
            os.close(self._first)
            self._first = -1
        # Version 2 has one hierarchy, version 1 has one for each controller.
        cgroups = Path("/sys/fs/cgroup")
        for top in (cgroups / self.cgroup, *cgroups.glob(f"*/{self.cgroup}")):
            for directory, _, _ in os.walk(top, topdown=False):
                os.rmdir(directory)
        self._temporary.cleanup()

    def pod(self, name: str | None = None) -> Pod:
        """Make a pod: a new, named network namespace with its loopback up."""
        name = name or f"pod-{secrets.token_hex(4)}"
        self.run("ip", "netns", "add", name)
        pod = Pod(self, f"/run/netns/{name}")
        pod.run("ip", "link", "set", "lo", "up")
        return pod

    def write(self, path: str, content: str) -> None:
        """Write a file of the node's private trees (/etc, /opt, /usr/local, /usr/lib/cni, /run, /var/lib)."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def reboot(self) -> None:
        """Give the node a boot id of its own: other nodes, and this one until now, have the machine's."""
        self.write("/run/boot_id", f"{uuid.uuid4()}\n")
        self.run("mount", "--bind", "/run/boot_id", "/proc/sys/kernel/random/boot_id")

    def leases(self, network: str) -> dict[str, tuple[str, str]]:
        """The leases in host-local's directory of a network: address -> (container id, ifname)."""
        directory = self.root / "var/lib/cni/networks" / network
        if not directory.is_dir():
            return {}
        # host-local separates the two by CR LF, which text mode would translate.
        return {file.name: _lease_owner(file.read_bytes().decode()) for file in directory.iterdir() if _is_lease(file)}

    def snapshot(self) -> Json:
        """The node's state in a form to compare: what a pod that came and went must not change.

        Left out: indexes, counters, carrier states, and the link-local IPv6 addresses and routes,
        which the kernel makes and removes on its own time.
        """
        return {
            "links": {name: _link_state(link) for name, link in self.links().items()},
            "addresses": {
                link["ifname"]: [
                    f"{address['local']}/{address['prefixlen']} scope {address['scope']}"
                    for address in link["addr_info"]
                    if not address["local"].startswith("fe80:")
                ]
                for link in self.ip_json("address", "show")
            },
            "routes": sorted(
                _route_state(route)
                for version in (4, 6)
                for route in self.routes(version, table="all")
                if not route["dst"].startswith(("fe80:", "ff00:"))
            ),
            "rules": self.ip_json("-4", "rule", "show") + self.ip_json("-6", "rule", "show"),
            "sysctls": self._sysctls(),
            "nftables": self._ruleset(),
            "leases": self._lease_files(),
            "namespaces": sorted(path.name for path in (self.root / "run/netns").iterdir()),
        }

    def _sysctls(self) -> dict[str, str]:
        # Read by a process of the node: /proc/sys/net shows its reader's namespace.
        trees = ("ipv4/conf", "ipv6/conf", "ipv4/ip_forward")
        argv = ("grep", "-rs", ".", *(f"/proc/sys/net/{tree}" for tree in trees))
        lines = self.run(*argv, check=False).stdout.splitlines()
        return dict(line.removeprefix("/proc/sys/net/").split(":", 1) for line in lines)

    def _ruleset(self) -> list[Json]:
        entries = json.loads(self.run("nft", "-j", "list", "ruleset").stdout)["nftables"]
        return [_without_volatile(entry) for entry in entries if "metainfo" not in entry]

    def _lease_files(self) -> dict[str, str]:
        directory = self.root / "var/lib/cni/networks"
        return {
            str(file.relative_to(directory)): file.read_bytes().decode()
            for file in sorted(directory.rglob("*"))
            if file.is_file() and file.name != "lock" and "last_reserved_ip" not in file.name
        }


class Pod(Machine):
    """A network namespace in a node, bound to a file there, and a container id to go with it."""

    def __init__(self, node: Node, path: str, container_id: str | None = None) -> None:
        """Look at the namespace at `path` in the node; `Node.pod` makes one."""
        self.node = node
        self.path = path
        self.name = Path(path).name
        self.container_id = container_id or secrets.token_hex(32)
        self.netns = str(node.root / path.lstrip("/"))
        """The same namespace, as a path that works outside of the node."""
        super().__init__(["--target", str(node.pid), "--mount", "--pid", f"--net={self.netns}"])

    def close(self) -> None:
        """Take the namespace away, and with it what is in it, as a runtime does."""
        self.node.run("ip", "netns", "delete", self.name)


class Outside(Pod):
    """The world beyond a node: the far end of its uplink, its default gateway, and a server.

    Whatever a node forwards without masquerading is routed back to it, so that the server's answers
    tell by which address it was reached.
    """

    address = "192.0.2.1"
    address6 = "2001:db8::1"
    node_address = "192.0.2.2"
    node_address6 = "2001:db8::2"

    def __init__(self, node: Node, uplink: str = "uplink0") -> None:
        node.run("ip", "netns", "add", "outside")
        super().__init__(node, "/run/netns/outside")
        node.run(*f"ip link add {uplink} type veth peer name eth0 netns outside".split())
        self.run("ip", "link", "set", "lo", "up")
        self._join(self, "eth0", self.address, self.address6)
        self._join(node, uplink, self.node_address, self.node_address6)
        for version, gateway in ((4, self.address), (6, self.address6)):
            node.run(*f"ip -{version} route add default via {gateway} dev {uplink}".split())
        for version, gateway in ((4, self.node_address), (6, self.node_address6)):
            self.run(*f"ip -{version} route add default via {gateway} dev eth0".split())
        self.serve()

    @staticmethod
    def _join(machine: Machine, ifname: str, address: str, address6: str) -> None:
        machine.run(*f"ip address add {address}/24 dev {ifname}".split())
        machine.run(*f"ip address add {address6}/64 dev {ifname} nodad".split())
        machine.run(*f"ip link set {ifname} up".split())


class Reply(NamedTuple):
    """What a plugin answered."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Json:
        """The JSON object on stdout."""
        parsed: Json = json.loads(self.stdout)
        return parsed

    @property
    def result(self) -> Json:
        """The result of a successful call ({} if it printed none); AssertionError otherwise."""
        assert self.status == 0, f"the plugin failed: {self}"
        return self.json if self.stdout else {}

    @property
    def error(self) -> Json:
        """The CNI error of a failed call, with `code` and `msg`; AssertionError otherwise."""
        assert self.status != 0, f"the plugin succeeded: {self}"
        error = self.json
        assert isinstance(error.get("code"), int), f"no CNI error: {self}"
        assert error.get("msg"), f"an error without a message: {self}"
        return error


class Plugin:
    """A CNI executable, to be called in nodes with nothing but the environment CNI gives it."""

    def __init__(self, executable: str | Path | Sequence[str], cni_path: str | None = None) -> None:
        """`executable`: a path, or a whole command such as [sys.executable, "-m", ...].

        CNI_PATH is the executable's directory and the reference plugins', unless given.
        """
        self.argv = [str(executable)] if isinstance(executable, str | Path) else list(executable)
        self.bin_dir = Path(self.argv[0]).parent
        self.type = Path(self.argv[0]).name
        """The plugin's `type` in configurations, which is its file name."""
        self.cni_path = cni_path or f"{self.bin_dir}:{REFERENCE_BIN_DIR}"

    @classmethod
    def from_source(cls, bin_dir: Path, package: str = "cni_bridge_py") -> Self:
        """The Python package of this checkout behind an executable of its name in `bin_dir`."""
        checkout = Path(__file__).resolve().parent.parent
        executable = bin_dir / package.replace("_", "-")
        # Like the bundle, it goes by the name that it is run under.
        main = f"import sys; sys.argv[0] = '$0'; from {package}.__main__ import main; sys.exit(main())"
        executable.write_text(f'#!/bin/sh\nPYTHONPATH={checkout} exec {sys.executable} -c "{main}" "$@"\n')
        executable.chmod(0o755)
        return cls(executable)

    def under(self, *command: str) -> Plugin:
        """The same plugin, started by another command: strace, say, or setpriv."""
        started = Plugin([*command, *self.argv], cni_path=self.cni_path)
        started.type = self.type
        return started

    def killed_after(self, seconds: float) -> Plugin:
        """The same plugin, killed when it has run for some time, unless it ended before."""
        # In the foreground, timeout waits until what it kills is gone, as runtimes do.
        return self.under("timeout", "--foreground", "--signal=KILL", f"{seconds:.4f}")

    def confined(self, capability: str) -> Plugin:
        """The same plugin, run by a root that lacks a capability."""
        return self.under("setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}")

    def install(self, node: Node) -> None:
        """Link this plugin and the reference ones into the node's /opt/cni/bin, for a runtime."""
        for directory in (REFERENCE_BIN_DIR, self.bin_dir):
            node.run("ln", "-sfn", *directory.iterdir(), "/opt/cni/bin/")

    def call(
        self,
        node: Node,
        verb: str,
        conf: Mapping[str, Any] | str,
        pod: Pod | None = None,
        *,
        container_id: str | None = None,
        netns: str | None = None,
        ifname: str | None = "eth0",
        args: str | None = None,
        env: Mapping[str, str | None] | None = None,
        timeout: float = 60,
    ) -> Reply:
        """Call the plugin in a node and return what it answered, success or not.

        conf: the configuration; `type` is filled in; a string goes to stdin as it is.
        container_id, netns: CNI_CONTAINERID and CNI_NETNS, in place of the pod's.
        args: CNI_ARGS.
        env: more variables; None takes one away.
        """
        variables: dict[str, str | None] = {
            "PATH": PATH,
            "CNI_COMMAND": verb,
            "CNI_PATH": self.cni_path,
            "CNI_CONTAINERID": container_id or (pod.container_id if pod else None),
            "CNI_NETNS": netns if netns is not None else (pod.path if pod else None),
            "CNI_IFNAME": ifname,
            "CNI_ARGS": args,
            **(env or {}),
        }
        done = node.run(
            *self.argv,
            check=False,
            input=conf if isinstance(conf, str) else json.dumps({"type": self.type, **conf}),
            env={name: value for name, value in variables.items() if value is not None},
            timeout=timeout,
        )
        return Reply(done.returncode, done.stdout, done.stderr)

    def add(self, node: Node, conf: Mapping[str, Any], pod: Pod, **kwargs: Any) -> Json:
        """ADD, which must succeed; its result. `kwargs` are `call`'s."""
        return self.call(node, "ADD", conf, pod, **kwargs).result

    def delete(self, node: Node, conf: Mapping[str, Any], pod: Pod, **kwargs: Any) -> None:
        """DEL, which must succeed and print nothing."""
        reply = self.call(node, "DEL", conf, pod, **kwargs)
        assert reply.result == {}, f"DEL printed a result: {reply}"

    def check(self, node: Node, conf: Mapping[str, Any], pod: Pod, result: Json, **kwargs: Any) -> Reply:
        """CHECK against the result of an ADD; the answer, success or not."""
        return self.call(node, "CHECK", {**conf, "prevResult": result}, pod, **kwargs)

    def version(self, node: Node, cni_version: str = "1.0.0") -> Json:
        """VERSION, which must succeed; what it supports."""
        return self.call(node, "VERSION", {"cniVersion": cni_version}, ifname=None).result

    def status(self, node: Node, conf: Mapping[str, Any]) -> Reply:
        """STATUS (CNI 1.1.0); the answer, success or not."""
        return self.call(node, "STATUS", conf, ifname=None)

    def gc(self, node: Node, conf: Mapping[str, Any], valid: Sequence[Pod] = ()) -> Reply:
        """GC (CNI 1.1.0) that keeps the attachments (eth0) of `valid`; success or not."""
        keep = [{"containerID": pod.container_id, "ifname": "eth0"} for pod in valid]
        return self.call(node, "GC", {**conf, "cni.dev/valid-attachments": keep}, ifname=None)


def in_network_of(machine: Node | Pod, make: Callable[[], socket.socket]) -> socket.socket:
    """A socket that is made in a machine's network, where it stays. Raises what `make` does."""

    def enter() -> socket.socket:
        namespace = os.open(machine.netns, os.O_RDONLY)
        try:
            netns.setns(namespace)
            return make()
        finally:
            os.close(namespace)

    # Each thread is in a namespace of its own; this one ends with what it was for.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


def _is_lease(file: Path) -> bool:
    try:
        ipaddress.ip_address(file.name)
    except ValueError:
        return False
    return True


def _lease_owner(content: str) -> tuple[str, str]:
    container_id, _, ifname = content.partition("\r\n")
    return container_id, ifname


def _link_state(link: Json) -> Json:
    """The settings of a link, without what the kernel counts or learns (carrier, timers)."""
    info = link.get("linkinfo", {})
    volatile = ("timer", "root_", "topology", "bridge_id", "state", "learned")
    settings = {**info.get("info_data", {}), **info.get("info_slave_data", {})}
    return {
        "kind": info.get("info_kind"),
        "up": "UP" in link["flags"],
        "promisc": "PROMISC" in link["flags"],
        **{key: link.get(key) for key in ("mtu", "address", "master", "ifalias", "group")},
        "settings": {k: v for k, v in settings.items() if not any(word in k for word in volatile)},
    }


def _route_state(route: Json) -> str:
    keys = sorted(key for key in route if key not in ("flags", "pref"))
    return " ".join(f"{key}={route[key]}" for key in keys)


def _without_volatile(value: Any) -> Any:
    """A rule set's JSON without handles and counter values."""
    if isinstance(value, dict):
        return {
            key: "counted" if key == "counter" else _without_volatile(item)
            for key, item in value.items()
            if key != "handle"
        }
    return [_without_volatile(item) for item in value] if isinstance(value, list) else value
