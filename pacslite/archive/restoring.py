"""Bringing back what a backup holds: a whole archive, or the files of one that are missing or damaged."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import field_validator

from pacslite.archive.archive import archive_folder
from pacslite.archive.backup import MAX_TOLD, check_belonging
from pacslite.archive.backup_folder import BackupFolder, ListedFile, Lookup, Manifest
from pacslite.archive.identity import write_identity
from pacslite.archive.operation import Arguments, Progress
from pacslite.archive.pool import in_order
from pacslite.index.files import NamedFile, count_named, is_named, named_files
from pacslite.model.errors import DataFolderError, OperationError
from pacslite.settings.schema import ArchiveSettings, Settings
from pacslite.storage.copying import (
    DamagedFileError,
    check_content,
    check_stored_file,
    new_copy,
    opened,
)
from pacslite.storage.folders import make_folder, sync_folder
from pacslite.storage.lock import LOCK_NAME
from pacslite.storage.segments import seal
from pacslite.storage.store import stored_path

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive

log = structlog.get_logger(__name__)

THREADS: Final = 8

_DRAFT_NAME: Final = "mending.part"


class MendArguments(Arguments):
    """Where the backups are: the absolute path of the folder that was given to `backup`."""

    folder: Path

    @field_validator("folder")
    @classmethod
    def _check_folder(cls, folder: Path) -> Path:
        if not folder.is_absolute():
            raise ValueError("an absolute path is needed")
        return folder


def check_restorable(folder: Path, settings: Settings) -> None:
    """Verify that the backups in `folder` are those of the archives in `settings`, and the data folder empty.

    Raises
    ------
    OperationError
        An archive has no backup, or a backup no archive, or an index is to be in PostgreSQL.
    DataFolderError
        There is something in the data folder.
    """
    found = {path.parent.name for path in folder.glob("*/manifest.json")}
    wanted = {archive.name for archive in settings.archives}
    if found != wanted:
        raise OperationError(
            f"{folder} holds backups of {_names(found)}, and the settings have the archives {_names(wanted)}"
        )
    if any(archive.index_url for archive in settings.archives):
        raise OperationError("a backup is restored to an index in the data folder: leave index_url out")
    data_folder = settings.data_folder
    if data_folder.exists() and any(path.name != LOCK_NAME for path in data_folder.iterdir()):
        raise DataFolderError(f"{data_folder} is not empty; to mend the files in it, use --only-damaged")


def restore_archive(
    folder: Path, settings: Settings, archive: ArchiveSettings, progress: Progress
) -> dict[str, Any]:
    """Make an archive anew from its backup; the caller holds the lock of the data folder.

    The index comes last: a node refuses what a restore that was cut off has left.

    Returns
    -------
    dict
        `archive`, `made_at`, `files`, `bytes`, `missing_count` (what the backup never had), and `damaged`:
        path and reason of files of the backup that were not restored, at most `MAX_TOLD`, of `damaged_count`.

    Raises
    ------
    OperationError
        The backup's index or list is damaged, or a file cannot be read or written.
    """
    backup = BackupFolder(folder.absolute() / archive.name)
    with _told():
        manifest = backup.required_manifest()
        return _Restore(backup, manifest, archive_folder(settings, archive), progress).run()


def mend(archive: "Archive", arguments: MendArguments, progress: Progress) -> dict[str, Any]:
    """Read every file that the archive's index names, and replace those missing or damaged from a backup.

    Returns
    -------
    dict
        `checked`; `mended`: their paths; `unmended`: path and reason of those that the backup could not mend;
        both at most `MAX_TOLD`, of `mended_count` and `unmended_count`.

    Raises
    ------
    OperationError
        It is the backup of another archive, or its list is damaged, or the store cannot be written to.
    """
    backup = BackupFolder(arguments.folder / archive.name)
    with _told():
        manifest = backup.required_manifest()
        check_belonging(archive.reader, manifest, backup.folder)
        return _Mending(archive, backup, progress).run(manifest)


class _Restore:
    """One archive on its way back."""

    def __init__(self, backup: BackupFolder, manifest: Manifest, folder: Path, progress: Progress) -> None:
        self._backup = backup
        self._manifest = manifest
        self._folder = folder
        self._store_folder = folder / "store"
        self._progress = progress
        self._damaged: list[tuple[str, str]] = []

    def run(self) -> dict[str, Any]:
        """Bring everything back and return what it came to."""
        manifest = self._manifest
        index = self._backup.check_part(manifest.index)
        make_folder(self._store_folder)
        for node_name, identity in manifest.identities.items():
            write_identity(self._store_folder, node_name, identity)
        file_count, file_bytes = self._restore_files()
        self._seal()
        draft = self._folder / "index.sqlite.new"
        with new_copy(index, draft) as descriptor:
            check_content(descriptor, manifest.index.size_bytes, manifest.index.digest)
        draft.replace(self._folder / "index.sqlite")
        sync_folder(self._folder)
        return {
            "archive": manifest.archive,
            "made_at": manifest.made_at.isoformat(),
            "files": file_count,
            "bytes": file_bytes,
            "missing_count": manifest.missing_count,
            "damaged_count": len(self._damaged),
            "damaged": [{"path": path, "reason": why} for path, why in self._damaged[:MAX_TOLD]],
        }

    def _restore_files(self) -> tuple[int, int]:
        file_count = file_bytes = 0
        listed = self._backup.listed(self._manifest)
        for done, (file, why) in enumerate(in_order(self._restore_file, listed, threads=THREADS), start=1):
            if why is None:
                file_count += 1
                file_bytes += file.file_bytes
            else:
                self._damaged.append((file.path, why))
            self._progress(done, self._manifest.file_count, "files")
        return file_count, file_bytes

    def _restore_file(self, file: ListedFile) -> str | None:
        """Return why a file could not be restored, or None."""
        source, target = self._backup.path(file.path), stored_path(self._store_folder, file.path)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return copy_back(source, target, file)

    def _seal(self) -> None:
        for node_folder in self._store_folder.iterdir():
            for segment in node_folder.iterdir():
                if segment.is_dir():
                    seal(segment)
            sync_folder(node_folder)
        sync_folder(self._store_folder)


class _Mending:
    """One pass over the files of an archive."""

    def __init__(self, archive: "Archive", backup: BackupFolder, progress: Progress) -> None:
        self._archive = archive
        self._backup = backup
        self._progress = progress
        self._mended: list[str] = []
        self._unmended: list[tuple[str, str]] = []

    def run(self, manifest: Manifest) -> dict[str, Any]:
        """Check every file, mend what can be mended."""
        reader = self._archive.reader
        total = count_named(reader)
        lookup = Lookup(self._backup.listed(manifest))
        done = 0
        for done, named in enumerate(named_files(reader), start=1):
            listed = lookup.find(named.file.path)
            why = self._damage(named, listed)
            if why is not None:
                self._mend(named, listed, why)
            self._progress(done, total, "files")
        log.info("backup.mended", archive=self._archive.name, mended=len(self._mended))
        return {
            "archive": self._archive.name,
            "checked": done,
            "mended_count": len(self._mended),
            "mended": self._mended[:MAX_TOLD],
            "unmended_count": len(self._unmended),
            "unmended": [{"path": path, "reason": why} for path, why in self._unmended[:MAX_TOLD]],
        }

    def _damage(self, named: NamedFile, listed: ListedFile | None) -> str | None:
        """Return what is wrong with a file of the archive, or None."""
        try:
            with opened(self._archive.store.path(named.file.path)) as descriptor:
                whole = check_stored_file(descriptor, named.file, named.key)
        except DamagedFileError as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)
        if listed is not None and whole != listed.digest:
            return "its file meta is damaged"
        return None

    def _mend(self, named: NamedFile, listed: ListedFile | None, why: str) -> None:
        path = named.file.path
        if not is_named(self._archive.reader, path):
            return  # it went while we looked
        if listed is None:
            self._unmended.append((path, f"{why}; the backup does not have it"))
            return
        failure = self._replace(listed)
        if failure is None:
            self._mended.append(path)
            log.warning("instance.mended", file=path, why=why)
        else:
            self._unmended.append((path, f"{why}; its copy in the backup: {failure}"))

    def _replace(self, listed: ListedFile) -> str | None:
        """Put the backup's copy in the place of a file; return why it could not be used, or None."""
        target = self._archive.store.path(listed.path)
        # In a segment it would be a file without a row, which a start of the node takes for an older index.
        draft = target.parent.parent / _DRAFT_NAME
        draft.unlink(missing_ok=True)
        failure = copy_back(self._backup.path(listed.path), draft, listed)
        if failure is not None:
            return failure
        if not target.parent.is_dir():
            make_folder(target.parent)
            seal(target.parent)
        draft.replace(target)
        sync_folder(target.parent)
        if not is_named(self._archive.reader, listed.path):
            target.unlink(missing_ok=True)  # it was deleted meanwhile
            sync_folder(target.parent)
        return None


def copy_back(source: Path, target: Path, file: ListedFile) -> str | None:
    """Copy a file of a backup durably into the new file `target`; return why it is not to be used, or None.

    Raises
    ------
    OSError
        `target` cannot be written.
    """
    try:
        with opened(source):
            pass
    except OSError as error:
        return error.strerror or str(error)
    try:
        with new_copy(source, target) as descriptor:
            check_content(descriptor, file.file_bytes, file.digest)
    except DamagedFileError as error:
        target.unlink()
        return str(error)
    return None


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationError(f"{error.filename or 'the disk'}: {error.strerror or error}") from error


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
