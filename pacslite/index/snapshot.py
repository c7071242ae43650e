"""A copy of a SQLite index as it was at one moment, taken while it is written to."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL

from pacslite.index import sqlite
from pacslite.model.errors import DataFolderError, OperationError

_FILE_MODE: Final = 0o600
_STEP_PAGES: Final = 1024
"""Of 4 KiB: a few milliseconds, after each of which the progress is told."""


def take_snapshot(url: URL, target: Path, progress: Callable[[int, int], None]) -> None:
    """Write the index at `url` into the new file `target`, durably, as a database of one file.

    The writer is not held up: readers of a write-ahead log hold up nobody, only the log grows meanwhile. One
    read transaction spans all steps, so that what is written meanwhile does not make SQLite start over.

    Parameters
    ----------
    progress
        Told pages done and pages in all.

    Raises
    ------
    OperationError
        It is no SQLite index.
    DataFolderError
        The index or the copy is damaged, or cannot be read or written.
    """
    if not sqlite.is_sqlite(url):
        raise OperationError(
            "the index is in PostgreSQL: save it with pg_dump, then copy the store; files only come and go, "
            "so a store copied after the dump holds all that the dump names and was not deleted since"
        )
    source_uri = f"file:{quote(str(sqlite.file_of(url)))}?mode=ro"
    target.touch(mode=_FILE_MODE, exist_ok=False)
    try:
        with (
            closing(sqlite3.connect(source_uri, uri=True, isolation_level=None)) as source,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            source.backup(
                copy,
                pages=_STEP_PAGES,
                progress=lambda _, remaining, total: progress(total - remaining, total),
            )
            copy.execute("PRAGMA journal_mode=DELETE")
            (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise DataFolderError(f"the index cannot be copied: {error}") from error
    if verdict != "ok":
        raise DataFolderError(f"the index is damaged: {verdict}; `pacslite reindex` makes it anew")
    with target.open("rb") as file:
        os.fsync(file.fileno())
