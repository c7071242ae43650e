"""Where things lie in the data folder."""

from pathlib import Path

from pacslite.model.errors import ConfigurationError
from pacslite.settings.schema import ArchiveSettings, Settings


def archive_folder(settings: Settings, archive: ArchiveSettings) -> Path:
    """Return the folder of `archive`: its index and its store."""
    return settings.data_folder / "archives" / archive.name


def store_folder(settings: Settings, archive: ArchiveSettings) -> Path:
    """Return the folder that the paths of stored files are relative to."""
    return archive_folder(settings, archive) / "store"


def index_url(settings: Settings, archive: ArchiveSettings) -> str:
    """Return the database URL of the index of `archive`.

    Raises
    ------
    ConfigurationError
        When the data folder's path does not fit into a URL.
    """
    if archive.index_url is not None:
        return archive.index_url
    path = (archive_folder(settings, archive) / "index.sqlite").absolute()
    if "?" in str(path):
        raise ConfigurationError(
            f"data_folder: {settings.data_folder}: a database URL cannot hold a question mark"
        )
    return f"sqlite:///{path}"
