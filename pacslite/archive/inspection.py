"""Whether files that the index names are what it says, and whether two hold the same."""

from typing import Final

import structlog

from pacslite.archive.compare import compare_contents
from pacslite.archive.content import open_content
from pacslite.archive.scan import ScanLimits
from pacslite.index.entries import Comparison, Inspection
from pacslite.model.errors import CannotUnderstandError, OutOfResourcesError
from pacslite.model.instances import StoredFile
from pacslite.storage.store import Store

_UNREADABLE: Final = (CannotUnderstandError, OSError)

log = structlog.get_logger(__name__)


def is_whole(store: Store, file: StoredFile) -> bool:
    """Return whether a stored file is there with the size, file meta and digest that the index has of it."""
    try:
        with open_content(store.path(file.path)) as content:
            head = content.head()
            return (
                content.file_bytes == file.file_bytes
                and head.is_intact
                and head.data_set_offset == file.data_set_offset
                and content.digest(file.data_set_offset) == file.digest
            )
    except _UNREADABLE:
        return False


def inspect(store: Store, existing: StoredFile) -> Inspection:
    """Find out whether the file of a version that came again can still be answered with."""
    return Inspection(existing.path, _told_whole(store, existing))


def compare(
    store: Store, existing: StoredFile, newcomer: StoredFile, limits: ScanLimits, *, is_doubting: bool
) -> Comparison:
    """Find out whether a newcomer says the same as the version that the index named.

    An existing file that cannot be read is not the same: the newcomer must not be lost for its sake.

    Parameters
    ----------
    store
        Of both.
    existing, newcomer
        The files.
    limits
        As for `compare_contents`.
    is_doubting
        Whether to make sure, where they differ, that the existing file is not merely damaged.

    Raises
    ------
    OutOfResourcesError
        The newcomer cannot be read.
    """
    try:
        found = compare_contents(store.path(existing.path), store.path(newcomer.path), limits)
    except OSError as error:
        if not is_whole(store, newcomer):
            raise OutOfResourcesError("the store could not be read") from error
        return Comparison(
            existing.digest, is_same_content=False, is_existing_whole=_told_whole(store, existing)
        )
    is_known_whole = found.is_same or not is_doubting or _told_whole(store, existing)
    return Comparison(existing.digest, found.is_same, is_known_whole)


def _told_whole(store: Store, existing: StoredFile) -> bool:
    is_sound = is_whole(store, existing)
    if not is_sound:
        log.warning("instance.damaged", file=existing.path)
    return is_sound
