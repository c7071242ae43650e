"""A scratch file that puts any number of records in order."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

_SCHEMA: Final = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE record (rank INTEGER, at INTEGER, number INTEGER, path TEXT, content BLOB,
                         PRIMARY KEY (rank, at, number, path)) WITHOUT ROWID;
    CREATE TABLE shared (fingerprint BLOB PRIMARY KEY, content BLOB) WITHOUT ROWID;
"""
_MAX_KNOWN: Final = 4096


class SpooledRecord(NamedTuple):
    """A record and its place: first by rank, then by time, number and path."""

    rank: int
    at: int
    number: int
    path: str
    content: bytes


class Spool:
    """Takes records in any order and gives them back in theirs; a context manager.

    Parameters
    ----------
    path
        Of the scratch file; one that is there is replaced. It is removed in the end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[bytes, bytes] = {}
        self._connection: sqlite3.Connection

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.executescript(_SCHEMA)
        self._connection.execute("BEGIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._path.unlink(missing_ok=True)

    def add(self, records: Iterable[SpooledRecord], shared: Mapping[bytes, bytes]) -> None:
        """Take records, and what they have in common, by fingerprint."""
        self._connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", records)
        self._connection.executemany("INSERT OR IGNORE INTO shared VALUES (?, ?)", shared.items())

    def shared(self, fingerprint: bytes) -> bytes:
        """Return what was added under `fingerprint`.

        Raises
        ------
        KeyError
            Nothing was.
        """
        content = self._known.get(fingerprint)
        if content is None:
            found = self._connection.execute(
                "SELECT content FROM shared WHERE fingerprint = ?", (fingerprint,)
            ).fetchone()
            if found is None:
                raise KeyError(fingerprint)
            (content,) = found
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[fingerprint] = content
        return content

    def in_order(self) -> Iterator[SpooledRecord]:
        """Yield every record."""
        with closing(self._connection.cursor()) as cursor:
            rows = cursor.execute("SELECT * FROM record ORDER BY rank, at, number, path")
            yield from map(SpooledRecord._make, rows)
