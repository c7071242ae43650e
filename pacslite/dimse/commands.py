"""Command sets: implicit VR little endian, group 0000 (PS3.7 6.3, E)."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from struct import Struct
from typing import Final

from pacslite.model.instances import InstanceKey
from pacslite.model.statuses import ERROR_COMMENT_MAX_LENGTH, StatusReport
from pacslite.model.uids import VERIFICATION_SOP_CLASS_UID, strip_uid

_ELEMENT: Final = Struct("<HHI")
_US: Final = Struct("<H")
_UL: Final = Struct("<I")

GROUP_LENGTH: Final = 0x0000
AFFECTED_SOP_CLASS_UID: Final = 0x0002
REQUESTED_SOP_CLASS_UID: Final = 0x0003
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_RESPONDED_TO: Final = 0x0120
PRIORITY: Final = 0x0700
COMMAND_DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
OFFENDING_ELEMENT: Final = 0x0901
ERROR_COMMENT: Final = 0x0902
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
MOVE_ORIGINATOR_AE_TITLE: Final = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x1031

NO_DATA_SET: Final = 0x0101
DATA_SET_PRESENT: Final = 0x0001
RESPONSE: Final = 0x8000
"""Set in the command field of every response (PS3.7 E.1)."""

PRIORITY_MEDIUM: Final = 0


class CommandField(IntEnum):
    """Values of (0000,0100) (PS3.7 E.1)."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    C_CANCEL_RQ = 0x0FFF


class InvalidCommandError(Exception):
    """Bytes that are no command set; the association cannot go on."""


class Command:
    """A decoded command set.

    Parameters
    ----------
    elements
        Element number of group 0000 → value as it came.
    """

    __slots__ = ("_elements", "data_set_type", "field")

    def __init__(self, elements: Mapping[int, bytes]) -> None:
        self._elements = elements
        self.field = self._require_us(COMMAND_FIELD)
        self.data_set_type = self._require_us(COMMAND_DATA_SET_TYPE)

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows (PS3.7 E.2)."""
        return self.data_set_type != NO_DATA_SET

    @property
    def is_response(self) -> bool:
        """Whether this answers a request."""
        return bool(self.field & RESPONSE)

    @property
    def message_id(self) -> int:
        """(0000,0110)."""
        return self._require_us(MESSAGE_ID)

    @property
    def message_id_responded_to(self) -> int:
        """(0000,0120)."""
        return self._require_us(MESSAGE_ID_RESPONDED_TO)

    @property
    def status(self) -> int:
        """(0000,0900)."""
        return self._require_us(STATUS)

    @property
    def sop_class_uid(self) -> str:
        """(0000,0002) or, in N-services, (0000,0003); empty when absent."""
        value = self._elements.get(AFFECTED_SOP_CLASS_UID) or self._elements.get(REQUESTED_SOP_CLASS_UID, b"")
        return strip_uid(value)

    @property
    def sop_instance_uid(self) -> str:
        """(0000,1000); empty when absent."""
        return strip_uid(self._elements.get(AFFECTED_SOP_INSTANCE_UID, b""))

    @property
    def error_comment(self) -> str:
        """(0000,0902); empty when absent."""
        return self._elements.get(ERROR_COMMENT, b"").decode("ascii", "replace").strip("\0 ")

    @property
    def move_originator_ae_title(self) -> str:
        """(0000,1030); empty when absent."""
        return self._elements.get(MOVE_ORIGINATOR_AE_TITLE, b"").decode("ascii", "replace").strip("\0 ")

    @property
    def move_originator_message_id(self) -> int | None:
        """(0000,1031)."""
        value = self._elements.get(MOVE_ORIGINATOR_MESSAGE_ID, b"")
        return _US.unpack(value)[0] if len(value) == _US.size else None

    def _require_us(self, element: int) -> int:
        value = self._elements.get(element, b"")
        if len(value) != _US.size:
            raise InvalidCommandError(f"(0000,{element:04X}) is missing or malformed")
        number: int = _US.unpack(value)[0]
        return number


def decode_command(data: bytes) -> Command:
    """Return the command set that `data` holds.

    Raises
    ------
    InvalidCommandError
        It holds none, or one that lacks command field or data set type. Message IDs and statuses are checked
        when they are asked for.
    """
    elements: dict[int, bytes] = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < _ELEMENT.size:
            raise InvalidCommandError("the command set ends within an element")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group != 0 or length > end - position:
            raise InvalidCommandError(f"({group:04X},{element:04X}) does not fit in the command set")
        elements[element] = data[position : position + length]
        position += length
    return Command(elements)


def encode_command(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the command set of `elements`, given in ascending order, with its group length."""
    body = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return _ELEMENT.pack(0, GROUP_LENGTH, _UL.size) + _UL.pack(len(body)) + body


def us(number: int) -> bytes:
    """Return a US value."""
    return _US.pack(number)


def uid(value: str) -> bytes:
    """Return a UI value, padded to even length with NUL (PS3.5 6.2)."""
    return pad(value.encode("ascii", "replace"), b"\0")


def pad(value: bytes, padding: bytes = b" ") -> bytes:
    """Return `value` with `padding` up to even length."""
    return value + padding if len(value) % 2 else value


def encode_response(request: Command, report: StatusReport, *, has_data_set: bool = False) -> bytes:
    """Return the response command set that answers `request` (PS3.7 9.3, C)."""
    elements = []
    if request.sop_class_uid:
        elements.append((AFFECTED_SOP_CLASS_UID, uid(request.sop_class_uid)))
    elements += [
        (COMMAND_FIELD, us(request.field | RESPONSE)),
        (MESSAGE_ID_RESPONDED_TO, us(request.message_id)),
        (COMMAND_DATA_SET_TYPE, us(DATA_SET_PRESENT if has_data_set else NO_DATA_SET)),
        (STATUS, us(report.status.code)),
    ]
    if report.offending_tags:
        tags = b"".join(us(tag >> 16) + us(tag & 0xFFFF) for tag in report.offending_tags)
        elements.append((OFFENDING_ELEMENT, tags))
    if report.comment:
        comment = report.comment.encode("ascii", "replace")[:ERROR_COMMENT_MAX_LENGTH]
        elements.append((ERROR_COMMENT, pad(comment)))
    if request.sop_instance_uid:
        elements.append((AFFECTED_SOP_INSTANCE_UID, uid(request.sop_instance_uid)))
    return encode_command(elements)


def encode_echo_request(message_id: int) -> bytes:
    """Return a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return encode_command(
        (
            (AFFECTED_SOP_CLASS_UID, uid(VERIFICATION_SOP_CLASS_UID)),
            (COMMAND_FIELD, us(CommandField.C_ECHO_RQ)),
            (MESSAGE_ID, us(message_id)),
            (COMMAND_DATA_SET_TYPE, us(NO_DATA_SET)),
        )
    )


def encode_store_request(message_id: int, key: InstanceKey) -> bytes:
    """Return a C-STORE-RQ of medium priority (PS3.7 9.3.1.1)."""
    return encode_command(
        (
            (AFFECTED_SOP_CLASS_UID, uid(key.sop_class_uid)),
            (COMMAND_FIELD, us(CommandField.C_STORE_RQ)),
            (MESSAGE_ID, us(message_id)),
            (PRIORITY, us(PRIORITY_MEDIUM)),
            (COMMAND_DATA_SET_TYPE, us(DATA_SET_PRESENT)),
            (AFFECTED_SOP_INSTANCE_UID, uid(key.sop_instance_uid)),
        )
    )
