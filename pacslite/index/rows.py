"""Rows of the instance table, alone and joined with their series, study and patient."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Column, Connection, Insert

from pacslite.index.entries import IndexEntry
from pacslite.index.tables import TABLES, instance, patient, series, study
from pacslite.model.attributes import HEADER_ATTRIBUTES, Level

ONLINE: Final = "ONLINE"
"""Instance Availability (0008,0056) of what the store holds (PS3.3 C.4.23.1.1)."""

UNAVAILABLE: Final = "UNAVAILABLE"
"""Instance Availability (0008,0056) of what was deleted and has left its metadata."""

EVERY_LEVEL: Final = instance.join(series).join(study).join(patient)
"""An instance with its series, study and patient."""

HEADER_COLUMNS: Final[tuple[Column[object], ...]] = tuple(
    TABLES[level].c[attribute.column] for level in Level for attribute in HEADER_ATTRIBUTES[level]
)
"""The columns to answer with that were decoded from data sets, of all levels; no name occurs twice."""

FILE_COLUMNS: Final[tuple[Column[object], ...]] = (
    instance.c.path,
    instance.c.file_bytes,
    instance.c.data_set_offset,
    instance.c.digest,
    instance.c.transfer_syntax_uid,
)


def instance_row(entry: IndexEntry, series_pk: int) -> dict[str, object]:
    """Return the row of a received instance."""
    return {
        **entry.header.values(Level.INSTANCE),
        "series_pk": series_pk,
        "sop_instance_uid": entry.key.sop_instance_uid,
        "sop_class_uid": entry.key.sop_class_uid,
        "path": entry.file.path,
        "file_bytes": entry.file.file_bytes,
        "data_set_offset": entry.file.data_set_offset,
        "digest": entry.file.digest,
        "transfer_syntax_uid": entry.key.transfer_syntax_uid,
        "availability": ONLINE,
        "is_misdeclared": entry.header.is_misdeclared,
        "received_at": entry.provenance.received_at,
        "calling_ae_title": entry.provenance.calling_ae_title,
    }


def insert_row(connection: Connection, statement: Insert, row: Mapping[str, object]) -> int:
    """Insert one row and return its primary key."""
    key = connection.execute(statement, row).inserted_primary_key
    if key is None:
        raise TypeError("Not an insert of a single row")
    return int(key[0])
