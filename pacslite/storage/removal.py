"""Removing files of the store for good."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from pacslite.storage.folders import sync_folder
from pacslite.storage.segments import SEAL_NAME


def remove_durably(paths: Iterable[Path]) -> int:
    """Remove files so that a loss of power does not bring them back; return how many were there.

    May be repeated after any interruption. A sealed segment that is left without files goes too.

    Raises
    ------
    OSError
        A file cannot be removed, or a folder not be synced.
    """
    count = 0
    segments = set()
    for path in paths:
        segments.add(path.parent)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            count += 1
    for segment in sorted(segments):
        try:
            sync_folder(segment)
            _remove_if_empty(segment)
        except FileNotFoundError:  # another removal was faster, but may not have come to its sync
            sync_folder(segment.parent)
    return count


def _remove_if_empty(segment: Path) -> None:
    if [path.name for path in segment.iterdir()] == [SEAL_NAME]:
        # Without the seal it is one more segment that recovery looks at: no harm if we come no further.
        (segment / SEAL_NAME).unlink()
        segment.rmdir()
        sync_folder(segment.parent)
