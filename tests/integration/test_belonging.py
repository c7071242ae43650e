"""Index and store belong together: a node does not start on one without the other, or on an older index."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.instances import make_instance
from support.invariant import archive_folder
from support.kept import check_kept
from support.nodes import running_node
from support.raw_sender import store

from pacslite.archive.identity import IDENTITY_NAME
from pacslite.model.errors import DataFolderError


def receive(data_folder: Path, count: int = 1) -> None:
    with running_node(data_folder) as node:
        for _ in range(count):
            assert store(node.address, make_instance()).status == 0


def remove_index(archive: Path) -> None:
    (archive / "index.sqlite").unlink()


def remove_store(archive: Path) -> None:
    shutil.rmtree(archive / "store")


def remove_identity(archive: Path) -> None:
    (archive / "store" / "node1" / IDENTITY_NAME).unlink()


def change_identity(archive: Path) -> None:
    (archive / "store" / "node1" / IDENTITY_NAME).write_text("another\n")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (remove_index, "holds instances that the index does not know"),
        (change_identity, "holds instances that the index does not know"),
        (remove_store, "lacks the instances that the index knows"),
        (remove_identity, "lacks the instances that the index knows"),
    ],
)
def test_a_node_does_not_start_on_half_of_an_archive(
    tmp_path: Path, damage: Callable[[Path], None], why: str
) -> None:
    receive(tmp_path)
    damage(archive_folder(tmp_path))
    before = sorted(path for path in tmp_path.rglob("*.dcm"))
    with pytest.raises(DataFolderError, match=why), running_node(tmp_path):
        pass
    assert sorted(path for path in tmp_path.rglob("*.dcm")) == before


def test_a_node_does_not_start_on_an_index_that_is_older_than_its_store(tmp_path: Path) -> None:
    receive(tmp_path)
    database = archive_folder(tmp_path) / "index.sqlite"
    older = tmp_path / "older.sqlite"
    shutil.copy(database, older)
    receive(tmp_path, 2)
    shutil.copy(older, database)
    with pytest.raises(DataFolderError, match="older than the store"), running_node(tmp_path):
        pass


def test_a_first_start_that_was_cut_off_between_index_and_store_is_made_up_for(tmp_path: Path) -> None:
    with running_node(tmp_path):
        pass
    remove_store(archive_folder(tmp_path))
    instance = make_instance()
    for _ in range(2):
        with running_node(tmp_path) as node:
            assert store(node.address, instance).status == 0
            check_kept(node, instance)
