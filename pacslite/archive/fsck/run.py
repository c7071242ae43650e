"""Checking an archive: every file against its row, every row against its file, the index against itself."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from sqlalchemy.exc import DBAPIError

from pacslite.archive.archive import Archive
from pacslite.archive.fsck.extras import as_finding, candidates
from pacslite.archive.fsck.files import FileChecker
from pacslite.archive.fsck.findings import Finding, FsckReport, Kind
from pacslite.archive.inventory import StoreFolder
from pacslite.archive.operation import Progress, ignore_progress
from pacslite.archive.pool import in_order
from pacslite.index.checking import NamedFile, count_named_files, named_file, named_files
from pacslite.index.consistency import complaints_of, contradictions, contradictions_of
from pacslite.index.removals import doomed_paths

THREADS: Final = 4
"""Files at a time: reading and hashing let go of the interpreter."""

_SECOND_LOOKS: Final = 3


def fsck(
    archive: Archive,
    *,
    is_node_running: Callable[[], bool],
    is_quick: bool = False,
    progress: Progress = ignore_progress,
) -> FsckReport:
    """Check an archive, which may be in use; change nothing.

    Whatever looks wrong is looked at again in the index before it counts, since a node may have changed it
    meanwhile. Memory does not depend on the size of the archive, only on the number of findings.

    Parameters
    ----------
    archive
        Opened for reading, see `Archive.reading`.
    is_node_running
        Tells whether somebody may be writing into the archive now.
    is_quick
        Whether to look at the sizes of files only, without reading any.
    progress
        Told files.

    Raises
    ------
    OSError
        The store cannot be read.
    OperationStoppedError
        As `progress`.
    """
    return _Check(archive, is_node_running, progress, is_quick=is_quick).run()


class _Check:
    def __init__(
        self, archive: Archive, is_node_running: Callable[[], bool], progress: Progress, *, is_quick: bool
    ) -> None:
        self._archive = archive
        self._reader = archive.reader
        self._folder = archive.store.folder
        self._checker = FileChecker(self._folder, archive.limits, is_quick=is_quick)
        self._is_node_running = is_node_running
        self._progress = progress
        self._report = FsckReport()

    def run(self) -> FsckReport:
        started = time.monotonic()
        try:
            self._check_database()
            self._check_files()
            self._check_extras()
            self._check_rows()
        except DBAPIError as error:
            self._found(Finding(Kind.INDEX, f"it cannot be read: {error.orig}"))
        self._report.seconds = time.monotonic() - started
        return self._report

    def _check_database(self) -> None:
        for complaint in complaints_of(self._reader):
            self._found(Finding(Kind.INDEX, complaint))

    def _check_files(self) -> None:
        total = self._reader.read(count_named_files)
        for named, findings in in_order(self._checker.check, named_files(self._reader), threads=THREADS):
            self._report.files += 1
            self._report.file_bytes += named.file.file_bytes
            if findings:
                self._report.findings += self._confirmed(named, findings)
            self._progress(self._report.files, max(total, self._report.files), "files checked")

    def _confirmed(self, named: NamedFile, findings: list[Finding]) -> list[Finding]:
        """Return what is wrong with the file still, now that the index was asked again."""
        for _ in range(_SECOND_LOOKS):
            now = self._reader.read(partial(named_file, path=named.file.path))
            if now is None:  # deleted, discarded, or healed by another file, which was checked when it came
                return []
            if now == named:
                return findings
            named, findings = now, self._checker.check(now)
            if not findings:
                return []
        return findings

    def _check_extras(self) -> None:
        paths = list(candidates(self._folder, self._reader.named_paths, self._is_in_flight))
        doomed = self._reader.read(partial(doomed_paths, prefix="")) if paths else set()
        for path in paths:
            if path in doomed:
                self._report.awaiting_removal += 1
            elif self._reader.read(partial(named_file, path=path)) is None:
                finding = as_finding(path, self._folder)
                if finding is not None:
                    self._found(finding)

    def _is_in_flight(self, folder: StoreFolder) -> bool:
        is_ours = folder.path.startswith(f"{self._archive.store.node_name}/")
        return not is_ours or self._is_node_running()

    def _check_rows(self) -> None:
        doubtful = list(contradictions(self._reader))
        for pk in {each.study_pk for each in doubtful if each.study_pk is not None}:
            doubtful = [each for each in doubtful if each.study_pk != pk]
            doubtful += contradictions_of(self._reader, pk)
        for each in doubtful:
            self._found(Finding(Kind.INDEX, each.what))

    def _found(self, finding: Finding) -> None:
        self._report.findings.append(finding)
