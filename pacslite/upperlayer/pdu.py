"""PDUs as they stand on the wire: an incremental reader, and the small ones ready made (PS3.8 9.3)."""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, Protocol

PDU_HEADER: Final = Struct(">BxI")
PDV_HEADER: Final = Struct(">IBB")
PDU_HEADER_BYTES: Final = 6
PDV_HEADER_BYTES: Final = 6
PDV_LENGTH_FIELD_BYTES: Final = 4
FIXED_BODY_BYTES: Final = 4
"""Variable field of A-ASSOCIATE-RJ, A-RELEASE-RQ, A-RELEASE-RP and A-ABORT (PS3.8 9.3.4, 9.3.6-8)."""

MAX_ASSOCIATE_BYTES: Final = 1024 * 1024
"""An A-ASSOCIATE PDU has no limit in the standard; a real one with 128 contexts stays under 120 kB."""

STEPS_PER_TURN: Final = 1000
"""PDU and PDV pieces that one connection may take from a read before the event loop serves the others."""

COMMAND: Final = 0x01
LAST_FRAGMENT: Final = 0x02


class PduType(IntEnum):
    """PDU types (PS3.8 9.3)."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


_KNOWN_TYPES: Final = frozenset(int(pdu_type) for pdu_type in PduType)


class AbortSource(IntEnum):
    """Who aborts (PS3.8 9.3.8)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why the service provider aborts (PS3.8 9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER_VALUE = 6


class InvalidPduError(Exception):
    """Bytes that are no PDU, or a PDU over its limit; the association ends with `reason` (PS3.8 Evt19)."""

    def __init__(self, explanation: str, reason: AbortReason, *, is_over_limit: bool = False) -> None:
        super().__init__(explanation)
        self.reason = reason
        self.is_over_limit = is_over_limit


class PduReceiver(Protocol):
    """Who is told of what a `PduReader` finds."""

    def p_data_started(self) -> None:
        """Take note that a P-DATA-TF PDU begins."""

    def fragment_received(self, context_id: int, control: int, piece: memoryview, *, is_whole: bool) -> None:
        """Take a piece of a PDV; `is_whole` with its last one. The memory is valid during the call only."""

    def pdu_received(self, pdu_type: PduType, pdu: bytes) -> None:
        """Take a whole PDU other than P-DATA-TF, header included."""


class PduReader:
    """Finds PDUs and PDVs in a byte stream, without waiting for whole ones and without copying data.

    Parameters
    ----------
    receiver
        Called for each finding, from within `feed`.
    max_pdu_bytes
        Longest variable field of a P-DATA-TF PDU that we announced (PS3.8 D.1).

    Attributes
    ----------
    in_pdu
        Whether a PDU has begun and not ended.
    is_held
        `feed` takes no more; the receiver may set it from within.
    """

    __slots__ = (
        "_context_id",
        "_control",
        "_header",
        "_max_pdu_bytes",
        "_pdu",
        "_pdu_left",
        "_pdu_type",
        "_pdv_left",
        "_receiver",
        "in_pdu",
        "is_held",
    )

    def __init__(self, receiver: PduReceiver, max_pdu_bytes: int) -> None:
        self._receiver = receiver
        self._max_pdu_bytes = max_pdu_bytes
        self._header = bytearray()
        self._pdu = bytearray()
        self._pdu_type = PduType.P_DATA_TF
        self._pdu_left = 0
        self._pdv_left = 0
        self._context_id = 0
        self._control = 0
        self.in_pdu = False
        self.is_held = False

    def feed(self, data: memoryview) -> int:
        """Take bytes from the stream and report what they hold; return how many were taken.

        Fewer than all are taken when the step budget of a turn is spent, or `is_held`: feed the rest in a
        later turn.

        Raises
        ------
        InvalidPduError
            The stream cannot be read any further.
        """
        position = 0
        end = len(data)
        for _ in range(STEPS_PER_TURN):
            if position == end or self.is_held:
                break
            if self._pdv_left:
                position = self._take_piece(data, position, end)
            elif not self.in_pdu:
                position = self._take_pdu_header(data, position, end)
            elif self._pdu_type is PduType.P_DATA_TF:
                position = self._take_pdv_header(data, position, end)
            else:
                position = self._take_body(data, position, end)
        return position

    def _take_piece(self, data: memoryview, position: int, end: int) -> int:
        stop = min(position + self._pdv_left, end)
        taken = stop - position
        self._pdv_left -= taken
        self._pdu_left -= taken
        is_whole = not self._pdv_left
        self.in_pdu = self._pdu_left > 0
        self._receiver.fragment_received(
            self._context_id, self._control, data[position:stop], is_whole=is_whole
        )
        return stop

    def _take_header(self, data: memoryview, position: int, end: int, size: int) -> tuple[int, bytes | None]:
        if not self._header and end - position >= size:
            return position + size, bytes(data[position : position + size])
        stop = min(position + size - len(self._header), end)
        self._header += data[position:stop]
        if len(self._header) < size:
            return stop, None
        header = bytes(self._header)
        self._header.clear()
        return stop, header

    def _take_pdu_header(self, data: memoryview, position: int, end: int) -> int:
        if not self._header and data[position] not in _KNOWN_TYPES:
            raise InvalidPduError(f"PDU type {data[position]:02X}H", AbortReason.UNRECOGNIZED_PDU)
        position, header = self._take_header(data, position, end, PDU_HEADER_BYTES)
        if header is None:
            return position
        code, length = PDU_HEADER.unpack(header)
        self._pdu_type = PduType(code)
        self._pdu_left = length
        self._check_length(length)
        self.in_pdu = length > 0
        if self._pdu_type is PduType.P_DATA_TF:
            self._receiver.p_data_started()
        else:
            self._pdu = bytearray(header)
        return position

    def _check_length(self, length: int) -> None:
        limit = self._max_pdu_bytes
        if self._pdu_type in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC):
            limit = MAX_ASSOCIATE_BYTES
        elif self._pdu_type is not PduType.P_DATA_TF:
            limit = FIXED_BODY_BYTES
        if length > limit or (length < FIXED_BODY_BYTES and self._pdu_type is not PduType.P_DATA_TF):
            raise InvalidPduError(
                f"{self._pdu_type.name} of {length} bytes",
                AbortReason.INVALID_PARAMETER_VALUE,
                is_over_limit=length > limit,
            )

    def _take_pdv_header(self, data: memoryview, position: int, end: int) -> int:
        position, header = self._take_header(data, position, end, PDV_HEADER_BYTES)
        if header is None:
            return position
        length, self._context_id, self._control = PDV_HEADER.unpack(header)
        self._pdv_left = length - (PDV_HEADER_BYTES - PDV_LENGTH_FIELD_BYTES)
        self._pdu_left -= PDV_HEADER_BYTES
        if self._pdv_left < 0 or self._pdv_left > self._pdu_left:
            raise InvalidPduError(f"PDV of {length} bytes", AbortReason.INVALID_PARAMETER_VALUE)
        self.in_pdu = self._pdu_left > 0
        if not self._pdv_left:
            self._receiver.fragment_received(
                self._context_id, self._control, data[position:position], is_whole=True
            )
        return position

    def _take_body(self, data: memoryview, position: int, end: int) -> int:
        stop = min(position + self._pdu_left, end)
        self._pdu += data[position:stop]
        self._pdu_left -= stop - position
        if not self._pdu_left:
            self.in_pdu = False
            pdu = bytes(self._pdu)
            self._pdu.clear()
            self._receiver.pdu_received(self._pdu_type, pdu)
        return stop


def encode_fixed(pdu_type: PduType, first: int = 0, second: int = 0, third: int = 0) -> bytes:
    """Return an A-ASSOCIATE-RJ (result, source, reason), A-RELEASE or A-ABORT (0, source, reason) PDU."""
    return PDU_HEADER.pack(pdu_type, FIXED_BODY_BYTES) + bytes((0, first, second, third))


def p_data_header(context_id: int, control: int, data_bytes: int) -> bytes:
    """Return the header of a P-DATA-TF PDU that holds one PDV of `data_bytes` (PS3.8 9.3.5)."""
    pdv_bytes = data_bytes + PDV_HEADER_BYTES - PDV_LENGTH_FIELD_BYTES
    return PDU_HEADER.pack(PduType.P_DATA_TF, data_bytes + PDV_HEADER_BYTES) + PDV_HEADER.pack(
        pdv_bytes, context_id, control
    )


def p_data_pdus(context_id: int, message: bytes, *, is_command: bool, max_pdu_bytes: int) -> Iterator[bytes]:
    """Yield `message`, a whole command set or data set, as P-DATA-TF PDUs of one PDV each (PS3.8 9.3.5)."""
    kind = COMMAND if is_command else 0
    step = max_pdu_bytes - PDV_HEADER_BYTES
    for start in range(0, len(message) or 1, step):
        piece = message[start : start + step]
        control = kind | (LAST_FRAGMENT if start + step >= len(message) else 0)
        yield p_data_header(context_id, control, len(piece)) + piece
