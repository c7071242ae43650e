"""What the index decides of a receipt: new, identical, or in conflict (PS3.4 B.2.3; cases S7 to S13)."""

from typing import Any, Final

from sqlalchemy import Row, Select, bindparam, insert, select

from pacslite.index import conflicts
from pacslite.index.entities import series_of
from pacslite.index.entries import IndexEntry, Recorded
from pacslite.index.receipts import record
from pacslite.index.rows import insert_row, instance_row
from pacslite.index.tables import instance
from pacslite.index.transaction import WriteTransaction
from pacslite.model.instances import DuplicatePolicy, Outcome, StoredFile

_FIND: Final[Select[Any]] = select(
    instance.c.pk,
    instance.c.path,
    instance.c.file_bytes,
    instance.c.data_set_offset,
    instance.c.digest,
    instance.c.transfer_syntax_uid,
    instance.c.calling_ae_title,
).where(instance.c.sop_instance_uid == bindparam("uid"))
_INSERT: Final = insert(instance)

_OUTCOMES: Final = {
    DuplicatePolicy.KEEP_FIRST: Outcome.KEPT_ASIDE,
    DuplicatePolicy.REPLACE: Outcome.REPLACED,
    DuplicatePolicy.REFUSE: Outcome.REFUSED,
}


def record_receipt(transaction: WriteTransaction, entry: IndexEntry) -> Recorded:
    """Record that an instance was received and decide what becomes of it.

    This is the only place where that is decided, inside the writer's transaction. A command that is replayed
    after its first commit was in doubt finds its own row and says STORED again.
    """
    parameters = {"uid": entry.key.sop_instance_uid}
    existing = transaction.connection.execute(_FIND, parameters).one_or_none()
    if existing is None:
        _insert(transaction, entry)
        return Recorded(Outcome.STORED)
    if existing.path == entry.file.path:
        return Recorded(Outcome.STORED)
    return _decide(transaction, entry, existing)


def _insert(transaction: WriteTransaction, entry: IndexEntry) -> None:
    known = series_of(transaction, entry)
    instance_pk = insert_row(transaction.connection, _INSERT, instance_row(entry, known.pk))
    transaction.tallies.add_instance(known.study.pk, known.pk)
    record(transaction.connection, entry, instance_pk, Outcome.STORED)


def _decide(transaction: WriteTransaction, entry: IndexEntry, existing: Row[Any]) -> Recorded:
    there = StoredFile(existing.path, existing.file_bytes, existing.data_set_offset, existing.digest)
    outcome = _outcome(entry, existing)
    if outcome is Outcome.KEPT_ASIDE:
        aside = conflicts.find_aside(transaction.connection, entry, existing.pk)
        if aside is not None:
            # The archive has this version already, though not as the one it answers with.
            record(transaction.connection, entry, existing.pk, Outcome.IDENTICAL)
            return Recorded(Outcome.IDENTICAL, aside, entry.key.transfer_syntax_uid)
        conflicts.keep_aside(transaction, entry, existing.pk)
    elif outcome is Outcome.REPLACED:
        conflicts.replace(transaction, entry, existing.pk)
    elif outcome is not None:
        record(transaction.connection, entry, existing.pk, outcome)
    return Recorded(outcome, there, existing.transfer_syntax_uid)


def _outcome(entry: IndexEntry, existing: Row[Any]) -> Outcome | None:
    has_same_digest = existing.digest == entry.file.digest
    if has_same_digest and existing.transfer_syntax_uid == entry.key.transfer_syntax_uid:
        return Outcome.IDENTICAL
    comparison = entry.comparison
    if comparison is None or comparison.existing_digest != existing.digest:
        return None
    if comparison.is_same_content:
        return Outcome.IDENTICAL
    if entry.policy is not DuplicatePolicy.REPLACE_SAME_SOURCE:
        return _OUTCOMES[entry.policy]
    is_same_source = existing.calling_ae_title == entry.provenance.calling_ae_title
    return Outcome.REPLACED if is_same_source else Outcome.KEPT_ASIDE
