"""Addresses from another plugin: `ipam.type` names a program in CNI_PATH."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from cni_bridge_py.cni import delegate, strictjson
from cni_bridge_py.cni.errors import DECODE_FAILURE, LIMITED_CONNECTIVITY, PLUGIN_NOT_AVAILABLE, CniError
from cni_bridge_py.cni.result import NEWEST, VERSIONS, IPConfig, Result, decode

DHCP = "dhcp"
"""The plugin that gives its lease back through the pod's interface. Others are called after the interface is gone."""


class Delegated:
    """The same interface as HostLocal, by running another plugin with our own parameters and configuration."""

    def __init__(self, plugin: str, path: list[str], config: bytes) -> None:
        self.needs_interface = plugin == DHCP
        self._plugin = plugin
        self._path = path
        self._config = config

    def __enter__(self) -> Delegated:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def need_plugin(self) -> None:
        """Check that the plugin exists, before anything is made. Raises CniError 4 or 7 if not."""
        delegate.find(self._plugin, self._path)

    def is_unused(self) -> bool:
        """False: only the plugin knows whether anything is held."""
        return False

    def add(self) -> Result:
        """Get addresses. Raises CniError; `delete` releases what the plugin holds then."""
        answer = self._run("ADD")
        try:
            version = strictjson.find(answer, "cniVersion") or NEWEST
            if version not in VERSIONS:
                raise ValueError(f"unsupported CNI result version {version!r}")
            result = decode(answer)
            if not result.ips:
                raise ValueError("IPAM plugin returned missing IP config: its result has no addresses")
        except ValueError as error:
            msg = f"plugin {self._plugin}: its result cannot be used: {error}"
            raise CniError(DECODE_FAILURE, msg) from None
        return Result([], result.ips, result.routes, result.dns)

    def delete(self, ips: list[IPConfig]) -> None:
        """Give the addresses back."""
        self._run("DEL")

    def confirm(self, ips: list[IPConfig]) -> None:
        """Do nothing: only the plugin knows whether they are still held."""

    def check(self, ips: list[IPConfig]) -> None:
        """Ask whether the addresses are held. Raises CniError."""
        self._run("CHECK")

    def gc(self, is_valid: Callable[[str, str], bool]) -> None:
        """Let the plugin do its own GC: the valid attachments are in the configuration."""
        self._run("GC")

    def status(self) -> None:
        """Ask for the plugin's STATUS. Raises CniError 50 if there is no such plugin, else the plugin's own error."""
        try:
            self._run("STATUS")
        except CniError as error:
            code = error.code if error.code in (PLUGIN_NOT_AVAILABLE, LIMITED_CONNECTIVITY) else PLUGIN_NOT_AVAILABLE
            raise CniError(code, error.msg, error.details) from None

    def _run(self, verb: str) -> dict[str, Any]:
        return delegate.run(self._plugin, self._path, verb, self._config)
