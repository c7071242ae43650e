"""A peer that says on a real socket exactly what its test tells it to, and expects answers in time."""

import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from support import pdus

Address = tuple[str, int]

DEADLINE_SECONDS = 10.0
"""Generous, for a busy machine; nothing waits for it unless the node fails."""


class PeerError(AssertionError):
    """The node answered something else than was expected, or nothing in time."""


@dataclass(frozen=True)
class Accepted:
    """What an A-ASSOCIATE-AC says."""

    body: bytes
    results: dict[int, int]
    transfer_syntaxes: dict[int, str]
    user_items: dict[int, list[bytes]]

    @property
    def max_length(self) -> int:
        (length,) = struct.unpack(">I", self.user_items[0x51][0])
        return int(length)


@dataclass(frozen=True)
class Response:
    """A response message of the node's."""

    context_id: int
    elements: dict[int, bytes]

    def us(self, number: int) -> int:
        (value,) = struct.unpack("<H", self.elements[number])
        return int(value)

    @property
    def field(self) -> int:
        return self.us(0x0100)

    @property
    def message_id(self) -> int:
        return self.us(0x0120)

    @property
    def status(self) -> int:
        return self.us(0x0900)

    @property
    def comment(self) -> bytes:
        return self.elements.get(0x0902, b"")


class ScriptedPeer:
    """One connection; used as a context manager, it is closed at the end."""

    def __init__(self, connection: socket.socket, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self.socket = connection
        self.deadline_seconds = deadline_seconds
        self.socket.settimeout(deadline_seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def connect(
        cls, address: Address, *, deadline_seconds: float = DEADLINE_SECONDS, source: str = ""
    ) -> Self:
        """Connect, from the address `source` if given."""
        bound = (source, 0) if source else None
        return cls(
            socket.create_connection(address, timeout=deadline_seconds, source_address=bound),
            deadline_seconds=deadline_seconds,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close without the courtesy of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_bytewise(self, data: bytes) -> None:
        """Send each byte in a segment of its own."""
        for value in data:
            self.socket.sendall(bytes((value,)))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except TimeoutError:
                raise PeerError(f"no answer in {self.deadline_seconds} s") from None
            if not more:
                raise PeerError(f"closed after {len(data)} of {count} bytes")
            data += more
        return data

    def receive(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU."""
        kind, length = struct.unpack(">BxI", self._read(6))
        return int(kind), self._read(length)

    def expect(self, kind: int) -> bytes:
        """Return the body of the next PDU, which is of `kind`."""
        found, body = self.receive()
        if found != kind:
            raise PeerError(f"PDU {found:02X}H {body[:16].hex()} in place of {kind:02X}H")
        return body

    def expect_associate_ac(self) -> Accepted:
        return parse_associate_ac(self.expect(pdus.ASSOCIATE_AC))

    def expect_reject(self, result: int, source: int, reason: int) -> None:
        body = self.expect(pdus.ASSOCIATE_RJ)
        if tuple(body[1:]) != (result, source, reason):
            raise PeerError(f"rejected with {tuple(body[1:])} in place of {(result, source, reason)}")

    def expect_abort(self, source: int, reason: int) -> None:
        body = self.expect(pdus.ABORT)
        if tuple(body[2:]) != (source, reason):
            raise PeerError(f"aborted with {tuple(body[2:])} in place of {(source, reason)}")

    def expect_release_rp(self) -> None:
        self.expect(pdus.RELEASE_RP)

    def expect_closed(self) -> None:
        """Wait until the node has closed the connection; it sends nothing before that."""
        rest = self.drain()
        if rest:
            raise PeerError(f"{rest[:32].hex()} in place of a close")

    def drain(self) -> bytes:
        """Return what comes until the node closes the connection."""
        deadline = time.monotonic() + self.deadline_seconds
        data = b""
        while time.monotonic() < deadline:
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                break
            except ConnectionError:
                return data
            if not more:
                return data
            data += more
        raise PeerError(f"still open after {self.deadline_seconds} s")

    def expect_response(self) -> Response:
        """Return the next message, a command set without data set, from however many PDVs."""
        command, context_id, is_complete = b"", 0, False
        while not is_complete:
            body = self.expect(pdus.P_DATA)
            while body:
                length, context_id, control = struct.unpack_from(">IBB", body)
                if not control & pdus.COMMAND:
                    raise PeerError("a data set in place of a command")
                command += body[6 : 4 + length]
                body = body[4 + length :]
                is_complete = bool(control & pdus.LAST)
        return Response(context_id, parse_command(command))

    def associate(self, contexts: Iterable[bytes] = pdus.BOTH, **choices: str | bytes) -> Accepted:
        """Send an A-ASSOCIATE-RQ and return what the node accepts."""
        self.send(pdus.associate_rq(contexts, **choices))  # type: ignore[arg-type] # texts and bytes, as named
        return self.expect_associate_ac()

    def echo(self, message_id: int = 1) -> Response:
        """Send a C-ECHO-RQ and return its response."""
        self.send(pdus.echo_pdu(message_id=message_id))
        return self.expect_response()

    def release(self) -> None:
        """Release the association and close the connection."""
        self.send(pdus.release_rq())
        self.expect_release_rp()
        self.close()


def parse_command(data: bytes) -> dict[int, bytes]:
    elements, position = {}, 0
    while position < len(data):
        group, number, length = struct.unpack_from("<HHI", data, position)
        if group:
            raise PeerError(f"group {group:04X}H in a command set")
        elements[int(number)] = data[position + 8 : position + 8 + length]
        position += 8 + length
    (length,) = struct.unpack("<I", elements[0])
    if length != len(data) - 12:
        raise PeerError(f"group length {length} of {len(data) - 12} bytes")
    return elements


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack_from(">BxH", data)
        yield int(kind), data[4 : 4 + length]
        data = data[4 + length :]


def parse_associate_ac(body: bytes) -> Accepted:
    results: dict[int, int] = {}
    syntaxes: dict[int, str] = {}
    user_items: dict[int, list[bytes]] = {}
    for kind, value in _items(body[68:]):
        if kind == 0x21:
            results[value[0]] = value[2]
            syntaxes[value[0]] = dict(_items(value[4:])).get(0x40, b"").decode("ascii")
        elif kind == 0x50:
            for sub_kind, sub_value in _items(value):
                user_items.setdefault(sub_kind, []).append(sub_value)
    return Accepted(body, results, syntaxes, user_items)


def honest_echo_seconds(address: Address) -> float:
    """Associate, verify and release as an honest peer does; return how long all of it took."""
    started = time.perf_counter()
    with ScriptedPeer.connect(address) as peer:
        peer.associate([pdus.VERIFICATION_CONTEXT], calling="HONEST")
        if peer.echo().status:
            raise PeerError("C-ECHO failed")
        peer.release()
    return time.perf_counter() - started


@contextmanager
def scripted_listener(*, deadline_seconds: float = DEADLINE_SECONDS) -> Iterator[socket.socket]:
    """Listen on a free port, for tests of the node as requestor."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(deadline_seconds)
        yield server


def accept(server: socket.socket) -> ScriptedPeer:
    """Return the next connection of `server`."""
    connection, _ = server.accept()
    return ScriptedPeer(connection)
