"""What lies in a store and belongs to nobody."""

from collections.abc import Callable, Iterator
from pathlib import Path

from pacslite.archive.fsck.findings import Finding, Kind
from pacslite.archive.inventory import StoreFolder, folders_of
from pacslite.archive.recovery import NamedPaths

IsInFlight = Callable[[StoreFolder], bool]


def candidates(store_folder: Path, named_paths: NamedPaths, is_in_flight: IsInFlight) -> Iterator[str]:
    """Yield the paths of what no row names, and of all that does not lie in a segment.

    Parameters
    ----------
    store_folder
        Of the archive.
    named_paths
        Returns the paths with a prefix that rows name.
    is_in_flight
        Whether a node may be writing into a folder, so that a file without a row means nothing there.
    """
    for folder in folders_of(store_folder):
        if folder.is_segment and not folder.is_sealed and is_in_flight(folder):
            continue
        named = named_paths(f"{folder.path}/") if folder.is_segment else set()
        for name in folder.names:
            path = folder.relative(name)
            if path not in named and not _is_made_ahead(store_folder / path, folder):
                yield path


def as_finding(path: str, store_folder: Path) -> Finding | None:
    """Return what is to be told of a path that no row names; None when it has gone meanwhile."""
    try:
        (store_folder / path).lstat()
    except FileNotFoundError:
        return None
    return Finding(Kind.EXTRA, "no row of the index names it", path)


def _is_made_ahead(path: Path, folder: StoreFolder) -> bool:
    """Whether it is an empty file of a segment in use: it was made for an instance that never came."""
    if not folder.is_segment or folder.is_sealed:
        return False
    try:
        return not path.lstat().st_size
    except FileNotFoundError:
        return True
