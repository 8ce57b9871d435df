"""The parameters of an invocation: CNI_* in the environment (SPEC.md, section 2, "Parameters")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cni_bridge_py.cni.errors import INVALID_ENVIRONMENT, CniError

IFNAMSIZ = 16
"""linux/if.h: the size of an interface name in bytes, including its terminating NUL."""

OF_ALL_INTERFACES = ("all", "default")
"""Names in /proc/sys/net/ipv4/conf that do not belong to an interface."""

ALPHANUMERIC = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
IDENTIFIER = ALPHANUMERIC | frozenset("_.-")

REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "STATUS": (),
    "GC": (),
    "VERSION": (),
}
"""The parameters that the specification requires, by verb. These are all verbs."""

TRUE = ("1", "true")

KNOWN_ARGS = (
    "IgnoreUnknown",
    "IP",
    "MAC",
    "K8S_POD_NAMESPACE",
    "K8S_POD_NAME",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_UID",
)


@dataclass(frozen=True)
class Request:
    """One invocation. Parameters that the verb does not use are empty."""

    command: str
    container_id: str
    netns: str
    ifname: str
    args: dict[str, str]
    path: list[str]
    netns_override: bool = False
    config: bytes = b""
    """The network configuration as it was received, to be passed on to an IPAM plugin."""

    @property
    def pod(self) -> str:
        """`namespace/pod` if Kubernetes names the pod, else empty."""
        name = self.args.get("K8S_POD_NAME", "")
        return f"{self.args.get('K8S_POD_NAMESPACE', '')}/{name}" if name else ""


def read_request(environment: Mapping[str, str]) -> Request:
    """Validate the environment's CNI_* parameters.

    Raises CniError 4, which names all missing parameters, or the malformed one.
    """
    command = environment.get("CNI_COMMAND", "")
    if not command:
        raise _missing(["CNI_COMMAND"])
    if command not in REQUIRED:
        raise CniError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {command}: expected one of {', '.join(REQUIRED)}")
    if missing := [name for name in REQUIRED[command] if not environment.get(name)]:
        raise _missing(missing)

    path = [folder for folder in environment.get("CNI_PATH", "").split(":") if folder]
    if not REQUIRED[command]:
        return Request(command, "", "", "", {}, path)  # not about an attachment: ignore the rest

    container_id, ifname = environment["CNI_CONTAINERID"], environment["CNI_IFNAME"]
    if reason := why_not_identifier(container_id):
        raise _invalid("CNI_CONTAINERID", f"invalid characters in containerID {container_id!r}: it {reason}")
    if reason := why_not_ifname(ifname):
        raise _invalid("CNI_IFNAME", f"{ifname!r}: {reason}")
    return Request(
        command,
        container_id,
        environment.get("CNI_NETNS", ""),
        ifname,
        read_args(environment.get("CNI_ARGS", "")),
        path,
        environment.get("CNI_NETNS_OVERRIDE", "").lower() in TRUE,
    )


def why_not_identifier(text: str) -> str:
    """Say why `text` cannot be a container id or network name, or return nothing if it can.

    SPEC.md: an alphanumeric character, then alphanumerics, underscores, dots and hyphens.
    """
    if text[:1] not in ALPHANUMERIC or not IDENTIFIER.issuperset(text):
        return "must start with a letter or digit and go on with letters, digits, '_', '.' and '-'"
    return ""


def why_not_ifname(text: str) -> str:
    """Say why the kernel would not take `text` as an interface name, or return nothing if it would.

    The rules are dev_valid_name() of net/core/dev.c and sysctl_dev_name_is_allowed() of include/linux/inetdevice.h,
    and '%', which the kernel would expand as a template.
    """
    if any(c in "/:%" or c.isspace() or not c.isprintable() for c in text):
        return "interface name contains / or : or whitespace characters, or %, or unprintable ones"
    if not text:
        return "interface name is empty"
    if len(text.encode()) >= IFNAMSIZ:
        return f"interface name is too long: at most {IFNAMSIZ - 1} bytes fit"
    if text in (".", ".."):
        return "interface name is . or .."
    if text in OF_ALL_INTERFACES:
        return f"the kernel reserves the name {text} for settings of all interfaces (net.ipv4.conf.{text})"
    return ""


def read_args(text: str) -> dict[str, str]:
    """Read CNI_ARGS, `KEY=VALUE` pairs separated by semicolons.

    Raises CniError 4 for anything that is not a pair, and for an unknown key without `IgnoreUnknown=1`.
    """
    args: dict[str, str] = {}
    for pair in text.split(";"):
        key, equals, value = pair.partition("=")
        if pair and not (key and equals):
            raise _invalid("CNI_ARGS", f"invalid pair {pair!r}: it is not KEY=VALUE")
        if pair:
            args[key] = value
    unknown = [key for key in args if key not in KNOWN_ARGS]
    if unknown and args.get("IgnoreUnknown", "").lower() not in TRUE:
        raise _invalid("CNI_ARGS", f"unknown args {', '.join(unknown)} (set IgnoreUnknown=1 to ignore unknown keys)")
    return args


def _missing(parameters: list[str]) -> CniError:
    return CniError(INVALID_ENVIRONMENT, f"required env variables [{','.join(parameters)}] missing")


def _invalid(parameter: str, reason: str) -> CniError:
    return CniError(INVALID_ENVIRONMENT, f"{parameter}: {reason}")
