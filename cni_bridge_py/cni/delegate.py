"""Running another plugin, as a main plugin does with its IPAM plugin (SPEC.md, section 4)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from errno import ETXTBSY
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

BUSY_TRIES, BUSY_PAUSE = 50, 0.1
"""How often we retry to start a program that is just being installed, and how many seconds apart."""


def run(plugin: str, path: list[str], verb: str, config: bytes) -> dict[str, Any]:
    """Run `plugin` from one of the folders in `path` with our own parameters and `config`; return what it answers.

    The answer is that of an ADD; no other verb has any, and what is printed nevertheless is not looked at.
    Raises CniError: 4 or 7 if there is no such plugin, the plugin's own error if it reports one.
    """
    executable = find(plugin, path)
    status, output, errors = _execute(executable, config, {**os.environ, "CNI_COMMAND": verb})
    if errors:
        with suppress(OSError):  # it is for people, and perhaps nobody reads it
            os.write(STDERR, errors)
    if status:
        raise _failure(plugin, verb, status, output, errors)
    if verb != "ADD" or not output.strip():
        return {}
    answer, reason = _read_answer(output)
    if answer is None:
        raise CniError(DECODE_FAILURE, f"plugin {plugin}: {verb} failed: {reason}")
    return answer


def _read_answer(output: bytes) -> tuple[dict[str, Any] | None, str]:
    """The JSON object that a plugin printed; or None, and the reason why there is none."""
    if len(output) > LARGEST_ANSWER:
        return None, f"its answer exceeds {LARGEST_ANSWER} bytes"
    try:
        answer = strictjson.loads(output)
    except ValueError as error:
        return None, f"its answer is not JSON: {error}"
    return (answer, "") if isinstance(answer, dict) else (None, "its answer is not a JSON object")


def _failure(plugin: str, verb: str, status: int, output: bytes, errors: bytes) -> CniError:
    """The error that a plugin reports; if it reports none, how it ended."""
    answer, reason = _read_answer(output)
    if answer is None:
        ended = f"exit status {status}" if status > 0 else f"signal: {signal.strsignal(-status)}".lower()
        said = errors.decode(errors="replace").strip()
        said = said or (reason if output.strip() else "netplugin failed with no error message")
        return CniError(INTERNAL, f"plugin {plugin}: {verb} failed: {said}: {ended}")
    code = strictjson.find(answer, "code")
    if not isinstance(code, int) or isinstance(code, bool) or not 0 < code < 1 << 32:
        code = INTERNAL
    msg = strictjson.find(answer, "msg") or "failed without a message"
    return CniError(code, f"plugin {plugin}: {msg}", str(strictjson.find(answer, "details") or ""))


def find(plugin: str, path: list[str]) -> str:
    """The executable of a plugin: the first of its name in the folders of `path`.

    Raises CniError 4 or 7 if there is none.
    """
    if not path:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_PATH: is empty, but must name the directory of the plugin {plugin}")
    for folder in path:
        candidate = f"{folder}/{plugin}"
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise CniError(INVALID_CONFIG, f'ipam.type: failed to find plugin "{plugin}" in path [{" ".join(path)}]')


def _execute(executable: str, data: bytes, environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    """Run a program; return its exit status, output and errors.

    Files in memory in place of pipes: neither side has to wait until the other reads.
    """
    # If our caller ignores SIGCHLD, the kernel does not keep the exit status of a child.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    try:
        os.pwrite(files[0], data, 0)
        actions = [(os.POSIX_SPAWN_DUP2, file, target) for target, file in enumerate(files)]
        _, status = os.waitpid(_spawn(executable, environment, actions), 0)
        output, errors = (os.pread(file, min(os.fstat(file).st_size, LARGEST_ANSWER + 1), 0) for file in files[1:])
    except OSError as error:
        raise CniError(IO_FAILURE, f"cannot run {executable}: {error.strerror}") from None
    finally:
        for file in files:
            os.close(file)
    return os.waitstatus_to_exitcode(status), output, errors


def _spawn(executable: str, environment: Mapping[str, str], actions: list[tuple[Any, ...]]) -> int:
    """Start a program; return its process id. Raises OSError."""
    for _ in range(BUSY_TRIES):
        try:
            return os.posix_spawn(
                executable, [executable], environment, file_actions=actions, setsigdef=(signal.SIGPIPE,)
            )
        except OSError as error:
            if error.errno != ETXTBSY:
                raise
        time.sleep(BUSY_PAUSE)
    raise OSError(ETXTBSY, os.strerror(ETXTBSY))
