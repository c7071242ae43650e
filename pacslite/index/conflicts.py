"""Two versions of one SOP Instance: one is the archive's, the other is kept aside with evidence (S9, S10).

No version is there twice: digest and transfer syntax tell the archive's and all that are aside apart.
"""

import json
from datetime import UTC, datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select, update

from pacslite.index import receipts
from pacslite.index.entries import IndexEntry
from pacslite.index.placing import place
from pacslite.index.removals import Removal, promise_removal
from pacslite.index.rows import EVERY_LEVEL, FILE_COLUMNS, HEADER_COLUMNS
from pacslite.index.tables import conflict, instance
from pacslite.index.transaction import WriteTransaction
from pacslite.model.attributes import HEADER_ATTRIBUTES, Level
from pacslite.model.errors import NotFoundError, OperationError
from pacslite.model.instances import Outcome, StoredFile

NEWCOMER: Final = "newcomer"
"""The role of a version that came later and did not become the archive's."""

REPLACED: Final = "replaced"
"""The role of a version that was the archive's until another replaced it."""

ROLES: Final = (NEWCOMER, REPLACED)

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
    select(*HEADER_COLUMNS, *FILE_COLUMNS).select_from(EVERY_LEVEL).where(instance.c.pk == bindparam("key"))
)
_FIND_ASIDE: Final = (
    select(
        conflict.c.pk,
        conflict.c.path,
        conflict.c.file_bytes,
        conflict.c.data_set_offset,
        conflict.c.digest,
    )
    .where(
        conflict.c.instance_pk == bindparam("key"),
        conflict.c.digest == bindparam("same"),
        conflict.c.transfer_syntax_uid == bindparam("syntax"),
    )
    .limit(1)
)
_FIND: Final = select(conflict.c.instance_pk, conflict.c.path).where(conflict.c.pk == bindparam("key"))
_INSERT: Final = insert(conflict)
_UPDATE: Final = update(conflict).where(conflict.c.pk == bindparam("key"))
_DELETE: Final = delete(conflict).where(conflict.c.pk == bindparam("key"))


class Aside(NamedTuple):
    """A version that is kept aside."""

    pk: int
    file: StoredFile


def find_aside(connection: Connection, entry: IndexEntry, instance_pk: int) -> Aside | None:
    """Return the conflict that already keeps this very version aside: a resend needs no further one."""
    row = connection.execute(
        _FIND_ASIDE,
        {"key": instance_pk, "same": entry.file.digest, "syntax": entry.key.transfer_syntax_uid},
    ).one_or_none()
    return None if row is None else Aside(row.pk, StoredFile(*row[1:]))


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

    Where the newcomer's version was aside already, it comes back: its former file goes, so that two senders
    who replace each other's version for ever leave two files and not one more each time.
    """
    connection = transaction.connection
    former = find_aside(connection, entry, instance_pk)
    if former is not None:
        connection.execute(_DELETE, {"key": former.pk})
        promise_removal(transaction, [former.file.path])
    _put_current_aside(connection, entry, instance_pk, entry.provenance.received_at)
    place(transaction, entry, instance_pk)
    receipts.record(connection, entry, instance_pk, Outcome.REPLACED)


def heal(transaction: WriteTransaction, entry: IndexEntry, aside: Aside, receipt_pk: int) -> None:
    """Let the newcomer's file take the place of the file of `aside`, which is missing or damaged."""
    file = entry.file
    values = {
        "path": file.path,
        "file_bytes": file.file_bytes,
        "data_set_offset": file.data_set_offset,
        "receipt_pk": receipt_pk,
    }
    transaction.connection.execute(_UPDATE, {**values, "key": aside.pk})
    promise_removal(transaction, [aside.file.path])


def accept(transaction: WriteTransaction, conflict_pk: int, entry: IndexEntry) -> None:
    """Make the version that a conflict keeps aside the archive's, and keep the one before aside.

    Parameters
    ----------
    transaction
        Of the writer.
    conflict_pk
        The conflict; it goes, and one for the archive's former version comes.
    entry
        What lies in the conflict's file.

    Raises
    ------
    NotFoundError
        There is no such conflict.
    OperationError
        It has another file than `entry` meanwhile.
    """
    connection = transaction.connection
    found = connection.execute(_FIND, {"key": conflict_pk}).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no conflict {conflict_pk}")
    if found.path != entry.file.path:
        raise OperationError(f"conflict {conflict_pk} has changed meanwhile: look at it again")
    connection.execute(_DELETE, {"key": conflict_pk})
    _put_current_aside(connection, entry, found.instance_pk, datetime.now(UTC))
    place(transaction, entry, found.instance_pk)


def discard(transaction: WriteTransaction, conflict_pk: int) -> Removal | None:
    """Take a version that is kept aside out of the archive; return what becomes of its file.

    Raises
    ------
    NotFoundError
        There is no such conflict.
    """
    found = transaction.connection.execute(_FIND, {"key": conflict_pk}).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no conflict {conflict_pk}")
    transaction.connection.execute(_DELETE, {"key": conflict_pk})
    return promise_removal(transaction, [found.path])


def _put_current_aside(
    connection: Connection, successor: IndexEntry, instance_pk: int, recorded_at: datetime
) -> None:
    current = _current(connection, instance_pk)
    digest, syntax = current["digest"], current["transfer_syntax_uid"]
    evidence = {
        "instance_pk": instance_pk,
        "role": REPLACED,
        "other_digest": successor.file.digest,
        "differing_keywords": _differing_keywords(successor, current),
        "receipt_pk": receipts.of_version(connection, instance_pk, digest, syntax),
        "recorded_at": recorded_at,
    }
    connection.execute(_INSERT, {**{name: current[name] for name in _VERSION_COLUMNS}, **evidence})


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
