"""What lies in a store, folder by folder, whoever put it there."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pacslite.archive.identity import IDENTITY_NAME
from pacslite.storage.segments import SEAL_NAME

_SEGMENT_DEPTH: Final = 2
_BOOKKEEPING: Final = {1: {IDENTITY_NAME, f"{IDENTITY_NAME}.new"}, 2: {SEAL_NAME, f"{SEAL_NAME}.new"}}
"""By the depth of a folder: what the node itself keeps there beside instances."""


@dataclass(frozen=True, slots=True)
class StoreFolder:
    """A folder of the store.

    Parameters
    ----------
    path
        Relative to the store; empty for the store itself.
    names
        Of what is no folder in it, without the node's own bookkeeping.
    is_segment
        Whether a node made it for instances; else whatever lies in it is foreign.
    is_sealed
        Whether it is a segment that was sealed before its files were listed.
    """

    path: str
    names: tuple[str, ...]
    is_segment: bool
    is_sealed: bool

    def relative(self, name: str) -> str:
        """Return the path of a file of this folder, relative to the store."""
        return f"{self.path}/{name}" if self.path else name


def folders_of(store_folder: Path) -> Iterator[StoreFolder]:
    """Yield the store's folders and what is in them, in order of their names; links are not followed."""
    if not store_folder.is_dir():
        return
    waiting = [""]
    while waiting:
        path = waiting.pop()
        depth = path.count("/") + 1 if path else 0
        is_segment = depth == _SEGMENT_DEPTH
        # The seal first: it vouches for what was there before it.
        is_sealed = is_segment and (store_folder / path / SEAL_NAME).exists()
        folders, names = _entries(store_folder / path)
        names -= _BOOKKEEPING.get(depth, set())
        yield StoreFolder(path, tuple(sorted(names)), is_segment, is_sealed)
        waiting += [f"{path}/{name}" if path else name for name in sorted(folders, reverse=True)]


def _entries(folder: Path) -> tuple[set[str], set[str]]:
    folders: set[str] = set()
    names: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else names).add(entry.name)
    except FileNotFoundError:
        return set(), set()  # removed since its name was read
    return folders, names
