import json
import os
from pathlib import Path

from support.archives import archive_folder, index_of, keep, settings_of, started, store_of
from support.command_line import run
from support.instances import make_instance

from pacslite.storage.lock import DataFolderLock


def fill(folder: Path) -> None:
    with started(settings_of(folder)) as archive:
        for _ in range(3):
            keep(archive, make_instance())


def test_a_lost_index_comes_back(tmp_path: Path) -> None:
    fill(tmp_path)
    index_of(tmp_path).unlink()
    serve = run("db", "check", "--data", tmp_path)
    assert serve.exit_code == 4
    result = run("reindex", "--data", tmp_path, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told.pop("seconds") >= 0
    assert told == {
        "archive": "main",
        "files": 3,
        "instances": 3,
        "conflicts": 0,
        "jobs": 0,
        "unavailable": 0,
        "former": "none",
        "kept_as": None,
        "left": {},
    }
    assert run("fsck", "--data", tmp_path).exit_code == 0


def test_people_are_told_what_was_left_and_kept(tmp_path: Path) -> None:
    fill(tmp_path)
    (store_of(tmp_path) / "notes.txt").write_text("Not DICOM")
    result = run("reindex", "--data", tmp_path, "--archive", "main")
    assert result.exit_code == 0
    assert result.stdout.startswith("main: 3 instances and 0 conflicts from 4 files in ")
    assert "from the former index: 0 jobs, 0 instances without a file" in result.stdout
    assert f"kept as {index_of(tmp_path)}.before-" in result.stdout
    assert "1 files were left alone" in result.stdout
    assert "left alone: 'notes.txt': Not a DICOM Part 10 file" in result.stderr
    index_of(tmp_path).write_bytes(b"no database")
    again = run("reindex", "--data", tmp_path)
    assert again.exit_code == 0
    assert "the former index could not be read" in again.stdout


def test_a_running_node_is_named(tmp_path: Path) -> None:
    fill(tmp_path)
    before = index_of(tmp_path).read_bytes()
    with DataFolderLock(tmp_path):
        result = run("reindex", "--data", tmp_path)
    assert result.exit_code == 4
    assert f"in use by process {os.getpid()}: stop that first" in result.stderr
    assert index_of(tmp_path).read_bytes() == before


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    result = run("reindex", "--data", tmp_path / "none")
    assert result.exit_code == 4
    assert not (tmp_path / "none").exists()
    assert run("reindex", "--data", tmp_path).exit_code == 4
    assert not archive_folder(tmp_path).exists()
    assert run("reindex", "--data", tmp_path, "--archive", "other").exit_code == 3


def test_a_start_without_the_index_names_the_command(tmp_path: Path) -> None:
    fill(tmp_path)
    index_of(tmp_path).unlink()
    result = run("serve", "--data", tmp_path, "--port", "0")
    assert result.exit_code == 4
    assert "`pacslite reindex`" in result.stderr
    assert run("reindex", "--data", tmp_path).exit_code == 0
    with started(settings_of(tmp_path)) as archive:
        assert archive.reader.counts().instances == 3
