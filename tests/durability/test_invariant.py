"""The check of an archive's folder fails on one that broke its promises."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.acknowledged_sender import Ledger, make_instance, store
from support.invariant import archive_folder, check_archive, rows_of
from support.nodes import running_node
from support.scripted_peer import ScriptedPeer

COUNT = 3


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def archive(tmp_path: Path, ledger: Ledger) -> Path:
    rng = random.Random(1)
    with running_node(tmp_path) as node, ScriptedPeer.connect(node.address) as peer:
        peer.associate()
        for number in range(COUNT):
            instance = make_instance(rng, f"1.2.3.{number}", 4_000)
            assert store(peer, instance) == 0
            ledger.sent[instance.uid].add(instance.digest)
            ledger.acknowledged[instance.uid].add(instance.digest)
    return tmp_path


def first_file(data_folder: Path) -> Path:
    return archive_folder(data_folder) / "store" / rows_of(data_folder)[0].path


def lose_the_file(data_folder: Path) -> None:
    first_file(data_folder).unlink()


def empty_the_file(data_folder: Path) -> None:
    first_file(data_folder).write_bytes(b"")


def change_a_byte(data_folder: Path) -> None:
    data = bytearray(first_file(data_folder).read_bytes())
    data[-1] ^= 1
    first_file(data_folder).write_bytes(data)


def add_a_file(data_folder: Path) -> None:
    (first_file(data_folder).parent / "00ff.dcm").write_bytes(b"of nobody")


def add_an_empty_file(data_folder: Path) -> None:
    (first_file(data_folder).parent / "00ff.dcm").touch()


def lose_the_row(data_folder: Path) -> None:
    change_the_index(data_folder, "DELETE FROM instance WHERE sop_instance_uid = '1.2.3.0'")


def name_another_instance(data_folder: Path) -> None:
    change_the_index(data_folder, "UPDATE instance SET sop_instance_uid = '1.2.4' WHERE pk = 1")


def change_the_index(data_folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(archive_folder(data_folder) / "index.sqlite")) as index, index:
        index.execute(statement)


def test_a_sound_archive_passes(archive: Path, ledger: Ledger) -> None:
    check_archive(archive, ledger, is_running=False)


@pytest.mark.parametrize(
    "damage",
    [
        lose_the_file,
        empty_the_file,
        change_a_byte,
        add_a_file,
        add_an_empty_file,
        lose_the_row,
        name_another_instance,
    ],
)
def test_a_damaged_archive_fails(damage: Callable[[Path], None], archive: Path, ledger: Ledger) -> None:
    damage(archive)
    with pytest.raises((AssertionError, FileNotFoundError)):
        check_archive(archive, ledger, is_running=False)
