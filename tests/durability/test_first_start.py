"""A folder whose first start was cut off while SQLite had no write-ahead log yet, only a rollback journal."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.invariant import archive_folder
from support.nodes import running_node

from pacslite.index import migrate
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
