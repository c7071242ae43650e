"""Saving an archive while it is in use: a snapshot of the index, then every file that it names."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy import URL

from pacslite import __version__
from pacslite.archive.backup_folder import (
    BackupFolder,
    ListedFile,
    Lookup,
    Manifest,
    read_list,
)
from pacslite.archive.operation import Progress
from pacslite.archive.pool import in_order
from pacslite.archive.saving import BackupChoices, FileSaver, SavedFile
from pacslite.archive.view import ArchiveView
from pacslite.index.engine import open_reader_engine
from pacslite.index.files import NamedFile, count_named, identities, is_named, named_files
from pacslite.index.reader import IndexReader
from pacslite.index.snapshot import take_snapshot
from pacslite.model.errors import OperationError
from pacslite.storage.folders import make_folder, sync_folder
from pacslite.storage.lock import DataFolderLock

log = structlog.get_logger(__name__)

THREADS: Final = 8
"""Files at a time: their syncs are one for the file system's journal."""

MAX_ROUNDS: Final = 5
"""Snapshots that are taken, because files went while they were saved, until the backup gives up."""

MAX_TOLD: Final = 1000


@dataclass(slots=True)
class _Tally:
    """What a round has come to."""

    file_count: int = 0
    file_bytes: int = 0
    copied_count: int = 0
    copied_bytes: int = 0
    gone: list[str] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)


def back_up(view: ArchiveView, folder: Path, choices: BackupChoices, progress: Progress) -> dict[str, Any]:
    """Save an archive into `folder / <its name>`; an earlier backup there is brought up to date.

    Until the end the earlier backup stays the one that counts. One that was cut off is gone on with.
    When files were deleted between the snapshot and their turn, another is taken, at most `MAX_ROUNDS`.

    Returns
    -------
    dict
        `made_at`, `files`, `bytes`, of these `copied` and `copied_bytes`, `rounds`, `removed` by pruning, and
        `damaged`: path and reason of files of the archive that could not be saved, at most `MAX_TOLD`, of
        `damaged_count`.

    Raises
    ------
    OperationError
        It cannot be made; the text says why.
    DataFolderError
        Another backup is being made there, or the index cannot be copied.
    """
    backup = BackupFolder(folder.absolute() / view.name)
    with _told(backup.folder):
        make_folder(backup.folder)
        with DataFolderLock(backup.folder):
            return _Backup(view, backup, choices, progress).run()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationError(f"{error.filename or folder}: {error.strerror or error}") from error


class _Backup:
    """One run."""

    def __init__(
        self, view: ArchiveView, backup: BackupFolder, choices: BackupChoices, progress: Progress
    ) -> None:
        self._view = view
        self._backup = backup
        self._prunes = choices.prunes
        self._saver = FileSaver(view, backup, choices)
        self._progress = progress
        self._folders: set[Path] = set()

    def run(self) -> dict[str, Any]:
        """Save everything and return what it came to."""
        previous = self._backup.manifest()
        if previous is not None:
            check_belonging(self._view.reader, previous, self._backup.folder)
        known = None if previous is None else self._backup.check_part(previous.files)
        parts = set() if previous is None else {previous.index.name, previous.files.name}
        self._backup.remove_parts(keep=parts)
        for round_number in range(1, MAX_ROUNDS + 1):
            made_at = datetime.now(UTC)
            stamp = f"{time.time_ns():x}"
            tally = self._round(stamp, known)
            if not self._retracted(tally.gone):
                manifest = self._conclude(stamp, made_at, tally)
                removed = self._prune(manifest) if self._prunes else 0
                return _result(manifest, tally, rounds=round_number, removed=removed)
            known = self._backup.folder / f"files-{stamp}.txt"
        raise OperationError("files are removed faster than they can be saved; try again later")

    def _round(self, stamp: str, known: Path | None) -> _Tally:
        """Take a snapshot, save what it names, and write the list."""
        tally = _Tally()
        snapshot = self._backup.folder / f"index-{stamp}.sqlite"
        take_snapshot(
            self._view.url, snapshot, lambda done, total: self._progress(done, total, "index pages")
        )
        with (
            snapshot_reader(snapshot) as reader,
            (self._backup.folder / f"files-{stamp}.txt").open("x", encoding="ascii") as lines,
        ):
            total = count_named(reader)
            work = self._with_known(named_files(reader), known)
            for done, ((named, _), saved) in enumerate(
                in_order(self._saver.save, work, threads=THREADS), start=1
            ):
                _count(tally, named, saved)
                if saved.listed is not None:
                    lines.write(saved.listed.line)
                self._progress(done, total, "files")
            lines.flush()
            os.fsync(lines.fileno())
        return tally

    def _with_known(
        self, files: Iterable[NamedFile], known: Path | None
    ) -> Iterator[tuple[NamedFile, ListedFile | None]]:
        lookup = Lookup(iter(()) if known is None else read_list(known))
        for named in files:
            self._folders.add(self._backup.path(named.file.path).parent)
            yield named, lookup.find(named.file.path)

    def _retracted(self, gone: Iterable[str]) -> bool:
        """Whether the archive itself does not name a file any longer that was gone when its turn came."""
        return any(not is_named(self._view.reader, path) for path in gone)

    def _conclude(self, stamp: str, made_at: datetime, tally: _Tally) -> Manifest:
        for folder in sorted(self._folders | {path for each in self._folders for path in each.parents}):
            if folder.is_relative_to(self._backup.folder) and folder.is_dir():
                sync_folder(folder)
        with snapshot_reader(self._backup.folder / f"index-{stamp}.sqlite") as reader:
            known = identities(reader)
        manifest = Manifest(
            format=1,
            archive=self._view.name,
            made_at=made_at,
            version=__version__,
            identities=known,
            index=self._backup.part(f"index-{stamp}.sqlite"),
            files=self._backup.part(f"files-{stamp}.txt"),
            file_count=tally.file_count,
            file_bytes=tally.file_bytes,
            missing_count=len(tally.damaged),
        )
        self._backup.switch_to(manifest)
        log.info("backup.made", archive=self._view.name, files=tally.file_count, damaged=len(tally.damaged))
        return manifest

    def _prune(self, manifest: Manifest) -> int:
        """Remove copies that the snapshot does not name."""
        removed = 0
        with snapshot_reader(self._backup.folder / manifest.index.name) as reader:
            for segment in sorted((self._backup.folder / "store").glob("*/*")):
                named = reader.named_paths(f"{segment.parent.name}/{segment.name}/")
                for path in segment.iterdir():
                    if f"{segment.parent.name}/{segment.name}/{path.name}" not in named:
                        path.unlink()
                        removed += 1
                with suppress(OSError):  # it has files
                    segment.rmdir()
        return removed


@contextmanager
def snapshot_reader(path: Path) -> Iterator[IndexReader]:
    """Yield a reader of the snapshot at `path`."""
    engine = open_reader_engine(URL.create("sqlite", database=str(path)), reader_count=1)
    try:
        yield IndexReader(engine)
    finally:
        engine.dispose()


def check_belonging(reader: IndexReader, manifest: Manifest, folder: Path) -> None:
    """Verify that a backup is of the archive that `reader` reads.

    Raises
    ------
    OperationError
        It is of another.
    """
    own = identities(reader)
    common = own.keys() & manifest.identities.keys()
    if not common or any(own[node] != manifest.identities[node] for node in common):
        raise OperationError(f"{folder} holds a backup of another archive")


def _count(tally: _Tally, named: NamedFile, saved: SavedFile) -> None:
    if saved.listed is None:
        tally.damaged.append((named.file.path, saved.why))
        if saved.is_gone:
            tally.gone.append(named.file.path)
        return
    tally.file_count += 1
    tally.file_bytes += named.file.file_bytes
    if saved.is_new:
        tally.copied_count += 1
        tally.copied_bytes += named.file.file_bytes


def _result(manifest: Manifest, tally: _Tally, *, rounds: int, removed: int) -> dict[str, Any]:
    return {
        "archive": manifest.archive,
        "made_at": manifest.made_at.isoformat(),
        "files": tally.file_count,
        "bytes": tally.file_bytes,
        "copied": tally.copied_count,
        "copied_bytes": tally.copied_bytes,
        "rounds": rounds,
        "removed": removed,
        "damaged_count": len(tally.damaged),
        "damaged": [{"path": path, "reason": why} for path, why in tally.damaged[:MAX_TOLD]],
    }
