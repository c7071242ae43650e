"""What the last run of the node left behind: files that were never acknowledged."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from pacslite.storage.segments import SEAL_NAME, seal

log = structlog.get_logger(__name__)

NamedPaths = Callable[[str], set[str]]


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What recovery did.

    Parameters
    ----------
    segment_count
        Segments that were looked at, because not all of their files had found their fate.
    removed_count
        Files with content that no row names: none of them was acknowledged.
    """

    segment_count: int
    removed_count: int


def recover(store_folder: Path, node_name: str, named_paths: NamedPaths) -> RecoveryReport:
    """Remove the files of this node's unsealed segments that the index does not name, then seal them.

    Parameters
    ----------
    named_paths
        Returns the stored paths that start with a prefix and that an instance or a conflict names.

    Raises
    ------
    OSError
        A file could not be removed.
    """
    folder = store_folder / node_name
    segments = [path for path in segments_of(folder) if not (path / SEAL_NAME).exists()]
    removed = sum(_recover_segment(segment, node_name, named_paths) for segment in segments)
    if segments:
        log.info("store.recovered", segments=len(segments), removed=removed)
    return RecoveryReport(len(segments), removed)


def segments_of(folder: Path) -> list[Path]:
    """Return the segments in a node's folder of the store, the oldest first."""
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _recover_segment(segment: Path, node_name: str, named_paths: NamedPaths) -> int:
    prefix = _prefix(node_name, segment)
    named = named_paths(prefix)
    removed = 0
    for path in segment.iterdir():
        if prefix + path.name not in named:
            removed += path.stat().st_size > 0
            path.unlink()
    seal(segment)
    return removed


def _prefix(node_name: str, segment: Path) -> str:
    return f"{node_name}/{segment.name}/"
