"""Whether two files hold the same instance: by their element values, not by their bytes."""

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

from pydicom.datadict import keyword_for_tag

from pacslite.archive.scan.cursor import END_TAG, ITEM_TAG, LAST_TAG, Cursor, Element
from pacslite.archive.scan.encodings import encoding_of
from pacslite.archive.scan.limits import ScanLimits
from pacslite.archive.scan.sources import ByteSource, InflatedSource, Source, file_reader
from pacslite.model.errors import CannotUnderstandError, OutOfResourcesError
from pacslite.storage.part10 import read_part10_head

MAX_DIFFERING: Final = 100
"""How many differing elements are named."""

_TEXT_VRS: Final = frozenset(
    {b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN"}
    | {b"SH", b"ST", b"TM", b"UC", b"UI", b"UR", b"UT"}
)
_PADDING: Final = b"\0 "
_WORDS: Final = {
    **dict.fromkeys((b"AT", b"OW", b"SS", b"US", b"US or SS", b"OB or OW"), "H"),
    **dict.fromkeys((b"FL", b"OF", b"OL", b"SL", b"UL"), "I"),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), "Q"),
}
"""Array type codes of the words that a byte order turns round (PS3.5 7.3)."""


class ContentComparison(NamedTuple):
    """What `compare_contents` found.

    Parameters
    ----------
    differing
        Keywords, or tags as `(gggg,eeee)`, of top-level elements that differ, at most `MAX_DIFFERING`. Empty
        also where the contents are not the same because a file does not parse.
    """

    is_same: bool
    differing: tuple[str, ...]


def compare_contents(a: Path, b: Path, limits: ScanLimits) -> ContentComparison:
    """Compare the element values of two Part 10 files, whatever their encodings.

    Implicit and explicit VR, byte order, deflation, defined and undefined lengths, group lengths, trailing
    padding and the padding of text make no difference; encapsulated pixel data are compared fragment by
    fragment. Reads both files once, forward, and holds a few blocks of 64 KiB.

    Parameters
    ----------
    limits
        Files beyond them are not the same.

    Raises
    ------
    OSError
        A file could not be read.
    """
    with ExitStack() as stack:
        try:
            comparer = _Comparer(open_cursor(a, limits, stack), open_cursor(b, limits, stack))
            comparer.run()
        except (CannotUnderstandError, OutOfResourcesError):
            return ContentComparison(is_same=False, differing=())
    return ContentComparison(not comparer.differing, tuple(comparer.differing))


def name_of(tag: int) -> str:
    """Return the keyword of an element, or its tag as `(gggg,eeee)`."""
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def open_cursor(path: Path, limits: ScanLimits, stack: ExitStack) -> Cursor:
    """Open the data set of a Part 10 file until `stack` is closed.

    Raises
    ------
    CannotUnderstandError, OutOfResourcesError
        It is none, or begins beyond the limits.
    OSError
        It could not be read.
    """
    file = stack.enter_context(path.open("rb", buffering=0))
    head = read_part10_head(file.fileno())
    data_set_bytes = path.stat().st_size - head.data_set_offset
    encoding = encoding_of(head.key.transfer_syntax_uid)
    source: Source = ByteSource(b"", data_set_bytes, file_reader(file.fileno(), head.data_set_offset))
    if encoding.is_deflated:
        source = InflatedSource(source, limits.max_inflated_bytes)
    return Cursor(source, encoding.codec, limits.max_element_count)


class _Comparer:
    """Leads two cursors through their data sets side by side."""

    def __init__(self, a: Cursor, b: Cursor) -> None:
        self._a = a
        self._b = b
        self._top_tag = 0
        self._is_in_fragments = False
        self.differing: dict[str, None] = {}

    def run(self) -> None:
        """Go through to the end, or until enough differences are known."""
        a, b = self._a.advance(), self._b.advance()
        while not (a.tag == b.tag == LAST_TAG) and len(self.differing) < MAX_DIFFERING:
            if a.tag == b.tag:
                if a.tag != END_TAG:
                    self._compare(a, b)
                a, b = self._a.advance(), self._b.advance()
            elif self._a.depth or self._b.depth or END_TAG in {a.tag, b.tag}:
                self._note(self._top_tag)
                a, b = _climb(self._a, a), _climb(self._b, b)
            elif a.tag < b.tag:
                self._note(a.tag)
                a = _climb(self._a, a)
            else:
                self._note(b.tag)
                b = _climb(self._b, b)

    def _compare(self, a: Element, b: Element) -> None:
        """Compare two elements, or two items, of the same tag; go into what is nested."""
        if not self._a.depth:
            self._top_tag = a.tag
            self._is_in_fragments = a.is_fragmented
        is_nested = a.is_sequence or b.is_sequence or a.is_fragmented
        if a.tag == ITEM_TAG:
            is_nested = not self._is_in_fragments
        if is_nested and (a.tag == ITEM_TAG or _are_alike(a, b)):
            self._a.enter(a)
            self._b.enter(b)
        elif is_nested or a.is_fragmented != b.is_fragmented or not self._is_same_value(a, b):
            self._note(self._top_tag)
            self._a.leave(a)
            self._b.leave(b)

    def _is_same_value(self, a: Element, b: Element) -> bool:
        is_text = a.vr in _TEXT_VRS or b.vr in _TEXT_VRS
        for left, right in zip_longest(_words(self._a, a), _words(self._b, b), fillvalue=b""):
            if left == right:
                continue
            if not is_text or left.rstrip(_PADDING) != right.rstrip(_PADDING):
                return False
        return True

    def _note(self, tag: int) -> None:
        self.differing[name_of(tag)] = None


def _are_alike(a: Element, b: Element) -> bool:
    """Whether both can be sequences, or both encapsulated pixel data; an unknown VR may hide a sequence."""
    if a.is_fragmented or b.is_fragmented:
        return a.is_fragmented and b.is_fragmented
    return all(element.is_sequence or element.vr in {b"", b"UN"} for element in (a, b))


def _climb(cursor: Cursor, element: Element) -> Element:
    """Return the next top-level element behind the one that `element` is or belongs to."""
    cursor.leave(element)
    cursor.climb(0)
    return cursor.advance()


def _words(cursor: Cursor, element: Element) -> Iterator[bytes]:
    """Yield the value in blocks, in little endian."""
    type_code = None if element.is_little_endian else _WORDS.get(element.vr)
    for block in cursor.blocks(element):
        if type_code is None or len(block) % array(type_code).itemsize:
            yield block
        else:
            words = array(type_code, block)
            words.byteswap()
            yield words.tobytes()
