"""Running another plugin, as a main plugin does with its IPAM plugin (SPEC.md, section 4)."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cni_bridge_py.cni import strictjson
from cni_bridge_py.cni.errors import (
    DECODE_FAILURE,
    INTERNAL,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    IO_FAILURE,
    CniError,
)

STDERR = 2

LARGEST_ANSWER = 16 << 20
"""Bytes."""


def run(plugin: str, path: list[str], verb: str, config: bytes) -> dict[str, Any]:
    """Run `plugin` from one of the folders in `path` with our own parameters and `config`; return what it answers.

    Raises CniError: 4 or 7 when there is no such plugin, the plugin's own error when it reports one.
    """
    executable = find(plugin, path)
    status, output, errors = _execute(executable, config, {**os.environ, "CNI_COMMAND": verb})
    if errors:
        with suppress(OSError):  # it is for people, and nobody may be listening
            os.write(STDERR, errors)
    if len(output) > LARGEST_ANSWER:
        raise CniError(DECODE_FAILURE, f"plugin {plugin}: {verb} failed: its answer is over {LARGEST_ANSWER} bytes")
    if status == 0 and not output.strip():
        return {}
    try:
        answer = strictjson.loads(output)
        reason = "its answer is not a JSON object"
    except ValueError as error:
        answer = None
        reason = f"its answer is not JSON: {error}"
    if not isinstance(answer, dict):
        said = errors.decode(errors="replace").strip() or reason
        raise CniError(DECODE_FAILURE if status == 0 else INTERNAL, f"plugin {plugin}: {verb} failed: {said}")
    if status != 0:
        code = strictjson.find(answer, "code")
        msg = f"plugin {plugin}: {strictjson.find(answer, 'msg') or 'failed without a message'}"
        if not isinstance(code, int) or isinstance(code, bool) or not 0 < code < 1 << 32:
            code = INTERNAL
        raise CniError(code, msg, str(strictjson.find(answer, "details") or ""))
    return answer


def find(plugin: str, path: list[str]) -> str:
    """The executable of a plugin: the first of its name in the folders of `path`.

    Raises CniError 4 or 7 when there is none.
    """
    if not path:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_PATH: is empty, no place to find the plugin {plugin}")
    for folder in path:
        candidate = f"{folder}/{plugin}"
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise CniError(INVALID_CONFIG, f'ipam.type: failed to find plugin "{plugin}" in path [{" ".join(path)}]')


def _execute(executable: str, data: bytes, environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    """Exit status, output and errors of a program.

    Files in memory, not pipes: neither side ever waits for the other to read.
    """
    # Where whoever called us ignores it, the kernel would not keep the status for us.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    try:
        os.pwrite(files[0], data, 0)
        actions = [(os.POSIX_SPAWN_DUP2, file, target) for target, file in enumerate(files)]
        child = os.posix_spawn(executable, [executable], environment, file_actions=actions, setsigdef=(signal.SIGPIPE,))
        _, status = os.waitpid(child, 0)
        output, errors = (os.pread(file, min(os.fstat(file).st_size, LARGEST_ANSWER + 1), 0) for file in files[1:])
    except OSError as error:
        raise CniError(IO_FAILURE, f"cannot run {executable}: {error.strerror}") from None
    finally:
        for file in files:
            os.close(file)
    return os.waitstatus_to_exitcode(status), output, errors
