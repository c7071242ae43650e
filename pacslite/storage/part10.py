"""The head of a stored file: preamble and file meta, which say what the data set is and where it came from.

Built and read as bytes: it stands on the path of every instance. Private Information (0002,0102) under our
creator UID is ASCII JSON padded with a space: `{"format": 1, "received": ISO 8601 in UTC, "sequence": number,
"association": id, "implementation": [class UID, version name], "move": null or [AE title, message id],
"check": digits}`. With the AE titles and presentation addresses of the standard's own elements it holds the
whole `Provenance`. The check is the XXH3-64, in 16 hexadecimal digits, of all the head but these digits: so a
head tells by itself whether it is as it was written.
"""

import json
import os
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import xxhash

from pacslite.model.errors import CannotUnderstandError
from pacslite.model.instances import InstanceKey, Provenance
from pacslite.model.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    MAX_UID_LENGTH,
    PRIVATE_INFORMATION_CREATOR_UID,
    strip_uid,
)

MAX_HEAD_BYTES: Final = 64 * 1024
"""Longest preamble and file meta that are read; ours are about 800 bytes."""

_PREAMBLE: Final = bytes(128) + b"DICM"
_FORMAT: Final = 1
_NO_CHECK: Final = "0" * 16
_CHECK_END: Final = b'"}'
_PADDING: Final = b"\0 "
_URI_SCHEME: Final = "dicom:"
_MAX_TEXT_LENGTH: Final = 16
_GROUP: Final = 0x0002
_SOP_CLASS: Final = 0x0002
_SOP_INSTANCE: Final = 0x0003
_TRANSFER_SYNTAX: Final = 0x0010
_IMPLEMENTATION_CLASS: Final = 0x0012
_IMPLEMENTATION_VERSION: Final = 0x0013
_SOURCE_AE_TITLE: Final = 0x0016
_SENDING_AE_TITLE: Final = 0x0017
_RECEIVING_AE_TITLE: Final = 0x0018
_SOURCE_ADDRESS: Final = 0x0026
_RECEIVING_ADDRESS: Final = 0x0028
_PRIVATE_CREATOR: Final = 0x0100
_PRIVATE_INFORMATION: Final = 0x0102
_SHORT_HEADER: Final = struct.Struct("<HH2sH")
_LONG_HEADER: Final = struct.Struct("<HH2sHL")
_LONG_VRS: Final = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UN", b"UT", b"UC", b"UR"})


class Part10Head(NamedTuple):
    """What a file's head says.

    Parameters
    ----------
    key
        Media storage SOP Class and Instance and the transfer syntax; empty where a foreign file omits them.
    provenance
        None unless this node's software wrote the file.
    data_set_offset
        Where the data set starts, in bytes.
    sequence_number
        As given to `build_part10_head`; None where `provenance` is None.
    is_intact
        False where the head says that this node's software wrote it, and is not what it wrote.
    """

    key: InstanceKey
    provenance: Provenance | None
    data_set_offset: int
    sequence_number: int | None
    is_intact: bool = True


def build_part10_head(key: InstanceKey, provenance: Provenance, sequence_number: int) -> bytes:
    """Return preamble, prefix and file meta that go in front of a received data set.

    Parameters
    ----------
    key
        From the command and its presentation context; a UID longer than 64 characters is cut, and its
        data set is refused once it is compared with its command.
    provenance
        Where the data set comes from.
    sequence_number
        Orders this node's receipts.

    References
    ----------
    PS3.10 7.1.
    """
    calling, called = provenance.calling_ae_title, provenance.called_ae_title
    elements = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _uid(_SOP_CLASS, key.sop_class_uid),
            _uid(_SOP_INSTANCE, key.sop_instance_uid),
            _uid(_TRANSFER_SYNTAX, key.transfer_syntax_uid),
            _IMPLEMENTATION,
            _text_value(_SOURCE_AE_TITLE, b"AE", calling),
            _text_value(_SENDING_AE_TITLE, b"AE", calling),
            _text_value(_RECEIVING_AE_TITLE, b"AE", called),
            _long(_SOURCE_ADDRESS, b"UR", _URI_SCHEME + provenance.peer_address),
            _long(_RECEIVING_ADDRESS, b"UR", _URI_SCHEME + provenance.local_address),
            _PRIVATE_CREATOR_ELEMENT,
            _long(_PRIVATE_INFORMATION, b"OB", _private_information(provenance, sequence_number)),
        )
    )
    head = b"%b\x02\x00\x00\x00UL\x04\x00%b%b" % (_PREAMBLE, len(elements).to_bytes(4, "little"), elements)
    start, end = _check_position(head)
    return b"%b%b%b" % (head[:start], _check(head[:start], head[end:]), head[end:])


def read_part10_head(source: Path | int) -> Part10Head:
    """Read the head of a Part 10 file, ours or another's.

    Parameters
    ----------
    source
        The file, or a descriptor of it, whose position is left alone.

    Raises
    ------
    CannotUnderstandError
        No Part 10 file, or its file meta is broken or longer than `MAX_HEAD_BYTES`.
    OSError
        The file could not be read.

    References
    ----------
    PS3.10 7.1.
    """
    if isinstance(source, Path):
        with source.open("rb", buffering=0) as file:
            head = os.pread(file.fileno(), MAX_HEAD_BYTES, 0)
    else:
        head = os.pread(source, MAX_HEAD_BYTES, 0)
    return parse_part10_head(head)


def parse_part10_head(head: bytes) -> Part10Head:
    """Do what `read_part10_head` does with the first bytes of a file.

    Parameters
    ----------
    head
        The whole file, or `MAX_HEAD_BYTES` of it or more.

    Raises
    ------
    CannotUnderstandError
        As `read_part10_head`.
    """
    if head[128:132] != b"DICM":
        raise CannotUnderstandError("Not a DICOM Part 10 file")
    elements, data_set_offset = _meta_elements(head)
    key = InstanceKey(
        strip_uid(elements.get(_SOP_CLASS, b"")),
        strip_uid(elements.get(_SOP_INSTANCE, b"")),
        strip_uid(elements.get(_TRANSFER_SYNTAX, b"")),
    )
    if strip_uid(elements.get(_PRIVATE_CREATOR, b"")) != PRIVATE_INFORMATION_CREATOR_UID:
        return Part10Head(key, None, data_set_offset, None)
    provenance, sequence_number = _provenance(elements)
    start, end = _check_position(head[:data_set_offset])
    is_intact = head[start:end] == _check(head[:start], head[end:data_set_offset])
    if provenance is None or not is_intact:
        return Part10Head(key, None, data_set_offset, None, is_intact=False)
    return Part10Head(key, provenance, data_set_offset, sequence_number)


def _short(element: int, vr: bytes, value: bytes) -> bytes:
    return _SHORT_HEADER.pack(_GROUP, element, vr, len(value)) + value


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii", "replace")[:MAX_UID_LENGTH]
    return _short(element, b"UI", value + b"\0" if len(value) & 1 else value)


def _text_value(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")[:_MAX_TEXT_LENGTH]
    return _short(element, vr, value + b" " if len(value) & 1 else value)


def _long(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) & 1:
        value += b" "
    return _LONG_HEADER.pack(_GROUP, element, vr, 0, len(value)) + value


_IMPLEMENTATION: Final = _uid(_IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID) + _text_value(
    _IMPLEMENTATION_VERSION, b"SH", IMPLEMENTATION_VERSION_NAME
)
_PRIVATE_CREATOR_ELEMENT: Final = _uid(_PRIVATE_CREATOR, PRIVATE_INFORMATION_CREATOR_UID)


def _check_position(head: bytes) -> tuple[int, int]:
    """Return where the digits of the check start and end: nearly at the end of the head."""
    end = len(head.rstrip(_PADDING)) - len(_CHECK_END)
    return end - len(_NO_CHECK), end


def _check(before: bytes, behind: bytes) -> bytes:
    digest = xxhash.xxh3_64(before)
    digest.update(behind)
    return digest.hexdigest().encode("ascii")


def _private_information(provenance: Provenance, sequence_number: int) -> str:
    is_moved = provenance.move_originator_ae_title or provenance.move_originator_message_id is not None
    return json.dumps(
        {
            "format": _FORMAT,
            "received": provenance.received_at.astimezone(UTC).isoformat(),
            "sequence": sequence_number,
            "association": provenance.association_id,
            "implementation": [
                provenance.implementation_class_uid,
                provenance.implementation_version_name,
            ],
            "move": [provenance.move_originator_ae_title, provenance.move_originator_message_id]
            if is_moved
            else None,
            "check": _NO_CHECK,
        }
    )


def _meta_elements(head: bytes) -> tuple[dict[int, bytes], int]:
    """Return the values of group 0002 by element number, and where the group ends."""
    elements: dict[int, bytes] = {}
    position = len(_PREAMBLE)
    while position + _SHORT_HEADER.size <= len(head):
        group, element, vr, length = _SHORT_HEADER.unpack_from(head, position)
        if group != _GROUP:
            break
        position += _SHORT_HEADER.size
        if vr in _LONG_VRS:
            length = int.from_bytes(head[position : position + 4], "little")
            position += 4
        elements.setdefault(element, head[position : position + length])
        position += length
    if position > len(head):
        raise CannotUnderstandError("File meta ends early or is too long")
    return elements, position


def _provenance(elements: dict[int, bytes]) -> tuple[Provenance | None, int | None]:
    try:
        private = json.loads(elements.get(_PRIVATE_INFORMATION, b"").rstrip(b"\0 "))
        return _whole_provenance(elements, private), int(private["sequence"])
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        # Whatever stands there, it was not written by `build_part10_head`.
        return None, None


def _whole_provenance(elements: dict[int, bytes], private: dict[str, Any]) -> Provenance:
    implementation_class_uid, implementation_version_name = private["implementation"]
    move_ae_title, move_message_id = private["move"] or ("", None)
    return Provenance(
        received_at=datetime.fromisoformat(private["received"]).astimezone(UTC),
        calling_ae_title=_text(elements, _SENDING_AE_TITLE),
        called_ae_title=_text(elements, _RECEIVING_AE_TITLE),
        peer_address=_text(elements, _SOURCE_ADDRESS).removeprefix(_URI_SCHEME),
        local_address=_text(elements, _RECEIVING_ADDRESS).removeprefix(_URI_SCHEME),
        implementation_class_uid=str(implementation_class_uid),
        implementation_version_name=str(implementation_version_name),
        association_id=str(private["association"]),
        move_originator_ae_title=str(move_ae_title),
        move_originator_message_id=None if move_message_id is None else int(move_message_id),
    )


def _text(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").decode("ascii", "replace").strip("\0 ")
