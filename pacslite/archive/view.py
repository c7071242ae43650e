"""An archive as those see it who only read: a node may write to it meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from pacslite.archive.archive import archive_folder, index_url
from pacslite.index import migrate
from pacslite.index.engine import open_reader_engine
from pacslite.index.reader import IndexReader
from pacslite.model.errors import DataFolderError
from pacslite.settings.schema import ArchiveSettings, Settings
from pacslite.storage.store import stored_path


@dataclass(frozen=True, slots=True)
class ArchiveView:
    """Index and store of an archive, to be read.

    Parameters
    ----------
    name
        Of the archive.
    url
        Of its index.
    reader
        Of its index.
    store_folder
        What paths in the index are relative to.
    """

    name: str
    url: URL
    reader: IndexReader
    store_folder: Path

    def path(self, relative_path: str) -> Path:
        """Return where a stored file lies; see `stored_path`."""
        return stored_path(self.store_folder, relative_path)


@contextmanager
def view_archive(settings: Settings, archive: ArchiveSettings) -> Iterator[ArchiveView]:
    """Yield an archive to be read, whether a node runs on it or not.

    Raises
    ------
    IndexRevisionError
        There is no index, or one of another revision.
    DataFolderError
        The index cannot be read, at first or later on.
    """
    url = index_url(settings, archive)
    migrate.check(url)
    engine = open_reader_engine(url, busy_seconds=settings.index.busy_seconds, reader_count=2)
    try:
        store_folder = archive_folder(settings, archive) / "store"
        yield ArchiveView(archive.name, url, IndexReader(engine), store_folder)
    except DBAPIError as error:
        raise DataFolderError(f"the index of archive {archive.name}: {error.orig}") from error
    finally:
        engine.dispose()
