"""Two versions of one SOP Instance: one is the archive's, the other is kept aside with evidence (S9, S10)."""

import json
from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from pacslite.index import receipts
from pacslite.index.entities import series_of
from pacslite.index.entries import IndexEntry
from pacslite.index.recount import recount_study
from pacslite.index.rows import EVERY_LEVEL, FILE_COLUMNS, HEADER_COLUMNS, instance_row
from pacslite.index.tables import conflict, instance, series
from pacslite.index.transaction import WriteTransaction
from pacslite.model.attributes import HEADER_ATTRIBUTES, Level
from pacslite.model.instances import Outcome, StoredFile

NEWCOMER: Final = "newcomer"
"""The role of a version that came later and did not become the archive's."""

REPLACED: Final = "replaced"
"""The role of a version that was the archive's until another replaced it."""

_VERSION_COLUMNS: Final = (
    "path",
    "file_bytes",
    "data_set_offset",
    "digest",
    "transfer_syntax_uid",
    "sop_class_uid",
    "study_instance_uid",
    "series_instance_uid",
)
_FIND_CURRENT: Final = (
    select(*HEADER_COLUMNS, *FILE_COLUMNS, series.c.study_pk)
    .select_from(EVERY_LEVEL)
    .where(instance.c.pk == bindparam("key"))
)
_FIND_ASIDE: Final = (
    select(conflict.c.path, conflict.c.file_bytes, conflict.c.data_set_offset, conflict.c.digest)
    .where(
        conflict.c.instance_pk == bindparam("key"),
        conflict.c.digest == bindparam("same"),
        conflict.c.transfer_syntax_uid == bindparam("syntax"),
    )
    .limit(1)
)
_INSERT: Final = insert(conflict)
_UPDATE_INSTANCE: Final = update(instance).where(instance.c.pk == bindparam("key"))


def find_aside(connection: Connection, entry: IndexEntry, instance_pk: int) -> StoredFile | None:
    """Return the file that already keeps this very version aside: a resend needs no further one."""
    row = connection.execute(
        _FIND_ASIDE,
        {"key": instance_pk, "same": entry.file.digest, "syntax": entry.key.transfer_syntax_uid},
    ).one_or_none()
    return None if row is None else StoredFile(*row)


def keep_aside(transaction: WriteTransaction, entry: IndexEntry, instance_pk: int) -> None:
    """Record the newcomer as a conflict; the archive's version stays."""
    connection = transaction.connection
    current = _current(connection, instance_pk)
    newcomer = {
        "path": entry.file.path,
        "file_bytes": entry.file.file_bytes,
        "data_set_offset": entry.file.data_set_offset,
        "digest": entry.file.digest,
        "transfer_syntax_uid": entry.key.transfer_syntax_uid,
        "sop_class_uid": entry.key.sop_class_uid,
        "study_instance_uid": entry.header.study_instance_uid,
        "series_instance_uid": entry.header.series_instance_uid,
    }
    evidence = {
        "instance_pk": instance_pk,
        "role": NEWCOMER,
        "other_digest": current["digest"],
        "differing_keywords": _differing_keywords(entry, current),
        "receipt_pk": receipts.record(connection, entry, instance_pk, Outcome.KEPT_ASIDE),
        "recorded_at": entry.provenance.received_at,
    }
    connection.execute(_INSERT, {**newcomer, **evidence})


def replace(transaction: WriteTransaction, entry: IndexEntry, instance_pk: int) -> None:
    """Make the newcomer the archive's version and keep the one before aside as a conflict.

    Counters and collected values follow, also where the newcomer belongs to another study or series (S10);
    what is left empty by that is removed.
    """
    connection = transaction.connection
    current = _current(connection, instance_pk)
    evidence = {
        "instance_pk": instance_pk,
        "role": REPLACED,
        "other_digest": entry.file.digest,
        "differing_keywords": _differing_keywords(entry, current),
        "receipt_pk": receipts.of_current_version(connection, instance_pk),
        "recorded_at": entry.provenance.received_at,
    }
    connection.execute(_INSERT, {**{name: current[name] for name in _VERSION_COLUMNS}, **evidence})
    known = series_of(transaction, entry)
    connection.execute(_UPDATE_INSTANCE, {**instance_row(entry, known.pk), "key": instance_pk})
    receipts.record(connection, entry, instance_pk, Outcome.REPLACED)
    transaction.flush()
    for study_pk in sorted({current["study_pk"], known.study.pk}):
        recount_study(connection, study_pk)
    # Rows that the cache tells of may be gone.
    transaction.cache.clear()


def _current(connection: Connection, instance_pk: int) -> RowMapping:
    return connection.execute(_FIND_CURRENT, {"key": instance_pk}).mappings().one()


def _differing_keywords(entry: IndexEntry, current: RowMapping) -> str:
    differing = []
    for level in Level:
        values = entry.header.values(level)
        differing += [
            attribute.keyword
            for attribute in HEADER_ATTRIBUTES[level]
            if values[attribute.column] != current[attribute.column]
        ]
    return json.dumps(differing)
