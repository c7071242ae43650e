"""From the raw value of an attribute to what the index keeps of it: tolerant, and never by raising."""

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pacslite.model.attributes import SPECIFIC_CHARACTER_SET_TAG, Attribute, Kind
from pacslite.model.dates import parse_date, parse_date_time, parse_time
from pacslite.model.elements import RawElement, sequence_items
from pacslite.model.names import fold_groups, normalize_names
from pacslite.model.text import (
    LINES_MAX_CHARACTERS,
    TEXT_MAX_CHARACTERS,
    clean,
    clean_values,
    decode_text,
    encodings_of,
)
from pacslite.model.uids import MAX_UID_LENGTH, strip_uid

ColumnValue = str | int | float | None
"""What an index column holds; None stands for an empty or absent value, and for one that is no such value."""

_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_MAX_INTEGER: Final = 2**63 - 1
_UNSIGNED_FORMATS: Final = {2: "H", 4: "I"}


@dataclass(frozen=True, slots=True)
class Context:
    """What the decoding of a value depends on.

    Parameters
    ----------
    encoding
        The Python codec of the data set's first character set.
    timezone_offset
        Timezone Offset From UTC, if known.
    """

    encoding: str
    timezone_offset: timedelta | None = None


Decoder = Callable[[Attribute, RawElement, Context], tuple[ColumnValue, ...]]


def decode(attribute: Attribute, raw: RawElement, context: Context) -> tuple[ColumnValue, ...]:
    """Return the values of `attribute.column` and its `match_columns`, in that order."""
    return _DECODERS[attribute.kind](attribute, raw, context)


def decode_string(raw: RawElement, encoding: str) -> str:
    """Return the cleaned values of a string element, joined by backslashes."""
    return "\\".join(clean_values(decode_text(raw.value, encoding)))


def _first(raw: RawElement) -> str:
    """Return the first value of an element whose values are ASCII by their VR."""
    return clean(raw.value.split(b"\\", 1)[0].decode("ascii", "replace"))


def _shorten(text: str) -> str | None:
    return text[:TEXT_MAX_CHARACTERS] or None


def _text(_: Attribute, raw: RawElement, context: Context) -> tuple[ColumnValue, ...]:
    return (_shorten(decode_string(raw, context.encoding)),)


def _lines(_: Attribute, raw: RawElement, context: Context) -> tuple[ColumnValue, ...]:
    text = clean(decode_text(raw.value, context.encoding), keeps_lines=True)
    return (text[:LINES_MAX_CHARACTERS] or None,)


def _name(attribute: Attribute, raw: RawElement, context: Context) -> tuple[ColumnValue, ...]:
    names = normalize_names(decode_text(raw.value, context.encoding, is_name=True))
    display = _shorten("\\".join(names))
    if len(attribute.match_columns) == 1:
        folded = ("=".join(fold_groups(name)).rstrip("=") for name in names)
        return (display, _shorten("\\".join(folded)))
    groups = fold_groups(names[0]) if names else ("", "", "")
    return (display, *(_shorten(group) for group in groups))


def _date(_: Attribute, raw: RawElement, __: Context) -> tuple[ColumnValue, ...]:
    return (parse_date(_first(raw)),)


def _time(_: Attribute, raw: RawElement, __: Context) -> tuple[ColumnValue, ...]:
    text = _first(raw)
    interval = parse_time(text)
    return (_shorten(text), None if interval is None else interval.start)


def _date_time(_: Attribute, raw: RawElement, context: Context) -> tuple[ColumnValue, ...]:
    text = _first(raw)
    interval = parse_date_time(text, context.timezone_offset)
    return (_shorten(text), None if interval is None else interval.start)


def _integer(_: Attribute, raw: RawElement, __: Context) -> tuple[ColumnValue, ...]:
    text = _first(raw)
    number = int(text) if _INTEGER.fullmatch(text) else None
    return (number if number is not None and abs(number) <= _MAX_INTEGER else None,)


def _decimal(_: Attribute, raw: RawElement, __: Context) -> tuple[ColumnValue, ...]:
    text = _first(raw)
    number = float(text) if _DECIMAL.fullmatch(text) else math.nan
    return (_shorten(text), number if math.isfinite(number) else None)


def _unsigned(_: Attribute, raw: RawElement, __: Context) -> tuple[ColumnValue, ...]:
    kind = _UNSIGNED_FORMATS.get(len(raw.value))
    if kind is None:
        return (None,)
    return struct.unpack(("<" if raw.is_little_endian else ">") + kind, raw.value)


def _uid(_: Attribute, raw: RawElement, __: Context) -> tuple[ColumnValue, ...]:
    return (clean(strip_uid(raw.value))[:MAX_UID_LENGTH] or None,)


def _sequence(attribute: Attribute, raw: RawElement, context: Context) -> tuple[ColumnValue, ...]:
    items = [_item(attribute, elements, context) for elements in sequence_items(raw)]
    return (json.dumps(items, ensure_ascii=False) if any(items) else None,)


def _item(
    attribute: Attribute, elements: Mapping[int, RawElement], context: Context
) -> dict[str, ColumnValue]:
    charset = elements.get(SPECIFIC_CHARACTER_SET_TAG)
    if charset is not None:
        context = Context(encodings_of(charset.value), context.timezone_offset)
    values: dict[str, ColumnValue] = {}
    for member in attribute.items:
        raw = elements.get(member.tag)
        value = None if raw is None else decode(member, raw, context)[0]
        if value is not None:
            values[member.keyword] = value
    return values


_DECODERS: Final[dict[Kind, Decoder]] = {
    Kind.TEXT: _text,
    Kind.LINES: _lines,
    Kind.CODE: _text,
    Kind.NAME: _name,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.DATE_TIME: _date_time,
    Kind.INTEGER: _integer,
    Kind.DECIMAL: _decimal,
    Kind.UNSIGNED: _unsigned,
    Kind.UID: _uid,
    Kind.SEQUENCE: _sequence,
}
