"""Checks a program before it is installed: whether it starts here, and if not, why."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cni_bridge_py.cni.errors import LIMITED_CONNECTIVITY, NOT_PERMITTED, PLUGIN_NOT_AVAILABLE
from cni_bridge_py.installer import Refused

ELF = b"\x7fELF"
MACHINES = {3: "i386", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""elf.h: e_machine, and what `uname -m` calls it."""

CODE_CHANGES = (PLUGIN_NOT_AVAILABLE, LIMITED_CONNECTIVITY, NOT_PERMITTED)
"""The codes with which STATUS reports a problem of the node, not of the configuration."""

SECONDS = 60


def need_start(program: Path, option: str) -> None:
    """If the plugin does not answer VERSION, raise Refused with the reason and the option that helps."""
    try:
        done = _call(program, "VERSION", {}, [])
    except OSError as error:
        raise Refused(_why_not_started(program, error, option)) from None
    if done.returncode != 0 or "supportedVersions" not in done.stdout:
        told = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise Refused(f"the plugin that was built does not start here: {told}")


def status(program: Path, config: dict[str, Any], bin_dirs: Iterable[Path]) -> str:
    """The problem of the node that the plugin reports, or nothing. Raises Refused if the configuration is wrong."""
    done = _call(program, "STATUS", config | {"cniVersion": "1.1.0"}, bin_dirs)
    if done.returncode == 0:
        return ""
    try:
        error = json.loads(done.stdout)
        told, code = str(error["msg"]) + (f" ({error['details']})" if error.get("details") else ""), error["code"]
    except (ValueError, KeyError, TypeError):
        raise Refused(f"the plugin does not say whether it could serve pods: {done.stderr or done.stdout}") from None
    if code not in CODE_CHANGES:
        raise Refused(told)
    return told


def _call(
    program: Path, verb: str, config: dict[str, Any], bin_dirs: Iterable[Path]
) -> subprocess.CompletedProcess[str]:
    environment = {"CNI_COMMAND": verb, "CNI_PATH": ":".join(map(str, bin_dirs))}
    command = [str(program)]
    try:
        return subprocess.run(
            command,
            env=environment,
            input=json.dumps(config),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"the plugin that was built does not answer: {verb} was given up after {SECONDS} s") from None


def _why_not_started(program: Path, error: OSError, option: str) -> str:
    if os.statvfs(program).f_flag & os.ST_NOEXEC:
        return f"{program.parent}: the file system runs no programs (noexec): choose another place with {option}"
    with program.open("rb") as file:
        header = file.read(20)
    machine = MACHINES.get(int.from_bytes(header[18:20], "little"), "another processor")
    if header[:4] == ELF and machine != platform.machine():
        return (
            f"the plugin was built for {machine}, and this machine is {platform.machine()}: "
            "build it here (./install.sh without --no-build)"
        )
    return f"the plugin that was built does not start here: {error.strerror}"
