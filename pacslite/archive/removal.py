"""Removing the files that no row names any longer: at once, and in any case by a job."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import DBAPIError

from pacslite.index import removals
from pacslite.index.jobs import Job
from pacslite.index.removals import Removal
from pacslite.model.errors import DataFolderError, OutOfResourcesError
from pacslite.storage.removal import remove_durably

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive

log = structlog.get_logger(__name__)


def remove_files(archive: "Archive", job: Job) -> None:
    """Do a job of the kind `REMOVE_FILES`; may be repeated.

    Raises
    ------
    OSError
        A file cannot be removed: to be tried again.
    DataFolderError
        A path leaves the store.
    """
    _remove(archive, job.payload["paths"])


def remove_now(archive: "Archive", removal: Removal | None) -> int:
    """Do at once what `removal` promised; return how many files are left to its job because they resist."""
    if removal is None:
        return 0
    try:
        _remove(archive, removal.paths)
        archive.writer.submit(partial(removals.settle, removal=removal)).result()
    except (OSError, DBAPIError, DataFolderError, OutOfResourcesError) as error:
        log.warning("files.not_removed", files=len(removal.paths), why=type(error).__name__)
        return len(removal.paths)
    return 0


def _remove(archive: "Archive", paths: Sequence[str]) -> None:
    # A name never serves twice, so a row that has one of these is a mistake somewhere else: the file stays.
    named = archive.reader.read(partial(removals.named_among, paths=paths))
    if named:
        log.error("files.still_named", files=sorted(named))
    doomed = [archive.store.path(path) for path in paths if path not in named]
    count = remove_durably(doomed)
    log.debug("files.removed", files=count)
