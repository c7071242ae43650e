"""Copying selected instances out of an archive, into folders that people can read."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from pacslite.archive.naming import Namer
from pacslite.archive.operation import Progress
from pacslite.archive.pool import in_order
from pacslite.archive.view import ArchiveView
from pacslite.index.selection import SelectedInstance, Selection, select_instances
from pacslite.model.errors import OperationError
from pacslite.storage.copying import DamagedFileError, check_stored_file, copy_content, opened
from pacslite.storage.folders import FOLDER_MODE

THREADS: Final = 4
MAX_TOLD: Final = 1000

_FILE_MODE: Final = 0o600
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DRAFT_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINK: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

_Named = tuple[SelectedInstance, tuple[str, ...]]


def export(
    view: ArchiveView, selection: Selection, tree: "ExportTree", namer: Namer, progress: Progress
) -> dict[str, Any]:
    """Copy the archive's version of each selected instance as it is stored: Part 10, with an empty preamble.

    A file appears under its name once its digest was verified.

    Returns
    -------
    dict
        `selected`, `exported`, `bytes`, and `failed`: path in the tree, SOP Instance UID and reason, at most
        `MAX_TOLD`, of `failed_count`.

    Raises
    ------
    OperationError
        There is no room, or the folder cannot be written to.
    """
    total, instances = select_instances(view.reader, selection)
    exported = exported_bytes = failed_count = 0
    failed: list[dict[str, str]] = []

    def copy(named: _Named) -> str | None:
        selected, path = named
        return tree.add(path, view.path(selected.named.file.path), selected)

    work = ((selected, namer.path(selected)) for selected in instances)
    for done, ((selected, path), why) in enumerate(in_order(copy, work, threads=THREADS), start=1):
        if why is None:
            exported += 1
            exported_bytes += selected.named.file.file_bytes
        else:
            failed_count += 1
            if len(failed) < MAX_TOLD:
                uid = selected.named.key.sop_instance_uid
                failed.append({"path": "/".join(path), "sop_instance_uid": uid, "reason": why})
        progress(done, total, "files")
    return {
        "selected": total,
        "exported": exported,
        "bytes": exported_bytes,
        "failed_count": failed_count,
        "failed": failed,
    }


class ExportTree:
    """A folder that files are put in, and nothing outside of it: links in it are not followed.

    Parameters
    ----------
    root
        Made when it is not there.
    overwrites
        Whether files that are there already are replaced.
    """

    def __init__(self, root: Path, *, overwrites: bool) -> None:
        self._root = root
        self._overwrites = overwrites

    def add(self, path: tuple[str, ...], source: Path, selected: SelectedInstance) -> str | None:
        """Copy a stored file to `path`; return why it could not be done, or None.

        Raises
        ------
        OperationError
            There is no room, or the tree cannot be written to.
        """
        *folders, name = path
        try:
            with self._folder(folders) as folder:
                if not self._overwrites and _exists(name, folder):
                    return "it is there already"
                self._copy(folder, name, source, selected)
        except DamagedFileError as error:
            return str(error)
        except FileExistsError:
            return "it is there already"
        except OSError as error:
            if error.errno in _FULL:
                raise OperationError(f"{self._root}: {error.strerror}") from error
            return error.strerror or str(error)
        return None

    def _copy(self, folder: int, name: str, source: Path, selected: SelectedInstance) -> None:
        draft = f".{name}.part"
        with suppress(FileNotFoundError):  # of an export that was cut off
            os.unlink(draft, dir_fd=folder)
        with opened(source) as source_descriptor:
            descriptor = os.open(draft, _DRAFT_FLAGS, _FILE_MODE, dir_fd=folder)
            try:
                copy_content(source_descriptor, descriptor)
                check_stored_file(descriptor, selected.named.file, selected.named.key)
                self._publish(draft, name, folder)
            finally:
                os.close(descriptor)
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=folder)

    def _publish(self, draft: str, name: str, folder: int) -> None:
        if not self._overwrites:
            try:
                os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
            else:
                return
            if _exists(name, folder):  # a file system without links, such as a memory stick's
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)

    @contextmanager
    def _folder(self, names: list[str]) -> Iterator[int]:
        self._root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in names:
                inner = _enter(descriptor, name)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)


def _enter(parent: int, name: str) -> int:
    """Return a descriptor of a folder in `parent`, which is made when it is not there."""
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another thread was faster
            os.mkdir(name, FOLDER_MODE, dir_fd=parent)
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
