"""The header of a data set: raw elements, decoded on demand and never by raising."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import xxhash

from pacslite.model.attributes import HEADER_ATTRIBUTES, SPECIFIC_CHARACTER_SET_TAG, Level
from pacslite.model.dates import parse_offset
from pacslite.model.decoding import ColumnValue, Context, decode, decode_string
from pacslite.model.elements import RawElement
from pacslite.model.text import encodings_of
from pacslite.model.uids import strip_uid

__all__ = ["ColumnValue", "InstanceHeader", "RawElement"]

_SOP_CLASS_UID: Final = 0x0008_0016
_SOP_INSTANCE_UID: Final = 0x0008_0018
_TIMEZONE_OFFSET: Final = 0x0008_0201
_PATIENT_ID: Final = 0x0010_0020
_ISSUER_OF_PATIENT_ID: Final = 0x0010_0021
_STUDY_INSTANCE_UID: Final = 0x0020_000D
_SERIES_INSTANCE_UID: Final = 0x0020_000E

_PLANS: Final = {
    level: tuple(
        (attribute.tag, attribute, (attribute.column, *attribute.match_columns)) for attribute in attributes
    )
    for level, attributes in HEADER_ATTRIBUTES.items()
}
_EMPTY: Final[dict[Level, dict[str, ColumnValue]]] = {
    level: dict.fromkeys(column for _, _, columns in plan for column in columns)
    for level, plan in _PLANS.items()
}
_FINGERPRINTED_TAGS: Final = {
    level: (SPECIFIC_CHARACTER_SET_TAG, *(tag for tag, _, _ in plan)) for level, plan in _PLANS.items()
}


@dataclass(frozen=True)
class InstanceHeader:
    """What the index wants to know of a data set.

    Parameters
    ----------
    elements
        The elements of `WANTED_TAGS` that the data set has at its top level, by tag.
    transfer_syntax_uid
        The one that the data set was received in.
    is_misdeclared
        Whether pixel data contradicts the transfer syntax: encapsulated under a native one or the reverse.
    """

    elements: Mapping[int, RawElement]
    transfer_syntax_uid: str
    is_misdeclared: bool = False

    @cached_property
    def sop_class_uid(self) -> str:
        """SOP Class UID without padding; empty if absent."""
        return self._uid(_SOP_CLASS_UID)

    @cached_property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID without padding; empty if absent."""
        return self._uid(_SOP_INSTANCE_UID)

    @cached_property
    def study_instance_uid(self) -> str:
        """Study Instance UID without padding; empty if absent."""
        return self._uid(_STUDY_INSTANCE_UID)

    @cached_property
    def series_instance_uid(self) -> str:
        """Series Instance UID without padding; empty if absent."""
        return self._uid(_SERIES_INSTANCE_UID)

    @cached_property
    def patient_id(self) -> str:
        """Patient ID, cleaned but not truncated; empty if unknown."""
        return self._string(_PATIENT_ID)

    @cached_property
    def issuer_of_patient_id(self) -> str:
        """Issuer of Patient ID, cleaned but not truncated; empty if unknown."""
        return self._string(_ISSUER_OF_PATIENT_ID)

    def values(self, level: Level) -> dict[str, ColumnValue]:
        """Return the value of every index column that `level` fills from the data set."""
        columns = _EMPTY[level].copy()
        context = self._context
        for tag, attribute, names in _PLANS[level]:
            raw = self.elements.get(tag)
            if raw is not None and raw.value:
                columns.update(zip(names, decode(attribute, raw, context), strict=True))
        return columns

    def fingerprint(self, level: Level) -> bytes:
        """Return a digest of the raw values of `level`: equal digests mean equal columns."""
        return xxhash.xxh3_128_digest(b"".join(self._raw_values(level)))

    def _raw_values(self, level: Level) -> Iterator[bytes]:
        yield self.transfer_syntax_uid.encode("utf-8", "replace")
        for tag in _FINGERPRINTED_TAGS[level]:
            raw = self.elements.get(tag)
            yield b"-" if raw is None else b"%d:%b" % (len(raw.value), raw.value)

    @cached_property
    def _encoding(self) -> str:
        charset = self.elements.get(SPECIFIC_CHARACTER_SET_TAG)
        return encodings_of(b"" if charset is None else charset.value)

    @cached_property
    def _context(self) -> Context:
        return Context(self._encoding, parse_offset(self._string(_TIMEZONE_OFFSET)))

    def _uid(self, tag: int) -> str:
        raw = self.elements.get(tag)
        return "" if raw is None else strip_uid(raw.value)

    def _string(self, tag: int) -> str:
        raw = self.elements.get(tag)
        return "" if raw is None else decode_string(raw, self._encoding)
