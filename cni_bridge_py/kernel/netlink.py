"""Netlink: messages, attributes, and a socket to send them through (netlink(7), linux/netlink.h)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket
from struct import Struct, pack, unpack_from
from types import TracebackType

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_ACK_TLVS = 0x200

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSGERR_ATTR_MSG = 1

NLA_F_NESTED = 1 << 15
NLA_TYPE_MASK = 0x3FFF

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

RECEIVE_SIZE = 1 << 16
"""Bytes. The kernel fills at most 32 KiB of a dump into one datagram."""

FIRST_SIZE = 1 << 12
"""Bytes. How much we receive of each datagram of a dump if we want only its beginning."""

NLMSGHDR = Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port id."""

NLATTR = Struct("=HH")
"""struct nlattr: length, type."""


SO_SNDBUFFORCE = 32

SMALL_ENOUGH = 1 << 16
"""Bytes of a datagram that fits every socket's buffer (net.core.wmem_default, 208 KiB, includes overhead)."""

MOST_AT_ONCE = 32
"""Requests in a datagram. Their answers must fit the socket's buffer: 208 KiB with overhead (net.core.rmem_default)."""

MOST_DUMPS = 10
"""How often to repeat a dump. On a node where something changes all the time, we use the last one."""


class NetlinkError(Exception):
    """The kernel refused a request. `errno` is the reason; the text is the kernel's own message."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message or os.strerror(errno))
        self.errno = errno


class NoAnswer(Exception):
    """The socket failed, so we do not know whether the kernel did what we asked. `errno` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"netlink: {error.strerror}")
        self.errno = error.errno


class Tolerating:
    """A context manager that ignores a refusal with this `errno`, because things are already as requested."""

    def __init__(self, errno: int) -> None:
        self._errno = errno

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        return isinstance(error, NetlinkError) and error.errno == self._errno


@dataclass(frozen=True)
class Message:
    """A request: its type, its flags besides NLM_F_REQUEST, and everything after the header."""

    type: int
    flags: int
    payload: bytes


def attribute(kind: int, data: bytes) -> bytes:
    """struct nlattr, padded to four bytes."""
    return NLATTR.pack(len(data) + 4, kind) + data + bytes(-len(data) % 4)


def u8(kind: int, value: int) -> bytes:
    """NLA_U8."""
    return attribute(kind, value.to_bytes(1, "little"))


def u32(kind: int, value: int) -> bytes:
    """NLA_U32, in the machine's byte order, as in rtnetlink."""
    return attribute(kind, pack("=I", value))


def be32(kind: int, value: int) -> bytes:
    """NLA_BE32, in network byte order, as in nfnetlink."""
    return attribute(kind, pack(">I", value))


def text(kind: int, value: str) -> bytes:
    """NLA_NUL_STRING."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *attributes: bytes) -> bytes:
    """NLA_NESTED."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def attributes(data: bytes) -> list[tuple[int, bytes]]:
    """The attributes in `data` as (type, payload), up to the first that is malformed."""
    found = []
    offset = 0
    while offset + 4 <= len(data):
        length, kind = NLATTR.unpack_from(data, offset)
        if length < 4:
            break
        found.append((kind & NLA_TYPE_MASK, data[offset + 4 : offset + length]))
        offset += length + 3 & ~3
    return found


def encode(message: Message, sequence: int) -> bytes:
    """The message as it is sent to the kernel."""
    flags = message.flags | NLM_F_REQUEST
    header = NLMSGHDR.pack(16 + len(message.payload), message.type, flags, sequence, 0)
    return header + message.payload


class NetlinkSocket:
    """A netlink socket of the network namespace that the process was in when it was made.

    Every method raises NoAnswer if the socket fails.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._sequence = 0
        self._interrupted = False
        self._socket = self._open()
        self._spent: list[socket] = []

    def _open(self) -> socket:
        try:
            opened = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, self._protocol)
            opened.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            opened.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        except OSError as error:
            raise NoAnswer(error) from None
        return opened

    def close(self) -> None:
        """Close the socket; the kernel would, too, when the process ends."""
        for each in (self._socket, *self._spent):
            with suppress(OSError):
                each.close()

    def ask(self, message: Message) -> None:
        """Send a request that changes something, and wait until the kernel has done it.

        Raises NetlinkError if the kernel refuses.
        """
        self._send(Message(message.type, message.flags | NLM_F_ACK, message.payload))
        self._replies(1)

    def get(self, message: Message) -> bytes:
        """Send a request for one thing, and return the payload of the one answer.

        Raises NetlinkError if the kernel refuses, or has no such object.
        """
        self._send(message)
        return self._replies(1)[0]

    def get_each(self, messages: Sequence[Message]) -> list[bytes | NetlinkError]:
        """Send several requests; return for each of them what `get` would return or raise.

        They go in one datagram. That spares half of the system calls, and no answer is waited for.
        """
        answers: list[bytes | NetlinkError] = []
        for start in range(0, len(messages), MOST_AT_ONCE):
            part = messages[start : start + MOST_AT_ONCE]
            sequence = self._sequence + 1
            self._sequence += len(part)
            self._transmit(b"".join(encode(each, sequence + i) for i, each in enumerate(part)))
            while len(answers) < start + len(part):
                for kind, flags, payload in self._receive(sequence):
                    refusal = _refusal(flags, payload) if kind == NLMSG_ERROR else None
                    answers.append(refusal or payload)
        return answers

    def dump(self, message: Message) -> list[bytes]:
        """Send a request for all objects of a kind, and return the payloads of the answers.

        The kernel says if something changed during the dump, so that an object may be missing. Then we ask again.
        Raises NetlinkError if the kernel refuses.
        """
        for _ in range(MOST_DUMPS):
            self._interrupted = False
            self._send(message)
            replies = self._replies()
            if not self._interrupted:
                break
        return replies

    def first(self, message: Message) -> list[bytes]:
        """Like `dump`, but return only the first answers, however many there are.

        Raises NetlinkError if the kernel refuses.
        """
        self._send(message)
        found: list[bytes] = []
        # If everything fits the first datagram, the second one says that there is no more.
        for _ in range(2):
            for kind, flags, payload in self._receive(self._sequence, FIRST_SIZE):
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    _raise_refusal(flags, payload)
                    return found
                found.append(payload)
        # The unread rest would be in the way of the next answer, so we open a new socket. Closing the old one of
        # nf_tables would wait 10 ms, until the kernel has freed what others deleted. We may hold a lock, so not now.
        self._spent.append(self._socket)
        self._socket = self._open()
        return found

    def transact(self, messages: list[Message], first: Message, last: Message) -> None:
        """Send an nfnetlink batch, in one datagram: the kernel applies all of it or nothing.

        Raises NetlinkError with the first reason if the kernel refuses.
        """
        sequence = self._sequence + 1
        self._sequence += len(messages) + 2
        # The kernel reports refusals unasked, and all of them before the acknowledgement of the last message.
        *others, final = messages
        asked = Message(final.type, final.flags | NLM_F_ACK, final.payload)
        data = b"".join(encode(each, sequence + i) for i, each in enumerate([first, *others, asked, last]))
        self._transmit(data)
        while True:
            for kind, flags, payload in self._receive(sequence):
                if kind == NLMSG_ERROR:
                    _raise_refusal(flags, payload)
                    return

    def _send(self, message: Message) -> None:
        self._sequence += 1
        self._transmit(encode(message, self._sequence))

    def _transmit(self, data: bytes) -> None:
        try:
            if len(data) > SMALL_ENOUGH:
                self._socket.setsockopt(SOL_SOCKET, SO_SNDBUFFORCE, 2 * len(data))
            self._socket.send(data)
        except OSError as error:
            raise NoAnswer(error) from None

    def _replies(self, at_most: int = -1) -> list[bytes]:
        """The kernel's answers, until the kernel says that there are no more, or there are `at_most` of them."""
        replies: list[bytes] = []
        while len(replies) != at_most:
            for kind, flags, payload in self._receive(self._sequence):
                self._interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    _raise_refusal(flags, payload)
                    return replies
                replies.append(payload)
        return replies

    def _receive(self, sequence: int, size: int = RECEIVE_SIZE) -> list[tuple[int, int, bytes]]:
        """The messages of one datagram, or of its first `size` bytes, as (type, flags, payload).

        Leaves out answers to requests before `sequence`, which may remain from a batch that was refused.
        """
        try:
            data = self._socket.recv(size)
        except OSError as error:
            raise NoAnswer(error) from None
        found = []
        offset = 0
        while offset + 16 <= len(data):
            length, kind, flags, reply_to, _ = NLMSGHDR.unpack_from(data, offset)
            if reply_to >= sequence:
                found.append((kind, flags, data[offset + 16 : offset + length]))
            offset += length + 3 & ~3
        return found


def _raise_refusal(flags: int, payload: bytes) -> None:
    """Raise the error that a struct nlmsgerr reports, if any. The end of a dump starts in the same way."""
    if refusal := _refusal(flags, payload):
        raise refusal


def _refusal(flags: int, payload: bytes) -> NetlinkError | None:
    errno = -unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
    if not errno:
        return None
    message = ""
    if flags & NLM_F_ACK_TLVS:
        # After the error and the header of the request come the attributes of the extended acknowledgement.
        told = dict(attributes(payload[20:]))
        message = told.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
    return NetlinkError(errno, message)
