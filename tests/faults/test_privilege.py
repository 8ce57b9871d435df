"""Privilege: what the plugin needs to be allowed, what it leaves to others, and whom it does not listen to."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.harness import Json, Node, Plugin
from tests.kernel.networks import GATEWAY, add_pod, assert_nothing_left, dual_stack

ENOUGH = ("net_admin", "sys_admin")
"""Links, addresses, rules and sysctls; and entering the pod's namespace."""

CONF = dual_stack(macspoofchk=True, hairpinMode=True, bridgeNetfilter=True, mtu=1400)
EVIL = "/run/evil"


def allowed(plugin: Plugin, *capabilities: str) -> Plugin:
    """The plugin, run by a root that has these capabilities alone, and cannot get others."""
    bounding = ",".join(["-all", *(f"+{each}" for each in capabilities)])
    return plugin.under("setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", "--no-new-privs")


def test_capabilities_that_suffice(node: Node, plugin: Plugin) -> None:
    confined = allowed(plugin, *ENOUGH)
    pod, result = add_pod(confined, node, CONF)
    assert all(pod.ping(gateway) for gateway in GATEWAY.values())
    assert confined.check(node, CONF, pod, result).result == {}
    assert confined.status(node, CONF).result == {}
    confined.delete(node, CONF, pod)
    other, _ = add_pod(confined, node, CONF)
    assert confined.gc(node, CONF).result == {}
    assert set(other.links()) == {"lo"}
    assert_nothing_left(node)


@pytest.mark.parametrize("missing", ENOUGH)
def test_capability_that_is_missing_is_said(node: Node, plugin: Plugin, missing: str) -> None:
    confined = allowed(plugin, *(each for each in ENOUGH if each != missing))
    pod = node.pod()
    error = confined.call(node, "ADD", CONF, pod).error
    assert error["code"] == 101
    assert set(pod.links()) == {"lo"}
    assert_nothing_left(node)


def test_namespace_of_another_process(node: Node, plugin: Plugin) -> None:
    """Looking into /proc/PID takes the right to trace that process, unless it has no right that we have not."""
    pod = node.pod()
    script = f"nsenter --net={pod.path} sleep 100 >/dev/null 2>&1 & echo $!"
    netns = f"/proc/{node.run('sh', '-c', script).stdout.strip()}/ns/net"
    error = allowed(plugin, *ENOUGH).call(node, "ADD", CONF, pod, netns=netns).error
    assert error["code"] == 4
    assert netns in error["msg"]
    assert "Permission denied" in error["msg"]
    allowed(plugin, *ENOUGH, "sys_ptrace").add(node, CONF, pod, netns=netns)
    assert all(pod.ping(gateway) for gateway in GATEWAY.values())


@pytest.mark.parametrize("umask", ["0000", "0022", "0077"])
def test_files_are_roots_to_write(node: Node, plugin: Plugin, umask: str) -> None:
    """And the lock is root's to read: whoever can open it can hold it."""
    node.run("rmdir", "/var/lib/cni")
    add_pod(plugin.under("sh", "-c", f'umask {umask} && exec "$0" "$@"'), node, CONF)
    modes: dict[str, str] = {}
    for line in node.run("find", "/var/lib/cni", "-printf", "%m %y %f\\n").stdout.splitlines():
        mode, kind, name = line.split()
        modes["lock" if name == "lock" else kind] = mode
    assert modes == {"d": "755", "f": "644", "lock": "600"}


def test_nobody_else_can_hold_the_lock(node: Node, plugin: Plugin) -> None:
    add_pod(plugin, node, CONF)
    script = "flock --nonblock /var/lib/cni/networks/podnet/lock true"
    assert node.run("setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", script, check=False).returncode != 0


# Whom it does not listen to

TRAP = "import posix\nposix.close(posix.open('/run/trapped', posix.O_CREAT))\n"
NAMES = (
    *("os", "io", "abc", "site", "codecs", "json", "fcntl", "errno", "struct", "stat", "_struct", "_json", "_socket"),
    *("encodings", "sitecustomize", "usercustomize", "cni_bridge_py", "__main__", "plugin", "start"),
)
LIBRARIES = ("libpython3.11.so.1.0", "libpython3.12.so.1.0", "libpython3.13.so.1.0", "libz.so.1", "libcrypto.so.3")


@pytest.fixture
def trapped(node: Node, frozen: Plugin) -> Plugin:
    """The plugin in an environment, and in a directory, that set traps wherever a Python program may look."""
    for name in NAMES:
        node.write(f"{EVIL}/{name}.py", TRAP)
        node.write(f"{EVIL}/package/{name}/__init__.py", TRAP)
        node.write(f"{EVIL}/lib/python3.11/{name}.py", TRAP)
    for name in LIBRARIES:
        node.write(f"{EVIL}/{name}", "no library")
    for name in ("nft", "iptables", "ip", "sysctl", "sh", "host-local", "python3"):
        node.write(f"{EVIL}/{name}", "#!/bin/sh\ntouch /run/trapped\n")
        node.run("chmod", "+x", f"{EVIL}/{name}")
    node.run("ln", "-s", frozen.argv[0], f"{EVIL}/cni-bridge-py")
    node.run("chmod", "-R", "a+rwX", EVIL)
    return frozen.under("/bin/sh", "-c", f'cd {EVIL} && exec "$0" "$@"')


HOSTILE: Json = {
    "PATH": EVIL + ":/usr/bin:/bin",
    "PYTHONPATH": f"{EVIL}:{EVIL}/package",
    "PYTHONHOME": EVIL,
    "PYTHONSTARTUP": f"{EVIL}/os.py",
    "PYTHONPLATLIBDIR": f"{EVIL}/lib",
    "PYTHONEXECUTABLE": f"{EVIL}/python3",
    "PYTHONPYCACHEPREFIX": EVIL,
    "PYTHONUSERBASE": EVIL,
    "PYTHONINSPECT": "1",
    "PYTHONDEVMODE": "1",
    "PYTHONMALLOC": "debug",
    "PYTHONVERBOSE": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONDUMPREFS": "1",
    "PYTHONHASHSEED": "nonsense",
    "PYTHONINTMAXSTRDIGITS": "-1",
    "PYTHONWARNINGS": "error",
    "PYTHONIOENCODING": "utf-16",
    "PYTHONUTF8": "0",
    "LD_LIBRARY_PATH": f"{EVIL}:.",
    "TMPDIR": EVIL,
    "HOME": EVIL,
    "LC_ALL": "../../evil",
    "LANG": "x" * 1000,
    "_PYI_APPLICATION_HOME_DIR": EVIL,
    "_PYI_ARCHIVE_FILE": f"{EVIL}/cni-bridge-py",
    "_PYI_PARENT_PROCESS_LEVEL": "0",
    "_MEIPASS2": EVIL,
}


def test_traps_are_not_stepped_into(node: Node, trapped: Plugin) -> None:
    pod, result = add_pod(trapped, node, CONF, env=HOSTILE)
    reply = trapped.check(node, CONF, pod, result, env=HOSTILE)
    assert (reply.status, reply.stdout, reply.stderr) == (0, "", "")
    trapped.delete(node, CONF, pod, env=HOSTILE)
    assert_nothing_left(node)
    assert not (node.root / "run/trapped").exists()


SEEN = (
    r"/",  # where Python is, as the launcher tells 3.13
    r"/etc/(ld\.so\.(cache|preload)|localtime)",
    r"/(usr/)?lib(64)?/.*",
    r"/proc/(self|thread-self)/.*",
    r"/proc/sys/kernel/random/boot_id",
    r"/proc/sys/net/.*",
    r"/proc/sys/vm/overcommit_memory",  # Python's allocator, from 3.13 on
    r"/sys/class/net/.*",
    r"/sys/fs/cgroup/.*",
    r"/dev/null",
    r"/run/netns/.*",
    r"/var/lib(/cni(/networks(/podnet(/.*)?)?)?)?",
)
"""Where the plugin looks for anything, beside its own directory; only root can write to any of it."""


def test_where_it_looks(node: Node, frozen: Plugin, trapped: Plugin) -> None:
    """strace tells every path that it asks for: none is relative, and all are on a list that is short."""
    strace = ("/usr/bin/strace", "--follow-forks", "--trace=%file", "--output=/run/trace", "--output-append-mode")
    # What the loader does with LD_LIBRARY_PATH is the loader's: no program is asked first.
    hostile = {name: value for name, value in HOSTILE.items() if name != "LD_LIBRARY_PATH"}
    traced = Plugin(["/bin/sh", "-c", f'cd {EVIL} && exec "$0" "$@"', *strace, *frozen.argv], frozen.cni_path)
    pod = node.pod()
    result = traced.add(node, CONF, pod, env=hostile)
    assert traced.check(node, CONF, pod, result, env=hostile).result == {}
    traced.delete(node, CONF, pod, env=hostile)
    own = re.escape(str(frozen.bin_dir.resolve()))
    allowed_paths = [re.compile(each) for each in (*SEEN, f"{own}(/.*)?")]
    asked = set(re.findall(r'^\d+ +\w+\((?:AT_FDCWD, )?"([^"]*)"', (node.root / "run/trace").read_text(), re.M))
    assert len(asked) > 20
    assert [path for path in sorted(asked) if not any(each.fullmatch(path) for each in allowed_paths)] == []


# Children

IPAM = """#!/bin/sh
{
    env
    grep -E 'SigIgn|SigBlk|Umask' /proc/self/status
    ls /proc/self/fd
} > /run/child.$CNI_COMMAND
echo '{"ips": [{"address": "10.22.0.7/24"}]}'
"""


def test_children_get_what_the_plugin_got(node: Node, frozen: Plugin) -> None:
    """An IPAM plugin has the environment of ours, no file of ours but the three streams, and no signal ignored."""
    node.write("/run/bin/ipam", IPAM)
    node.run("chmod", "+x", "/run/bin/ipam")
    given = Plugin(frozen.argv, cni_path="/run/bin")
    conf = dual_stack() | {"ipam": {"type": "ipam"}}
    pod = node.pod()
    given.add(node, conf, pod, env={"LD_LIBRARY_PATH": "/opt/lib", "PYTHONPATH": "/opt/python"})
    assert given.status(node, conf).result == {}
    given.delete(node, conf, pod)
    told = (node.root / "run/child.ADD").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in told if "=" in line)
    for name in ("PWD", "SHLVL", "_", "OLDPWD"):  # the shell's own
        variables.pop(name, None)
    assert variables == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": pod.container_id,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": pod.path,
        "CNI_PATH": "/run/bin",
        "LD_LIBRARY_PATH": "/opt/lib",
        "PYTHONPATH": "/opt/python",
        "PATH": variables["PATH"],
    }
    signals = dict(line.split(":\t") for line in told if line.startswith("Sig"))
    assert int(signals["SigBlk"], 16) == 0
    assert int(signals["SigIgn"], 16) & 1 << signal.SIGPIPE - 1 == 0
    assert [line for line in told if line.isdigit()] == ["0", "1", "2", "3"]  # the last is ls' own
    assert Path(node.root / "run/child.STATUS").exists()
    assert Path(node.root / "run/child.DEL").exists()
