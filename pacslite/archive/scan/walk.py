"""One forward walk over a data set.

The walk sees every element of the top level and of undefined-length sequences; values are skipped unread
unless they are wanted. It keeps a stack instead of recursing and looks at a bounded number of elements, so
that no data set costs more than its size explains.
"""

from itertools import repeat
from typing import Final

from pacslite.archive.scan.encodings import (
    EXPLICIT_BIG,
    HEADER_BYTES,
    IMPLICIT_LITTLE,
    LONG_HEADER_BYTES,
    SHORT_HEADER_BYTES,
    Codec,
    Encoding,
    odd_header,
    recognize,
)
from pacslite.archive.scan.limits import ScanLimits
from pacslite.archive.scan.sources import WINDOW_BYTES, BeyondEndError, BeyondHeadError, Source
from pacslite.model.attributes import WANTED_TAGS
from pacslite.model.errors import CannotUnderstandError
from pacslite.model.header import RawElement

_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_DELIMITER_GROUP: Final = 0xFFFE
_DELIMITER_GROUP_SWAPPED: Final = 0xFEFF
_ITEM: Final = 0xE000
_ITEM_DELIMITER: Final = 0xE00D
_SEQUENCE_DELIMITER: Final = 0xE0DD
_PIXEL_DATA: Final = 0x7FE00010
_NOTED_TAGS: Final = WANTED_TAGS | {_PIXEL_DATA}
_AFTER_SKIP_BYTES: Final = 4096
_CUTTABLE_VRS: Final = frozenset({"LT", "ST", "UT", "UC", "UR", "LO", "SH", "PN", ""})


def _refusal(comment: str, tag: int) -> CannotUnderstandError:
    return CannotUnderstandError(comment, offending_tags=(tag,) if tag else ())


class Walk:
    """One walk over one data set.

    The stack holds the codecs to return to: at even depths the walk is among elements, at odd ones among the
    items of a sequence (or the fragments of encapsulated pixel data).
    """

    def __init__(self, source: Source, encoding: Encoding, limits: ScanLimits) -> None:
        self._source = source
        self._encoding = encoding
        self._limits = limits
        self._codec = encoding.codec
        self._stack: list[Codec] = []
        self._base = 0
        self._top_tag = 0
        self._captured: tuple[str, int, bytes] | None = None
        self.elements: dict[int, RawElement] = {}
        self.is_misdeclared = False

    def run(self) -> None:
        """Walk from the first byte to the last."""
        buffer, p, end, tag = b"", 0, -1, 0
        depth, (is_implicit, _, unpack, unpack_length) = 0, self._codec
        for _ in repeat(None, self._limits.max_element_count):
            if p > end:
                buffer = self._turn(p, len(buffer), tag)
                if not buffer:
                    return
                p, end = 0, len(buffer) - LONG_HEADER_BYTES
                is_implicit, _, unpack, unpack_length = self._codec
            vr = b""
            if is_implicit:
                group, element, length = unpack(buffer, p)
                size = SHORT_HEADER_BYTES
            else:
                group, element, vr, length = unpack(buffer, p)
                size = HEADER_BYTES.get(vr, 0)
            if depth & 1 or group == _DELIMITER_GROUP:
                p += self._delimit(buffer, p, group, element)
                depth, (is_implicit, _, unpack, unpack_length) = len(self._stack), self._codec
                continue
            if size == LONG_HEADER_BYTES:
                length = unpack_length(buffer, p + 8)[0]
            elif not size:
                vr, size, length = odd_header(self._codec, buffer, p)
            tag = group << 16 | element
            p += size
            if length == _UNDEFINED_LENGTH:
                self._descend(tag, vr, p)
                depth += 1
            elif tag in _NOTED_TAGS and not depth:
                buffer, p = self._collect(buffer, p, tag, vr, length)
                end = len(buffer) - LONG_HEADER_BYTES
            else:
                p += length
        raise _refusal("More elements than the node looks at", tag)

    def _window(self, offset: int, tag: int, need_bytes: int, most_bytes: int) -> bytes:
        try:
            return self._source.window(offset, need_bytes, most_bytes)
        except BeyondEndError:
            raise _refusal("Data set ends inside an element", self._top_tag if self._stack else tag) from None

    def _turn(self, p: int, buffered_bytes: int, tag: int) -> bytes:
        """Return a window that starts at `p` of the last one and holds a whole header; nothing at the end."""
        is_skipping = p > buffered_bytes
        self._base += p
        window = self._window(
            self._base, tag, LONG_HEADER_BYTES, _AFTER_SKIP_BYTES if is_skipping else WINDOW_BYTES
        )
        if len(window) < LONG_HEADER_BYTES:
            # Some writers pad the data set with zeros.
            if not window.strip(b"\0"):
                if self._stack:
                    raise _refusal("Data set ends inside a sequence", self._top_tag)
                return b""
            if len(window) < SHORT_HEADER_BYTES:
                raise _refusal("Data set ends inside an element header", tag)
            window = window.ljust(LONG_HEADER_BYTES, b"\0")
        if not self._base:
            codec = recognize(self._codec, window[4:6])
            self.is_misdeclared = codec is not self._codec and self._encoding.is_standard
            self._codec = codec
        return window

    def _delimit(self, buffer: bytes, p: int, group: int, element: int) -> int:
        """Follow an item or a delimiter; return the bytes to move on."""
        if len(self._stack) & 1:
            return self._follow_item(buffer, p, group, element)
        if element == _ITEM_DELIMITER and self._stack:
            self._codec = self._stack.pop()
            return SHORT_HEADER_BYTES
        if element in {_ITEM_DELIMITER, _SEQUENCE_DELIMITER} and not self._stack:
            # Left over behind a sequence of defined length.
            return SHORT_HEADER_BYTES
        raise _refusal("Misplaced item or delimiter", self._top_tag)

    def _follow_item(self, buffer: bytes, p: int, group: int, element: int) -> int:
        if group == _DELIMITER_GROUP_SWAPPED and self._codec is EXPLICIT_BIG:
            # PS3.5 6.2.2: inside UN of undefined length the encoding is implicit little endian.
            self._codec = IMPLICIT_LITTLE
            return 0
        if group == _DELIMITER_GROUP and element == _SEQUENCE_DELIMITER:
            self._ascend(p)
            return SHORT_HEADER_BYTES
        if group == _DELIMITER_GROUP and element == _ITEM:
            length: int = self._codec.unpack_length(buffer, p + 4)[0]
            if length != _UNDEFINED_LENGTH:
                return SHORT_HEADER_BYTES + length
            self._stack.append(self._codec)
            return SHORT_HEADER_BYTES
        raise _refusal("No item where a sequence must have one", self._top_tag)

    def _descend(self, tag: int, vr: bytes, p: int) -> None:
        """Enter the sequence or encapsulated pixel data whose value starts at `p`."""
        if not self._stack:
            self._top_tag = tag
            if tag == _PIXEL_DATA:
                self._note_pixel_data(is_encapsulated=True)
            elif tag in _NOTED_TAGS and tag not in self.elements:
                self._capture(vr.decode("latin-1"), p)
        elif len(self._stack) >= 2 * self._limits.max_depth:
            raise _refusal("Sequences nested deeper than the node looks", self._top_tag)
        self._stack.append(self._codec)

    def _capture(self, vr: str, p: int) -> None:
        """Hold the bytes of a wanted sequence until its end is found."""
        most_bytes = self._limits.max_value_bytes
        start = self._base + p
        try:
            value = self._window(start, self._top_tag, most_bytes, most_bytes)
        except BeyondHeadError:
            value = self._window(start, self._top_tag, 0, most_bytes)
        self._captured = vr, start, value

    def _ascend(self, p: int) -> None:
        self._codec = self._stack.pop()
        if self._captured and not self._stack:
            vr, start, value = self._captured
            self._captured = None
            length = self._base + p - start
            self._keep(self._top_tag, vr, value[:length] if length <= len(value) else b"")

    def _collect(self, buffer: bytes, p: int, tag: int, vr: bytes, length: int) -> tuple[bytes, int]:
        """Note a top-level element; return the window and the position behind the element in it."""
        if tag == _PIXEL_DATA:
            if length:
                self._note_pixel_data(is_encapsulated=False)
        elif tag not in self.elements:
            kept_bytes = min(length, self._limits.max_value_bytes)
            if p + kept_bytes > len(buffer):
                self._base += p
                buffer, p = self._window(self._base, tag, kept_bytes, WINDOW_BYTES), 0
            text_vr = vr.decode("latin-1")
            if kept_bytes < length and text_vr not in _CUTTABLE_VRS:
                kept_bytes = 0
            self._keep(tag, text_vr, buffer[p : p + kept_bytes])
        return buffer, p + length

    def _keep(self, tag: int, vr: str, value: bytes) -> None:
        codec = self._codec
        self.elements[tag] = RawElement(vr, value, codec.is_little_endian, codec.is_implicit or not vr)

    def _note_pixel_data(self, *, is_encapsulated: bool) -> None:
        if self._encoding.is_encapsulated not in {None, is_encapsulated}:
            self.is_misdeclared = True
