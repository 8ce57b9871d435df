"""Each question of the doctor: a node is broken, it is told, and the commands that the doctor gives mend it.

What breaks a node is the real tool where that runs in a namespace, and else what it leaves behind. Daemons are in
test_daemons.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.harness import Json
from tests.node.conftest import FILE, PROGRAM, Patient

VETH = "$(ip -br link show type veth | sed -n 's/^\\(veth[0-9a-f]*\\)@.*/\\1/p' | head -n 1)"
"""The first pod's host veth."""

POD_SETS = "nft -a list sets inet | sed -n 's/.*set \\(pods[46]-[0-9a-f]*\\) .*/inet cni-bridge-py \\1/p'"
"""The sets of masqueraded addresses, IPv4's first."""

DOCKER = """
iptables-nft -N DOCKER-USER
iptables-nft -A DOCKER-USER -j RETURN
iptables-nft -P FORWARD DROP
iptables-nft -A FORWARD -j DOCKER-USER
iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables-nft -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
"""
"""What dockerd has iptables do when it starts, as far as it is about forwarding."""

IPV4: Json = {"type": "host-local", "subnet": "10.22.0.0/16"}


@dataclass(frozen=True)
class Case:
    """A way to break a node, the question that tells, a word of what is told, and what pods lose (of `reach`)."""

    key: str
    breaks: str
    says: str
    loses: tuple[str, ...] = ()
    conf: Json = field(default_factory=dict)


CASES = {
    "the bridge is down": Case("bridge", "ip link set cni0 down", "cni0 is down", ("pods4", "pods6", "world4")),
    "the bridge is gone": Case("bridge", "ip link del cni0", "no bridge cni0", ("pods4", "pods6", "world4")),
    "a pod is unplugged": Case("plugged", f"ip link set {VETH} nomaster", "unplugged", ("pods4", "world4")),
    "a pod's cable is down": Case("plugged", f"ip link set {VETH} down", "is down", ("pods4", "world4")),
    "a pod's interface is down": Case(
        "plugged", "ip -n web-0 link set eth0 down", "eth0 of default/web-0 is down in the pod", ("pods4", "world4")
    ),
    "a pod has lost its addresses": Case(
        "plugged", "ip -n web-0 address flush dev eth0", "has lost 10.22.0.2, fd00:22::2", ("pods4", "pods6", "world4")
    ),
    "a pod has lost one address": Case(
        "plugged", "ip -n web-0 address del 10.22.0.2/16 dev eth0", "has lost 10.22.0.2", ("pods4", "world4")
    ),
    "a pod is in another bridge": Case(
        "plugged", f"ip link add other type bridge; ip link set {VETH} master other", "unplugged", ("pods4", "world4")
    ),
    "hairpin mode is off": Case("plugged", f"bridge link set dev {VETH} hairpin off", "hairpin"),
    "isolation is off": Case(
        "plugged", f"bridge link set dev {VETH} isolated off", "isolated", (), {"portIsolation": True}
    ),
    "the gateway's IPv4 address is gone": Case(
        "gateway", "ip address del 10.22.0.1/16 dev cni0", "10.22.0.1/16", ("world4",)
    ),
    "the gateway's IPv6 address is gone": Case(
        "gateway", "ip address del fd00:22::1/64 dev cni0", "fd00:22::1/64", ("world6",)
    ),
    "another address took its place": Case(
        "gateway",
        "ip address flush dev cni0 scope global; ip address add 10.99.0.1/24 dev cni0",
        "10.99.0.1/24",
        ("world4",),
    ),
    "IPv6 is off on the bridge": Case(
        "gateway", "sysctl -w net.ipv6.conf.cni0.disable_ipv6=1", "fd00:22::1/64", ("world6",)
    ),
    "IPv4 forwarding is off": Case("forwarding", "sysctl -w net.ipv4.ip_forward=0", "net/ipv4/ip_forward", ("world4",)),
    "IPv4 forwarding is off for the bridge": Case(
        "forwarding", "sysctl -w net.ipv4.conf.cni0.forwarding=0", "conf/cni0/forwarding", ("world4",)
    ),
    "IPv6 forwarding is off": Case("forwarding", "sysctl -w net.ipv6.conf.all.forwarding=0", "ipv6", ("world6",)),
    "docker drops what is forwarded": Case("filter", DOCKER, "policy drop", ("world4",)),
    "iptables-legacy drops what is forwarded": Case(
        "filter", "iptables-legacy -P FORWARD DROP", "iptables-legacy", ("world4",)
    ),
    "iptables-legacy rejects what is forwarded": Case(
        "filter", "iptables-legacy -A FORWARD -m conntrack --ctstate NEW -j REJECT", "rule 1", ("world4",)
    ),
    "ip6tables drops what is forwarded": Case("filter", "ip6tables-nft -P FORWARD DROP", "ip6 filter", ("world6",)),
    "a rule set of nft's own drops": Case(
        "filter",
        "nft add table inet firewall;"
        "nft add chain inet firewall forward '{ type filter hook forward priority 0; policy drop; }';"
        "nft add rule inet firewall forward ct state established,related accept;"
        "nft add rule inet firewall forward iifname lan0 accept",
        "inet firewall, chain forward",
        ("world4", "world6"),
    ),
    "a chain that is jumped to rejects": Case(
        "filter",
        "nft add table inet firewall; nft add chain inet firewall others;"
        "nft add chain inet firewall forward '{ type filter hook forward priority 10; }';"
        "nft add rule inet firewall forward iifname vmap '{ lan0 : accept, \"cni*\" : jump others }';"
        "nft add rule inet firewall others reject with icmpx admin-prohibited",
        "chain others: rule 1",
        ("world4", "world6"),
    ),
    "a bridge rule set drops frames": Case(
        "filter",
        "nft add table bridge fence;"
        "nft add chain bridge fence forward '{ type filter hook forward priority 0; policy drop; }'",
        "bridge fence",
        ("pods4", "pods6"),
    ),
    "packets pass the packet filter no more": Case(
        "services",
        "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0;"
        "ip link set cni0 type bridge nf_call_iptables 0 nf_call_ip6tables 0",
        "bypasses",
        (),
        {"bridgeNetfilter": True},
    ),
    "the rule set was flushed: masquerade": Case(
        "masquerade", "nft flush ruleset", "postrouting", ("world4", "world6")
    ),
    "nftables.service was reloaded": Case("macspoofchk", "nft -f /etc/nftables.conf", "macspoofchk"),
    "an element of a set is gone": Case(
        "masquerade", f"nft flush set $({POD_SETS} | sed -n 1p)", "lacks 10.22.0.2", ("world4",)
    ),
    "strict reverse path filtering": Case(
        "rp_filter",
        "sysctl -w net.ipv4.conf.cni0.rp_filter=1; ip route add 10.22.0.2/32 dev uplink0",
        "rp_filter",
        ("world4",),
    ),
    "a route takes pods' addresses": Case(
        "subnets", "ip route add 10.22.0.0/24 via 192.0.2.1", "10.22.0.0/24", ("world4",)
    ),
    "the uplink has a smaller MTU": Case("mtu", "ip link set uplink0 mtu 1400", "1400"),
    "a lease is of a dead pod": Case("leases", f"ip link del {VETH}", "gone"),
    "leases were deleted": Case("leases", "rm -r /var/lib/cni/networks/podnet", "without a lease"),
    "host-local left a lease": Case(
        "leases", "printf 'gone\\r\\neth0' > /var/lib/cni/networks/podnet/10.22.7.7", "host-local"
    ),
    "the disk with the leases is read-only": Case(
        "room", "mount -t tmpfs -o ro tmpfs /var/lib/cni/networks", "read-only", (), {"ipMasq": True}
    ),
    "the disk with the leases is full": Case(
        "room",
        "mount -t tmpfs -o size=6m tmpfs /var/lib/cni/networks; head -c 5M /dev/zero > /var/lib/cni/networks/full",
        "KiB",
    ),
    "its inodes are used up": Case("room", "mount -t tmpfs -o nr_inodes=20 tmpfs /var/lib/cni/networks", "inodes"),
    "flannel has left its link": Case("leftovers", "ip link add flannel.1 type bridge", "flannel.1"),
    "another configuration sorts before ours": Case(
        "first",
        'echo \'{"name": "other", "type": "ptp", "cniVersion": "1.0.0"}\' > /etc/cni/net.d/05-other.conf',
        "05-other.conf",
    ),
    "the runtime looks elsewhere for plugins": Case(
        "runtime",
        'printf \'version = 2\\n[plugins."io.containerd.grpc.v1.cri".cni]\\nbin_dir = "/opt/elsewhere"\\n\''
        " > /etc/containerd/config.toml",
        "/opt/elsewhere",
    ),
}


SLOW = {
    "a pod's cable is down",
    "a pod is in another bridge",
    "isolation is off",
    "the gateway's IPv6 address is gone",
    "IPv6 is off on the bridge",
    "IPv6 forwarding is off",
    "IPv4 forwarding is off for the bridge",
    "iptables-legacy rejects what is forwarded",
    "ip6tables drops what is forwarded",
    "a chain that is jumped to rejects",
    "an element of a set is gone",
    "host-local left a lease",
    "its inodes are used up",
    "the disk with the leases is full",
}
"""Others of a kind that has one already: they run only when asked for, as .ci/run does."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in CASES])
def test_a_broken_node_is_told_and_mended(name: str, make_patient: Callable[..., Patient]) -> None:
    case = CASES[name]
    patient = make_patient(**case.conf)
    patient.sh(case.breaks)
    if case.loses:
        reached = patient.reach()
        assert not any(reached[key] for key in case.loses)

    examined = patient.doctor()
    assert case.says in examined.told(case.key)
    patient.cure(examined.commands)
    assert patient.doctor().wrong == []
    if name != "a lease is of a dead pod":
        assert patient.is_well() or case.conf.get("portIsolation")


def test_a_healthy_node_is_told_to_be_well(make_patient: Callable[..., Patient]) -> None:
    examined = make_patient(bridgeNetfilter=True).doctor()
    asked = {key for key, finding in examined.items() if finding["answer"] == "yes"}
    assert examined.wrong == []
    assert {key: finding for key, finding in examined.items() if finding["answer"] == "could not look"} == {}
    # The rest applies where the programs run that they ask about.
    assert set(examined) - asked == {"accept_ra", "networkd", "networkmanager"}


@pytest.mark.parametrize(
    "conf",
    [
        {"ipam": IPV4, "macspoofchk": False},
        {"ipam": IPV4, "isDefaultGateway": False, "ipMasq": False},
        {"ipam": {}, "isDefaultGateway": False, "ipMasq": False},
        {"portIsolation": True, "mtu": 1400},
        {"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}, {"subnet": "10.23.0.0/16"}]]}},
        {"nonMasqueradeCIDRs": [f"10.{number}.0.0/16" for number in range(40)]},
    ],
)
def test_other_healthy_nodes_are_well(conf: Json, make_patient: Callable[..., Patient]) -> None:
    assert make_patient(**conf).doctor().wrong == []


def test_it_changes_nothing(patient: Patient) -> None:
    before = patient.node.snapshot()
    patient.doctor()
    patient.sh("nft flush ruleset; ip link set cni0 down")
    broken = patient.node.snapshot()
    patient.doctor()
    assert patient.node.snapshot() == broken
    assert broken != before


def test_a_node_without_pods_is_well(make_patient: Callable[..., Patient]) -> None:
    assert make_patient(pods=0).doctor().wrong == []


def test_a_node_without_configuration_is_told_what_to_do(patient: Patient) -> None:
    patient.sh("rm /etc/cni/net.d/*")
    examined = patient.doctor()
    assert "none of cni-bridge-py" in examined.told("first")
    assert "./install.sh" in examined.commands


def test_a_plugin_of_the_chain_that_is_missing(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(pods=0)
    head = {key: patient.conf[key] for key in ("cniVersion", "name")}
    conf = {**head, "plugins": [patient.conf, {"type": "portmap", "capabilities": {"portMappings": True}}]}
    patient.sh(f"rm {FILE} /opt/cni/bin/portmap")
    patient.node.write(f"{FILE}list", json.dumps(conf))
    assert "portmap" in patient.doctor().told("chain")
    patient.cure(patient.doctor().commands)
    assert patient.doctor().wrong == []


@pytest.mark.slow
def test_a_plugin_of_the_chain_that_does_not_start(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(pods=0, ipam={"type": "broken"})
    patient.node.write("/opt/cni/bin/broken", '#!/bin/sh\necho \'{"supportedVersions": ["1.0.0"]}\'\n')
    assert "does not start" in patient.doctor().told("chain")
    patient.cure(patient.doctor().commands)
    assert patient.doctor()["chain"]["answer"] == "yes"


def test_a_configuration_that_is_refused(patient: Patient) -> None:
    patient.node.write(FILE, json.dumps(patient.conf | {"mtu": "big"}))
    examined = patient.doctor()
    assert "mtu: expected an integer" in examined.told("accepted")
    patient.node.write("/opt/editor", "#!/bin/sh\nsed -i 's/\"big\"/1500/' $1\n")
    patient.cure(examined.commands, env={"EDITOR": "sh /opt/editor"})
    assert patient.doctor().wrong == []
    assert patient.is_well()


def test_status_has_the_plugins_own_words(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(ipam={"type": "host-local", "subnet": "10.22.0.0/30"}, pods=1)
    examined = patient.doctor()
    assert "10.22.0.1-10.22.0.2" in examined.told("status")
    assert "0 of 1 addresses left" in examined.told("range")


@pytest.mark.slow
def test_a_range_that_is_full_is_widened(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(ipam={"type": "host-local", "subnet": "10.22.0.0/30"}, pods=1)
    patient.cure(patient.doctor().commands)
    assert patient.doctor().wrong == []
    conf = json.loads((patient.node.root / FILE.lstrip("/")).read_text())
    assert conf["ipam"]["subnet"] == "10.22.0.0/29"
    patient.pods.append(patient.add("another", conf))
    assert patient.is_well()


@pytest.mark.slow
@pytest.mark.parametrize("holder", ["dead leases", "host-local"])
def test_a_range_full_of_leases_of_nobody_is_emptied(holder: str, make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(ipam={"type": "host-local", "subnet": "10.22.0.0/29"})
    for number in range(4, 7):
        if holder == "dead leases":
            pod = patient.add(f"gone-{number}")
            pod.close()
        else:
            patient.node.write(f"/var/lib/cni/networks/podnet/10.22.0.{number}", "gone\r\neth0")
    assert holder in patient.doctor().told("range")
    patient.cure(patient.doctor().commands)
    assert patient.doctor().wrong == []
    patient.add("new")
    assert patient.is_well()


def test_many_pods_are_told_in_a_line(patient: Patient) -> None:
    patient.sh("for link in $(ip -br link show master cni0 | cut -d @ -f 1); do ip link set $link nomaster; done")
    examined = patient.doctor()
    assert "(and 1 more) are unplugged" in examined.told("plugged")
    assert len(examined["plugged"]["troubles"]) == 1


def test_two_pods_with_one_address(patient: Patient) -> None:
    patient.sh("rm -r /var/lib/cni/networks/podnet")
    first, second = (f"/run/netns/{pod.name}" for pod in patient.pods)
    patient.sh(f"nsenter --net={second} ip address add 10.22.0.2/16 dev eth0")
    assert "both" in patient.doctor().told("unique")
    assert any(command.startswith("ip link del veth") for command in patient.doctor().commands)
    assert first != second


@pytest.mark.slow
def test_networks_that_overlap(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(ipam=IPV4)
    other = patient.conf | {
        "name": "other",
        "bridge": "cni1",
        "ipam": {"type": "host-local", "subnet": "10.22.128.0/17"},
    }
    patient.node.write("/etc/cni/net.d/20-other.conf", json.dumps(other))
    assert "10.22.128.0/17" in patient.doctor().told("subnets")
    patient.cure(patient.doctor().commands)
    assert patient.doctor().wrong == []
    changed = json.loads((patient.node.root / "etc/cni/net.d/20-other.conf").read_text())
    pod = patient.add("far", changed)
    assert pod.seen_as(patient.outside.address) == patient.outside.node_address
    assert patient.pods[0].ping(pod.addresses()[0])


def test_a_subnet_that_is_the_uplinks(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(pods=0, ipam={"type": "host-local", "subnet": "192.0.2.0/24", "rangeStart": "192.0.2.100"})
    assert "192.0.2.0/24" in patient.doctor().told("subnets")
    patient.cure(patient.doctor().commands)
    assert patient.doctor().wrong == []
    conf = json.loads((patient.node.root / FILE.lstrip("/")).read_text())
    patient.pods = [patient.add("one", conf), patient.add("other", conf)]
    assert patient.is_well()


def test_a_bridges_name_that_is_taken(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(pods=0)
    patient.sh("ip link add cni0 type veth peer name other")
    assert "not a bridge" in patient.doctor().told("bridge")
    patient.cure(patient.doctor().commands)
    assert patient.doctor().wrong == []
    patient.pods = [patient.add("one"), patient.add("other")]
    assert patient.is_well()


def test_a_bridge_whose_mac_follows_its_ports(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(pods=0, ipam={}, isDefaultGateway=False, ipMasq=False)
    patient.sh("ip link add cni0 up type bridge")
    patient.pods = [patient.add("one"), patient.add("other")]
    assert "lowest MAC" in patient.doctor().told("mac")
    patient.cure(patient.doctor().commands)
    before = patient.node.link("cni0")["address"]
    patient.sh("ip link add low address 02:00:00:00:00:01 type veth peer name far; ip link set low master cni0")
    assert patient.node.link("cni0")["address"] == before
    assert patient.doctor().wrong == []


@pytest.mark.slow
def test_a_bridge_whose_ports_are_used_up(patient: Patient) -> None:
    lines = [f"link add left{n} type veth peer name far{n}\nlink set left{n} master cni0\n" for n in range(1000)]
    patient.node.run("ip", "-batch", "-", input="".join(lines), timeout=200)
    examined = patient.doctor()
    assert "1002 of 1023" in examined.told("ports")
    patient.sh("\n".join(examined.commands))
    assert patient.doctor().wrong == []
    assert patient.is_well()


def test_a_kernel_without_what_vlans_take(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient()
    if "vlan_filtering" in patient.node.link("cni0")["linkinfo"]["info_data"]:
        pytest.skip("this kernel can filter VLANs")
    patient.node.write(FILE, json.dumps(patient.conf | {"vlan": 7}))
    assert "CONFIG_BRIDGE_VLAN_FILTERING" in patient.doctor().told("kernel")
    patient.cure(patient.doctor().commands)
    assert patient.doctor().wrong == []
    assert patient.is_well()


ADVERTISEMENT = """
import socket, struct
mac = bytes.fromhex("020000000009")
prefix = struct.pack(">BBBBIII16s", 3, 4, 64, 0xC0, 86400, 14400, 0, socket.inet_pton(socket.AF_INET6, "2001:db8:7::"))
packet = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
    sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    sender.sendto(packet, ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))
"""


def test_a_default_route_that_was_learned(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(pods=0)
    patient.sh("ip -6 route del default; sysctl -w net.ipv6.conf.uplink0.accept_ra=1")
    advertise = ("python3", "-c", ADVERTISEMENT)
    deadline = time.monotonic() + 20
    while not patient.sh("ip -6 route show default proto ra"):
        patient.outside.run(*advertise)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    patient.pods = [patient.add("one"), patient.add("other")]
    patient.sh("sysctl -w net.ipv6.conf.uplink0.accept_ra=1")
    assert "accept_ra" in patient.doctor().told("accept_ra")
    patient.cure(patient.doctor().commands)
    assert patient.doctor().wrong == []
    deadline = time.monotonic() + 20
    while not patient.sh("ip -6 route show default proto ra"):
        patient.outside.run(*advertise)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert patient.is_well()


def test_a_udev_rule_that_renames(patient: Patient) -> None:
    rule = 'SUBSYSTEM=="net", ACTION=="add", KERNEL=="veth*", NAME="lan%n"\n'
    patient.node.write("/etc/udev/rules.d/70-rename.rules", rule)
    examined = patient.doctor()
    assert "70-rename.rules" in examined.told("udev")
    patient.cure([command for command in examined.commands if not command.startswith("udevadm")])  # no udevd here
    assert patient.doctor().wrong == []


@pytest.mark.slow
def test_a_link_file_that_changes_macs(patient: Patient) -> None:
    text = "[Match]\nDriver=veth bridge\n\n[Link]\nMACAddress=02:00:00:00:00:09\n"
    patient.node.write("/etc/systemd/network/10-macs.link", text)
    examined = patient.doctor()
    assert "10-macs.link" in examined.told("udev")
    patient.cure([command for command in examined.commands if not command.startswith("udevadm")])
    assert patient.doctor().wrong == []


def test_it_tries_with_pods(patient: Patient) -> None:
    before = patient.node.snapshot()
    examined = patient.doctor("--ping")
    tried = {key: finding["answer"] for key, finding in examined.items() if key.startswith("ping-")}
    reached = {f"ping-{what}{version}" for what in ("pod", "gateway", "uplink", "service") for version in (4, 6)}
    assert set(tried) == {"ping-add", *reached}
    assert set(tried.values()) == {"yes"}
    assert patient.node.snapshot() == before


@pytest.mark.slow
def test_trying_tells_what_questions_cannot(patient: Patient) -> None:
    # A firewall beyond the node's.
    patient.outside.run("iptables-nft", "-A", "INPUT", "-p", "icmp", "-j", "DROP")
    examined = patient.doctor("--ping")
    assert examined["ping-uplink4"]["answer"] == "no"
    assert "192.0.2.1" in examined["ping-uplink4"]["troubles"][0]["found"]


def test_what_trying_cannot_take_back_is_told(patient: Patient) -> None:
    """If the plugin fails every DEL, doctor still answers the other questions."""
    patient.sh(
        "cd /opt/cni/bin; cp -P cni-bridge-py real; rm cni-bridge-py;"
        "printf '#!/bin/sh\\n[ $CNI_COMMAND != DEL ] || exit 1\\nexec /opt/cni/bin/real\\n' > cni-bridge-py;"
        "chmod +x cni-bridge-py"
    )
    printed = json.loads(patient.node.run("/opt/cni/bin/real", "doctor", "--json", "--ping", check=False).stdout)
    answers = {each["key"]: each["answer"] for each in printed["questions"]}
    assert (answers["bridge"], answers["ping-pod4"], answers["ping-end"]) == ("yes", "yes", "no")
    assert printed["commands"] == ["/opt/cni/bin/real mend"]


def put_nft(patient: Patient, script: str) -> None:
    """Put another nft before the real one in PATH."""
    patient.node.write("/usr/local/bin/nft", f"#!/bin/sh\n{script}\n")
    patient.sh("chmod +x /usr/local/bin/nft")


def test_trying_is_taken_back_when_a_signal_ends_it(patient: Patient) -> None:
    before = patient.node.snapshot()
    # doctor makes the Service after both pods.
    put_nft(patient, '[ $1 != -f ] || { : > /run/begun; exec sleep 1000; }; exec /usr/sbin/nft "$@"')
    patient.sh(
        f"{PROGRAM} doctor --ping > /dev/null & until [ -e /run/begun ]; do sleep 0.1; done; kill $!; wait $! || true"
    )
    assert patient.node.snapshot() == before


@pytest.mark.parametrize(
    "script", ["echo nothing", "exit 3", "kill -9 $$", "echo '[]'", 'echo \'{"nftables": [{"chain": 7}]}\'']
)
def test_a_question_that_cannot_be_asked_keeps_no_other_from_it(script: str, patient: Patient) -> None:
    put_nft(patient, script)
    examined = patient.doctor()
    assert [key for key, each in examined.items() if each["answer"] == "could not look"] == ["filter"]
    assert len(examined["filter"]["found"].splitlines()) == 1


def test_its_text_ends_with_what_to_type(patient: Patient) -> None:
    patient.sh("ip link set cni0 down; sysctl -w net.ipv4.ip_forward=0")
    said = patient.node.run(PROGRAM, "doctor", check=False)
    assert said.returncode == 1
    assert said.stdout.splitlines()[-2:] == ["sysctl -w net/ipv4/ip_forward=1", f"{PROGRAM} mend"]
    patient.cure(said.stdout.splitlines()[-2:])
    well = patient.node.run(PROGRAM, "doctor")
    assert well.stdout.endswith("All is well.\n")


@pytest.mark.slow
def test_without_nft_it_says_that_it_could_not_look(patient: Patient) -> None:
    patient.sh("mount --bind /dev/null $(command -v nft)")
    done = patient.node.run(PROGRAM, "doctor", "--json", check=False)
    findings = {each["key"]: each for each in json.loads(done.stdout)["questions"]}
    assert findings["filter"]["answer"] == "could not look"
    assert "nftables" in findings["filter"]["found"]
    assert done.returncode == 2


def test_a_name_that_a_shell_would_take_apart(make_patient: Callable[..., Patient]) -> None:
    patient = make_patient(bridge="b;id>$x&")
    drop = "nft add chain inet firewall forward '{ type filter hook forward priority 0; policy drop; }'"
    patient.sh(f"nft add table inet firewall; {drop}; nft add rule inet firewall forward ct state established accept")
    patient.sh("ip address del 10.22.0.1/16 dev 'b;id>$x&'; sysctl -w 'net/ipv4/conf/b;id>$x&/forwarding=0'")
    assert not patient.is_well()
    patient.cure(patient.doctor().commands)
    assert patient.doctor().wrong == []
    assert patient.is_well()
