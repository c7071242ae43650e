"""The second half of a rebuild: what was read becomes rows, in the order in which it came."""

from itertools import groupby, islice
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from pacslite.archive.compare import compare_contents
from pacslite.archive.content import open_content
from pacslite.archive.operation import Progress
from pacslite.archive.reindex.reading import FOREIGN_RANK, UNKNOWN_RANK
from pacslite.archive.reindex.records import read_record
from pacslite.archive.reindex.report import ReindexReport
from pacslite.archive.scan import ScanLimits
from pacslite.index.carrying import carry_over
from pacslite.index.entries import IndexEntry
from pacslite.index.rebuilding import Rebuilder
from pacslite.index.spool import Spool, SpooledRecord
from pacslite.index.tables import conflict, instance, job
from pacslite.model.errors import CannotUnderstandError, OperationError
from pacslite.model.instances import DuplicatePolicy, StoredFile
from pacslite.storage.store import stored_path

_GROUP_ENTRIES: Final = 1000


class StoredFiles:
    """Answers what the index asks about files of a store."""

    def __init__(self, folder: Path, limits: ScanLimits) -> None:
        self._folder = folder
        self._limits = limits

    def is_same(self, existing: StoredFile, newcomer: StoredFile) -> bool:
        """Whether both hold the same content; what cannot be read does not."""
        first, second = (stored_path(self._folder, file.path) for file in (existing, newcomer))
        try:
            return compare_contents(first, second, self._limits).is_same
        except OSError:
            return False

    def is_whole(self, file: StoredFile) -> bool:
        """Whether a file is there and has its digest."""
        try:
            with open_content(stored_path(self._folder, file.path)) as content:
                return content.digest(file.data_set_offset) == file.digest
        except (OSError, CannotUnderstandError):
            return False


class Recording:
    """Records what a spool holds.

    Parameters
    ----------
    connection
        To the new index, in a transaction of its own.
    rebuilder
        On that connection.
    policy
        Of the archive.
    report
        Takes what no row names, and the counts.
    """

    def __init__(
        self,
        connection: Connection,
        rebuilder: Rebuilder,
        policy: DuplicatePolicy,
        report: ReindexReport,
    ) -> None:
        self._connection = connection
        self._rebuilder = rebuilder
        # Whatever lies in the store whole may have been acknowledged, under another policy.
        self._policy = DuplicatePolicy.KEEP_FIRST if policy is DuplicatePolicy.REFUSE else policy
        self._report = report

    def run(self, spool: Spool, progress: Progress, *, has_former: bool) -> None:
        """Record everything; carry over what only the former index tells once its own files are recorded."""
        total = self._report.files - len(self._report.left)
        done = 0
        is_carried = not has_former
        for is_known, records in groupby(spool.in_order(), lambda record: record.rank < UNKNOWN_RANK):
            if not is_known and not is_carried:
                self._carry_over()
                is_carried = True
            while group := list(islice(records, _GROUP_ENTRIES)):
                entries = [self._entry(spool, record) for record in group]
                self._report.left |= self._rebuilder.add(entries, has_receipts=not is_known)
                done += len(group)
                progress(done, total, "instances indexed")
        if not is_carried:
            self._carry_over()
        self._count()

    def _carry_over(self) -> None:
        try:
            carry_over(self._connection)
        except DBAPIError as error:
            raise OperationError(
                f"what the former index tells cannot be taken over: {error.orig}; move it away to do without"
            ) from error
        self._rebuilder.forget()

    def _entry(self, spool: Spool, record: SpooledRecord) -> IndexEntry:
        is_foreign = record.rank == FOREIGN_RANK
        policy = DuplicatePolicy.KEEP_FIRST if is_foreign else self._policy
        return read_record(record.content, spool.shared, policy)

    def _count(self) -> None:
        unavailable = select(func.count()).where(instance.c.path.is_(None))
        self._report.unavailable = self._connection.execute(unavailable).scalar_one()
        self._report.instances, self._report.conflicts, self._report.jobs = (
            self._connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (instance, conflict, job)
        )
