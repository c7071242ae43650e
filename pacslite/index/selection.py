"""Instances by exact values of a few attributes."""

import difflib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, select

from pacslite.index.files import NamedFile
from pacslite.index.reader import IndexReader
from pacslite.index.rows import EVERY_LEVEL, FILE_COLUMNS
from pacslite.index.tables import TABLES, instance, patient, series, study
from pacslite.model.attributes import ATTRIBUTES, Attribute, Kind, Level, Source
from pacslite.model.instances import InstanceKey, StoredFile
from pacslite.model.text import clean
from pacslite.model.uids import is_tolerable_uid

KEYWORDS: Final = (
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "AccessionNumber",
    "Modality",
    "StudyDate",
)
"""What instances are selected by; matching as C-FIND has it is another matter."""

DESCRIBING: Final[Mapping[str, Attribute]] = {
    attribute.keyword: attribute
    for attribute in ATTRIBUTES
    if attribute.source is Source.HEADER and attribute.kind is not Kind.SEQUENCE
}
"""What a selected instance is described by, by keyword."""

_PAGE_ROWS: Final = 500
_DATE_CHARACTERS: Final = 8

Selection = Mapping[str, Sequence[str]]
"""Values by keyword: any of those of one keyword, and all keywords."""


@dataclass(frozen=True, slots=True)
class SelectedInstance:
    """An instance that the archive has a file of.

    Parameters
    ----------
    named
        Its file.
    entities
        Primary keys of its patient, study, series and of itself.
    values
        Of the attributes in `DESCRIBING`, by keyword; None where it has none.
    """

    named: NamedFile
    entities: Mapping[Level, int]
    values: Mapping[str, str | int | None]


def parse_selection(conditions: Sequence[str]) -> dict[str, list[str]]:
    """Return the selection that texts such as `PatientID=4711` say.

    Raises
    ------
    ValueError
        A keyword cannot be selected by, or a value cannot be one of its attribute; the text says what can.
    """
    selection: dict[str, list[str]] = {}
    for condition in conditions:
        keyword, separator, text = condition.partition("=")
        if keyword not in KEYWORDS:
            raise ValueError(_unknown(keyword))
        value = clean(text)
        if not separator or not value:
            raise ValueError(f"{keyword} needs a value: {keyword}=VALUE")
        selection.setdefault(keyword, []).append(_checked(keyword, value))
    return selection


def select_instances(reader: IndexReader, selection: Selection) -> tuple[int, Iterator[SelectedInstance]]:
    """Return how many instances with a file are selected, and them, by patient, study, series and number.

    Those that are deleted before their turn comes are left out.
    """
    keys = reader.read(lambda connection: array("q", connection.scalars(_keys(selection))))
    return len(keys), _instances(reader, keys)


def _keys(selection: Selection) -> Select[Any]:
    found = select(instance.c.pk).select_from(EVERY_LEVEL).where(instance.c.path.is_not(None))
    for keyword, values in selection.items():
        attribute = DESCRIBING[keyword]
        found = found.where(TABLES[attribute.level].c[attribute.column].in_(values))
    return found.order_by(patient.c.pk, study.c.pk, series.c.pk, instance.c.instance_number, instance.c.pk)


def _instances(reader: IndexReader, keys: "array[int]") -> Iterator[SelectedInstance]:
    for start in range(0, len(keys), _PAGE_ROWS):
        page = keys[start : start + _PAGE_ROWS]
        rows = {row.instance_pk: row for row in reader.read(_reading(page))}
        yield from (_selected(rows[key]) for key in page if key in rows)


_COLUMNS: Final = (
    *FILE_COLUMNS,
    *(table.c.pk.label(f"{name}_pk") for name, table in (("patient", patient), ("study", study))),
    *(table.c.pk.label(f"{name}_pk") for name, table in (("series", series), ("instance", instance))),
    *(
        TABLES[attribute.level].c[attribute.column].label(keyword)
        for keyword, attribute in DESCRIBING.items()
    ),
)


def _reading(page: "array[int]") -> Callable[[Connection], Sequence[Row[Any]]]:
    found = (
        select(*_COLUMNS)
        .select_from(EVERY_LEVEL)
        .where(instance.c.pk.in_(page.tolist()), instance.c.path.is_not(None))
    )
    return lambda connection: connection.execute(found).all()


def _selected(row: Row[Any]) -> SelectedInstance:
    key = InstanceKey(row.SOPClassUID, row.SOPInstanceUID, row.transfer_syntax_uid)
    file = StoredFile(row.path, row.file_bytes, row.data_set_offset, row.digest)
    entities = {
        Level.PATIENT: row.patient_pk,
        Level.STUDY: row.study_pk,
        Level.SERIES: row.series_pk,
        Level.INSTANCE: row.instance_pk,
    }
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return SelectedInstance(
        NamedFile(key, file), entities, {keyword: values[keyword] for keyword in DESCRIBING}
    )


def _checked(keyword: str, value: str) -> str:
    kind = DESCRIBING[keyword].kind
    if kind is Kind.UID and not is_tolerable_uid(value):
        raise ValueError(f"{keyword} is a UID, digits and dots, and {value!r} is none")
    if kind is Kind.DATE and not (len(value) == _DATE_CHARACTERS and value.isascii() and value.isdigit()):
        raise ValueError(f"{keyword} is one day, as YYYYMMDD, and {value!r} is none")
    return value


def _unknown(keyword: str) -> str:
    nearest = difflib.get_close_matches(keyword, KEYWORDS, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"instances are not selected by {keyword!r}, but by {', '.join(KEYWORDS)}{hint}"
