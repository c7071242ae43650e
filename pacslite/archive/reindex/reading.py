"""The first half of a rebuild: every file read once, and put in the order in which it came."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from pacslite.archive.inventory import folders_of
from pacslite.archive.operation import Progress
from pacslite.archive.reindex.pool import scan_all
from pacslite.archive.reindex.report import ReindexReport
from pacslite.archive.reindex.scanning import ScannedBatch, ScannedFile
from pacslite.archive.scan import ScanLimits
from pacslite.index import former
from pacslite.index.former import Former
from pacslite.index.spool import Spool, SpooledRecord

UNKNOWN_RANK: Final = 2**62
"""Of files that the former index did not name: they came after those that it did."""

FOREIGN_RANK: Final = UNKNOWN_RANK + 1
"""Of files that this software did not write: they never displace what it received."""

_BATCH_FILES: Final = 64
_FEW_FILES: Final = 256
"""So many are read before the first process would be ready."""

_MAX_NUMBER: Final = 2**63
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Reading:
    """Reads a store into a spool.

    Parameters
    ----------
    store_folder
        Of the archive.
    limits
        Of the scan.
    spool
        Takes what can be indexed.
    report
        Takes what cannot.
    """

    def __init__(self, store_folder: Path, limits: ScanLimits, spool: Spool, report: ReindexReport) -> None:
        self._folder = store_folder
        self._limits = limits
        self._spool = spool
        self._report = report

    def run(self, connection: Connection, known: Former | None, progress: Progress) -> None:
        """Read every file of the store.

        Parameters
        ----------
        connection
            The one that the former index is attached to.
        known
            The former index, if it can be read.
        progress
            Told files.
        """
        total = sum(len(folder.names) for folder in folders_of(self._folder))
        process_count = _processor_count() if total > _FEW_FILES else 0
        for batch in scan_all(self._folder, self._batches(), self._limits, process_count):
            self._report.files += len(batch.files) + len(batch.problems)
            self._report.left.update(batch.problems)
            records = self._judged(connection, batch, known) if known else map(_record, batch.files)
            self._spool.add(records, batch.shared)
            progress(self._report.files, total, "files read")

    def _batches(self) -> Iterator[list[str]]:
        for folder in folders_of(self._folder):
            paths = [path for name in folder.names if self._is_text(path := folder.relative(name))]
            for start in range(0, len(paths), _BATCH_FILES):
                yield paths[start : start + _BATCH_FILES]

    def _is_text(self, path: str) -> bool:
        try:
            path.encode()
        except UnicodeEncodeError:
            self._report.left[path.encode("utf-8", "replace").decode()] = "Its name is no text"
            return False
        return True

    def _judged(self, connection: Connection, batch: ScannedBatch, known: Former) -> Iterator[SpooledRecord]:
        """Yield the files that are to be indexed by themselves, each at its place."""
        places = former.places(connection, [file.path for file in batch.files])
        deleted = former.deleted(connection, [file.sop_instance_uid for file in batch.files])
        for file in batch.files:
            place = places.get(file.path)
            if file.path in known.doomed:
                self._report.left[file.path] = "To be removed"
            elif place is None and file.received_at <= deleted.get(file.sop_instance_uid, _EPOCH):
                self._report.left[file.path] = "Deleted"
            elif place is None:
                yield _record(file)
            elif place.digest != file.digest or not file.is_intact:
                self._report.left[file.path] = "Not what was received"
            elif place.rank is not None:
                yield _record(file)._replace(rank=place.rank)


def _record(file: ScannedFile) -> SpooledRecord:
    number = file.sequence_number
    return SpooledRecord(
        rank=FOREIGN_RANK if number is None else UNKNOWN_RANK,
        at=(file.received_at - _EPOCH) // _MICROSECOND,
        # whoever wrote a number that is none of ours
        number=number if number is not None and 0 <= number < _MAX_NUMBER else 0,
        path=file.path,
        content=file.record,
    )


def _processor_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
