"""What is wrong with a node: questions, in the order in which a packet meets their subjects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cni_bridge_py.cni.errors import CniError
from cni_bridge_py.node.answers import Answer, Finding, Node, Question
from cni_bridge_py.node.questions import addresses, bridge, forwarding, others, runtime

QUESTIONS = [
    Question("runtime", "Does the container runtime look where the plugin is?", runtime.plugin_found),
    Question("first", "Does the container runtime use our configuration?", runtime.configuration_first),
    Question("chain", "Are all plugins of the chain there, and do they start?", runtime.chain_started),
    Question("accepted", "Does the plugin accept its configuration?", runtime.configuration_accepted),
    Question("status", "Could the plugin serve a new pod (STATUS)?", runtime.status_well),
    Question("kernel", "Does the kernel have what the configuration needs?", others.kernel_able),
    Question("bridge", "Is the bridge there and up?", bridge.bridge_up),
    Question("plugged", "Is each pod plugged into its bridge, as its ADD left it?", bridge.pods_plugged_in),
    Question("ports", "Does the bridge have ports left?", bridge.ports_left),
    Question("mac", "Does the bridge keep its MAC?", bridge.bridge_mac_pinned),
    Question("gateway", "Does the bridge have the pods' gateway?", bridge.gateway_there),
    Question("macspoofchk", "Are pods kept to their own MAC (macspoofchk)?", forwarding.guards_complete),
    Question("rp_filter", "Does reverse path filtering let pods' packets in?", forwarding.reverse_path_accepted),
    Question("forwarding", "Does the node forward?", forwarding.forwarding_on),
    Question("filter", "Do the node's firewalls let pods' packets through?", forwarding.filter_accepts),
    Question("services", "Does a pod reach a Service with a backend on its own node?", forwarding.services_answer),
    Question("subnets", "Does nothing else use the pods' subnets?", addresses.subnets_free),
    Question("masquerade", "Do packets leave with the node's address (ipMasq)?", forwarding.masquerade_complete),
    Question("connections", "Does connection tracking have room?", forwarding.connections_left),
    Question("mtu", "Do pods' packets fit the uplink?", forwarding.mtu_fits),
    Question("accept_ra", "Does the node keep its IPv6 default route?", forwarding.router_advertisements_accepted),
    Question("unique", "Does each address belong to one pod only?", addresses.addresses_unique),
    Question("leases", "Does each lease have its pod, and each pod its lease?", addresses.leases_held),
    Question("range", "Are there addresses left?", addresses.addresses_left),
    Question("room", "Can leases be written?", addresses.lease_room),
    Question("networkd", "Does systemd-networkd leave our links alone?", others.networkd_leaves_alone),
    Question("networkmanager", "Does NetworkManager leave our links alone?", others.network_manager_leaves_alone),
    Question("udev", "Does udev leave our links alone?", others.udev_leaves_alone),
    Question("leftovers", "Is this the only pod network here?", others.no_left_overs),
]


@dataclass(frozen=True)
class Asked:
    """A question and its finding."""

    question: Question
    finding: Finding


def examine(node: Node) -> Iterator[Asked]:
    """Ask all questions, in order. Changes nothing and sends nothing."""
    for question in QUESTIONS:
        try:
            yield Asked(question, question.ask(node))
        except CniError as error:
            yield Asked(question, Finding(Answer.UNKNOWN, error.msg))
        except OSError as error:
            yield Asked(question, Finding(Answer.UNKNOWN, f"{error.filename or 'kernel'}: {error.strerror}"))
        except Exception as error:  # a bug in one question must not stop the others
            yield Asked(question, Finding(Answer.UNKNOWN, f"{type(error).__name__}: {' '.join(str(error).split())}"))


def exit_status(findings: list[Finding]) -> int:
    """0 if all is well, 1 if something is wrong, 2 if a question could not be answered."""
    answers = {finding.answer for finding in findings}
    return 1 if Answer.NO in answers else 2 if Answer.UNKNOWN in answers else 0


def commands(findings: list[Finding]) -> list[str]:
    """The commands that mend what is wrong, each once, in the order of the questions, and `mend` at the end."""
    found = [command for finding in findings for trouble in finding.troubles for command in trouble.commands]
    return sorted(dict.fromkeys(found), key=lambda command: command.endswith(" mend"))
