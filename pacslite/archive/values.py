"""The values of some elements of a stored file, for people to read."""

import struct
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from pacslite.archive.compare import name_of, open_cursor
from pacslite.archive.scan.cursor import END_TAG, LAST_TAG, Cursor, Element
from pacslite.archive.scan.limits import ScanLimits
from pacslite.model.attributes import SPECIFIC_CHARACTER_SET_TAG
from pacslite.model.decoding import decode_string
from pacslite.model.elements import RawElement
from pacslite.model.errors import CannotUnderstandError, OutOfResourcesError
from pacslite.model.text import encodings_of

MAX_CHARACTERS: Final = 200
"""Of a value that are shown."""

_MAX_NUMBERS: Final = 8
_NUMBERS: Final = {
    b"US": "H",
    b"SS": "h",
    b"UL": "I",
    b"SL": "i",
    b"UV": "Q",
    b"SV": "q",
    b"FL": "f",
    b"FD": "d",
}
_TEXT_VRS: Final = frozenset(
    {b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN"}
    | {b"SH", b"ST", b"TM", b"UC", b"UI", b"UR", b"UT"}
)


def shown_values(path: Path, names: Collection[str], limits: ScanLimits) -> dict[str, str]:
    """Return top-level elements by keyword, or tag as `(gggg,eeee)`, with their values in words.

    Long values are cut, sequences and binary values told by their size. What is absent is left out; so is all
    behind the place where the file does not parse or goes beyond `limits`.

    Raises
    ------
    OSError
        The file could not be read.
    """
    values: dict[str, str] = {}
    with ExitStack() as stack:
        try:
            cursor = open_cursor(path, limits, stack)
            _collect(cursor, names, values)
        except (CannotUnderstandError, OutOfResourcesError):
            return values
    return values


def _collect(cursor: Cursor, names: Collection[str], values: dict[str, str]) -> None:
    encoding = encodings_of(b"")
    while (element := cursor.advance()).tag not in {END_TAG, LAST_TAG}:
        if element.tag == SPECIFIC_CHARACTER_SET_TAG:
            encoding = encodings_of(_beginning(cursor, element))
        name = name_of(element.tag)
        if name in names:
            values.setdefault(name, _shown(cursor, element, encoding))
        cursor.leave(element)


def _shown(cursor: Cursor, element: Element, encoding: str) -> str:
    if element.is_fragmented or element.length is None or element.is_sequence:
        return "a sequence" if element.is_sequence else "encapsulated pixel data"
    raw = _beginning(cursor, element)
    if element.vr in _TEXT_VRS:
        text = decode_string(RawElement(element.vr.decode(), raw), encoding)
        return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
    if element.vr in _NUMBERS:
        return _numbers(element, raw)
    return f"{element.length} bytes"


def _numbers(element: Element, raw: bytes) -> str:
    code = ("<" if element.is_little_endian else ">") + _NUMBERS[element.vr]
    whole = len(raw) // struct.calcsize(code)
    numbers = [
        format(number, "g") if isinstance(number, float) else str(number)
        for (number,) in struct.iter_unpack(code, raw[: whole * struct.calcsize(code)])
    ]
    return "\\".join(numbers[:_MAX_NUMBERS]) + ("…" if len(numbers) > _MAX_NUMBERS else "")


def _beginning(cursor: Cursor, element: Element) -> bytes:
    """Return the value as far as anybody looks at it."""
    return next(cursor.blocks(element), b"")[: 4 * MAX_CHARACTERS + 4]
