"""The networks of this plugin for which a node is configured."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from netaddr import IPAddress

from cni_bridge_py.addresses import InterfaceAddress
from cni_bridge_py.cni.errors import DECODE_FAILURE, INVALID_CONFIG, IO_FAILURE, CniError
from cni_bridge_py.cni.result import IPConfig
from cni_bridge_py.config import DEFAULT_DATA_DIR, HOST_LOCAL, NetworkConfig, read_config
from cni_bridge_py.ipam import host_local
from cni_bridge_py.ipam.ranges import RangeSet
from cni_bridge_py.node import confdir, runtimes
from cni_bridge_py.node.confdir import Json, NetworkFile
from cni_bridge_py.wiring import names, plan
from cni_bridge_py.wiring.step import Step


@dataclass(frozen=True)
class Network:
    """A network of ours: the file that configures it, and how the plugin reads that."""

    file: NetworkFile
    raw: Json
    config: NetworkConfig | None
    error: str = ""
    """Why the plugin refuses the configuration."""

    @property
    def name(self) -> str:
        """The network's name as it is written, even if the plugin refuses the configuration."""
        return str(self.raw.get("name", ""))

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path


def in_file(file: NetworkFile) -> Iterator[Network]:
    """The network that a file configures, if this plugin is in it."""
    if not file.is_ours:
        return
    yield _network(file, confdir.alone(file.document))


def _network(file: NetworkFile, raw: Json) -> Network:
    try:
        return Network(file, raw, read_config(raw))
    except CniError as error:
        return Network(file, raw, None, error.msg)


def find(folders: Iterable[Path]) -> list[Network]:
    """The networks of ours that are configured in these directories, in the runtimes' order.

    Raises CniError if a file or directory cannot be read.
    """
    return [network for folder in dict.fromkeys(folders) for file in read_folder(folder) for network in in_file(file)]


def of_file(path: str) -> list[Network]:
    """The network of one file. Raises CniError if it has no network of ours."""
    try:
        return of(NetworkFile(Path(path), Path(path).read_bytes()))
    except OSError as error:
        raise CniError(IO_FAILURE, f"{path}: {error.strerror}") from None


def of(file: NetworkFile) -> list[Network]:
    """The network that a file configures. Raises CniError if it does not configure one."""
    if not file.document:
        raise CniError(DECODE_FAILURE, f"{file.path}: {_why_no_object(file)}", "a network configuration must be JSON")
    if file.is_ours:
        return list(in_file(file))
    if "plugins" in file.document:
        raise CniError(INVALID_CONFIG, f"{file.path}: no plugin of type {confdir.PLUGIN} in the list")
    return [_network(file, file.document)]  # one of a reference plugin, which only differs in `type`


def _why_no_object(file: NetworkFile) -> str:
    try:
        json.loads(file.content)
    except (ValueError, RecursionError) as error:
        looks_like_yaml = file.path.suffix in (".yaml", ".yml") or file.content.lstrip()[:3] == b"---"
        return "this is YAML" if looks_like_yaml else str(error)
    return "it is not a JSON object"


def configured(path: str | None) -> list[Network]:
    """The network of the given file, or else all that the node's runtimes find.

    Raises CniError if something cannot be read.
    """
    return of_file(path) if path else find(conf_folders())


def conf_folders() -> list[Path]:
    """The directories where the node's runtimes look for configurations; without a runtime, the usual one."""
    return list(dict.fromkeys(each.conf_dir for each in runtimes.find().runtimes)) or [runtimes.CONF_DIR]


def read_folder(folder: Path) -> list[NetworkFile]:
    """The configurations in a directory. Raises CniError if one cannot be read."""
    try:
        return confdir.files(folder)
    except OSError as error:
        raise CniError(IO_FAILURE, f"{error.filename or folder}: {error.strerror}") from None


def configs(networks: Iterable[Network]) -> list[NetworkConfig]:
    """The configurations that the plugin accepts."""
    return [each.config for each in networks if each.config]


def range_sets(config: NetworkConfig) -> list[RangeSet]:
    """The ranges from which this plugin gives out addresses; none if another plugin does it."""
    return config.ipam.range_sets if config.ipam and config.ipam.type in HOST_LOCAL else []


def data_dirs(networks: Iterable[Network]) -> list[str]:
    """The directories with leases, including the default one."""
    configured = [c.ipam.data_dir for c in configs(networks) if c.ipam and c.ipam.type in HOST_LOCAL]
    return list(dict.fromkeys([DEFAULT_DATA_DIR, *configured]))


def shared_steps(config: NetworkConfig, pods: Collection[IPAddress]) -> list[Step]:
    """The next ADD's steps on what this network's pods share."""
    ips = plan.with_gateways(config, first_addresses(config, pods))
    return plan.shared(config, plan.links(config, names.host_veth("", ""), "eth0", ips), ips)


def gateways(config: NetworkConfig, pods: Collection[IPAddress] | None = None) -> list[InterfaceAddress]:
    """The gateway addresses that the bridge needs for pods with these addresses. If pods is None: for any pod."""
    return plan.gateway_addresses(config, plan.with_gateways(config, first_addresses(config, pods)))


def first_addresses(config: NetworkConfig, pods: Collection[IPAddress] | None = None) -> list[IPConfig]:
    """Example addresses of a pod on the network, with their gateways. Empty if another plugin gives out addresses.

    If pods is None, there is one address of each range, because each range may have its own gateway. Otherwise there
    is one of each range that a pod is in. If no pod is in any range of a set, the set's first range counts, because the
    next pod's address comes from it.
    """
    chosen = [[one] for ranges in range_sets(config) for one in (ranges if pods is None else _of(ranges, pods))]
    return host_local.preview(chosen)


def _of(ranges: RangeSet, pods: Collection[IPAddress]) -> RangeSet:
    return [one for one in ranges if any(one.spans(ip) for ip in pods)] or ranges[:1]
