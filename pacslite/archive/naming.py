"""Readable names for exported files: from a template, of safe characters only, and no name twice."""

import difflib
import re
import string
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pacslite.index.selection import DESCRIBING, SelectedInstance
from pacslite.model.attributes import Kind, Level

DEFAULT_TEMPLATE: Final = (
    "{PatientID}/{StudyDate} {StudyDescription}/{SeriesNumber} {SeriesDescription}/{InstanceNumber}"
)
SUFFIX: Final = ".dcm"
MAX_NAME_BYTES: Final = 120
"""Of one folder's or file's name, in UTF-8: file systems take 255, and some encrypted ones 143."""

UNKNOWN: Final = "unknown"

_SAFE: Final = frozenset(" -_.,()")
_SAFE_CATEGORIES: Final = frozenset("LMN")
_SPACES: Final = re.compile(r" {2,}")
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_WIDTH: Final = re.compile(r"0[1-9]")
_DEPTH: Final = tuple(Level)


@dataclass(frozen=True, slots=True)
class _Component:
    """One folder of a path, or its file: text and keywords (with a width for numbers) by turns."""

    pieces: tuple[tuple[str, str | None, int], ...]
    level: Level | None

    def render(self, values: Mapping[str, str | int | None]) -> str:
        """Return the name, safe to use."""
        text = ""
        for literal, keyword, width in self.pieces:
            text += literal
            if keyword is not None:
                value = values[keyword]
                text += "" if value is None else str(value).zfill(width)
        return safe_name(text)


class Namer:
    """Gives each instance a path of its own.

    Two patients, studies or series that a template gives one name are kept apart by numbers, and so are
    instances. Names that differ in case only count as equal, for file systems that do not tell them apart.

    Parameters
    ----------
    template
        Components separated by slashes, with keywords in braces; `{InstanceNumber:04}` pads with zeros.

    Raises
    ------
    ValueError
        A keyword is unknown, or the template is no path; the text says what would do.
    """

    def __init__(self, template: str) -> None:
        self._components = [_component(part) for part in template.split("/")]
        self._folders: dict[tuple[tuple[str, ...], str], int] = {}
        self._files: set[int] = set()

    def path(self, selected: SelectedInstance) -> tuple[str, ...]:
        """Return the names of the folders and of the file of an instance that is asked for once."""
        path: tuple[str, ...] = ()
        for component in self._components[:-1]:
            name = component.render(selected.values)
            if component.level is not None:
                name = self._folder(path, name, selected.entities[component.level])
            path = (*path, name)
        return (*path, self._file(path, self._components[-1].render(selected.values)))

    def _folder(self, parent: tuple[str, ...], name: str, entity: int) -> str:
        number = 1
        while True:
            candidate = _numbered(name, number)
            if self._folders.setdefault((parent, candidate.casefold()), entity) == entity:
                return candidate
            number += 1

    def _file(self, parent: tuple[str, ...], name: str) -> str:
        number = 1
        while True:
            candidate = _numbered(name, number) + SUFFIX
            # a hash in place of the path: should two ever be equal, a file has a number that it did not need
            key = hash((parent, candidate.casefold()))
            if key not in self._files:
                self._files.add(key)
                return candidate
            number += 1


def safe_name(text: str) -> str:
    """Return `text` as the name of a file on any usual file system, never empty.

    Letters, digits and a few signs stay; everything else, slashes and controls too, becomes an underscore,
    and the carets of person names become spaces.
    """
    normal = unicodedata.normalize("NFC", text).replace("^", " ")
    safe = "".join(character if _is_safe(character) else "_" for character in normal)
    name = _SPACES.sub(" ", safe).strip(" .").lstrip("-")
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip(" .")
    if _RESERVED.fullmatch(name):
        return f"_{name}"
    return name or UNKNOWN


def _is_safe(character: str) -> bool:
    return character in _SAFE or unicodedata.category(character)[0] in _SAFE_CATEGORIES


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"


def _component(text: str) -> _Component:
    if not text.strip():
        raise ValueError("the template has an empty name between two slashes, or at an end")
    pieces: list[tuple[str, str | None, int]] = []
    levels = []
    for literal, keyword, width, conversion in string.Formatter().parse(text):
        if keyword is None:
            pieces.append((literal, None, 0))
            continue
        if conversion or (width and not _WIDTH.fullmatch(width)):
            raise ValueError(f"the template pads numbers as {{{keyword}:04}}, and knows no other form")
        if keyword not in DESCRIBING:
            raise ValueError(_unknown(keyword))
        levels.append(DESCRIBING[keyword].level)
        is_number = DESCRIBING[keyword].kind is Kind.INTEGER
        pieces.append((literal, keyword, int(width or 0) if is_number else 0))
    return _Component(tuple(pieces), max(levels, key=_DEPTH.index, default=None))


def _unknown(keyword: str) -> str:
    nearest = difflib.get_close_matches(keyword, DESCRIBING, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ", such as StudyDate"
    return f"the template's {{{keyword}}} is no keyword that the index keeps{hint}"
