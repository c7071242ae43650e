"""Telling the next start of the node that every file of the store has found its fate."""

import contextlib
from pathlib import Path

from pacslite.archive.inventory import StoreFolder, folders_of
from pacslite.archive.recovery import NamedPaths
from pacslite.storage.segments import left_alone, seal


def seal_segments(store_folder: Path, named_paths: NamedPaths) -> None:
    """Seal every segment; what has no row in it is named by its seal, so that it stays.

    Empty files of segments that were not sealed yet were made ahead and never used: they go.

    Raises
    ------
    OSError
        A folder could not be read.
    """
    for folder in folders_of(store_folder):
        if folder.is_segment:
            _seal(store_folder / folder.path, folder, named_paths(f"{folder.path}/"))


def _seal(segment: Path, folder: StoreFolder, named: set[str]) -> None:
    unnamed = {name for name in folder.names if folder.relative(name) not in named}
    if not folder.is_sealed:
        for name in list(unnamed):
            path = segment / name
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink() and not path.stat().st_size:
                    path.unlink()
                    unnamed.discard(name)
    unnamed |= {path.name for path in segment.iterdir() if path.is_dir()}
    if not folder.is_sealed or left_alone(segment) != unnamed:
        seal(segment, unnamed)
