"""A machine with Debian's root file system, in namespaces of its own."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import tomllib
from pathlib import Path

from tests.bundle import BUILD, CHECKOUT
from tests.harness import PATH, Node

PREPARE = Path(__file__).parent / "prepare.sh"
HOME = "/root/cni-bridge-py"
"""Where the checkout is on the machine."""

# The machine's disk is a layer over the prepared root. Its cgroups are the real ones, for runc needs them.
SETUP = """
set -e
directory=$1 prepared=$2
root=$directory/root
mkdir "$root" "$directory/changes" "$directory/work"
mount -t overlay overlay "$root" \
    -o "lowerdir=$prepared/root,upperdir=$directory/changes,workdir=$directory/work"
mkdir -p "$root/wheels" "$root/before"
mount --bind "$prepared/archives" "$root/var/cache/apt/archives"
mount --bind "$prepared/wheels" "$root/wheels"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/run/lock" "$root/run/netns"
cd "$root"
pivot_root . before
umount --lazy /before
ip link set lo up
echo 0 >/proc/sys/net/ipv4/ip_forward
echo ready
exec env --ignore-signal=CHLD sleep infinity
"""


def prepared(suite: str) -> Path:
    """The directory with that Debian's root and packages; made unless it is there and as it would be made now."""
    folder = BUILD / "machines" / suite
    folder.parent.mkdir(parents=True, exist_ok=True)
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    libraries = [*project["dependencies"], *project["optional-dependencies"]["build"]]
    made_of = PREPARE.read_bytes() + str(libraries).encode()
    stamp, digest = folder.with_name(f"{suite}.made-of"), hashlib.sha256(made_of).hexdigest()
    with folder.with_name(f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == digest):
            stamp.unlink(missing_ok=True)
            with folder.with_name(f"{suite}.log").open("w") as log:
                command = ["unshare", "--mount", "sh", PREPARE, suite, folder, *libraries]
                subprocess.run(command, check=True, stdout=log, stderr=log)
            stamp.write_text(digest)
    return folder


class Debian(Node):
    """A machine with a fresh Debian, a user called root, and this checkout."""

    def __init__(self, suite: str) -> None:
        super().__init__(SETUP, prepared(suite))
        try:
            self._copy_checkout()
        except BaseException:
            self.close()
            raise

    def type(self, command: str, *, check: bool = True) -> str:
        """Type a command in a shell of root's, in the checkout; what it printed, errors too."""
        done = self.run(
            "sh", "-c", f"cd {HOME}; exec 2>&1; {command}", check=False, env=self.environment(), timeout=900
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    @staticmethod
    def environment() -> dict[str, str]:
        """What a login gives root."""
        return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}

    def _copy_checkout(self) -> None:
        listed = ("git", "-C", CHECKOUT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        files = subprocess.run(listed, check=True, capture_output=True).stdout
        archive = self.directory / "checkout.tar"
        tar = ("tar", "-C", CHECKOUT, "--null", "--files-from=-", "--ignore-failed-read", "-cf", archive)
        subprocess.run(tar, check=True, input=files, capture_output=True)
        target = self.root / HOME.lstrip("/")
        target.mkdir()
        subprocess.run(["tar", "-C", target, "--no-same-owner", "-xf", archive], check=True)
