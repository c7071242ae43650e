"""Archives without a network, and what a keeper does to them in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.nodes import node_settings

from pacslite.archive.archive import Archive
from pacslite.archive.importing import ImportArguments, import_files
from pacslite.archive.operation import Progress, ignore_progress
from pacslite.archive.view import ArchiveView, view_archive
from pacslite.settings.schema import Settings
from pacslite.storage.lock import DataFolderLock


@contextmanager
def started_archive(settings: Settings) -> Iterator[Archive]:
    """Yield the first archive of `settings`, started."""
    with DataFolderLock(settings.data_folder):
        archive = Archive(settings, settings.archives[0])
        archive.start()
        try:
            yield archive
        finally:
            archive.stop()


def do_import(archive: Archive, *paths: Path, progress: Progress = ignore_progress) -> dict[str, Any]:
    return import_files(archive, ImportArguments(paths=paths), progress)


def filled(data_folder: Path, *paths: Path, **choices: Any) -> Settings:
    """Make an archive that holds the instances at `paths`; return the node's settings."""
    settings = node_settings(data_folder, **choices)
    with started_archive(settings) as archive:
        result = do_import(archive, *paths)
    assert set(result["counts"]) <= {"stored", "kept-aside", "identical"}, result
    return settings


@contextmanager
def viewed(settings: Settings) -> Iterator[ArchiveView]:
    with view_archive(settings, settings.archives[0]) as view:
        yield view


def named_contents(settings: Settings) -> dict[str, bytes]:
    """Return the bytes of every file that the index names, by path."""
    with viewed(settings) as view:
        return {path: view.path(path).read_bytes() for path in view.reader.named_paths("")}
