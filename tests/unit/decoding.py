"""What pyroute2 makes of our messages, and answers of the kernel as pyroute2 encodes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyroute2.netlink import nlmsg

from cni_bridge_py.kernel import netlink
from cni_bridge_py.kernel.netlink import Message, NetlinkError, NetlinkSocket

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
EXCL, CREATE, APPEND = 0x200, 0x400, 0x800

CREATE_NEW = REQUEST | CREATE | EXCL


def told(decoded: Any) -> Any:
    """What pyroute2 made of a message, as plain dictionaries: attributes beside the fields of the header."""
    if isinstance(decoded, list):
        return [told(each) for each in decoded]
    if not isinstance(decoded, dict):
        return decoded
    fields = {key: value for key, value in decoded.items() if key not in ("attrs", "header", "__align", "state")}
    attributes = [(each[0], told(each[1])) for each in decoded.get("attrs", [])]
    assert len(attributes) == len(dict(attributes)), f"an attribute twice: {attributes}"
    return {**{key: value for key, value in fields.items() if value != 0}, **dict(attributes)}


def decode(kind: type[nlmsg], message: Message) -> tuple[int, int, Any]:
    """The message's type, its flags, and what it says to pyroute2; zero fields are left out."""
    data = netlink.encode(message, 7)
    decoded = kind(data)
    decoded.decode()
    header = decoded["header"]
    assert (header["length"], header["sequence_number"], header["pid"]) == (len(data), 7, 0)
    return header["type"], header["flags"], told(decoded)


def answer(kind: type[nlmsg], attributes: list[Any], **fields: Any) -> bytes:
    """The payload of a message as pyroute2 encodes it."""
    message = kind()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data[16:])


class Answering(NetlinkSocket):
    """A socket that keeps what it is asked, and answers what it was given."""

    def __init__(self, *answers: Any, refusal: NetlinkError | None = None) -> None:
        self.asked: list[Message] = []
        self.batches: list[list[Message]] = []
        self.answers = list(answers)
        self.refusal = refusal

    def dump(self, message: Message) -> list[bytes]:
        self.asked.append(message)
        if self.refusal:
            raise self.refusal
        return self.answers

    def first(self, message: Message) -> list[bytes]:
        return self.dump(message)[:1]

    def get(self, message: Message) -> bytes:
        return self.dump(message)[0]

    def get_each(self, messages: Sequence[Message]) -> list[bytes | NetlinkError]:
        self.asked += messages
        return self.answers

    def transact(self, messages: list[Message], first: Message, last: Message) -> None:
        self.batches.append([first, *messages, last])
        if self.refusal:
            raise self.refusal
