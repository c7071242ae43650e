"""Giving an instance's row another version, also one of another study or series (S10)."""

from typing import Final

from sqlalchemy import bindparam, select, update

from pacslite.index.entities import series_of
from pacslite.index.entries import IndexEntry
from pacslite.index.recount import recount_study
from pacslite.index.rows import instance_row
from pacslite.index.tables import instance, series
from pacslite.index.transaction import WriteTransaction

_FIND_PLACE: Final = (
    select(series.c.study_pk, instance.c.series_pk, instance.c.sop_class_uid)
    .join_from(instance, series)
    .where(instance.c.pk == bindparam("key"))
)
_UPDATE: Final = update(instance).where(instance.c.pk == bindparam("key"))


def place(transaction: WriteTransaction, entry: IndexEntry, instance_pk: int) -> None:
    """Make `entry` the archive's version of an instance that has a row.

    Counters and collected values follow; what is left empty above the instance is removed.
    """
    connection = transaction.connection
    before = connection.execute(_FIND_PLACE, {"key": instance_pk}).one()
    known = series_of(transaction, entry)
    connection.execute(_UPDATE, {**instance_row(entry, known.pk), "key": instance_pk})
    if (before.series_pk, before.sop_class_uid) != (known.pk, entry.key.sop_class_uid):
        transaction.flush()
        for study_pk in sorted({before.study_pk, known.study.pk}):
            recount_study(connection, study_pk)
        # Rows that the cache tells of may be gone.
        transaction.cache.clear()
