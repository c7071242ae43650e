"""The index that a rebuilt one takes the place of: what it knows of files, and of what has none."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, MetaData, Table, bindparam, func, select
from sqlalchemy.exc import DBAPIError

from pacslite.index import migrate, sqlite
from pacslite.index.engine import open_reader_engine
from pacslite.index.removals import doomed_paths
from pacslite.index.tables import metadata
from pacslite.model.errors import DataFolderError, PacsliteError

_FORMER_METADATA: Final = MetaData()

FORMER_TABLES: Final[dict[str, Table]] = {
    table.name: table.to_metadata(_FORMER_METADATA, schema=sqlite.FORMER) for table in metadata.sorted_tables
}
"""The tables of the former index, by name, on a connection that it is attached to."""

_instance = FORMER_TABLES["instance"]
_receipt = FORMER_TABLES["receipt"]
_conflict = FORMER_TABLES["conflict"]
_FIRST_RECEIPT: Final = (
    select(func.min(_receipt.c.pk))
    .where(_receipt.c.instance_pk == _instance.c.pk, _receipt.c.digest == _instance.c.digest)
    .scalar_subquery()
)
_FIND_CURRENT: Final = select(_instance.c.path, _instance.c.digest, func.coalesce(_FIRST_RECEIPT, 0)).where(
    _instance.c.path.in_(bindparam("paths", expanding=True))
)
_FIND_ASIDE: Final = select(_conflict.c.path, _conflict.c.digest).where(
    _conflict.c.path.in_(bindparam("paths", expanding=True))
)
_FIND_DELETED: Final = select(_instance.c.sop_instance_uid, _instance.c.received_at).where(
    _instance.c.path.is_(None), _instance.c.sop_instance_uid.in_(bindparam("uids", expanding=True))
)


class FormerIndexError(PacsliteError):
    """The former index is damaged; the text says how."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the former index had in a file.

    Parameters
    ----------
    digest
        Of its data set.
    rank
        Orders the versions that the archive answered with as they came; None for one kept aside.
    """

    digest: str
    rank: int | None


@dataclass(frozen=True, slots=True)
class Former:
    """A former index that can be read.

    Parameters
    ----------
    path
        Of its database, whose write-ahead log was folded in.
    doomed
        Paths of files that were still to be removed.
    """

    path: Path
    doomed: frozenset[str]


def open_former(url: URL) -> Former | None:
    """Return what can be learned from the index at `url`; None where there is none.

    Raises
    ------
    FormerIndexError
        It is damaged.
    IndexRevisionError
        It is of another revision.
    DataFolderError
        Another process reads it.
    """
    path = sqlite.file_of(url)
    if not path.exists() or not path.stat().st_size:
        return None
    if not sqlite.is_database(path):
        raise FormerIndexError("file is not a database")
    try:
        if not sqlite.fold_in(path):
            raise DataFolderError(f"{path} is being read by another process: try again when that has ended")
        if migrate.current(url) is None:
            return None
        migrate.check(url)
        return _read(url, path)
    except sqlite3.Error as error:
        raise FormerIndexError(str(error)) from error
    except DBAPIError as error:
        raise FormerIndexError(str(error.orig)) from error


def _read(url: URL, path: Path) -> Former:
    engine = open_reader_engine(url, reader_count=1)
    try:
        with engine.connect() as connection:
            if complaints := sqlite.complaints(connection):
                raise FormerIndexError(complaints[0])
            return Former(path, frozenset(doomed_paths(connection, "")))
    finally:
        engine.dispose()


def places(connection: Connection, paths: Sequence[str]) -> dict[str, Place]:
    """Return what the former index had in each of the files that it named."""
    found = {path: Place(digest, None) for path, digest in connection.execute(_FIND_ASIDE, {"paths": paths})}
    for path, digest, rank in connection.execute(_FIND_CURRENT, {"paths": paths}):
        found[path] = Place(digest, rank)
    return found


def deleted(connection: Connection, sop_instance_uids: Sequence[str]) -> dict[str, datetime]:
    """Return which of the instances were deleted, and when the deleted version had been received."""
    rows = connection.execute(_FIND_DELETED, {"uids": sop_instance_uids})
    return {row.sop_instance_uid: row.received_at for row in rows}
