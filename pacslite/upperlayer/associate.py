"""A-ASSOCIATE PDUs as peers really send them (PS3.8 9.3.2, 9.3.3, PS3.7 D.3.3).

pynetdicom's decoder refuses a whole PDU for a sub-item it does not know, which the standard says to skip
(PS3.8 9.3.1), for a UID of 65 characters or for an AE title padded with NUL. This one takes what it
understands; only a PDU whose items do not fit into each other is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Final

from pacslite.model.uids import strip_uid

_ITEM: Final = Struct(">BxH")
_UINT16: Final = Struct(">H")
_UINT32: Final = Struct(">I")

PROTOCOL_VERSION_1: Final = 0x0001
"""Bit 0 of the protocol version, the only one that is tested (PS3.8 9.3.2)."""

TITLES: Final = slice(10, 74)
"""Called and calling AE title and 32 reserved bytes: an A-ASSOCIATE-AC repeats them (PS3.8 Table 9-17)."""

_VERSION: Final = slice(6, 8)
_CALLED: Final = slice(10, 26)
_CALLING: Final = slice(26, 42)
_VARIABLE_START: Final = 74
_CONTEXT_HEAD_BYTES: Final = 4
_MAX_VERSION_NAME_LENGTH: Final = 16
_BOOLEANS: Final = (0, 1)


class ItemType(IntEnum):
    """Items and sub-items that make a difference to us (PS3.8 9.3, PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    PROPOSED_CONTEXT = 0x20
    CONTEXT_RESULT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55


class MalformedAssociateError(Exception):
    """The items of the PDU do not fit into each other."""


@dataclass(frozen=True, slots=True)
class ContextItem:
    """A proposed presentation context, or the result for one."""

    context_id: int
    result: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(slots=True)
class UserInformation:
    """What the peer says about itself (PS3.7 D.3.3).

    Parameters
    ----------
    max_pdu_bytes
        Longest P-DATA-TF variable field it takes; 0 when it has no limit or names none (PS3.8 D.1).
    roles
        SOP Class UID → whether it offers to be SCU and SCP.
    """

    max_pdu_bytes: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AssociatePdu:
    """An A-ASSOCIATE-RQ or -AC.

    Parameters
    ----------
    called_ae_title, calling_ae_title
        Without padding; empty when what the peer sent is no AE title (PS3.5 6.2).
    titles
        The bytes of `TITLES`.
    contexts
        In the order they came.
    """

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    titles: bytes
    application_context: str
    contexts: tuple[ContextItem, ...]
    user: UserInformation


def decode_associate(pdu: bytes) -> AssociatePdu:
    """Return what an A-ASSOCIATE-RQ or -AC says; items that we do not know are skipped (PS3.8 9.3.1).

    Raises
    ------
    MalformedAssociateError
        It is too short, or an item is longer than what holds it.
    """
    if len(pdu) < _VARIABLE_START:
        raise MalformedAssociateError(f"an A-ASSOCIATE PDU of {len(pdu)} bytes")
    application_context = ""
    contexts: list[ContextItem] = []
    user = UserInformation()
    for kind, value in _items(pdu[_VARIABLE_START:]):
        if kind == ItemType.APPLICATION_CONTEXT:
            application_context = strip_uid(value)
        elif kind in (ItemType.PROPOSED_CONTEXT, ItemType.CONTEXT_RESULT):
            contexts.append(_context(value))
        elif kind == ItemType.USER_INFORMATION:
            _read_user_information(value, user)
    return AssociatePdu(
        protocol_version=_UINT16.unpack(pdu[_VERSION])[0],
        called_ae_title=_ae_title(pdu[_CALLED]),
        calling_ae_title=_ae_title(pdu[_CALLING]),
        titles=pdu[TITLES],
        application_context=application_context,
        contexts=tuple(contexts),
        user=user,
    )


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position, end = 0, len(data)
    while position < end:
        if end - position < _ITEM.size:
            raise MalformedAssociateError("an item header that ends early")
        kind, length = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        if length > end - position:
            raise MalformedAssociateError(
                f"an item {kind:02X}H of {length} bytes where {end - position} are left"
            )
        yield kind, data[position : position + length]
        position += length


def _ae_title(value: bytes) -> str:
    title = value.decode("ascii", "replace").strip("\0 ")
    return title if title.isascii() and title.isprintable() and "\\" not in title else ""


def _context(value: bytes) -> ContextItem:
    if len(value) < _CONTEXT_HEAD_BYTES:
        raise MalformedAssociateError("a presentation context that ends early")
    abstract_syntax = ""
    transfer_syntaxes: dict[str, None] = {}
    for kind, uid in _items(value[_CONTEXT_HEAD_BYTES:]):
        if kind == ItemType.ABSTRACT_SYNTAX:
            abstract_syntax = strip_uid(uid)
        elif kind == ItemType.TRANSFER_SYNTAX:
            transfer_syntaxes[strip_uid(uid)] = None
    return ContextItem(value[0], value[2], abstract_syntax, tuple(transfer_syntaxes))


def _read_user_information(value: bytes, user: UserInformation) -> None:
    for kind, data in _items(value):
        if kind == ItemType.MAXIMUM_LENGTH and len(data) == _UINT32.size:
            (user.max_pdu_bytes,) = _UINT32.unpack(data)
        elif kind == ItemType.IMPLEMENTATION_CLASS_UID:
            user.implementation_class_uid = strip_uid(data)
        elif kind == ItemType.IMPLEMENTATION_VERSION_NAME:
            name = data.decode("ascii", "replace").strip("\0 ")
            user.implementation_version_name = name[:_MAX_VERSION_NAME_LENGTH]
        elif kind == ItemType.ROLE_SELECTION:
            _read_role(data, user.roles)


def _read_role(data: bytes, roles: dict[str, tuple[bool, bool]]) -> None:
    """Take an SCP/SCU role selection; one that is malformed changes no role (PS3.7 D.3.3.4)."""
    if len(data) < _UINT16.size:
        return
    (length,) = _UINT16.unpack_from(data)
    uid, proposed = data[_UINT16.size : _UINT16.size + length], data[_UINT16.size + length :]
    if len(proposed) == len(_BOOLEANS) and all(role in _BOOLEANS for role in proposed):
        roles[strip_uid(uid)] = (bool(proposed[0]), bool(proposed[1]))
