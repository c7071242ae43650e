"""What a kill leaves of transactions: half of one in a rollback journal, all of one unsynced in the log."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from support.invariant import archive_folder
from support.nodes import running_node

from pacslite.index import migrate, sqlite
from pacslite.model.errors import DataFolderError


def leave_hot_journal(index: Path, workshop: Path) -> None:
    """Make `index` as a kill leaves it in the middle of a transaction that has reached the database file."""
    half_done = workshop / "index.sqlite"
    with closing(sqlite3.connect(half_done, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size=1")
        connection.execute("CREATE TABLE whole (pk INTEGER)")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE half (pk INTEGER, text TEXT)")
        connection.executemany("INSERT INTO half VALUES (?, ?)", ((n, "x" * 1000) for n in range(100)))
        shutil.copy(half_done, index)
        shutil.copy(f"{half_done}-journal", f"{index}-journal")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    workshop = tmp_path / "workshop"
    workshop.mkdir()
    path = archive_folder(tmp_path / "data") / "index.sqlite"
    path.parent.mkdir(parents=True)
    leave_hot_journal(path, workshop)
    return path


def test_a_half_done_transaction_is_rolled_back_before_the_revision_is_read(index: Path) -> None:
    assert migrate.current(f"sqlite:///{index}") is None
    assert not Path(f"{index}-journal").exists()
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("whole",)]


def test_a_node_starts_on_what_a_cut_in_its_first_start_has_left(index: Path, tmp_path: Path) -> None:
    with running_node(tmp_path / "data"):
        assert migrate.current(f"sqlite:///{index}") == migrate.head()


def test_a_database_that_is_none_and_has_a_journal_is_refused(index: Path) -> None:
    index.write_bytes(b"no database at all" * 1000)
    Path(f"{index}-journal").write_bytes(b"no journal either" * 1000)
    with pytest.raises(DataFolderError, match="cannot be used"):
        migrate.current(f"sqlite:///{index}")


def test_what_a_kill_left_unsynced_in_the_log_is_synced_before_anything_is_built_upon_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    read_revision = migrate._revision
    with running_node(tmp_path) as node:
        node.stored_paths()
        shutil.copytree(tmp_path, tmp_path / "killed", ignore=shutil.ignore_patterns("killed", "*.sock"))

    def fsync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        os.fsync(descriptor)

    class NotingOs:
        def __getattr__(self, name: str) -> Any:
            return fsync if name == "fsync" else getattr(os, name)

    monkeypatch.setattr(sqlite, "os", NotingOs())

    def revision(connection: Connection) -> str | None:
        done.append("read")
        return read_revision(connection)

    monkeypatch.setattr(migrate, "_revision", revision)
    with running_node(tmp_path / "killed"):
        assert done[:3] == ["index.sqlite-wal", "main", "read"]
