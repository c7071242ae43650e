"""A file that an instance is being received into."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final, TypeVar

import xxhash

from pacslite.model.errors import OutOfResourcesError
from pacslite.model.instances import StoredFile
from pacslite.storage.segments import SegmentMaker, Slot

MAX_PIECES_PER_WRITE: Final = 512
"""Half of what one `writev` takes on Linux (IOV_MAX)."""

Piece = bytes | memoryview
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Writing:
    """What the incoming files of a store share.

    Parameters
    ----------
    segments
        A file is taken from there at the first write.
    executor
        The disk threads.
    readers
        Threads for what is read again: long work, which no writing waits for.
    reserve_bytes
        Free space that writing must leave.
    sync_interval_bytes
        A large file is synced each time so many bytes are written, so that its neighbours never wait long.
    failed
        Told of each failed write or sync, in the disk thread.
    """

    segments: SegmentMaker
    executor: Executor
    readers: Executor
    reserve_bytes: int
    sync_interval_bytes: int
    failed: Callable[[OSError], None]


class IncomingFile:
    """Takes pieces in order and makes them durable, in disk threads and one job at a time.

    Parameters
    ----------
    writing
        Of the store.
    head
        Preamble and file meta.

    Notes
    -----
    The methods are called from one thread, return at once and never raise; what went wrong is raised by the
    future of `finish`. Pieces belong to the file until their `done` was called.
    """

    def __init__(self, writing: Writing, head: bytes) -> None:
        self._writing = writing
        self._head = head
        self._jobs: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._is_running = False
        self._slot: Slot | None = None
        self._descriptor: int | None = None
        self._file_bytes = 0
        self._synced_bytes = 0
        self._hash = xxhash.xxh3_128()
        self._error: OSError | OutOfResourcesError | None = None

    def append(self, pieces: list[Piece], done: Callable[[], None]) -> None:
        """Write `pieces` next; then, also after a failure, call `done` in the disk thread."""
        self._enqueue(lambda: self._append(pieces, done))

    def finish(self) -> Future[StoredFile]:
        """Sync the file; the future holds what it is, once it is durable.

        The future raises OutOfResourcesError when a write or the sync failed, or there is no room. A failed
        sync is not tried again: the kernel may have dropped the pages.
        """
        future: Future[StoredFile] = Future()
        self._enqueue(lambda: _settle(future, self._finish))
        return future

    def read(self, use: Callable[[int, int], T]) -> Future[T]:
        """Return what `use(descriptor, data_set_offset)` returns of the finished file, from a reading thread.

        The future raises OutOfResourcesError when the file cannot be read, and what `use` raises.
        """
        return self._writing.readers.submit(self._read, use)

    def discard(self) -> None:
        """Remove the file, once its jobs are done."""
        self._enqueue(self._discard)

    def keep(self) -> None:
        """Take note that the index names the finished file."""
        if self._slot is not None and self._slot.segment.resolve():
            self._writing.executor.submit(self._slot.segment.seal)

    def _enqueue(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._jobs.append(job)
            if self._is_running:
                return
            self._is_running = True
        self._writing.executor.submit(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._is_running = False
                    return
                job = self._jobs.popleft()
            job()

    def _append(self, pieces: list[Piece], done: Callable[[], None]) -> None:
        try:
            if self._error is None:
                self._write(pieces)
        except OutOfResourcesError as error:
            self._error = error
        except OSError as error:
            self._error = error
            self._writing.failed(error)
        finally:
            done()

    def _write(self, pieces: list[Piece]) -> None:
        if self._descriptor is None:
            descriptor = self._open()
            write_all(descriptor, [self._head])
            self._file_bytes = len(self._head)
        else:
            descriptor = self._descriptor
        self._check_space(descriptor)
        for start in range(0, len(pieces), MAX_PIECES_PER_WRITE):
            self._file_bytes += write_all(descriptor, pieces[start : start + MAX_PIECES_PER_WRITE])
        for piece in pieces:
            self._hash.update(piece)
        if self._file_bytes - self._synced_bytes >= self._writing.sync_interval_bytes:
            os.fdatasync(descriptor)
            self._synced_bytes = self._file_bytes

    def _open(self) -> int:
        self._slot = self._writing.segments.take()
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._slot.path, flags)
        return self._descriptor

    def _check_space(self, descriptor: int) -> None:
        if not self._writing.reserve_bytes:
            return
        space = os.fstatvfs(descriptor)
        if space.f_bavail * space.f_frsize < self._writing.reserve_bytes:
            raise OutOfResourcesError("the store is at its disk reserve")

    def _finish(self) -> StoredFile:
        if self._error is None and self._descriptor is None:
            self._append([], lambda: None)
        if isinstance(self._error, OutOfResourcesError):
            raise self._error
        if self._error is not None or self._descriptor is None or self._slot is None:
            raise OutOfResourcesError("the store could not be written to") from self._error
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._error = error
            self._writing.failed(error)
            raise OutOfResourcesError("the store could not be synced") from error
        self._close()
        return StoredFile(
            path=self._slot.relative_path,
            file_bytes=self._file_bytes,
            data_set_offset=len(self._head),
            digest=self._hash.hexdigest(),
        )

    def _read(self, use: Callable[[int, int], T]) -> T:
        if self._slot is None:
            raise OutOfResourcesError("the store could not be read")
        try:
            descriptor = os.open(self._slot.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                return use(descriptor, len(self._head))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OutOfResourcesError("the store could not be read") from error

    def _discard(self) -> None:
        self._close()
        if self._slot is None:
            return
        try:
            self._slot.path.unlink()
        except OSError as error:
            # It has no row: recovery finds it at the next start, because its segment stays unsealed.
            self._writing.failed(error)
        else:
            if self._slot.segment.resolve():
                self._slot.segment.seal()

    def _close(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


def write_all(descriptor: int, pieces: list[Piece]) -> int:
    """Write all of `pieces`, however the kernel divides them; return how many bytes they are."""
    total = sum(len(piece) for piece in pieces)
    written = os.writev(descriptor, pieces)
    if written < total:
        rest = memoryview(b"".join(pieces))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return total


def _settle(future: Future[T], job: Callable[[], T]) -> None:
    try:
        future.set_result(job())
    # a job's error belongs to who waits for the future, not to the disk thread
    except BaseException as error:  # noqa: BLE001 - see above
        future.set_exception(error)
