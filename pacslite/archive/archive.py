"""An archive: a store of files, its index, and what is done with them."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import structlog
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError

from pacslite.archive.identity import check_index_is_current, settle_identity, write_identity
from pacslite.archive.ingest import Ingest, IngestRules
from pacslite.archive.receipt import Flow, Intake, Receipt
from pacslite.archive.recovery import RecoveryReport, recover
from pacslite.archive.scan import ScanLimits
from pacslite.index import migrate
from pacslite.index.engine import make_durable, open_reader_engine, open_writer_engine
from pacslite.index.reader import IndexReader
from pacslite.index.removals import doomed_paths
from pacslite.index.writer import IndexWriter
from pacslite.model.errors import CannotUnderstandError, DataFolderError, RefusedError
from pacslite.model.instances import InstanceKey, Provenance
from pacslite.model.uids import is_tolerable_uid
from pacslite.settings.schema import ArchiveSettings, Settings
from pacslite.storage.chunks import CHUNK_BYTES, ChunkPool
from pacslite.storage.folders import make_folder
from pacslite.storage.part10 import build_part10_head
from pacslite.storage.store import Store

log = structlog.get_logger(__name__)

_SOP_INSTANCE_UID_TAG = 0x0008_0018


def archive_folder(settings: Settings, archive: ArchiveSettings) -> Path:
    """Return the folder that holds everything of an archive."""
    return settings.data_folder.absolute() / "archives" / archive.name


def index_url(settings: Settings, archive: ArchiveSettings) -> URL:
    """Return the SQLAlchemy URL of an archive's index."""
    if archive.index_url:
        return make_url(archive.index_url)
    return URL.create("sqlite", database=str(archive_folder(settings, archive) / "index.sqlite"))


class Archive:
    """Takes, keeps and knows instances.

    Parameters
    ----------
    settings
        Of the node.
    archive
        Of this archive.

    Notes
    -----
    `start` and `stop` work on the disk: call them outside the event loop. The data folder's lock must be
    held in between.
    """

    def __init__(self, settings: Settings, archive: ArchiveSettings) -> None:
        folder = archive_folder(settings, archive)
        self.name = archive.name
        self.settings = archive
        self.ae_title = archive.titles(settings)[0]
        self.store = Store(folder / "store", settings.node_name, settings.storage)
        self._storage_settings = settings.storage
        self._intake = self._new_intake(self.store.chunks)
        self._folder = folder
        self._index_url = index_url(settings, archive)
        self._index_settings = settings.index
        self._rules = IngestRules(
            policy=archive.duplicate_policy,
            limits=ScanLimits(max_inflated_bytes=settings.storage.max_inflated_bytes),
            unparsable_folder=folder / "unparsable" if settings.storage.keep_unparsable else None,
            refuses_changed_demographics=archive.refuse_changed_demographics,
        )
        self.limits = self._rules.limits
        self._sequence_numbers = itertools.count(time.time_ns())
        self.reader: IndexReader
        self.writer: IndexWriter
        self.ingest: Ingest

    def start(self) -> RecoveryReport:
        """Open index and store, and remove what was never acknowledged.

        Raises
        ------
        DataFolderError
            The folder cannot be used, or the index is not the one that belongs to the store.
        IndexRevisionError
            The index is of another revision.
        """
        try:
            make_folder(self._folder)
            make_durable(self._index_url)
        except OSError as error:
            raise DataFolderError(f"{self._folder}: {error.strerror}") from error
        self._open_index()
        try:
            report = self._recover()
            self.store.start()
        except BaseException:
            self._close_index()
            raise
        return report

    @contextmanager
    def reading(self) -> Iterator[Self]:
        """Open the index for reading only, beside whoever has the archive started, and give the archive.

        The data folder's lock is not needed. There is no writer, and the store is for finding files in.

        Raises
        ------
        DataFolderError
            The index cannot be read.
        IndexRevisionError
            It is not there, or of another revision.
        """
        migrate.check(self._index_url)
        busy = self._index_settings.busy_seconds
        engine = open_reader_engine(self._index_url, busy_seconds=busy, reader_count=1)
        self.reader = IndexReader(engine)
        try:
            yield self
        except DBAPIError as error:
            raise DataFolderError(f"the index of archive {self.name}: {error.orig}") from error
        finally:
            engine.dispose()

    def stop(self) -> None:
        """Finish what is under way and close store and index."""
        self.store.stop()
        counts = {outcome.value.replace("-", "_"): count for outcome, count in self.ingest.outcomes.items()}
        if counts:
            log.info("archive.closed", archive=self.name, **counts)
        self._close_index()

    def receive(
        self, key: InstanceKey, provenance: Provenance, flow: Flow, *, intake: Intake | None = None
    ) -> Receipt:
        """Return what takes the data set of a C-STORE; never waits or raises.

        Another event loop than the node's needs its own `intake`.
        """
        head = build_part10_head(key, provenance, next(self._sequence_numbers))
        file = self.store.open(head)
        return Receipt(key, provenance, file, intake or self._intake, flow, refusal=_refusal(key))

    def new_intake(self, chunk_count: int) -> Intake:
        """Return memory of `chunk_count` chunks, and quotas, for receipts in an event loop of their own."""
        return self._new_intake(ChunkPool(chunk_count * CHUNK_BYTES))

    def _new_intake(self, chunks: ChunkPool) -> Intake:
        return Intake(
            chunks,
            max_open_bytes=self._storage_settings.max_open_bytes,
            max_object_bytes=self._storage_settings.max_object_bytes,
        )

    def _recover(self) -> RecoveryReport:
        try:
            self._check_belonging()
            return recover(self.store.folder, self.store.node_name, self.reader.named_paths)
        except OSError as error:
            raise DataFolderError(f"{error.filename}: {error.strerror}") from error

    def _check_belonging(self) -> None:
        folder, node_name = self.store.folder, self.store.node_name
        identity = self.writer.submit(settle_identity(folder, node_name)).result()
        if identity is not None:
            write_identity(folder, node_name, identity)
        check_index_is_current(folder, node_name, self._accounted_paths)

    def _accounted_paths(self, prefix: str) -> set[str]:
        """Return the paths that rows name, and those of deleted files that are still to be removed."""
        doomed = self.reader.read(partial(doomed_paths, prefix=prefix))
        return doomed | self.reader.named_paths(prefix)

    def _open_index(self) -> None:
        if migrate.current(self._index_url) is None:
            migrate.upgrade(self._index_url)
        else:
            migrate.check(self._index_url)
        busy = self._index_settings.busy_seconds
        writer_engine = open_writer_engine(self._index_url, busy_seconds=busy)
        reader_engine = open_reader_engine(
            self._index_url, busy_seconds=busy, reader_count=self._index_settings.reader_count
        )
        # readers first: the writer's connection, closed last, folds the write-ahead log into the database
        self._dispose_engines = [reader_engine.dispose, writer_engine.dispose]
        self.reader = IndexReader(reader_engine)
        self.writer = IndexWriter(writer_engine, self._index_settings)
        self.ingest = Ingest(self.store, self.writer, self._rules)
        self.writer.start()

    def _close_index(self) -> None:
        self.writer.stop()
        for dispose in self._dispose_engines:
            dispose()


def _refusal(key: InstanceKey) -> RefusedError | None:
    if is_tolerable_uid(key.sop_instance_uid):
        return None
    return CannotUnderstandError(
        "Affected SOP Instance UID is not a UID", offending_tags=(_SOP_INSTANCE_UID_TAG,)
    )
