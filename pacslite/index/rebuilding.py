"""Filling an empty index from receipts that were long decided: in large steps, with the same outcome."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, NotSupportedError, ProgrammingError

from pacslite.index.entities import series_of
from pacslite.index.entries import Comparison, IndexEntry, Inspection, Question, Recorded
from pacslite.index.receipts import receipt_row
from pacslite.index.recording import record_receipt
from pacslite.index.removals import REMOVE_FILES
from pacslite.index.rows import instance_row
from pacslite.index.tables import instance, job, receipt
from pacslite.index.transaction import EntityCache, WriteTransaction
from pacslite.model.instances import Outcome, StoredFile

_FIND_KNOWN: Final = select(instance.c.sop_instance_uid).where(
    instance.c.sop_instance_uid.in_(bindparam("uids", expanding=True))
)
_LAST_INSTANCE: Final = select(func.coalesce(func.max(instance.c.pk), 0))
_LAST_JOB: Final = select(func.coalesce(func.max(job.c.pk), 0))
_IS_NEW_REMOVAL: Final = and_(job.c.pk > bindparam("last"), job.c.kind == REMOVE_FILES)
_NEW_REMOVALS: Final = select(job.c.pk, job.c.payload).where(_IS_NEW_REMOVAL)
_FORGET_REMOVALS: Final = delete(job).where(_IS_NEW_REMOVAL)
_INSERT_INSTANCES: Final = insert(instance)
_INSERT_RECEIPTS: Final = insert(receipt)
_OF_ONE_ENTRY: Final = (
    DataError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OverflowError,
    ProgrammingError,
    ValueError,
)
"""What a value can cause that the database does not take."""


class Files(Protocol):
    """Answers what the index asks about stored files."""

    def is_same(self, existing: StoredFile, newcomer: StoredFile) -> bool:
        """Whether both hold the same content."""

    def is_whole(self, file: StoredFile) -> bool:
        """Whether a file is there and has its digest."""


class Rebuilder:
    """Records receipts, in the order of the calls, within one transaction.

    Parameters
    ----------
    connection
        In a transaction of its own.
    files
        See there.
    numbers_rows
        Whether rows may be given their numbers here, because the database draws none from a sequence; then
        many are inserted at a time.
    """

    def __init__(self, connection: Connection, files: Files, *, numbers_rows: bool) -> None:
        self._connection = connection
        self._files = files
        self._numbers_rows = numbers_rows
        self._cache = EntityCache()
        self._instances: list[dict[str, object]] = []
        self._receipts: list[dict[str, object]] = []
        self._next_pk = 1
        self._last_job_pk = 0

    def forget(self) -> None:
        """Take note that rows were changed by somebody else."""
        self._cache.clear()

    def add(self, entries: Sequence[IndexEntry], *, has_receipts: bool = True) -> dict[str, str]:
        """Record `entries`; return the path of each file that no row names now, and why.

        Parameters
        ----------
        entries
            Whole files of the archive.
        has_receipts
            False: the receipts of these instances, of which there is no other version, come from elsewhere.
        """
        try:
            return self._add_together(entries, has_receipts=has_receipts)
        except _OF_ONE_ENTRY:
            left: dict[str, str] = {}
            for entry in entries:
                try:
                    left |= self._add_together([entry], has_receipts=has_receipts)
                except _OF_ONE_ENTRY as error:
                    left[entry.file.path] = f"The index does not take it: {type(error).__name__}"
            return left

    def _add_together(self, entries: Sequence[IndexEntry], *, has_receipts: bool) -> dict[str, str]:
        self._instances, self._receipts = [], []
        left: dict[str, str] = {}
        try:
            with self._connection.begin_nested():
                transaction = WriteTransaction(self._connection, self._cache)
                known = self._known(entries)
                for entry in entries:
                    if self._numbers_rows and entry.key.sop_instance_uid not in known:
                        self._append(transaction, entry, has_receipts=has_receipts)
                    else:
                        self._write()
                        left |= self._decide(transaction, entry)
                    known.add(entry.key.sop_instance_uid)
                self._write()
                transaction.flush()
        except BaseException:
            self._cache.clear()
            raise
        return left

    def _known(self, entries: Sequence[IndexEntry]) -> set[str]:
        self._last_job_pk = self._connection.execute(_LAST_JOB).scalar_one()
        if not self._numbers_rows:
            return set()
        self._next_pk = self._connection.execute(_LAST_INSTANCE).scalar_one() + 1
        uids = [entry.key.sop_instance_uid for entry in entries]
        return set(self._connection.scalars(_FIND_KNOWN, {"uids": uids}))

    def _append(self, transaction: WriteTransaction, entry: IndexEntry, *, has_receipts: bool) -> None:
        known = series_of(transaction, entry)
        transaction.tallies.add_instance(known.study.pk, known.pk)
        self._instances.append({**instance_row(entry, known.pk), "pk": self._next_pk})
        if has_receipts:
            self._receipts.append(receipt_row(entry, self._next_pk, Outcome.STORED))
        self._next_pk += 1

    def _write(self) -> None:
        if self._instances:
            self._connection.execute(_INSERT_INSTANCES, self._instances)
        if self._receipts:
            self._connection.execute(_INSERT_RECEIPTS, self._receipts)
        self._instances, self._receipts = [], []

    def _decide(self, transaction: WriteTransaction, entry: IndexEntry) -> dict[str, str]:
        recorded = record_receipt(transaction, entry)
        while recorded.question is not None:
            entry = self._answer(entry, recorded)
            recorded = record_receipt(transaction, entry)
        self._next_pk = self._connection.execute(_LAST_INSTANCE).scalar_one() + 1
        left = self._unnamed(transaction)
        if recorded.outcome is Outcome.IDENTICAL and recorded.existing is not None:
            left[entry.file.path] = f"A copy of {recorded.existing.path}"
        return left

    def _unnamed(self, transaction: WriteTransaction) -> dict[str, str]:
        """Return files that the decision took out of the index, and take back the promise to remove them."""
        if not transaction.has_new_jobs:
            return {}
        transaction.has_new_jobs = False
        promised = self._connection.execute(_NEW_REMOVALS, {"last": self._last_job_pk}).all()
        self._connection.execute(_FORGET_REMOVALS, {"last": self._last_job_pk})
        paths = (path for _, payload in promised for path in json.loads(payload)["paths"])
        return dict.fromkeys(paths, "Another file holds the same")

    def _answer(self, entry: IndexEntry, recorded: Recorded) -> IndexEntry:
        existing = recorded.existing
        if existing is None:
            raise TypeError("A question about no file")
        changes: dict[str, Any]
        if recorded.question is Question.INSPECT:
            changes = {"inspection": Inspection(existing.path, self._files.is_whole(existing))}
        else:
            is_same = self._files.is_same(existing, entry.file)
            changes = {"comparison": Comparison(existing.digest, is_same)}
        return replace(entry, **changes)
