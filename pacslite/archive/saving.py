"""Saving one file of an archive into its backup."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pacslite.archive.backup_folder import BackupFolder, ListedFile
from pacslite.archive.view import ArchiveView
from pacslite.index.files import NamedFile
from pacslite.storage.copying import (
    DamagedFileError,
    check_content,
    check_stored_file,
    digest_of,
    new_copy,
    opened,
)
from pacslite.storage.folders import FOLDER_MODE

_NO_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})
_PART: Final = ".part"


@dataclass(frozen=True, slots=True)
class BackupChoices:
    """How a backup is made.

    Parameters
    ----------
    links
        Use hard links where the backup is on the archive's file system: saves from deletion, not from a disk.
    prunes
        Remove from the backup what the archive does not have any longer.
    verifies
        Read the files that earlier backups left, and save anew those that are damaged.
    """

    links: bool = False
    prunes: bool = False
    verifies: bool = False


@dataclass(frozen=True, slots=True)
class SavedFile:
    """What became of one file: it is in the backup as `listed`, or `why` not; `is_gone` if it is nowhere."""

    listed: ListedFile | None = None
    is_new: bool = False
    why: str = ""
    is_gone: bool = False


class FileSaver:
    """Copies files into a backup, or links them; any thread may use it.

    Parameters
    ----------
    view
        Of the archive.
    backup
        Where to.
    choices
        How.
    """

    def __init__(self, view: ArchiveView, backup: BackupFolder, choices: BackupChoices) -> None:
        self._view = view
        self._backup = backup
        self._links = choices.links
        self._verifies = choices.verifies

    def save(self, work: tuple[NamedFile, ListedFile | None]) -> SavedFile:
        """Save a file, of which an earlier backup may have listed a copy.

        Raises
        ------
        OSError
            The backup cannot be written to.
        """
        named, listed = work
        there = self._there(named, listed)
        if there is not None:
            return SavedFile(there)
        source = self._view.path(named.file.path)
        try:
            return SavedFile(self._copy(source, named), is_new=True)
        except DamagedFileError as error:
            return SavedFile(why=str(error))
        except OSError as error:
            why = _unreadable(source)
            if why is None:
                raise
            return SavedFile(why=why, is_gone=error.errno == errno.ENOENT)

    def _there(self, named: NamedFile, listed: ListedFile | None) -> ListedFile | None:
        """Return what the backup has of a file already."""
        try:
            with opened(self._backup.path(named.file.path)) as descriptor:
                if listed is None:
                    digest = check_stored_file(descriptor, named.file, named.key)
                    return ListedFile(named.file.path, named.file.file_bytes, digest)
                if self._verifies:
                    check_content(descriptor, listed.file_bytes, listed.digest)
                is_same_size = os.fstat(descriptor).st_size == listed.file_bytes == named.file.file_bytes
                return listed if is_same_size else None
        except (FileNotFoundError, DamagedFileError):
            return None

    def _copy(self, source: Path, named: NamedFile) -> ListedFile:
        target = self._backup.path(named.file.path)
        target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        part = target.with_name(target.name + _PART)
        part.unlink(missing_ok=True)
        try:
            digest = self._link(source, part, named) if self._links else None
            if digest is None:
                digest = _copy_checked(source, part, named)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return ListedFile(named.file.path, named.file.file_bytes, digest)

    @staticmethod
    def _link(source: Path, part: Path, named: NamedFile) -> str | None:
        try:
            os.link(source, part, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINK:
                return None
            raise
        with opened(part) as descriptor:
            return check_stored_file(descriptor, named.file, named.key)


def _copy_checked(source: Path, target: Path, named: NamedFile) -> str:
    """Copy a stored file durably into the new file `target`; return the digest of all its bytes."""
    with new_copy(source, target) as descriptor:
        return check_stored_file(descriptor, named.file, named.key)


def _unreadable(source: Path) -> str | None:
    """Return why a file of the archive cannot be read, or None where it can: then the backup failed."""
    try:
        with opened(source) as descriptor:
            digest_of(descriptor)
    except OSError as error:
        return error.strerror or str(error)
    return None
