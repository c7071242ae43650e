"""Whether the index agrees with itself: counters, collected values, and the database below it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Row, RowMapping, bindparam, func, or_, select

from pacslite.index import sqlite
from pacslite.index.reader import IndexReader
from pacslite.index.rows import ONLINE, UNAVAILABLE
from pacslite.index.tables import instance, patient, series, study
from pacslite.index.tallies import join

_PAGE_STUDIES: Final = 500
_KEYS: Final[Any] = bindparam("keys", expanding=True)
_SERIES: Final = (
    select(
        series.c.study_pk,
        series.c.series_instance_uid,
        series.c.modality,
        series.c.number_of_series_related_instances.label("kept"),
        func.count(instance.c.pk).label("found"),
    )
    .join_from(series, instance, isouter=True)
    .where(series.c.study_pk.in_(_KEYS))
    .group_by(series.c.pk)
)
_SOP_CLASSES: Final = (
    select(series.c.study_pk, instance.c.sop_class_uid)
    .join_from(series, instance)
    .where(series.c.study_pk.in_(_KEYS))
    .distinct()
)
_MISSTATED: Final = select(instance.c.sop_instance_uid).where(
    or_(
        (instance.c.path.is_(None)) & (instance.c.availability != UNAVAILABLE),
        (instance.c.path.is_not(None)) & (instance.c.availability != ONLINE),
    )
)
_CHILDLESS: Final = (
    select(func.count())
    .select_from(patient)
    .where(~select(study.c.pk).where(study.c.patient_pk == patient.c.pk).exists())
)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Something that cannot be so.

    Parameters
    ----------
    what
        Never with values of patients.
    study_pk
        Of the study that contradicts itself: a second look may find it whole again.
    """

    what: str
    study_pk: int | None = None


def complaints_of(reader: IndexReader) -> list[str]:
    """Return what the database itself finds wrong; PostgreSQL is not asked."""
    return reader.read(_complaints)


def contradictions(reader: IndexReader) -> Iterator[Contradiction]:
    """Yield what contradicts itself in the index, study by study in short transactions."""
    after: int | None = 0
    while after is not None:
        found, after = reader.read(partial(_studies_after, after=after))
        yield from found
    for uid in reader.read(lambda connection: connection.scalars(_MISSTATED).all()):
        yield Contradiction(f"instance {uid} has a file and is unavailable, or has none and is not")
    childless = reader.read(lambda connection: connection.execute(_CHILDLESS).scalar_one())
    if childless:
        yield Contradiction(f"{childless} patients have no study")


def contradictions_of(reader: IndexReader, study_pk: int) -> list[Contradiction]:
    """Return what contradicts itself in one study now."""
    found = select(study).where(study.c.pk == study_pk)
    return reader.read(lambda connection: _of_studies(connection, connection.execute(found).mappings().all()))


def _complaints(connection: Connection) -> list[str]:
    if connection.dialect.name != sqlite.DIALECT:
        return []
    return sqlite.complaints(connection)


def _studies_after(connection: Connection, after: int) -> tuple[list[Contradiction], int | None]:
    page = select(study).where(study.c.pk > after).order_by(study.c.pk).limit(_PAGE_STUDIES)
    rows = connection.execute(page).mappings().all()
    return _of_studies(connection, rows), rows[-1]["pk"] if rows else None


def _of_studies(connection: Connection, rows: Sequence[RowMapping]) -> list[Contradiction]:
    keys = {"keys": [row["pk"] for row in rows]}
    below: dict[int, list[Row[Any]]] = defaultdict(list)
    for each in connection.execute(_SERIES, keys):
        below[each.study_pk].append(each)
    sop_classes: dict[int, set[str]] = defaultdict(set)
    for pk, uid in connection.execute(_SOP_CLASSES, keys):
        sop_classes[pk].add(uid)
    return [
        Contradiction(what, row["pk"])
        for row in rows
        for what in _of_study(row, below[row["pk"]], sop_classes[row["pk"]])
    ]


def _of_study(row: RowMapping, below: Sequence[Row[Any]], sop_classes: set[str]) -> Iterator[str]:
    right = {
        "number_of_study_related_series": len(below),
        "number_of_study_related_instances": sum(each.found for each in below),
        "modalities_in_study": join({each.modality for each in below if each.modality}),
        "sop_classes_in_study": join(sop_classes),
    }
    for column, value in right.items():
        if row[column] != value:
            yield f"study {row['study_instance_uid']}: {column} is wrong"
    for each in below:
        if not each.found:
            yield f"series {each.series_instance_uid} has no instance"
        elif each.kept != each.found:
            yield f"series {each.series_instance_uid}: number_of_series_related_instances is wrong"
    if not below:
        yield f"study {row['study_instance_uid']} has no series"
