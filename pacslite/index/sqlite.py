"""All that is SQLite's own: connections, pragmas, transactions, the write-ahead log.

Writing connections sync the log at every commit (`synchronous=FULL`) and never checkpoint by themselves: the
index writer does so between its transactions.
"""

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from pacslite.model.errors import ConfigurationError

DIALECT: Final = "sqlite"

FORMER: Final = "former"
"""The name of the database that a draft reads from."""

_MAGIC: Final = b"SQLite format 3\0"
_COPY_SEQUENCES: Final = f"INSERT INTO main.sqlite_sequence SELECT name, seq FROM {FORMER}.sqlite_sequence"  # noqa: S608 - ours
_DRAFT_PRAGMAS: Final = (
    "journal_mode=MEMORY",
    "synchronous=OFF",
    "foreign_keys=ON",
    "locking_mode=EXCLUSIVE",
    "cache_size=-65536",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint found and did, in frames (pages) of the write-ahead log."""

    logged_frames: int
    moved_frames: int

    @property
    def is_complete(self) -> bool:
        """Whether the log can start over."""
        return self.moved_frames >= self.logged_frames


def is_sqlite(url: URL) -> bool:
    """Whether `url` names a SQLite database."""
    return url.get_backend_name() == DIALECT


def file_of(url: URL) -> Path:
    """Return the database file of `url`.

    Raises
    ------
    ConfigurationError
        If the URL names none: an index in memory would forget what the archive acknowledged.
    """
    if not url.database or url.database == ":memory:":
        raise ConfigurationError(f"The index URL {url.render_as_string()} names no file")
    return Path(url.database).absolute()


def writer_engine(url: URL, *, busy_seconds: float) -> Engine:
    """Return an engine of one writing connection whose transactions start with BEGIN IMMEDIATE."""
    path = file_of(url)
    engine = create_engine(
        url,
        creator=lambda: sqlite3.connect(
            path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        ),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_writer)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reader_engine(url: URL, *, busy_seconds: float, reader_count: int) -> Engine:
    """Return an engine of `reader_count` connections that cannot write."""
    uri = f"file:{quote(str(file_of(url)))}?mode=ro"
    engine = create_engine(
        url,
        creator=lambda: sqlite3.connect(
            uri, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        ),
        poolclass=QueuePool,
        pool_size=reader_count,
        max_overflow=0,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare_reader)
    event.listen(engine, "begin", _begin_deferred)
    return engine


def end_cut_off_transaction(url: URL) -> None:
    """Roll back what a kill left half done while the database had no write-ahead log yet: readers may not.

    Raises
    ------
    sqlite3.Error
        The database cannot be written, or is none.
    """
    path = file_of(url)
    if Path(f"{path}-journal").exists():
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA schema_version")


def sync_log(url: URL) -> None:
    """Make durable what the write-ahead log holds, if there is one.

    A kill between a commit's write and its sync leaves a transaction that whoever opens the database finds
    committed, and that a loss of power takes back again.

    Raises
    ------
    OSError
        The log cannot be synced.
    """
    path = file_of(url)
    for synced in (Path(f"{path}-wal"), path.parent):
        with suppress(FileNotFoundError):
            # SQLite holds no lock on these: its locks would go with the first descriptor that is closed
            descriptor = os.open(synced, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def draft_engine(url: URL, former: Path | None) -> Engine:
    """Return an engine of one connection that fills a new database fast, and so that a crash may ruin it.

    Parameters
    ----------
    url
        Of the new database, which nobody else uses.
    former
        Another one to read from, as the schema `FORMER`; nobody may change it meanwhile.
    """
    path = file_of(url)
    engine = create_engine(
        url,
        creator=lambda: sqlite3.connect(f"file:{quote(str(path))}", uri=True, isolation_level=None),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
    )

    def prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        for pragma in _DRAFT_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if former is not None:
            uri = f"file:{quote(str(former))}?immutable=1"
            connection.execute(f"ATTACH DATABASE ? AS {FORMER}", (uri,))

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def is_database(path: Path) -> bool:
    """Whether a file begins as a SQLite database does: else opening it could remove its write-ahead log."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def fold_in(path: Path) -> bool:
    """Move the whole write-ahead log of a database into it, so that the log's file goes.

    Returns False when another process's reading stands in the way.

    Raises
    ------
    sqlite3.Error
        The database is damaged.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def complaints(connection: Connection) -> list[str]:
    """Return what SQLite finds wrong with a database; nothing when it is sound."""
    rows = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    found = [] if rows == ["ok"] else [str(row) for row in rows]
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return found + [f"a row of {row[0]} refers to a row of {row[2]} that is not there" for row in dangling]


def copy_sequences(connection: Connection) -> None:
    """Let no number of a row of `FORMER` be given again in tables whose numbers never come back."""
    connection.exec_driver_sql("DELETE FROM main.sqlite_sequence")
    connection.exec_driver_sql(_COPY_SEQUENCES)


def checkpoint(connection: Connection) -> Checkpoint:
    """Move what the readers allow from the log into the database, without waiting for anybody."""
    dbapi_connection = connection.connection.driver_connection
    if not isinstance(dbapi_connection, sqlite3.Connection):
        raise TypeError("Not a connection to SQLite")
    _, logged, moved = dbapi_connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return Checkpoint(logged, moved)


def wal_bytes(url: URL) -> int:
    """Return the size of the write-ahead log's file, which does not shrink while the database is open.

    0 where there is none, or the file system does not tell: nothing depends on it but a checkpoint's time.
    """
    try:
        return Path(f"{file_of(url)}-wal").stat().st_size
    except OSError:
        return 0


def _prepare_writer(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA foreign_keys=ON")


def _prepare_reader(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA wal_autocheckpoint=0")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_deferred(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
