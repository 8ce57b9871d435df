"""The verbs of our IPAM plugin: the lease store alone, for other main plugins (SPEC.md, section 4).

The executable is this plugin if it is run as `host-local-py`.
"""

from __future__ import annotations

from typing import Any

from cni_bridge_py.cni import runner, strictjson
from cni_bridge_py.cni.errors import ALREADY_ATTACHED, CniError
from cni_bridge_py.cni.request import Request
from cni_bridge_py.cni.result import OLDEST, IPConfig, encode
from cni_bridge_py.config import read_ipam_config, valid_attachments
from cni_bridge_py.ipam.host_local import Attachment, HostLocal
from cni_bridge_py.wiring import names

KEY_PREFIX = "ipam-"
"""Distinguishes these leases from those of our own main plugin, whose veths we can look for."""


def add(request: Request, raw: dict[str, Any]) -> dict[str, Any]:
    """ADD: give out addresses."""
    with _host_local(request, raw)[0] as ipam:
        if held := ipam.held():
            whom = f"{request.container_id}, interface {request.ifname}"
            msg = f"{', '.join(held)} has been allocated to {whom}, duplicate allocation is not allowed"
            raise CniError(ALREADY_ATTACHED, msg, "call DEL before the next ADD of the same attachment")
        result = ipam.add()
        return encode(result, strictjson.find(raw, "cniVersion") or OLDEST)


def delete(request: Request, raw: dict[str, Any]) -> None:
    """DEL: take them back."""
    host_local, ips = _host_local(request, raw)
    if not host_local.is_unused():
        with host_local as ipam:
            ipam.delete(ips)


def check(request: Request, raw: dict[str, Any]) -> None:
    """CHECK: check that they are held."""
    host_local, ips = _host_local(request, raw)
    with host_local as ipam:
        ipam.check(ips)


def status(request: Request, raw: dict[str, Any]) -> None:
    """STATUS: check whether there are any left."""
    _host_local(request, raw)[0].status()


def gc(request: Request, raw: dict[str, Any]) -> None:
    """GC: take back the addresses of attachments that are not listed."""
    valid = names.Attachments(valid_attachments(raw))
    with _host_local(request, raw)[0] as ipam:
        ipam.gc(valid.hold)


VERBS: dict[str, runner.Verb] = {"ADD": add, "DEL": delete, "CHECK": check, "STATUS": status, "GC": gc}


def main() -> int:
    """Serve one invocation by a main plugin; return the exit status."""
    return runner.run(VERBS)


def _key(container_id: str, ifname: str) -> str:
    return KEY_PREFIX + names.host_veth(container_id, ifname).removeprefix(names.VETH_PREFIX)


def _host_local(request: Request, raw: dict[str, Any]) -> tuple[HostLocal, list[IPConfig]]:
    """The store, and the addresses of the attachment's prevResult."""
    name, config, prev_result = read_ipam_config(raw, request.args)
    key = _key(request.container_id, request.ifname)
    attachment = Attachment(request.container_id, request.ifname, key)
    # Only its main plugin knows whether an attachment still exists, so nothing is ever reclaimed.
    host_local = HostLocal(config, name, attachment, is_living=lambda key: True)
    return host_local, prev_result.ips if prev_result else []
