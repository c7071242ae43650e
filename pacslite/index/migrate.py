"""The index's schema revision: which one it has, which one this program needs, and the way there."""

import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, column, inspect, make_url, select, table
from sqlalchemy.exc import DBAPIError

import pacslite
from pacslite.index import sqlite
from pacslite.index.engine import open_reader_engine, open_writer_engine
from pacslite.model.errors import DataFolderError, IndexRevisionError

HEAD: Final = "0001_create_the_index"
"""The revision that this program reads and writes."""

_VERSION_TABLE: Final = "alembic_version"
_VERSION: Final = table(_VERSION_TABLE, column("version_num"))


def head() -> str:
    """Return the revision that this program needs."""
    return HEAD


def current(url: str | URL) -> str | None:
    """Return the revision of the index at `url`, or None if there is no index yet; creates nothing.

    Raises
    ------
    DataFolderError
        If the database cannot be read: unreachable, damaged, not allowed.
    """
    parsed = make_url(url)
    if sqlite.is_sqlite(parsed) and not sqlite.file_of(parsed).exists():
        return None
    engine = open_reader_engine(parsed, reader_count=1)
    try:
        if sqlite.is_sqlite(parsed):
            sqlite.end_cut_off_transaction(parsed)
        with engine.connect() as connection:
            return _revision(connection)
    except DBAPIError as error:
        raise _unusable(parsed, error.orig) from error
    except sqlite3.Error as error:
        raise _unusable(parsed, error) from error
    finally:
        engine.dispose()


def check(url: str | URL) -> None:
    """Verify that the index at `url` is of the revision that this program needs.

    Raises
    ------
    IndexRevisionError
        If it is not, or if there is none; the text names the command that mends it.
    DataFolderError
        If the database cannot be read.
    """
    found = current(url)
    if found == HEAD:
        return
    shown = make_url(url).render_as_string(hide_password=True)
    state = "has no schema yet" if found is None else f"is of revision {found}"
    raise IndexRevisionError(
        f"The index {shown} {state}, this program needs {HEAD}: run `pacslite db upgrade`"
    )


def upgrade(url: str | URL) -> None:
    """Bring the index at `url` to the revision that this program needs, creating it if there is none.

    Raises
    ------
    IndexRevisionError
        If the index is of a revision that this program does not know: made by a newer one.
    DataFolderError
        If the database cannot be written.
    """
    # Alembic takes an eighth of a second to import, which no start with an index in order should pay.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above
    from alembic.util import CommandError  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    engine = open_writer_engine(url)
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        shown = make_url(url).render_as_string(hide_password=True)
        raise IndexRevisionError(f"The index {shown} was made by another version: {error}") from error
    except DBAPIError as error:
        raise _unusable(make_url(url), error.orig) from error
    finally:
        engine.dispose()


def migrations_folder() -> Path:
    """Return the folder of the Alembic environment: in the installed package, beside it in the sources."""
    package = Path(pacslite.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _unusable(url: URL, reason: BaseException | None) -> DataFolderError:
    return DataFolderError(f"The index {url.render_as_string()} cannot be used: {reason}")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    return connection.scalar(select(_VERSION.c.version_num))
