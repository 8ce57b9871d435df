"""A container image with nothing but busybox in it, made without a registry or a build daemon."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

NAME = "cni-bridge-py.test/busybox:1"

BUSYBOX = Path("/bin/busybox")
"""Debian's busybox-static, which needs no library; the directory is no part of its name inside."""

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""What images call the architectures that the kernel calls otherwise."""


def root_file_system() -> bytes:
    """A tar archive: /bin/busybox, with /bin/ip, /bin/sh and /bin/sleep linked to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        _add_file(archive, "bin/busybox", BUSYBOX.read_bytes())
        for applet in ("ip", "sh", "sleep"):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return buffer.getvalue()


def directory(path: Path) -> bytes:
    """A tar archive of a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(path, "")
    return buffer.getvalue()


def write_archive(
    path: Path, machine: str, *, name: str = NAME, layer: bytes = b"", entrypoint: Sequence[str] = ()
) -> None:
    """Write an image of the `docker save` format, whose command sleeps for ever unless told otherwise.

    machine: the kernel's name of the architecture (`uname -m`).
    layer: the root file system, as a tar archive (default: busybox).
    """
    layer = layer or root_file_system()
    command = {"Entrypoint": list(entrypoint)} if entrypoint else {"Cmd": ["/bin/sleep", "infinity"]}
    config = {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {**command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, mode="w") as archive:
        _add_file(archive, "config.json", json.dumps(config).encode())
        _add_file(archive, "layer.tar", layer)
        _add_file(archive, "manifest.json", json.dumps(manifest).encode())


def _add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755
    archive.addfile(entry, io.BytesIO(content))
