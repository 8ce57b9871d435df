"""Questions about other programs: whether they touch what the plugin makes."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from shlex import quote

from cni_bridge_py.kernel.rtnetlink import Link
from cni_bridge_py.node import dropins, edits
from cni_bridge_py.node.answers import Finding, Node, Trouble, does_not_apply, told
from cni_bridge_py.wiring import names

UNIT_FOLDERS = (
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
)
"""systemd.network(5): a file in an earlier directory hides files of the same name in later ones."""

RULE_FOLDERS = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d")
"""udev(7)."""

NM_FOLDERS = ("/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/etc/NetworkManager/conf.d")
"""NetworkManager.conf(5)."""

OTHERS = {
    "flannel": ("flannel.1", "flannel-v6.1", "flannel-wg"),
    "calico": ("vxlan.calico", "tunl0", "wireguard.cali", "cali*"),
    "cilium": ("cilium_host", "cilium_net", "cilium_vxlan", "lxc_health"),
    "weave": ("weave", "vethwe-*", "vxlan-6784"),
    "kube-router": ("kube-bridge", "kube-tunnel-if"),
    "antrea": ("antrea-gw0", "antrea-tun0"),
    "ovn-kubernetes": ("ovn-k8s-mp0", "br-int"),
}
"""Names of the links that other pod networks make."""


# systemd-networkd and udev


def networkd_leaves_alone(node: Node) -> Finding:
    """Whether systemd-networkd, if it runs, has no configuration that matches our links."""
    if not _runs("systemd-network"):
        return does_not_apply("systemd-networkd does not run")
    matched: dict[Path, list[str]] = {}
    for link in _links(node):
        file = _first_match(link)
        if file and not _is_unmanaged(file):
            matched.setdefault(file, []).append(link.name)
    text = dropins.networkd(config.bridge for config in node.configs)
    mend = [f"printf %s {quote(text)} > {dropins.NETWORKD}", "networkctl reload", node.mend]
    troubles = [
        Trouble(
            f"{file} matches {', '.join(links[:3])}{' and others' if len(links) > 3 else ''}",
            "systemd-networkd may take pods' links out of the bridge, or give them addresses",
            mend,
        )
        for file, links in matched.items()
    ]
    return told(troubles, "none of its files matches our links")


def _links(node: Node) -> list[Link]:
    """Our links. If there are none yet, nothing can match."""
    bridges = {config.bridge for config in node.configs}
    hosts = {each.host for each in node.pods}
    return [link for name, link in node.state.links.items() if name in bridges | hosts]


def _runs(comm: str) -> bool:
    """Whether a program runs. The kernel stores only 15 bytes of its name."""
    return any(_comm(each) == comm for each in Path("/proc").glob("[0-9]*/comm"))


def _comm(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # it ended meanwhile


def _files(folders: Iterable[str], suffix: str) -> list[Path]:
    """The configuration files in these directories, by name, as systemd reads them."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in Path(folder).glob(f"*{suffix}"):
            found.setdefault(path.name, path)
    return [found[name] for name in sorted(found)]


def _first_match(link: Link) -> Path | None:
    return next((path for path in _files(UNIT_FOLDERS, ".network") if _matches(_sections(path), link)), None)


def _sections(path: Path) -> list[tuple[str, str, str]]:
    """The section, key and value of each line."""
    section, found = "", []
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    for line in map(str.strip, lines):
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            found.append((section, key.strip(), value.strip()))
    return found


def _matches(sections: list[tuple[str, str, str]], link: Link) -> bool:
    conditions = [(key, value) for section, key, value in sections if section == "Match"]
    has = {
        "Name": link.name,
        "OriginalName": link.name,
        "Type": "bridge" if link.kind == "bridge" else "ether",
        "Kind": link.kind,
        "Driver": link.kind,
        "MACAddress": link.mac,
    }
    if link.kind == "bridge":
        # systemd gives a bridge the type bridge, and matches it as Ethernet, too.
        return bool(conditions) and all(
            _is_like(value, has.get(key, "")) or (key == "Type" and _is_like(value, "ether"))
            for key, value in conditions
        )
    return bool(conditions) and all(_is_like(value, has.get(key, "")) for key, value in conditions)


def _is_like(patterns: str, value: str) -> bool:
    if patterns.startswith("!"):
        return not _is_like(patterns[1:], value)
    return any(fnmatchcase(value, pattern) for pattern in patterns.split())


def _is_unmanaged(path: Path) -> bool:
    return ("Link", "Unmanaged", "yes") in [(s, k, v.lower()) for s, k, v in _sections(path)]


def udev_leaves_alone(node: Node) -> Finding:
    """Whether no udev rule or .link file renames or changes our links."""
    links = _links(node)
    if not links:
        return does_not_apply("there is no link of this plugin")
    return told([*_link_files(links), *_rules(links)], "no rule or .link file changes our links")


def _link_files(links: list[Link]) -> Iterator[Trouble]:
    for link in links:
        for path in _files(UNIT_FOLDERS, ".link"):
            if not _matches(_sections(path), link):
                continue
            changes = [(key, value) for section, key, value in _sections(path) if section == "Link"]
            keys = [key for key, _ in changes if key in ("Name", "MACAddress", "MTUBytes")]
            if keys:
                found = f"{path} matches {link.name}, and sets {', '.join(keys)}"
                meaning = "new pods' links are changed behind the plugin's back"
                only = rf"[Match]\nName={names.VETH_PREFIX}* {link.name if link.kind == 'bridge' else ''}\n\n[Link]\n"
                first = "/etc/systemd/network/05-cni-bridge-py.link"
                yield Trouble(found, meaning, [f"printf {quote(only)} > {first}", "udevadm control --reload"])
                return
            break  # the first file that matches applies


def _rules(links: list[Link]) -> Iterator[Trouble]:
    for path in _files(RULE_FOLDERS, ".rules"):
        try:
            text = path.read_text(errors="replace").replace("\\\n", " ")
        except OSError:
            continue
        for line in text.splitlines():
            if '"net"' not in line:
                continue  # nearly all of them
            link = next((each for each in links if _rule_touches(line, each)), None)
            if link:
                meaning = "new pods' links are changed behind the plugin's back"
                mend = [f"mv {quote(str(path))} {quote(str(path))}.off", "udevadm control --reload"]
                yield Trouble(f"{path} touches {link.name}: {line.strip()}", meaning, mend)
                break


def _rule_touches(line: str, link: Link) -> bool:
    """Whether a rule for all network links of a name renames a link or runs `ip`, or a script, on it."""
    tokens = re.findall(r'([A-Z_]+)(?:\{([^}]*)\})?\s*(==|!=|\+=|:=|=)\s*"([^"]*)"', line)
    conditions = [(key, sub, op, value) for key, sub, op, value in tokens if op in ("==", "!=")]
    actions = [(key, sub, value) for key, sub, op, value in tokens if op in ("=", "+=", ":=")]
    has = {"SUBSYSTEM": "net", "ACTION": "add", "KERNEL": link.name, "DRIVERS": link.kind, "ENV": link.kind}
    if ("SUBSYSTEM", "", "==", "net") not in conditions:
        return False
    for key, sub, op, value in conditions:
        if key not in has or (key == "ENV" and sub != "ID_NET_DRIVER"):
            return False
        if any(fnmatchcase(has[key], each) for each in value.split("|")) != (op == "=="):
            return False
    return any(
        key == "NAME" or (key == "RUN" and re.search(r"\b(ip|brctl|ethtool|sh)\b", value)) for key, _, value in actions
    )


# NetworkManager


def network_manager_leaves_alone(node: Node) -> Finding:
    """Whether NetworkManager, if it runs, is configured to leave our links alone."""
    if not _runs("NetworkManager"):
        return does_not_apply("NetworkManager does not run")
    managed = [link for link in _links(node) if _is_managed(link)]
    text = dropins.network_manager(config.bridge for config in node.configs)
    mend = [
        f"mkdir -p {dropins.NETWORK_MANAGER.parent}",
        f"printf %s {quote(text)} > {dropins.NETWORK_MANAGER}",
        "nmcli general reload",
        node.mend,
    ]
    troubles = []
    if managed:
        found = f"NetworkManager may manage {', '.join(link.name for link in managed[:3])}"
        troubles.append(Trouble(found, "it may take pods' links out of the bridge, or give them addresses", mend))
    return told(troubles, "it is told to leave our links alone")


def _is_managed(link: Link) -> bool:
    """Whether NetworkManager may manage a link, by its state in /run, or else by its configuration."""
    patterns = [each for path in _nm_files() for each in _unmanaged_devices(path)]
    if any(_nm_matches(pattern, link) for pattern in patterns):
        return False
    state = Path(f"/run/NetworkManager/devices/{link.index}")
    try:
        return "managed=false" not in state.read_text()
    except OSError:
        return True


def _nm_files() -> list[Path]:
    dropins: dict[str, Path] = {}
    for folder in NM_FOLDERS:
        dropins |= {path.name: path for path in Path(folder).glob("*.conf")}
    return [Path("/etc/NetworkManager/NetworkManager.conf"), *dropins.values()]


def _unmanaged_devices(path: Path) -> list[str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string(path.read_text())
    except (OSError, configparser.Error):
        return []
    found = []
    for section in parser.sections():
        told = parser[section]
        if section == "keyfile":
            found += [value for key in told for value in [told[key]] if key.rstrip("+") == "unmanaged-devices"]
        elif section.startswith("device") and told.get("managed", "") in ("0", "no", "false"):
            found.append(told.get("match-device", ""))
    return [each.strip() for value in found for each in re.split(r"[;,]", value) if each.strip()]


def _nm_matches(pattern: str, link: Link) -> bool:
    key, _, value = pattern.partition(":")
    has = {"interface-name": link.name, "type": link.kind, "driver": link.kind, "mac": link.mac}
    return pattern == "*" or fnmatchcase(has.get(key, ""), value.removeprefix("=").removeprefix("~"))


# Other pod networks


def no_left_overs(node: Node) -> Finding:
    """Whether no other pod network has left its links here."""
    own = {config.bridge for config in node.configs}
    found: dict[str, list[str]] = {}
    for name in node.state.links:
        for other, patterns in OTHERS.items():
            if name not in own and any(fnmatchcase(name, pattern) for pattern in patterns):
                found.setdefault(other, []).append(name)
    troubles = [
        Trouble(
            f"links of {other}: {', '.join(links)}",
            f"routes and rules of {other} may lead pods' packets elsewhere",
            [f"ip link del {quote(link)}" for link in links],
        )
        for other, links in found.items()
        if links != ["tunl0"]  # the kernel's own, if the module ipip is loaded
    ]
    return told(troubles, "no links of another pod network")


def kernel_able(node: Node) -> Finding:
    """Whether the kernel has what the configurations need."""
    asked = [config for config in node.configs if config.vlan or config.vlan_trunk]
    troubles = []
    bridge = next((link for link in node.state.links.values() if link.kind == "bridge"), None)
    for config in asked:
        if bridge and not bridge.can_filter_vlans:
            key = "vlan" if config.vlan else "vlanTrunk"
            found = f"network {config.name}: this kernel has no CONFIG_BRIDGE_VLAN_FILTERING, which {key} needs"
            value = "[0-9]*" if config.vlan else r"\[[^]]*\]"
            drop = edits.edit(node.path(config), edits.dropped(key, value))
            troubles.append(Trouble(found, "no pod of that network starts", [drop]))
    missing = [name for name in ("bridge", "veth", "nf_tables") if not _has(name)]
    for name in missing:
        meaning = "no pod starts" if name != "nf_tables" else "pods with ipMasq or macspoofchk do not start"
        troubles.append(Trouble(f"this kernel has no {name}", meaning, [f"modprobe {name}"]))
    return told(troubles, os.uname().release)


def _has(module: str) -> bool:
    """Whether a module is loaded, built in, or can be loaded. True if we cannot tell."""
    if Path("/sys/module", module).exists():
        return True
    folder = Path("/lib/modules", os.uname().release)
    lists = [folder / "modules.builtin", folder / "modules.dep"]
    if not all(each.exists() for each in lists):
        return True
    return any(re.search(rf"/{module}\.ko", each.read_text()) for each in lists)
