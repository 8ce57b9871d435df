"""Running another plugin, as a main plugin does with its IPAM plugin (SPEC.md, section 4)."""

from __future__ import annotations

import posix

from cni_bridge_py.cni import jsontext
from cni_bridge_py.cni.errors import DECODE_FAILURE, INTERNAL, INVALID_CONFIG, INVALID_ENVIRONMENT, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

S_IFMT, S_IFREG = 0o170000, 0o100000
"""Which bits of a mode are the file's type, and that of a regular file: inode(7)."""

LARGEST_ANSWER = 16 << 20
"""Bytes."""

SIGPIPE = 13
"""It is ignored here, and expected elsewhere to end a program that nobody reads from."""


def run(plugin: str, path: list[str], verb: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Run `plugin` from one of the folders in `path` with our own parameters, and return what it answers.

    Raises CniError: 4 or 7 when there is no such plugin, the plugin's own error when it reports one.
    """
    executable = _find(plugin, path)
    environment = {**posix.environ, b"CNI_COMMAND": verb.encode()}
    status, output, errors = _execute(executable, jsontext.dumps(config).encode(), environment)
    if len(output) > LARGEST_ANSWER:
        raise CniError(DECODE_FAILURE, f"plugin {plugin}: {verb} failed: its answer is over {LARGEST_ANSWER} bytes")
    if status == 0 and not output.strip():
        return {}
    try:
        answer = jsontext.loads(output)
        reason = "its answer is no JSON object"
    except ValueError as error:
        answer = None
        reason = f"its answer is no JSON: {error}"
    if not isinstance(answer, dict):
        said = errors.decode(errors="replace").strip() or reason
        raise CniError(DECODE_FAILURE if status == 0 else INTERNAL, f"plugin {plugin}: {verb} failed: {said}")
    if status != 0:
        code = answer.get("code")
        msg = f"plugin {plugin}: {answer.get('msg', 'failed without a message')}"
        if not isinstance(code, int) or isinstance(code, bool) or not 0 < code < 1 << 32:
            code = INTERNAL
        raise CniError(code, msg, str(answer.get("details") or ""))
    return answer


def _find(plugin: str, path: list[str]) -> str:
    if not path:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_PATH: is empty, no place to find the plugin {plugin}")
    for folder in path:
        candidate = f"{folder}/{plugin}"
        if _is_file(candidate) and posix.access(candidate, posix.X_OK):
            return candidate
    raise CniError(INVALID_CONFIG, f"ipam.type: there is no plugin {plugin} in {':'.join(path)}")


def _is_file(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & S_IFMT == S_IFREG
    except OSError:
        return False


def _execute(executable: str, data: bytes, environment: Mapping[bytes, bytes]) -> tuple[int, bytes, bytes]:
    """Exit status, output and errors of a program. Not subprocess, which takes 11 ms to import.

    Files in memory, not pipes: neither side ever waits for the other to read.
    """
    files = [posix.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    try:
        posix.pwrite(files[0], data, 0)
        actions = [(posix.POSIX_SPAWN_DUP2, file, target) for target, file in enumerate(files)]
        child = posix.posix_spawn(executable, [executable], environment, file_actions=actions, setsigdef=(SIGPIPE,))
        _, status = posix.waitpid(child, 0)
        output, errors = (
            posix.pread(file, min(posix.fstat(file).st_size, LARGEST_ANSWER + 1), 0) for file in files[1:]
        )
    except OSError as error:
        raise CniError(INTERNAL, f"cannot run {executable}: {error.strerror}") from None
    finally:
        for file in files:
            posix.close(file)
    return posix.waitstatus_to_exitcode(status), output, errors
