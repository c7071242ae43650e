"""Folders whose entries survive a loss of power."""

import contextlib
import os
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it that are missing, and make their entries durable.

    The entry of a folder that is there is synced too: who made it may have been killed before its sync.

    Raises
    ------
    OSError
        It cannot be made or synced.
    """
    if not folder.parent.exists():
        make_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    with contextlib.suppress(PermissionError):  # a parent that we may not read is not ours to sync
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable.

    Raises
    ------
    OSError
        It cannot be synced.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
