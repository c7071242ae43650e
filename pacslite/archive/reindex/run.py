"""Making an archive's index anew from its files."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, delete, func, insert, select
from sqlalchemy.exc import DBAPIError

from pacslite.archive.archive import archive_folder, index_url
from pacslite.archive.identity import read_identity
from pacslite.archive.operation import Progress, ignore_progress
from pacslite.archive.reindex.drafts import draft_of, put_in_place, remove_drafts, spool_of
from pacslite.archive.reindex.reading import Reading
from pacslite.archive.reindex.recording import Recording, StoredFiles
from pacslite.archive.reindex.report import ReindexReport
from pacslite.archive.reindex.sealing import seal_segments
from pacslite.archive.scan import ScanLimits
from pacslite.index import migrate, sqlite
from pacslite.index.engine import open_reader_engine, open_writer_engine
from pacslite.index.former import Former, FormerIndexError, open_former
from pacslite.index.reader import IndexReader
from pacslite.index.rebuilding import Rebuilder
from pacslite.index.spool import Spool
from pacslite.index.tables import job, patient, store
from pacslite.model.errors import DataFolderError, OperationError
from pacslite.settings.schema import ArchiveSettings, Settings

log = structlog.get_logger(__name__)


def reindex(
    settings: Settings, archive: ArchiveSettings, progress: Progress = ignore_progress
) -> ReindexReport:
    """Make the index of an archive anew from the files of its store.

    The caller holds the data folder's lock. Nothing happens to the index that is there until the new one is
    complete and durable; then that one takes its place at once, and the former SQLite database is kept beside
    it. What files do not tell comes from the former index if it can be read: jobs, deletions, conflicts with
    what keepers decided of them, and receipts without a file. Files that are damaged or no instances are left
    alone. A PostgreSQL database must be empty, and is filled in one transaction.

    Raises
    ------
    DataFolderError
        Store or database cannot be read or written.
    IndexRevisionError
        The index is of another revision.
    OperationError
        The PostgreSQL database is not empty, or a process that read files died.
    OperationStoppedError
        As `progress`; everything is as it was before.
    """
    try:
        return _Rebuild(settings, archive, progress).run()
    except OSError as error:
        raise DataFolderError(f"{error.filename}: {error.strerror}") from error
    except DBAPIError as error:
        raise DataFolderError(f"the index of archive {archive.name}: {error.orig}") from error


class _Rebuild:
    def __init__(self, settings: Settings, archive: ArchiveSettings, progress: Progress) -> None:
        folder = archive_folder(settings, archive)
        self._archive = archive
        self._progress = progress
        self._url = index_url(settings, archive)
        self._store_folder = folder / "store"
        self._limits = ScanLimits(max_inflated_bytes=settings.storage.max_inflated_bytes)
        self._busy_seconds = settings.index.busy_seconds
        self._report = ReindexReport()
        if not folder.is_dir():
            raise DataFolderError(f"{folder} is not there")

    def run(self) -> ReindexReport:
        """Rebuild the index and return what became of it."""
        started = time.monotonic()
        if sqlite.is_sqlite(self._url):
            self._replace_file()
        else:
            self._fill_server()
        self._seal()
        self._report.seconds = time.monotonic() - started
        log.info("index.rebuilt", archive=self._archive.name, instances=self._report.instances)
        return self._report

    def _replace_file(self) -> None:
        index = sqlite.file_of(self._url)
        remove_drafts(index)
        former = self._former()
        draft = self._url.set(database=str(draft_of(index)))
        try:
            migrate.upgrade(draft)
            with _disposing(sqlite.draft_engine(draft, None if former is None else former.path)) as engine:
                self._fill(engine, former, spool_of(index), numbers_rows=True)
            kept = put_in_place(index)
        finally:
            remove_drafts(index)
        self._report.kept_as = None if kept is None else str(kept)

    def _former(self) -> Former | None:
        try:
            former = open_former(self._url)
        except FormerIndexError as error:
            log.warning("index.unreadable", archive=self._archive.name, reason=str(error))
            self._report.former = f"unreadable: {error}"
            return None
        if former is not None:
            self._report.former = "used"
        return former

    def _fill_server(self) -> None:
        if migrate.current(self._url) is None:
            migrate.upgrade(self._url)
        migrate.check(self._url)
        spool = spool_of(self._store_folder.with_name("index"))
        with _disposing(open_writer_engine(self._url, busy_seconds=self._busy_seconds)) as engine:
            self._fill(engine, None, spool, numbers_rows=False)

    def _fill(self, engine: Engine, former: Former | None, spool_path: Path, *, numbers_rows: bool) -> None:
        """Bring everything into an empty index, in one transaction."""
        with ExitStack() as stack:
            spool = stack.enter_context(Spool(spool_path))
            connection = stack.enter_context(engine.begin())
            _check_empty(connection)
            reading = Reading(self._store_folder, self._limits, spool, self._report)
            reading.run(connection, former, self._progress)
            files = StoredFiles(self._store_folder, self._limits)
            rebuilder = Rebuilder(connection, files, numbers_rows=numbers_rows)
            recording = Recording(connection, rebuilder, self._archive.duplicate_policy, self._report)
            recording.run(spool, self._progress, has_former=former is not None)
            self._remember_stores(connection)

    def _remember_stores(self, connection: Connection) -> None:
        """Make the index the one that belongs to the store."""
        connection.execute(delete(store))
        for folder in sorted(path for path in self._store_folder.glob("*") if path.is_dir()):
            identity = read_identity(folder)
            if identity:
                connection.execute(insert(store), {"node_name": folder.name, "identity": identity})

    def _seal(self) -> None:
        with _disposing(open_reader_engine(self._url, reader_count=1)) as engine:
            seal_segments(self._store_folder, IndexReader(engine).named_paths)


def _check_empty(connection: Connection) -> None:
    for table in (patient, job):
        if connection.execute(select(func.count()).select_from(table)).scalar_one():
            raise OperationError(
                "the PostgreSQL database holds an index already: create an empty database, name it in "
                "`index_url`, and try again; the one that is there is left as it is"
            )


@contextmanager
def _disposing(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()
