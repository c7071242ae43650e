"""`pacslite serve` without some of its syncs: a test of durability must tell it from the real one.

`python -P forgetful_node.py FORGOTTEN[,FORGOTTEN…] ARGUMENT…`, with ARGUMENTs as of `pacslite serve`.
"""

import os
import sqlite3
import sys
from typing import Final

from sqlalchemy.pool import ConnectionPoolEntry

from pacslite.cli.app import app
from pacslite.index import sqlite

FILES: Final = "files"
"""The files of the instances are not synced."""

FOLDERS: Final = "folders"
"""What `os.fsync` is used for: folders, and the store's identity."""

INDEX: Final = "index"
"""SQLite syncs nothing."""

INDEX_COMMITS: Final = "index-commits"
"""SQLite syncs its log at checkpoints only, as with its own default in WAL mode (`synchronous=NORMAL`)."""


def program(*forgotten: str) -> list[str]:
    """Return the command that takes the arguments of `pacslite serve`."""
    return [sys.executable, "-P", __file__, ",".join(forgotten)]


def _forget(what: str) -> None:
    if what == FILES:
        os.fdatasync = _do_nothing  # type: ignore[assignment] # that is the point
    elif what == FOLDERS:
        os.fsync = _do_nothing  # type: ignore[assignment] # that is the point
    else:
        _set_synchronous("OFF" if what == INDEX else "NORMAL")


def _do_nothing(_: object) -> None:
    pass


def _set_synchronous(level: str) -> None:
    prepare = sqlite._prepare_writer

    def prepare_and_set(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        prepare(connection, record)
        connection.execute(f"PRAGMA synchronous={level}")

    sqlite._prepare_writer = prepare_and_set  # type: ignore[assignment] # mypy knows it by name


if __name__ == "__main__":
    for name in sys.argv[1].split(","):
        _forget(name)
    app(["serve", *sys.argv[2:]], prog_name="pacslite")
