"""Segments: folders of files that are made, and synced into their folder, ahead of use."""

import contextlib
import json
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from pacslite.storage.folders import FOLDER_MODE, make_folder, sync_folder

log = structlog.get_logger(__name__)

SEAL_NAME: Final = "sealed"
"""A file that says: every file of this segment has a row. It is empty, and losing it costs one look at start.

Where `pacslite reindex` found files that it could not index, it lists their names, as JSON, and is synced.
"""

RETRY_SECONDS: Final = 1.0
_FILE_MODE: Final = 0o600


@dataclass(slots=True)
class Segment:
    """A folder of the store and how many of its files wait for their fate."""

    path: Path
    unresolved_count: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def resolve(self) -> bool:
        """Take note that one file has a row or is gone; return whether it was the last: then `seal`."""
        with self.lock:
            self.unresolved_count -= 1
            return self.unresolved_count == 0

    def seal(self) -> None:
        """Say on disk that recovery need not look here again; a segment without files goes."""
        try:
            self.path.rmdir()
        except OSError:
            seal(self.path)


@dataclass(frozen=True, slots=True)
class Slot:
    """A file that was made for one instance and never serves another."""

    path: Path
    relative_path: str
    segment: Segment


class SegmentMaker:
    """Makes segments in a thread of its own, so that a receipt finds its file ready.

    Parameters
    ----------
    store_folder
        Slots are named relative to it.
    node_name
        The segments lie in `store_folder / node_name`: a node writes nowhere else.
    segment_files
        Files of a segment.
    """

    def __init__(self, store_folder: Path, node_name: str, segment_files: int) -> None:
        self._folder = store_folder / node_name
        self._node_name = node_name
        self._segment_files = segment_files
        self._slots: deque[Slot] = deque()
        self._condition = threading.Condition()
        self._error: OSError | None = None
        self._is_stopping = False
        self._last_name = 0
        self._thread = threading.Thread(target=self._run, name="pacslite-segments", daemon=True)

    def start(self) -> None:
        """Make the node's folder and the first segment, and keep one ahead from now on.

        Raises
        ------
        OSError
            The store cannot be written to.
        """
        make_folder(self._folder)
        self._add_segment()
        self._thread.start()

    def stop(self) -> None:
        """Stop making files and remove those that were not used."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify_all()
        self._thread.join()
        while self._slots:
            slot = self._slots.popleft()
            try:
                slot.path.unlink(missing_ok=True)
            except OSError as error:
                # It has no row: recovery finds it at the next start, because its segment stays unsealed.
                log.warning("file.not_removed", why=error.strerror)
                continue
            if slot.segment.resolve():
                slot.segment.seal()

    def take(self) -> Slot:
        """Return a file that is empty, synced into its folder, and nobody else's; may wait for it.

        Raises
        ------
        OSError
            There is none, and the last attempt to make some failed so.
        """
        with self._condition:
            if not self._slots:
                self._error = None  # what failed may have been mended since: one more attempt
                self._condition.notify_all()
            while not self._slots:
                if self._error is not None or self._is_stopping:
                    raise self._error or OSError("the store is closed")
                self._condition.wait()
            slot = self._slots.popleft()
            if len(self._slots) < self._segment_files // 2:
                self._condition.notify_all()
            return slot

    def _run(self) -> None:
        while True:
            with self._condition:
                while len(self._slots) >= max(self._segment_files // 2, 1) and not self._is_stopping:
                    self._condition.wait()
                if self._is_stopping:
                    return
            try:
                self._add_segment()
            except OSError as error:
                self._report(error)

    def _report(self, error: OSError) -> None:
        log.warning("segment.not_made", why=error.strerror)
        with self._condition:
            self._error = error
            self._condition.notify_all()
            if not self._is_stopping:
                self._condition.wait(RETRY_SECONDS)

    def _add_segment(self) -> None:
        segment = Segment(self._make_folder(), self._segment_files)
        try:
            slots = [self._make_slot(segment, number) for number in range(self._segment_files)]
            sync_folder(segment.path)
            sync_folder(self._folder)
        except OSError:
            shutil.rmtree(segment.path, ignore_errors=True)  # nobody has been given any of its files
            raise
        with self._condition:
            self._slots.extend(slots)
            self._error = None
            self._condition.notify_all()

    def _make_folder(self) -> Path:
        # Names never repeat, also when the clock is set back: a folder that exists is not used again.
        name = max(time.time_ns(), self._last_name + 1)
        while True:
            path = self._folder / f"{name:016x}"
            try:
                path.mkdir(mode=FOLDER_MODE)
            except FileExistsError:
                name += 1
            else:
                self._last_name = name
                return path

    def _make_slot(self, segment: Segment, number: int) -> Slot:
        name = f"{number:04x}.dcm"
        path = segment.path / name
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE))
        return Slot(path, f"{self._node_name}/{segment.path.name}/{name}", segment)


def seal(segment: Path, left_alone: Collection[str] = ()) -> None:
    """Mark a segment as one whose files all have a row; first what was removed from it must stay removed.

    Parameters
    ----------
    segment
        Its folder.
    left_alone
        Names of what lies there, has no row, and shall stay all the same.
    """
    with contextlib.suppress(OSError):  # an unsealed segment is looked at again: no harm
        sync_folder(segment)
        path = segment / SEAL_NAME
        if left_alone or (path.exists() and path.stat().st_size):
            _write_seal(segment, json.dumps(sorted(left_alone)))
        else:
            path.touch(mode=_FILE_MODE)


def left_alone(segment: Path) -> set[str]:
    """Return the names of what a sealed segment holds beside the files that have a row."""
    try:
        return set(json.loads((segment / SEAL_NAME).read_text() or "[]"))
    except (OSError, ValueError):
        return set()


def _write_seal(segment: Path, text: str) -> None:
    # A seal that says something must not be lost: recovery would remove what it protects.
    draft = segment / f"{SEAL_NAME}.new"
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(segment / SEAL_NAME)
    sync_folder(segment)
