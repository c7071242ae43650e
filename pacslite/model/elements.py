"""Raw data elements and the items of raw sequences (PS3.5 7.1, 7.5)."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

MAX_ITEMS: Final = 64
"""How many items of one sequence are looked at."""

_UNDEFINED_LENGTH: Final = 0xFFFF_FFFF
_ITEM: Final = 0xFFFE_E000
_ITEM_END: Final = 0xFFFE_E00D
_SEQUENCE_END: Final = 0xFFFE_E0DD
_ITEM_GROUP: Final = 0xFFFE
_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)


@dataclass(frozen=True, slots=True)
class RawElement:
    """An element's value as it stands in the data set.

    Parameters
    ----------
    vr
        As the data set says; in implicit VR what the dictionary says, or empty.
    value
        The bytes of the value field; for a sequence the items with their tags and lengths, with or without
        the sequence delimiter.
    is_little_endian, is_implicit_vr
        How the data set is encoded.
    """

    vr: str
    value: bytes
    is_little_endian: bool = True
    is_implicit_vr: bool = True


class _MalformedError(Exception):
    """The bytes of a sequence do not follow PS3.5 7.5."""


@dataclass(frozen=True, slots=True)
class _Head:
    tag: int
    vr: bytes
    length: int
    value_at: int


class _Reader:
    """Walks over the elements of one encoding without recursion and without trusting a length."""

    def __init__(self, raw: RawElement) -> None:
        # A relay that did not know the tag passes a sequence on as UN: implicit little endian (PS3.5 6.2.2).
        is_unknown = raw.vr == "UN"
        self._data = raw.value
        self._is_implicit = raw.is_implicit_vr or is_unknown
        self.is_little_endian = raw.is_little_endian or is_unknown
        order = "<" if self.is_little_endian else ">"
        self._tag_and_length = struct.Struct(f"{order}HHI")
        self._short = struct.Struct(f"{order}H")
        self._long = struct.Struct(f"{order}I")

    def head(self, at: int) -> _Head:
        try:
            group, element, length = self._tag_and_length.unpack_from(self._data, at)
            vr, value_at = b"", at + 8
            if not self._is_implicit and group != _ITEM_GROUP:
                vr = self._data[at + 4 : at + 6]
                if vr in _LONG_VRS:
                    (length,) = self._long.unpack_from(self._data, at + 8)
                    value_at = at + 12
                else:
                    (length,) = self._short.unpack_from(self._data, at + 6)
        except struct.error as error:
            raise _MalformedError from error
        if length != _UNDEFINED_LENGTH and value_at + length > len(self._data):
            raise _MalformedError
        return _Head(group << 16 | element, vr, length, value_at)

    def after(self, head: _Head) -> int:
        """Return where the element behind `head` starts, whatever nests in its value."""
        if head.length != _UNDEFINED_LENGTH:
            return head.value_at + head.length
        if head.vr == b"UN":
            # Its content is of another encoding than its surroundings; not worth following.
            raise _MalformedError
        depth, at = 1, head.value_at
        while depth:
            inner = self.head(at)
            at = inner.value_at
            if inner.tag in (_ITEM_END, _SEQUENCE_END):
                depth -= 1
            elif inner.length == _UNDEFINED_LENGTH:
                depth += 1
            else:
                at += inner.length
        return at

    def element(self, head: _Head) -> RawElement:
        value = self._data[head.value_at : self.after(head)]
        return RawElement(head.vr.decode("ascii", "replace"), value, self.is_little_endian, self._is_implicit)


def sequence_items(raw: RawElement) -> Iterator[Mapping[int, RawElement]]:
    """Yield the items of a sequence, each by tag; a malformed one ends the sequence early.

    Takes time linear in the value's length, never raises, and stops after `MAX_ITEMS`.
    """
    reader = _Reader(raw)
    at = 0
    try:
        for _ in range(MAX_ITEMS):
            if at >= len(raw.value):
                return
            head = reader.head(at)
            if head.tag != _ITEM:
                return
            elements, at = _item(reader, head)
            yield elements
    except _MalformedError:
        return


def _item(reader: _Reader, item: _Head) -> tuple[Mapping[int, RawElement], int]:
    elements: dict[int, RawElement] = {}
    at = item.value_at
    is_open = item.length == _UNDEFINED_LENGTH
    end = None if is_open else item.value_at + item.length
    while end is None or at < end:
        head = reader.head(at)
        if head.tag == _ITEM_END:
            return elements, head.value_at
        elements[head.tag] = reader.element(head)
        at = reader.after(head)
    return elements, end
