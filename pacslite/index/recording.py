"""What the index decides of a receipt: new, identical, or in conflict (PS3.4 B.2.3; cases S7 to S13)."""

from typing import Any, Final

from sqlalchemy import Row, Select, bindparam, insert, select, update

from pacslite.index import conflicts, demographics
from pacslite.index.entities import series_of
from pacslite.index.entries import IndexEntry, Question, Recorded
from pacslite.index.placing import place
from pacslite.index.receipts import record
from pacslite.index.removals import promise_removal
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
_UPDATE: Final = update(instance).where(instance.c.pk == bindparam("key"))

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
    if existing is not None and existing.path == entry.file.path:
        return Recorded(Outcome.STORED)
    if existing is not None and existing.path is not None:
        return _decide(transaction, entry, existing)
    refusal = _refusal(transaction, entry)
    if refusal is None:
        _store(transaction, entry, None if existing is None else existing.pk)
    return refusal or Recorded(Outcome.STORED)


def _store(transaction: WriteTransaction, entry: IndexEntry, instance_pk: int | None) -> None:
    """Insert a new instance, or bring back one whose file was deleted, under `instance_pk`."""
    if instance_pk is None:
        known = series_of(transaction, entry)
        instance_pk = insert_row(transaction.connection, _INSERT, instance_row(entry, known.pk))
        transaction.tallies.add_instance(known.study.pk, known.pk)
    else:
        place(transaction, entry, instance_pk)
    record(transaction.connection, entry, instance_pk, Outcome.STORED)


def _decide(transaction: WriteTransaction, entry: IndexEntry, existing: Row[Any]) -> Recorded:
    there = StoredFile(existing.path, existing.file_bytes, existing.data_set_offset, existing.digest)
    if _has_same_bytes(entry, existing):
        return _confirm(transaction, entry, existing.pk, there, None)
    outcome = _outcome(entry, existing)
    if outcome is None:
        return Recorded(None, there, existing.transfer_syntax_uid, Question.COMPARE)
    if outcome is Outcome.KEPT_ASIDE:
        aside = conflicts.find_aside(transaction.connection, entry, existing.pk)
        if aside is not None:
            # The archive has this version already, though not as the one it answers with.
            return _confirm(transaction, entry, existing.pk, aside.file, aside)
    refusal = _refusal(transaction, entry) if outcome in _OUTCOMES_THAT_KEEP else None
    if refusal is not None:
        record(transaction.connection, entry, existing.pk, Outcome.REFUSED_PATIENT)
        return refusal
    if outcome is Outcome.KEPT_ASIDE:
        conflicts.keep_aside(transaction, entry, existing.pk)
    elif outcome is Outcome.REPLACED:
        conflicts.replace(transaction, entry, existing.pk)
    else:
        record(transaction.connection, entry, existing.pk, outcome)
    return Recorded(outcome, there, existing.transfer_syntax_uid)


_OUTCOMES_THAT_KEEP: Final = (Outcome.KEPT_ASIDE, Outcome.REPLACED)


def _has_same_bytes(entry: IndexEntry, existing: Row[Any]) -> bool:
    # Under another transfer syntax equal bytes can mean different values.
    same = (entry.file.digest, entry.key.transfer_syntax_uid)
    return same == (existing.digest, existing.transfer_syntax_uid)


def _outcome(entry: IndexEntry, existing: Row[Any]) -> Outcome | None:
    comparison = entry.comparison
    if comparison is None or comparison.existing_digest != existing.digest:
        return None
    if comparison.is_same_content:
        return Outcome.IDENTICAL
    if entry.policy is DuplicatePolicy.REPLACE_SAME_SOURCE:
        is_same_source = existing.calling_ae_title == entry.provenance.calling_ae_title
        return Outcome.REPLACED if is_same_source else Outcome.KEPT_ASIDE
    if entry.policy is DuplicatePolicy.REFUSE and not comparison.is_existing_whole:
        return Outcome.KEPT_ASIDE  # nobody can tell that it is not what was lost
    return _OUTCOMES[entry.policy]


def _confirm(
    transaction: WriteTransaction,
    entry: IndexEntry,
    instance_pk: int,
    there: StoredFile,
    aside: conflicts.Aside | None,
) -> Recorded:
    """Take note of a version that is here already; if its file is not, the newcomer's takes its place."""
    syntax = entry.key.transfer_syntax_uid
    inspection = entry.inspection
    if inspection is None or inspection.path != there.path:
        return Recorded(None, there, syntax, Question.INSPECT)
    outcome = Outcome.IDENTICAL if inspection.is_whole else Outcome.HEALED
    receipt_pk = record(transaction.connection, entry, instance_pk, outcome)
    if outcome is Outcome.HEALED and aside is not None:
        conflicts.heal(transaction, entry, aside, receipt_pk)
    elif outcome is Outcome.HEALED:
        _heal(transaction, entry, instance_pk, there)
    return Recorded(outcome, there, syntax)


def _heal(transaction: WriteTransaction, entry: IndexEntry, instance_pk: int, damaged: StoredFile) -> None:
    values = {
        "path": entry.file.path,
        "file_bytes": entry.file.file_bytes,
        "data_set_offset": entry.file.data_set_offset,
        # As the file itself now says.
        "received_at": entry.provenance.received_at,
        "calling_ae_title": entry.provenance.calling_ae_title,
    }
    transaction.connection.execute(_UPDATE, {**values, "key": instance_pk})
    promise_removal(transaction, [damaged.path])


def _refusal(transaction: WriteTransaction, entry: IndexEntry) -> Recorded | None:
    if not entry.refuses_changed_demographics:
        return None
    differing = demographics.differing_tags(transaction.connection, entry)
    return Recorded(Outcome.REFUSED_PATIENT, differing_tags=differing) if differing else None
