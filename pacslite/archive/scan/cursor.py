"""Steps through a data set element by element, into its sequences, whatever its encoding.

Unlike the header's walk it also enters sequences of defined length. It reads forward, never recurses and
holds 64 KiB.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from pydicom.datadict import dictionary_VR

from pacslite.archive.scan.encodings import (
    EXPLICIT_BIG,
    HEADER_BYTES,
    IMPLICIT_LITTLE,
    LONG_HEADER_BYTES,
    SHORT_HEADER_BYTES,
    Codec,
    odd_header,
    recognize,
)
from pacslite.archive.scan.sources import WINDOW_BYTES, BeyondEndError, Source
from pacslite.model.errors import CannotUnderstandError

END_TAG: Final = 1 << 32
"""Stands for the end of a sequence, an item or encapsulated pixel data."""

LAST_TAG: Final = 1 << 33
"""Stands for the end of the data set; it sorts behind all else."""

ITEM_TAG: Final = 0xFFFEE000
_ITEM_DELIMITER_TAG: Final = 0xFFFEE00D
_SEQUENCE_DELIMITER_TAG: Final = 0xFFFEE0DD
_PIXEL_DATA_TAG: Final = 0x7FE00010
_TRAILING_PADDING_TAG: Final = 0xFFFCFFFC
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_SWAPPED_ITEM_GROUP: Final = 0xFEFF


class Element(NamedTuple):
    """An element, an item, a fragment of pixel data, or the end of a level.

    Parameters
    ----------
    tag
        `group << 16 | element`, or `END_TAG` or `LAST_TAG`.
    vr
        As the data set or the dictionary says; empty if neither does.
    length
        Of the value in bytes; None if undefined.
    is_little_endian
        Of the value.
    """

    tag: int
    vr: bytes
    length: int | None
    is_little_endian: bool

    @property
    def is_fragmented(self) -> bool:
        """Whether these are encapsulated pixel data."""
        return self.tag == _PIXEL_DATA_TAG and self.length is None

    @property
    def is_sequence(self) -> bool:
        """Whether the value consists of items with elements."""
        return self.vr == b"SQ" or (self.length is None and not self.is_fragmented)


_END: Final = Element(END_TAG, b"", 0, is_little_endian=True)
_LAST: Final = Element(LAST_TAG, b"", 0, is_little_endian=True)


class _Level(NamedTuple):
    outer_codec: Codec
    end: int | None


class Cursor:
    """A position in a data set.

    Parameters
    ----------
    source
        The data set.
    codec
        How its headers are laid out, as far as the transfer syntax is true.
    max_element_count
        Headers looked at before the data set is refused.
    """

    def __init__(self, source: Source, codec: Codec, max_element_count: int) -> None:
        self._source = source
        self._remaining_count = max_element_count
        self._levels: list[_Level] = []
        self._next = 0
        self._base = 0
        self._buffer = b""
        self._codec = recognize(codec, self._bytes(0, LONG_HEADER_BYTES)[4:6])

    @property
    def depth(self) -> int:
        """Levels entered."""
        return len(self._levels)

    def advance(self) -> Element:
        """Return what comes next on this level, passing over the last element's value.

        Group lengths and trailing padding, which say nothing, are left out (PS3.5 7.2, 7.2.1).

        Raises
        ------
        CannotUnderstandError
            The data set is broken here.
        """
        while True:
            element = self._element()
            is_group_length = not element.tag & 0xFFFF and element.tag < END_TAG
            if not is_group_length and element.tag != _TRAILING_PADDING_TAG:
                return element
            self.leave(element)

    def enter(self, element: Element) -> None:
        """Go into the sequence, item or encapsulated pixel data just returned."""
        start = self._next - (element.length or 0)
        self._levels.append(_Level(self._codec, None if element.length is None else self._next))
        self._next = start

    def leave(self, element: Element) -> None:
        """Pass over an element of undefined length."""
        if element.length is None:
            depth = self.depth
            self.enter(element)
            self.climb(depth)

    def climb(self, depth: int) -> None:
        """Go on behind the value that `depth` levels enclose."""
        while self.depth > depth:
            outermost = self._levels[depth]
            if outermost.end is not None:
                self._codec = outermost.outer_codec
                self._next = outermost.end
                del self._levels[depth:]
            else:
                inner = self._element()
                if inner.length is None and inner.tag != END_TAG:
                    self.enter(inner)

    def blocks(self, element: Element) -> Iterator[bytes]:
        """Yield the value of the element just returned, in blocks of 64 KiB."""
        end = self._next
        for start in range(end - (element.length or 0), end, WINDOW_BYTES):
            yield self._bytes(start, min(WINDOW_BYTES, end - start))

    def _bytes(self, offset: int, size: int) -> bytes:
        """Return `size` bytes, or fewer at the end of the data set."""
        start = offset - self._base
        if start < 0 or start + size > len(self._buffer):
            try:
                self._buffer = self._source.window(offset, size, WINDOW_BYTES)
            except BeyondEndError:
                raise CannotUnderstandError("Data set ends inside an element") from None
            self._base, start = offset, 0
        return self._buffer[start : start + size]

    def _element(self) -> Element:
        level = self._levels[-1] if self._levels else None
        if level is not None and level.end is not None and self._next >= level.end:
            return self._end(level.end)
        raw = self._header()
        if not raw:
            return _LAST
        group, number = self._codec.unpack(raw, 0)[:2]
        if group == _SWAPPED_ITEM_GROUP and self._codec is EXPLICIT_BIG and level is not None:
            # PS3.5 6.2.2: inside UN of undefined length the encoding is implicit little endian.
            self._codec = IMPLICIT_LITTLE
            group, number = self._codec.unpack(raw, 0)[:2]
        tag = group << 16 | number
        if tag in {_ITEM_DELIMITER_TAG, _SEQUENCE_DELIMITER_TAG}:
            if level is not None:
                return self._end(self._next + SHORT_HEADER_BYTES)
            # Left over behind a sequence of defined length.
            tag, raw = _TRAILING_PADDING_TAG, bytes(LONG_HEADER_BYTES)
        return self._opened(tag, raw)

    def _header(self) -> bytes:
        """Return the header at the position, filled up with zeros; nothing at the end of the data set."""
        if not self._remaining_count:
            raise CannotUnderstandError("More elements than the node looks at")
        self._remaining_count -= 1
        raw = self._bytes(self._next, LONG_HEADER_BYTES)
        if len(raw) < LONG_HEADER_BYTES:
            if not self._levels and not raw.strip(b"\0"):
                return b""
            if len(raw) < SHORT_HEADER_BYTES:
                raise CannotUnderstandError("Data set ends inside an element header")
        return raw.ljust(LONG_HEADER_BYTES, b"\0")

    def _opened(self, tag: int, raw: bytes) -> Element:
        codec = self._codec
        vr, size = b"", SHORT_HEADER_BYTES
        if codec.is_implicit or tag == ITEM_TAG:
            length = codec.unpack_length(raw, 4)[0]
        else:
            _, _, vr, length = codec.unpack(raw, 0)
            size = HEADER_BYTES.get(vr, 0)
            if size == LONG_HEADER_BYTES:
                length = codec.unpack_length(raw, 8)[0]
            elif not size:
                vr, size, length = odd_header(codec, raw, 0)
        # UN holds what implicit little endian held (PS3.5 6.2.2).
        is_little_endian = codec.is_little_endian or vr == b"UN"
        if vr in {b"", b"UN"} and tag != ITEM_TAG:
            vr = _dictionary_vr(tag) or vr
        self._next += size
        if length == _UNDEFINED_LENGTH:
            return Element(tag, vr, None, is_little_endian)
        self._next += length
        return Element(tag, vr, length, is_little_endian)

    def _end(self, position: int) -> Element:
        self._next = position
        self._codec = self._levels.pop().outer_codec
        return _END


def _dictionary_vr(tag: int) -> bytes:
    try:
        return dictionary_VR(tag).encode("ascii")
    except KeyError:
        return b""
