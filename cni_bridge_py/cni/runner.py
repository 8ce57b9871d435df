"""Reads the environment and standard input, calls a verb, and prints its result or error.

Nothing else prints or exits. SPEC.md, section 2, "Execution protocol".
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from select import select
from typing import Any

from cni_bridge_py.cni import strictjson
from cni_bridge_py.cni.errors import (
    DECODE_FAILURE,
    INCOMPATIBLE_VERSION,
    INTERNAL,
    INVALID_CONFIG,
    IO_FAILURE,
    CniError,
    Errors,
)
from cni_bridge_py.cni.request import Request, read_request
from cni_bridge_py.cni.result import NEWEST, OLDEST, VERSIONS, speaks

Verb = Callable[[Request, dict[str, Any]], dict[str, Any] | None]
"""Takes the request and the configuration; returns what goes to standard output, if anything."""

LARGEST_CONFIG = 16 << 20
"""Bytes. A GC request for 100,000 attachments has 10 MB; no real request is larger than this."""

LONGEST_MESSAGE = 4096
"""Characters. A message may quote a value that is as long as the configuration."""

PATIENCE = 0.2
"""Seconds. The reference answers VERSION without reading; a caller that sends a version has sent it by then."""

STDIN, STDOUT, STDERR = range(3)

FIRST_VERSION = {"CHECK": "0.4.0", "STATUS": "1.1.0", "GC": "1.1.0"}
"""The specification's version that introduced a verb, for verbs that came later."""


def run(verbs: Mapping[str, Verb]) -> int:
    """Serve the invocation that the environment describes; return the exit status."""
    version = NEWEST
    _hold_output_streams()
    try:
        request = read_request(os.environ)
        request = replace(request, config=_read_stdin(is_optional=request.command == "VERSION"))
        config = _parse(request.command, request.config)
        if request.command == "VERSION":
            _print(_versions(config))
        else:
            version = _agreed_version(config)
            _call(verbs, request, config, version)
    except CniError as error:
        return _fail(version, error)
    except RecursionError:
        return _fail(version, CniError(DECODE_FAILURE, "the configuration, or a plugin's answer, is nested too deeply"))
    except BaseException as error:
        return _fail(version, CniError(INTERNAL, _say(error), _where(error)))
    return 0


def _hold_output_streams() -> None:
    """If our caller has closed an output stream, open something in its place, though not for writing.

    Otherwise the next file that we open, such as a lease, would get the stream's number, and its output.
    """
    for stream in (STDOUT, STDERR):
        try:
            os.fstat(stream)
        except OSError:
            os.dup2(os.open("/dev/null", os.O_RDONLY), stream)


def _call(verbs: Mapping[str, Verb], request: Request, config: dict[str, Any], version: str) -> None:
    first = FIRST_VERSION.get(request.command, OLDEST)
    if not speaks(version, first):
        msg = f"config version does not allow {request.command}: it came with {first}, cniVersion is {version}"
        raise CniError(INCOMPATIBLE_VERSION, msg)
    if strictjson.find(config, "plugins") is not None and not strictjson.find(config, "type"):
        msg = "plugins: this is a network configuration list, but a plugin gets one entry of a list"
        raise CniError(
            INVALID_CONFIG,
            msg,
            "a runtime, or cnitool, takes the list apart, and adds the list's name and cniVersion to each entry",
        )
    answer = verbs[request.command](request, config)
    if answer is None:
        return
    try:
        _print(answer)
    except CniError:
        if request.command == "ADD":  # nobody got the result, so nobody can use the addresses
            with Errors():
                verbs["DEL"](request, config)
        raise


def _parse(command: str, data: bytes) -> dict[str, Any]:
    if command == "VERSION" and not data.strip():
        return {}
    try:
        config = strictjson.loads(data)
    except ValueError as error:
        msg = f"cannot decode the network configuration on standard input: {error}"
        raise CniError(DECODE_FAILURE, msg) from None
    if not isinstance(config, dict):
        raise CniError(DECODE_FAILURE, "the network configuration on standard input is not a JSON object")
    return config


def _read_stdin(is_optional: bool) -> bytes:
    """Read standard input up to its end. If input is optional, do not wait long for it: it may be a terminal."""
    chunks = []
    size = 0
    try:
        while not is_optional or select([STDIN], [], [], PATIENCE)[0]:
            chunk = os.read(STDIN, 1 << 16)
            if not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
            if size > LARGEST_CONFIG:
                msg = f"the network configuration on standard input exceeds {LARGEST_CONFIG} bytes"
                raise CniError(DECODE_FAILURE, msg)
    except OSError as error:
        msg = f"cannot read the network configuration from standard input: {error.strerror}"
        raise CniError(IO_FAILURE, msg) from None
    return b"".join(chunks)


def _versions(config: dict[str, Any]) -> dict[str, Any]:
    # A runtime calls this to find a common version, so no version is an error here.
    asked = strictjson.find(config, "cniVersion")
    return {
        "cniVersion": asked if asked and isinstance(asked, str) else NEWEST,
        "supportedVersions": list(VERSIONS),
    }


def _agreed_version(config: dict[str, Any]) -> str:
    version = strictjson.find(config, "cniVersion") or OLDEST
    if not isinstance(version, str):
        raise CniError(INVALID_CONFIG, f"cniVersion: expected a string, got {json.dumps(version)}")
    if version not in VERSIONS:
        raise CniError(
            INCOMPATIBLE_VERSION,
            f"incompatible CNI versions: cniVersion {version} is not supported",
            f'config is "{version}", plugin supports [{" ".join(map(json.dumps, VERSIONS))}]',
        )
    return version


def _fail(version: str, error: CniError) -> int:
    answer: dict[str, Any] = {"cniVersion": version, "code": error.code, "msg": error.msg[:LONGEST_MESSAGE]}
    try:
        _print(answer | {"details": error.details[:LONGEST_MESSAGE]} if error.details else answer)
    except CniError:
        _complain(error.msg)
    return 1


def _complain(reason: str) -> None:
    """Say on standard error what could not be printed on standard output: libcni shows it then."""
    with suppress(OSError):  # the exit status says enough
        os.write(STDERR, f"cni-bridge-py: {reason}\n".encode(errors="replace"))


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _where(error: BaseException) -> str:
    """The innermost line of our code that the error passed through, for a bug report."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if not trace:
        return ""
    return f"unexpected at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _print(answer: dict[str, Any]) -> None:
    data = (json.dumps(answer, indent=2) + "\n").encode()
    try:
        while data:
            data = data[os.write(STDOUT, data) :]
    except OSError as error:
        raise CniError(IO_FAILURE, f"cannot write to standard output: {error.strerror}") from None
