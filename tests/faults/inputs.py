"""What the plugin may be given: sense and nonsense, put together by whoever chooses.

One grammar for two ways of choosing: hypothesis (test_input.py) and coverage-guided fuzzing (fuzz.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from tests.harness import Json

T = TypeVar("T")
Makers = dict[str, Callable[[], Any]]

DATA_DIR = "/run/leases"
IPAM_DIR = "/run/fake"
FAKE_IPAM = "fake-ipam"
NETNS = "/the pod's"
"""Stands for the namespace of the pod, whose path is known only when it is there."""

VERBS = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")
VERSIONS = ("1.1.0", "1.0.0", "0.4.0", "0.3.1")
BAD_VERSIONS = ("0.2.0", "0.1.0", "9.9.9", "")
SWITCHES: tuple[str, ...] = (
    "isGateway",
    "isDefaultGateway",
    "ipMasq",
    "forceAddress",
    "hairpinMode",
    "promiscMode",
    "bridgeNetfilter",
)
SWITCHES += ("portIsolation", "macspoofchk", "disableContainerInterface", "preserveDefaultVlan")

# What makes sense, and what does not.
NAMES = ("net", "podnet", "a.b-c_d", "n" * 255)
BAD_NAMES = ("n" * 256, "..", ".", "../../etc/cron.d", "a/b", "/etc", "", "é", "a\0b")
ADDRESSES = ("10.22.0.5", "10.22.0.1", "10.22.0.6", "10.23.0.9", "fd00:22::5", "fd00:22::1", "::ffff:10.22.0.5")
BAD_ADDRESSES: tuple[str, ...] = (
    "10.22.0.0",
    "10.22.0.255",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "10.22.0.256",
    "010.022.0.5",
)
BAD_ADDRESSES += (
    "fe80::1",
    "ff02::1",
    "::",
    "::1",
    "fe80::1%eth0",
    "ff" * 2 + ":ffff" * 7,
    "10.22.0.5\n",
    "",
    " 1.1.1.1",
)
LENGTHS = ("/24", "/16", "/29", "/64", "/126")
BAD_LENGTHS = ("/0", "/30", "/31", "/32", "/127", "/128", "/129", "/-1", "/", "", "/٣")
NETWORKS = ("10.22.0.0/24", "10.23.0.0/16", "fd00:22::/64", "10.24.0.0/29", "fd00:24::/126")
BAD_NETWORKS = (
    "0.0.0.0/0",
    "::/0",
    "10.22.0.0/31",
    "10.22.0.0/32",
    "224.0.0.0/4",
    "fe80::/64",
    "::ffff:10.25.0.0/120",
    "",
)
LINKS = ("cni0", "br.100", "x" * 15, "brücke")
BAD_LINKS = ("eth0", "lo", "x" * 16, "a/b", "a b", "a:b", "%d", "..", "", "\ud800", "\0")
MACS = ("0a:58:0a:16:00:05", "02-00-00-00-00-01")
BAD_MACS = ("01:00:00:00:00:00", "00:00:00:00:00:00", "1:2:3:4:5:6", "g" * 17, "")
NUMBERS = (1, 0, 100, 1400, 1500)
BAD_NUMBERS = (2, 67, 68, 4095, 9000, 65535, 65536, 1 << 31, 1 << 32, 1 << 64, 10**4000, -1, 1.5, 1e22)
PATHS = (DATA_DIR, f"{DATA_DIR}/deep/er")
BAD_PATHS = ("/dev/null", "/proc/self/fd", "relative", "/run/\0", "/run/" + "x" * 300, "")
TEXTS = ("x", "", "1", "true", "null", "\0", "\ud800", "\udfff", "\U0010ffff", "x" * 5000, "$(id)", "%n%s", "{}")


class Chooser(Protocol):
    """Makes choices."""

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""

    def number(self, lowest: int, highest: int) -> int:
        """An integer, both bounds included; towards the lowest where nothing speaks for another."""

    def text(self) -> str:
        """Any text, half surrogate pairs included."""

    def noise(self) -> bytes:
        """Any bytes."""


class Input(NamedTuple):
    """An invocation: the program's name, its environment, its standard input, and the script of its IPAM plugin."""

    program: str
    environment: dict[str, str]
    stdin: bytes
    ipam: bytes


class Grammar:
    """Puts an invocation together from choices, with none, little or much in it that makes no sense."""

    def __init__(self, choose: Chooser) -> None:
        self._choose = choose
        self._nonsense = choose.pick((0, 1, 5, 20))
        """Per cent of the values."""

    def input(self) -> Input:
        """An invocation."""
        verb = self._one(VERBS + ("ADD",) * 4, ("", "add", "ADD\n", "HELP", "\udcff"))
        program = self._one(("cni-bridge-py",) * 4 + ("host-local-py",))
        return Input(program, self._environment(verb), self._stdin(verb), self._ipam_plugin())

    # The environment

    def _environment(self, verb: str) -> dict[str, str]:
        variables = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self._one(("c1",), ("", "../x", "é", "x" * 100_000, "\udcff", "-")),
            "CNI_NETNS": self._one(
                (NETNS,), ("", "/proc/self/ns/net", "/proc/self/ns/mnt", "/dev/zero", "/x", "\udcff")
            ),
            "CNI_IFNAME": self._one(("eth0", "net.1"), ("lo", "", "x" * 16, "a/b", "..", "\udcff", "%d")),
            "CNI_PATH": self._one((f"/none:{IPAM_DIR}",), ("", ":", "/dev/null", "x" * 5000, "\udcff")),
            "CNI_ARGS": self._args() if self._one((False, False, True)) else "",
            "CNI_NETNS_OVERRIDE": self._one(("",), ("1", "true", "0", "\udcff")),
        }
        if self._strange():
            del variables[self._choose.pick(sorted(variables))]
        return variables

    def _args(self) -> str:
        makers: Makers = {
            "IP": self._address,
            "MAC": self._mac,
            "K8S_POD_NAME": self._text,
            "K8S_POD_NAMESPACE": self._text,
            "IgnoreUnknown": lambda: self._one(("1", "true", "0")),
        }
        pairs = [f"{key}={make()}" for key, make in makers.items() if self._one((False, True))]
        pairs += [self._one(("FOO=1", "=", "IP", "IP=,", "MAC==", ";"))] if self._strange() else []
        return ";".join(pairs).replace("\0", "").encode(errors="replace").decode()

    # Standard input

    def _stdin(self, verb: str) -> bytes:
        config = self.configuration(verb) if not self._strange() else self.junk()
        data = json.dumps(config).encode()
        return self._spoiled(data) if self._strange() else data

    def _spoiled(self, data: bytes) -> bytes:
        cut = self._choose.number(0, len(data))
        return self._choose.pick(
            (
                data[:cut],
                data[:cut] + self._choose.noise() + data[cut:],
                data + data,
                b"\xef\xbb\xbf" + data,
                data.replace(b'"', b"'"),
                data[:-1] + b"," + data[1:],  # every key twice
                data.decode().encode("utf-16"),
                b'{"x": ' * self._choose.number(1, 3000) + data,
                b"[" * 990 + b"]" * 990,
                b'{"x": ' + b"[" * 400 + b"]" * 400 + b"," + data[1:],
                b"",
            )
        )

    def configuration(self, verb: str) -> Json:
        """A network configuration."""
        config: Json = {"cniVersion": self._one(VERSIONS, BAD_VERSIONS), "name": self._one(NAMES, BAD_NAMES)}
        config["cniVersion"] = config["cniVersion"] if verb == "ADD" else "1.1.0"
        optional: Makers = {
            "type": lambda: "cni-bridge-py",
            "bridge": self._link,
            "mtu": self._number,
            "vlan": lambda: self._one((0, 100), (-1, 4095)),
            "vlanTrunk": lambda: [{"id": self._number()}, {"minID": 5, "maxID": self._number()}],
            "nonMasqueradeCIDRs": lambda: self._several(self._network),
            "ipMasqBackend": lambda: self._one(("nftables", "iptables"), ("ipfw",)),
            "dns": self._dns,
            "args": lambda: {"cni": {"ips": self._several(self._address), "mac": self._mac()}},
            "runtimeConfig": lambda: {
                "mac": self._mac(),
                "ips": self._several(self._address),
                **({"ipRanges": [[self._range("10.99.0.0/24")]]} if self._one((False, True)) else {}),
            },
            "prevResult": self.result,
            "cni.dev/valid-attachments": lambda: self._several(self._attachment),
        }
        needed = {"CHECK": "prevResult", "GC": "cni.dev/valid-attachments"}
        for key, make in optional.items():
            if needed.get(verb) == key or self._one((False,) * 5 + (True,)):
                config[key] = self._or_junk(make)
        for key in SWITCHES:
            if self._one((False, False, True)):
                config[key] = self._or_junk(lambda: True)
        if config.get("hairpinMode") is True:
            config.pop("promiscMode", None)
        if self._one((True,) * 5 + (False,)):
            config["ipam"] = self._or_junk(self._ipam)
            config.pop("disableContainerInterface", None)
        if self._strange():
            config[self._choose.pick((*config, "x", ""))] = self.junk()
        return config

    def _ipam(self) -> Json:
        if self._one((False, False, True)):
            return {"type": self._one((FAKE_IPAM,), ("static", "../x", "", "\0", "\ud800", "."))}
        sets = [[self._range(subnet)] for subnet in self._one((NETWORKS[:1], NETWORKS[:3:2], NETWORKS[2:3], NETWORKS))]
        ipam: Json = {"type": "host-local", "dataDir": self._one(PATHS, BAD_PATHS)}
        ipam |= self._one(
            ({"ranges": sets}, sets[0][0], {"ranges": [[each for ranges in sets[:2] for each in ranges]]})
        )
        if self._one((False, True)):
            ipam["routes"] = self._or_junk(lambda: self._several(self._route))
        if self._one((False, False, True)):
            ipam["resolvConf"] = self._or_junk(lambda: self._one(("/etc/hosts",), ("/dev/zero", "/", "/x", "\0")))
        return ipam

    def _range(self, subnet: str) -> Json:
        found: Json = {"subnet": self._or_junk(lambda: self._one((subnet,), BAD_NETWORKS))}
        for key in ("rangeStart", "rangeEnd", "gateway"):
            if self._strange():
                found[key] = self._or_junk(self._address)
        return found

    def _route(self) -> Json:
        route: Json = {"dst": self._or_junk(self._network)}
        for key in ("gw", "mtu", "advmss", "priority", "table", "scope"):
            if self._one((False, False, True)):
                route[key] = self._or_junk(self._address if key == "gw" else self._number)
        return route

    def _dns(self) -> Json:
        lists = ("nameservers", "search", "options", "x")
        makers: Makers = {"domain": self._text, **dict.fromkeys(lists, lambda: self._several(self._text))}
        return {key: self._or_junk(make) for key, make in makers.items() if self._one((False, True))}

    def _attachment(self) -> Json:
        names = self._one(("c1", "c2"), ("\ud800", "", "x" * 500))
        return {"containerID": names, "ifname": self._one(("eth0",), BAD_LINKS)}

    # Results

    def result(self) -> Json:
        """What an ADD may have answered."""
        result: Json = {"cniVersion": self._one(VERSIONS, BAD_VERSIONS)}
        makers: Makers = {
            "interfaces": lambda: [
                *self._several(self._interface),
                {"name": "cni0"},
                {"name": "eth0", "sandbox": NETNS, "mac": self._mac()},
            ],
            "ips": lambda: [self._ip(), *self._several(self._ip)],
            "routes": lambda: self._several(self._route),
            "dns": self._dns,
            "ip4": lambda: {"ip": self._cidr(), "gateway": self._address(), "routes": self._several(self._route)},
            "ip6": lambda: {"ip": self._cidr()},
        }
        for key, make in makers.items():
            if key in ("interfaces", "ips") or self._one((False,) * 4 + (True,)):
                result[key] = self._or_junk(make)
        return result

    def _interface(self) -> Json:
        interface: Json = {"name": self._or_junk(self._link)}
        makers: Makers = {"mac": self._mac, "mtu": self._number, "socketPath": self._text}
        makers["sandbox"] = lambda: self._one((NETNS, "/x", ""))
        return interface | {key: make() for key, make in makers.items() if self._one((False, True))}

    def _ip(self) -> Json:
        ip: Json = {"address": self._or_junk(self._cidr)}
        if self._one((False, False, True)):
            ip["gateway"] = self._or_junk(self._address)
        if self._one((False, True)):
            ip["interface"] = self._one((0, 1, 2), (99, -1, 1 << 70))
        return ip

    def _ipam_plugin(self) -> bytes:
        """A script that prints an answer and ends with some status."""
        answers = (
            lambda: json.dumps(self.result()).encode(),
            lambda: json.dumps({"code": self._one(NUMBERS, (True, "7", None)), "msg": self.junk()}).encode(),
            lambda: b"[" * 900 + b"]" * 900,
            lambda: b'{"ips": [{"address": "10.22.0.7/24"}], "dns": {"x": ' + b"[" * 600 + b"]" * 600 + b"}}",
            lambda: json.dumps(self.junk()).encode(),
            self._choose.noise,
        )
        answer = (self._choose.pick(answers) if self._strange() else answers[0])()
        return f'#!/bin/sh\ntail -n +3 "$0"; exit {self._one(("0",), ("1", "137"))}\n'.encode() + answer

    # Values

    def junk(self, depth: int = 0) -> Any:
        """Any JSON value."""
        kind = self._choose.number(0, 7 if depth < 3 else 5)
        if kind == 6:
            return [self.junk(depth + 1) for _ in range(self._choose.number(0, 3))]
        if kind == 7:
            return {self._choose.pick(TEXTS): self.junk(depth + 1) for _ in range(self._choose.number(0, 3))}
        simple = (None, True, *([self._choose.pick(NUMBERS + BAD_NUMBERS)] * 2), self._choose.pick(TEXTS))
        return (*simple, self._choose.text())[kind]

    def _network(self) -> str:
        return self._one(NETWORKS, BAD_NETWORKS)

    def _cidr(self) -> str:
        return self._address() + self._one(LENGTHS, BAD_LENGTHS)

    def _address(self) -> str:
        return self._one(ADDRESSES, BAD_ADDRESSES)

    def _link(self) -> str:
        return self._one(LINKS, BAD_LINKS)

    def _mac(self) -> str:
        return self._one(MACS, BAD_MACS)

    def _number(self) -> int | float:
        return self._one(NUMBERS, BAD_NUMBERS)

    def _text(self) -> str:
        return self._one(("pod",), TEXTS)

    def _several(self, make: Callable[[], T]) -> list[T]:
        return [make() for _ in range(self._choose.number(0, 2))]

    def _or_junk(self, make: Callable[[], Any]) -> Any:
        return self.junk() if self._strange() else make()

    def _one(self, sensible: Sequence[T], others: Sequence[T] = ()) -> T:
        """One of the sensible values, or of the others."""
        return self._choose.pick(others if others and self._strange() else sensible)

    def _strange(self) -> bool:
        return bool(self._nonsense) and self._choose.number(0, 99) >= 100 - self._nonsense
