"""A storage client that sends data sets byte for byte, with commands as right or wrong as a test wants."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from support import pdus
from support.instances import Sendable
from support.scripted_peer import Address, PeerError, Response, ScriptedPeer

MAX_CONTEXTS: Final = 128
MAX_FRAGMENT_BYTES: Final = 128 * 1024

Syntax = tuple[str, str]
"""SOP class and transfer syntax: each has a presentation context of its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a C-STORE response says (PS3.7 9.3.1.2)."""

    status: int
    comment: str
    offending_tags: tuple[int, ...]
    sop_class_uid: str
    sop_instance_uid: str


class RawSender:
    """An association for storage; use it as a context manager.

    Parameters
    ----------
    address
        Of the node.
    syntaxes
        What to propose, at most 128.
    calling, called
        AE titles.
    """

    def __init__(
        self,
        address: Address,
        syntaxes: Iterable[Syntax],
        *,
        calling: str = "MODALITY",
        called: str = "PACSLITE",
    ) -> None:
        wanted = list(dict.fromkeys(syntaxes))
        assert len(wanted) <= MAX_CONTEXTS, "PS3.8 9.3.2.2"
        self.peer = ScriptedPeer.connect(address)
        self.context_ids = {syntax: 2 * index + 1 for index, syntax in enumerate(wanted)}
        self.accepted = self.peer.associate(
            [pdus.context(context_id, *syntax) for syntax, context_id in self.context_ids.items()],
            calling=calling,
            called=called,
        )
        self.fragment_bytes = min(self.accepted.max_length, MAX_FRAGMENT_BYTES) - 6
        self._message_id = 0

    @classmethod
    def of(cls, address: Address, *instances: Sendable, calling: str = "MODALITY") -> Self:
        """Associate for these instances."""
        return cls(address, (syntax_of(instance) for instance in instances), calling=calling)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.peer.socket.fileno() != -1:
            self.peer.release()
        self.peer.close()

    def result(self, instance: Sendable) -> int:
        """Return what the node said of the instance's context: 0 is acceptance (PS3.8 Table 9-18)."""
        return self.accepted.results[self.context_ids[syntax_of(instance)]]

    def command(
        self,
        instance: Sendable,
        command: Mapping[int, bytes | None] | None = None,
        *,
        context: Syntax | None = None,
    ) -> bytes:
        """Return the PDU of a C-STORE-RQ; `command` replaces, adds or, by None, removes elements."""
        self._message_id += 1
        elements: dict[int, bytes | None] = {
            0x0002: pdus.padded(instance.sop_class_uid),
            0x0100: pdus.us(pdus.C_STORE_RQ),
            0x0110: pdus.us(self._message_id),
            0x0700: pdus.us(0),
            0x0800: pdus.us(pdus.DATA_SET),
            0x1000: pdus.padded(instance.sop_instance_uid),
            **(command or {}),
        }
        given = [(number, value) for number, value in sorted(elements.items()) if value is not None]
        control = pdus.COMMAND | pdus.LAST
        return pdus.p_data(pdus.pdv(self._context_id(instance, context), control, pdus.command_set(given)))

    def data(
        self, instance: Sendable, *, context: Syntax | None = None, fragment_bytes: int | None = None
    ) -> bytes:
        """Return the PDUs of the instance's data set."""
        return b"".join(self.data_pdus(instance, context=context, fragment_bytes=fragment_bytes))

    def data_pdus(
        self, instance: Sendable, *, context: Syntax | None = None, fragment_bytes: int | None = None
    ) -> list[bytes]:
        """Return the PDUs of the instance's data set one by one."""
        size = fragment_bytes or self.fragment_bytes
        pieces = pdus.fragments(self._context_id(instance, context), 0, instance.data_set(), size)
        return [pdus.p_data(piece) for piece in pieces]

    def store(
        self,
        instance: Sendable,
        command: Mapping[int, bytes | None] | None = None,
        *,
        context: Syntax | None = None,
        fragment_bytes: int | None = None,
    ) -> Answer:
        """Send an instance and return the answer."""
        request = self.command(instance, command, context=context)
        self.peer.send(request + self.data(instance, context=context, fragment_bytes=fragment_bytes))
        return self.answer()

    def answer(self) -> Answer:
        """Return the answer to the oldest request that has none."""
        response = self.peer.expect_response()
        if response.field != pdus.C_STORE_RSP:
            raise PeerError(f"command field {response.field:04X}H in place of a C-STORE-RSP")
        return _answer(response)

    def _context_id(self, instance: Sendable, context: Syntax | None) -> int:
        context_id = self.context_ids[context or syntax_of(instance)]
        if self.accepted.results[context_id]:
            raise PeerError(f"{context or syntax_of(instance)} was not accepted")
        return context_id


def syntax_of(instance: Sendable) -> Syntax:
    return instance.sop_class_uid, instance.transfer_syntax_uid


def store(
    address: Address,
    instance: Sendable,
    command: Mapping[int, bytes | None] | None = None,
    *,
    calling: str = "MODALITY",
) -> Answer:
    """Send one instance on an association of its own."""
    with RawSender.of(address, instance, calling=calling) as sender:
        return sender.store(instance, command)


def _answer(response: Response) -> Answer:
    offending = response.elements.get(0x0901, b"")
    groups = struct.unpack(f"<{len(offending) // 2}H", offending)
    return Answer(
        response.status,
        response.comment.decode("ascii").strip(),
        tuple(group << 16 | number for group, number in zip(groups[::2], groups[1::2], strict=True)),
        response.elements.get(0x0002, b"").decode("ascii").strip("\0"),
        response.elements.get(0x1000, b"").decode("ascii").strip("\0"),
    )
