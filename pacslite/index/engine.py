"""Engines for the index, by URL."""

from typing import Final

from sqlalchemy import URL, Engine, create_engine, make_url

from pacslite.index import sqlite
from pacslite.model.errors import ConfigurationError

_POSTGRESQL: Final = "postgresql"
_BUSY_SECONDS: Final = 10.0
_READER_COUNT: Final = 4

_LIVENESS: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A server that vanished without a word is noticed within a minute (seconds; the last in milliseconds)."""


def open_writer_engine(url: str | URL, *, busy_seconds: float = _BUSY_SECONDS) -> Engine:
    """Return an engine of one connection, whose commits are durable when they return.

    Parameters
    ----------
    url
        `sqlite:////absolute/path` or `postgresql://…`.
    busy_seconds
        How long a lock of another process is waited for.

    Raises
    ------
    ConfigurationError
        If the URL is of another database or names no file.
    """
    parsed = _parse(url)
    if sqlite.is_sqlite(parsed):
        return sqlite.writer_engine(parsed, busy_seconds=busy_seconds)
    options = f"-c synchronous_commit=on -c lock_timeout={int(busy_seconds * 1000)}"
    return create_engine(
        parsed,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        connect_args={**_LIVENESS, "options": options},
    )


def open_reader_engine(
    url: str | URL, *, busy_seconds: float = _BUSY_SECONDS, reader_count: int = _READER_COUNT
) -> Engine:
    """Return an engine of `reader_count` connections that cannot write; one transaction sees one state.

    Raises
    ------
    ConfigurationError
        If the URL is of another database or names no file.
    """
    parsed = _parse(url)
    if sqlite.is_sqlite(parsed):
        return sqlite.reader_engine(parsed, busy_seconds=busy_seconds, reader_count=reader_count)
    return create_engine(
        parsed,
        pool_size=reader_count,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        isolation_level="REPEATABLE READ",
        connect_args={**_LIVENESS, "options": "-c default_transaction_read_only=on"},
    )


def make_durable(url: str | URL) -> None:
    """Make durable whatever a reader of the index would see; before anything is done because of it.

    Raises
    ------
    OSError
        It cannot be synced.
    """
    parsed = _parse(url)
    if sqlite.is_sqlite(parsed):  # a transaction of PostgreSQL is durable before anybody sees it
        sqlite.sync_log(parsed)


def _parse(url: str | URL) -> URL:
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == _POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg")
    if backend != sqlite.DIALECT:
        raise ConfigurationError(f"The index is kept in SQLite or PostgreSQL, not in {backend}")
    return parsed
