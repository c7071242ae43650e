"""What a node cannot start with: told in one line, with the exit code that says which kind it is."""

import os
import socket
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from support.invariant import archive_folder
from support.mounts import make_read_only, tmpfs
from support.processes import NodeProcess, run_serve

from pacslite.cli.exits import ExitCode
from pacslite.index.migrate import HEAD


def refusal(*arguments: object, code: ExitCode) -> str:
    """Run a node that refuses with `code`; return the one line that it says."""
    result = run_serve(*(str(argument) for argument in arguments))
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("pacslite: ")
    return lines[0]


def test_a_second_node_on_the_folder_names_the_first_and_harms_nothing(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node:
        pid = node.pid  # it listens, and has made files ahead
        made_ahead = set(archive_folder(tmp_path).rglob("*.dcm"))
        said = refusal("--data", tmp_path, "--port", 0, code=ExitCode.DATA)
        assert f"is in use by process {pid}" in said
        assert set(archive_folder(tmp_path).rglob("*.dcm")) == made_ahead
        assert node.is_running()


def test_a_node_that_was_killed_does_not_keep_its_folder(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node:
        assert node.address
        node.kill()
    with NodeProcess(tmp_path) as node:
        assert node.address


def test_a_busy_port_is_named_and_leaves_nothing_made_ahead(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal("--data", tmp_path, "--port", port, code=ExitCode.CONFIGURATION)
    assert f"cannot listen on 127.0.0.1 port {port}" in said
    assert list(archive_folder(tmp_path).rglob("*.dcm")) == []


@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "used-before"])
def test_a_folder_on_a_read_only_disk_is_named(tmp_path: Path, *, is_empty: bool) -> None:
    with tmpfs(tmp_path / "disk", "size=16m") as disk:
        if not is_empty:
            with NodeProcess(disk / "data") as node:
                node.terminate()
                assert node.wait(10) == 0
        make_read_only(disk)
        said = refusal("--data", disk / "data", "--port", 0, code=ExitCode.DATA)
    assert f"{disk / 'data'}: Read-only file system" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    said = refusal("--data", tmp_path / "data", "--port", 0, code=ExitCode.DATA)
    assert f"{tmp_path / 'data'}: Permission denied" in said


def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    said = refusal("--data", tmp_path / "data", "--port", 0, code=ExitCode.DATA)
    assert str(tmp_path / "data") in said


def test_an_index_of_another_revision_is_named_with_the_command_that_mends_it(tmp_path: Path) -> None:
    with NodeProcess(tmp_path) as node:
        node.terminate()
        assert node.wait(10) == 0
    database = archive_folder(tmp_path) / "index.sqlite"
    with closing(sqlite3.connect(database)) as index, index:
        index.execute("UPDATE alembic_version SET version_num = '9999_of_the_future'")
    said = refusal("--data", tmp_path, "--port", 0, code=ExitCode.DATA)
    for part in (str(database), "9999_of_the_future", HEAD, "pacslite db upgrade"):
        assert part in said


def test_an_index_that_is_no_database_is_named(tmp_path: Path) -> None:
    folder = archive_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "index.sqlite").write_bytes(b"no database at all " * 1000)
    said = refusal("--data", tmp_path, "--port", 0, code=ExitCode.DATA)
    assert str(folder / "index.sqlite") in said


def test_a_misspelt_key_is_told_with_its_place_and_the_nearest_right_one(tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text("storage:\n  segment_file: 7\n")
    said = refusal("--config", config, "--data", tmp_path / "data", code=ExitCode.CONFIGURATION)
    for part in (f"{config}:2", "storage.segment_file", "storage.segment_files"):
        assert part in said
    assert not (tmp_path / "data").exists()
