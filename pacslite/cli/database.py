"""The index as commands see it; SQLAlchemy is loaded only by those that need it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from pacslite.model.errors import DataFolderError


@contextmanager
def database_errors(archive_name: str) -> Iterator[None]:
    """Say which archive's index failed, in the database's own words.

    Raises
    ------
    DataFolderError
        When the database cannot be reached, read or written.
    """
    try:
        yield
    except DBAPIError as error:
        raise DataFolderError(f"the index of archive {archive_name}: {error.orig}") from error
