"""What the index says of files, page by page, for whoever compares it with them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Select, Table, bindparam, func, select

from pacslite.index.reader import IndexReader
from pacslite.index.tables import TABLES, conflict, discrepancy, instance, receipt
from pacslite.model.attributes import Level
from pacslite.model.instances import InstanceKey, StoredFile

PAGE_ROWS: Final = 500
"""Of one short transaction."""

_KEYS: Final[Any] = bindparam("keys", expanding=True)
_ABOVE: Final = ((Level.SERIES, "series_pk"), (Level.STUDY, "study_pk"), (Level.PATIENT, "patient_pk"))
_INSTANCES: Final = select(instance).where(instance.c.path.is_not(None))
_CONFLICTS: Final = (
    select(conflict, instance.c.sop_instance_uid, receipt.c.calling_ae_title)
    .join_from(conflict, instance)
    .join(receipt, receipt.c.pk == conflict.c.receipt_pk)
)
_TOLD: Final = select(discrepancy.c.entity_pk, discrepancy.c.keyword).where(
    discrepancy.c.level == bindparam("at"), discrepancy.c.entity_pk.in_(_KEYS)
)


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a row names, and what the index says of it.

    Parameters
    ----------
    key, file
        What it is and where it lies.
    study_instance_uid, series_instance_uid
        Where it belongs by its own words; None for the archive's version: the rows above it tell.
    received_at
        When it came; None for a version that is kept aside.
    calling_ae_title
        From whom; empty for a file that this software did not write.
    rows
        For the archive's version its own row and those above it, by level.
    told
        Keywords of attributes that are on record as said differently by instances of these rows.
    """

    key: InstanceKey
    file: StoredFile
    study_instance_uid: str | None
    series_instance_uid: str | None
    received_at: datetime | None
    calling_ae_title: str
    rows: Mapping[Level, RowMapping]
    told: frozenset[str]


def count_named_files(connection: Connection) -> int:
    """Return how many files rows name."""
    instances = select(func.count(instance.c.path)).scalar_subquery()
    conflicts = select(func.count()).select_from(conflict).scalar_subquery()
    return int(connection.execute(select(instances + conflicts)).scalar_one())


def named_files(reader: IndexReader) -> Iterator[NamedFile]:
    """Yield every file that an instance or a conflict names, each page as of one moment."""
    for find in (_instances_after, _conflicts_after):
        last: int | None = 0
        while last is not None:
            found, last = reader.read(partial(find, after=last))
            yield from found


def named_file(connection: Connection, path: str) -> NamedFile | None:
    """Return what the index says of a file now; None when no row names it."""
    by_path = {"path": path}
    rows = (
        connection.execute(_INSTANCES.where(instance.c.path == bindparam("path")), by_path).mappings().all()
    )
    if rows:
        return _of_instances(connection, rows)[0]
    aside = (
        connection.execute(_CONFLICTS.where(conflict.c.path == bindparam("path")), by_path).mappings().all()
    )
    return _of_conflict(aside[0]) if aside else None


def _instances_after(connection: Connection, after: int) -> tuple[list[NamedFile], int | None]:
    rows = _page(connection, _INSTANCES, instance, after)
    return _of_instances(connection, rows), rows[-1]["pk"] if rows else None


def _conflicts_after(connection: Connection, after: int) -> tuple[list[NamedFile], int | None]:
    rows = _page(connection, _CONFLICTS, conflict, after)
    return [_of_conflict(row) for row in rows], rows[-1]["pk"] if rows else None


def _page(connection: Connection, found: Select[Any], table: Table, after: int) -> Sequence[RowMapping]:
    page = found.where(table.c.pk > after).order_by(table.c.pk).limit(PAGE_ROWS)
    return connection.execute(page).mappings().all()


def _of_instances(connection: Connection, rows: Sequence[RowMapping]) -> list[NamedFile]:
    above: dict[Level, dict[int, RowMapping]] = {}
    told: dict[Level, dict[int, set[str]]] = {}
    below: Sequence[RowMapping] = rows
    for level, reference in _ABOVE:
        keys = sorted({row[reference] for row in below})
        table = TABLES[level]
        below = (
            connection.execute(select(table).where(table.c.pk.in_(_KEYS)), {"keys": keys}).mappings().all()
        )
        above[level] = {row["pk"]: row for row in below}
        told[level] = defaultdict(set)
        for pk, keyword in connection.execute(_TOLD, {"at": level.value, "keys": keys}):
            told[level][pk].add(keyword)
    return [_of_instance(row, above, told) for row in rows]


def _of_instance(
    row: RowMapping,
    above: Mapping[Level, Mapping[int, RowMapping]],
    told: Mapping[Level, Mapping[int, set[str]]],
) -> NamedFile:
    rows, keywords, below = {Level.INSTANCE: row}, set(), row
    for level, reference in _ABOVE:
        below = above[level][below[reference]]
        rows[level] = below
        keywords |= told[level].get(below["pk"], set())
    return NamedFile(
        key=InstanceKey(row["sop_class_uid"], row["sop_instance_uid"], row["transfer_syntax_uid"]),
        file=_file(row),
        study_instance_uid=None,
        series_instance_uid=None,
        received_at=row["received_at"],
        calling_ae_title=row["calling_ae_title"],
        rows=rows,
        told=frozenset(keywords),
    )


def _of_conflict(row: RowMapping) -> NamedFile:
    return NamedFile(
        key=InstanceKey(row["sop_class_uid"], row["sop_instance_uid"], row["transfer_syntax_uid"]),
        file=_file(row),
        study_instance_uid=row["study_instance_uid"],
        series_instance_uid=row["series_instance_uid"],
        received_at=None,
        calling_ae_title=row["calling_ae_title"],
        rows={},
        told=frozenset(),
    )


def _file(row: RowMapping) -> StoredFile:
    return StoredFile(row["path"], row["file_bytes"], row["data_set_offset"], row["digest"])
