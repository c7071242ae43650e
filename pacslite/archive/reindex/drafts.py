"""A new SQLite index in the place of another: all of it, or nothing."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pacslite.storage.folders import sync_folder

_DRAFT_SUFFIX: Final = ".draft"
_LOG: Final = "-wal"
_SHARED_MEMORY: Final = "-shm"


def draft_of(index: Path) -> Path:
    """Return where the new index is written: beside the one whose place it takes."""
    return index.with_name(index.name + _DRAFT_SUFFIX)


def spool_of(index: Path) -> Path:
    """Return where the scratch file of a rebuild lies."""
    return index.with_name(f"{index.name}{_DRAFT_SUFFIX}-spool")


def remove_drafts(index: Path) -> None:
    """Remove what a rebuild that was cut off left behind.

    Raises
    ------
    OSError
        It cannot be removed.
    """
    draft = draft_of(index)
    for suffix in ("", "-journal", _LOG, _SHARED_MEMORY, "-spool"):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def put_in_place(index: Path) -> Path | None:
    """Let the draft take the place of `index`, durably and at once; return where the former one is kept.

    Nobody may have either of them open.

    Raises
    ------
    OSError
        It failed, and `index` is what it was before.
    """
    draft = draft_of(index)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    kept = _unused(index)
    had_index = _keep(index, kept)
    log, shared_memory = (index.with_name(index.name + suffix) for suffix in (_LOG, _SHARED_MEMORY))
    had_log = _keep(log, kept.with_name(kept.name + _LOG))
    sync_folder(index.parent)
    # A log that outlived its database would be taken for the new one's.
    log.unlink(missing_ok=True)
    shared_memory.unlink(missing_ok=True)
    sync_folder(index.parent)
    draft.replace(index)
    sync_folder(index.parent)
    return kept if had_index or had_log else None


def _unused(index: Path) -> Path:
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    first = index.with_name(f"{index.name}.before-{moment}")
    path, number = first, 1
    while path.exists() or path.with_name(path.name + _LOG).exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def _keep(path: Path, kept: Path) -> bool:
    """Give a file that holds anything a second name; a copy will do where the file system has no links."""
    if not path.exists() or not path.stat().st_size:
        return False
    try:
        os.link(path, kept)
    except OSError:
        shutil.copy2(path, kept)
        with kept.open("rb") as file:
            os.fsync(file.fileno())
    return True
