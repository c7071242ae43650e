"""What instances of one patient, study or series say differently: the first received wins."""

from collections import Counter
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select

from pacslite.index.entries import IndexEntry
from pacslite.index.tables import TABLES, discrepancy
from pacslite.index.transaction import KnownSeries
from pacslite.model.attributes import HEADER_ATTRIBUTES, Level
from pacslite.model.header import ColumnValue
from pacslite.model.text import TEXT_MAX_CHARACTERS

MAX_VALUES: Final = 16
"""How many different values of one attribute of one entity are noted."""

_FIND_VALUES: Final = {
    level: select(*(table.c[attribute.column] for attribute in HEADER_ATTRIBUTES[level])).where(
        table.c.pk == bindparam("key")
    )
    for level, table in TABLES.items()
}
_FIND_NOTED: Final = select(discrepancy.c.keyword, discrepancy.c.received_value).where(
    discrepancy.c.level == bindparam("at"), discrepancy.c.entity_pk == bindparam("key")
)
_INSERT: Final = insert(discrepancy)


def note(connection: Connection, entry: IndexEntry, known: KnownSeries, patient_key: str) -> None:
    """Record, once each, the values of `entry` that differ from those its series, study and patient keep.

    An instance that names another patient than its study has (S11) differs from the study.
    """
    of_study = known.study
    for level, pk, seen in (
        (Level.SERIES, known.pk, known.fingerprints),
        (Level.STUDY, of_study.pk, of_study.fingerprints),
        (Level.PATIENT, of_study.patient_pk, of_study.patient_fingerprints),
    ):
        fingerprint = entry.header.fingerprint(level)
        if fingerprint in seen:
            continue
        differing = _differing(connection, entry, level, pk)
        if differing and level is Level.PATIENT and patient_key != of_study.patient_key:
            record(connection, entry, (Level.STUDY, of_study.pk), differing)
        elif differing:
            record(connection, entry, (level, pk), differing)
        seen.add(fingerprint)


def _differing(
    connection: Connection, entry: IndexEntry, level: Level, pk: int
) -> list[tuple[str, ColumnValue, ColumnValue]]:
    kept = connection.execute(_FIND_VALUES[level], {"key": pk}).mappings().one()
    received = entry.header.values(level)
    return [
        (attribute.keyword, kept[attribute.column], received[attribute.column])
        for attribute in HEADER_ATTRIBUTES[level]
        if kept[attribute.column] != received[attribute.column]
    ]


def record(
    connection: Connection,
    entry: IndexEntry,
    entity: tuple[Level, int],
    differing: list[tuple[str, ColumnValue, ColumnValue]],
) -> None:
    """Journal what an instance says differently of an entity: keyword, value kept, value received."""
    level, pk = entity
    noted = {tuple(row) for row in connection.execute(_FIND_NOTED, {"at": level.value, "key": pk})}
    counts = Counter(keyword for keyword, _ in noted)
    rows = [
        {
            "level": level.value,
            "entity_pk": pk,
            "keyword": keyword,
            "kept_value": _shown(kept),
            "received_value": _shown(received),
            "sop_instance_uid": entry.key.sop_instance_uid,
            "recorded_at": entry.provenance.received_at,
        }
        for keyword, kept, received in differing
        if (keyword, _shown(received)) not in noted and counts[keyword] < MAX_VALUES
    ]
    if rows:
        connection.execute(_INSERT, rows)


def _shown(value: ColumnValue) -> str:
    return "" if value is None else str(value)[:TEXT_MAX_CHARACTERS]
