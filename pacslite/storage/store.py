"""The store of one archive: a folder of Part 10 files, written durably."""

import errno
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

import structlog

from pacslite.model.errors import DataFolderError
from pacslite.settings.schema import StorageSettings
from pacslite.storage.chunks import ChunkPool
from pacslite.storage.incoming import IncomingFile, Writing
from pacslite.storage.segments import SegmentMaker

log = structlog.get_logger(__name__)

T = TypeVar("T")

READ_THREADS: Final = 2
"""For inflating and comparing: seconds of work that a sender can cause with one megabyte."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def stored_path(folder: Path, relative_path: str) -> Path:
    """Return where a file of the store at `folder` lies.

    Raises
    ------
    DataFolderError
        `relative_path`, which the index holds, leaves the store.
    """
    parts = PurePosixPath(relative_path).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise DataFolderError(f"{relative_path!r} is no path of the store")
    return folder.joinpath(*parts)


@dataclass(slots=True)
class StoreHealth:
    """What has gone wrong with the disk since the start."""

    failed_writes: int = 0

    @property
    def is_degraded(self) -> bool:
        """Whether a write or sync has failed for another reason than a lack of room."""
        return self.failed_writes > 0


class Store:
    """Opens files for what arrives, and finds those that are there.

    Parameters
    ----------
    folder
        The store's root.
    node_name
        The node writes below `folder / node_name` only.
    settings
        Limits, threads and segments.
    """

    def __init__(self, folder: Path, node_name: str, settings: StorageSettings) -> None:
        self.folder = folder
        self.node_name = node_name
        self.health = StoreHealth()
        self.chunks = ChunkPool(settings.chunk_pool_bytes)
        self._segments = SegmentMaker(folder, node_name, settings.segment_files)
        self._executor = ThreadPoolExecutor(settings.disk_threads, thread_name_prefix="pacslite-disk")
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="pacslite-read")
        self._writing = Writing(
            segments=self._segments,
            executor=self._executor,
            readers=self._readers,
            reserve_bytes=settings.reserve_bytes,
            sync_interval_bytes=settings.sync_interval_bytes,
            failed=self._note_failure,
        )

    def start(self) -> None:
        """Make the first files.

        Raises
        ------
        DataFolderError
            The store cannot be written to.
        """
        try:
            self._segments.start()
        except OSError as error:
            raise DataFolderError(f"{self.folder}: {error.strerror}") from error

    def stop(self) -> None:
        """Finish the disk threads' jobs and remove the files that were made and not used."""
        self._readers.shutdown(wait=True)
        self._executor.shutdown(wait=True)
        self._segments.stop()

    def open(self, head: bytes) -> IncomingFile:
        """Return a new file that will start with `head`."""
        return IncomingFile(self._writing, head)

    def path(self, relative_path: str) -> Path:
        """Return where a stored file lies; see `stored_path`."""
        return stored_path(self.folder, relative_path)

    def run(self, job: Callable[[], T]) -> Future[T]:
        """Return what `job`, which only reads, returns from a reading thread."""
        return self._readers.submit(job)

    def _note_failure(self, error: OSError) -> None:
        if error.errno not in _NO_ROOM:
            self.health.failed_writes += 1
        log.error("store.write_failed", why=error.strerror, is_degraded=self.health.is_degraded)
