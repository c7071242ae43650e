"""Text as peers send it: character sets, padding, control characters (PS3.5 6.1, 6.2)."""

import re
import unicodedata
from typing import Final

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding

TEXT_MAX_CHARACTERS: Final = 512
"""What the index keeps of a value; the stored data set keeps all of it.

Eight times what PS3.5 allows for LO; at four bytes a character an index entry of PostgreSQL still holds it.
"""

LINES_MAX_CHARACTERS: Final = 10_240
"""What the index keeps of an LT value: all that PS3.5 6.2 allows."""

DEFAULT_ENCODING: Final = "latin_1"
"""For the default repertoire: bytes beyond ASCII in it are undeclared Latin 1 more often than not."""

_UNKNOWN_ENCODING: Final = "ascii"

_ESCAPE: Final = b"\x1b"

_ESCAPE_READERS: Final = frozenset({"iso2022_jp", "iso2022_jp_2"})
"""Codecs that want to see the escape sequence; all others take the bytes behind it."""

_DELIMITERS: Final = b"\\\r\n\f\t"
_NAME_DELIMITERS: Final = b"^=" + _DELIMITERS

_NOT_ALPHANUMERIC = re.compile(r"[^A-Z0-9]")


def _squeeze(term: str) -> str:
    return _NOT_ALPHANUMERIC.sub("", term.upper())


_ENCODINGS: Final = {
    **{_squeeze(term): encoding.lower() for term, encoding in python_encoding.items()},
    "": DEFAULT_ENCODING,
    "ISOIR6": DEFAULT_ENCODING,
    "ISO2022IR6": DEFAULT_ENCODING,
    "ASCII": DEFAULT_ENCODING,
    "UTF8": "utf_8",
    "ISOIR192": "utf_8",
    "ISO2022IR192": "utf_8",
    "LATIN1": DEFAULT_ENCODING,
    "ISOIR58": "gb2312",
    "ISO2022IR58": "gb2312",
    "ISOIR87": "iso2022_jp",
    "ISOIR149": "euc_kr",
    "ISOIR159": "iso2022_jp_2",
    **{f"ISO8859{part}": f"iso8859_{part}" for part in range(1, 16) if part != 12},  # noqa: PLR2004 - no part 12
}

_CONTROLS: Final = dict.fromkeys((*range(1, 0x20), *range(0x7F, 0xA0)), 0x20) | {0: None}
_LINE_CONTROLS: Final = {code: replacement for code, replacement in _CONTROLS.items() if code not in (10, 13)}


def encodings_of(specific_character_set: bytes) -> str:
    r"""Return the Python codec of the first value of (0008,0005), the closest one where the term is wrong.

    `ISO IR 100`, `ISO_IR 100\`, `UTF8` and the like are understood; for a term that nothing resembles, bytes
    beyond ASCII become replacement characters. Further values need no looking at: the escape sequences in the
    text name their sets themselves (PS3.5 6.1.2.5).
    """
    first = specific_character_set.decode("ascii", "replace").split("\\")[0]
    return _ENCODINGS.get(_squeeze(first), _UNKNOWN_ENCODING)


def decode_text(raw: bytes, encoding: str, *, is_name: bool = False) -> str:
    """Decode `raw`, whose first character set is `encoding`; what cannot be decoded becomes U+FFFD.

    Code extension by escape sequences is followed; it ends at a delimiter (PS3.5 6.1.2.5.3), which in a
    person name includes `^` and `=`.
    """
    if _ESCAPE not in raw:
        return raw.decode(encoding, "replace")
    head, *fragments = raw.split(_ESCAPE)
    delimiters = _NAME_DELIMITERS if is_name else _DELIMITERS
    return head.decode(encoding, "replace") + "".join(
        _decode_fragment(_ESCAPE + fragment, encoding, delimiters) for fragment in fragments
    )


def _decode_fragment(fragment: bytes, first_encoding: str, delimiters: bytes) -> str:
    length = 4 if fragment[1:3] in (b"$(", b"$)") else 3
    encoding = CODES_TO_ENCODINGS.get(fragment[:length])
    if encoding is None:
        return fragment[1:].decode(first_encoding, "replace")
    if encoding in _ESCAPE_READERS:
        return fragment.decode(encoding, "replace")
    body = fragment[length:]
    # Sets of two bytes designated to G1 have their high bits set, so a delimiter is always itself here.
    end = next((at for at, byte in enumerate(body) if byte in delimiters), len(body))
    return body[:end].decode(encoding, "replace") + body[end:].decode(first_encoding, "replace")


def clean(text: str, *, keeps_lines: bool = False) -> str:
    """Return `text` in NFC without padding, NULs and control characters (PS3.5 6.2)."""
    if text.isascii() and text.isprintable():
        return text.strip(" ")
    controls = _LINE_CONTROLS if keeps_lines else _CONTROLS
    return unicodedata.normalize("NFC", text.translate(controls)).strip()


def clean_values(text: str) -> tuple[str, ...]:
    """Return the cleaned values of a backslash-separated text, none for an empty one."""
    values = tuple(clean(value) for value in text.split("\\"))
    return values if any(values) else ()


def fold(text: str) -> str:
    """Return `text` for comparison regardless of case, Latin accents and character width.

    Marks beyond the combining diacritical marks of Latin script stay: a voiced kana is another letter.
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    stripped = "".join(character for character in decomposed if not "\u0300" <= character <= "\u036f")
    return unicodedata.normalize("NFKC", stripped)
