import json
import os
from pathlib import Path

from support.command_line import run

from pacslite.storage.lock import DataFolderLock


def test_an_empty_archive(tmp_path: Path) -> None:
    assert run("db", "upgrade", "--data", tmp_path).exit_code == 0
    result = run("stats", "--data", tmp_path, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found.pop("free_bytes") > 0
    assert found == {
        "data_folder": str(tmp_path),
        "pid": None,
        "archives": [
            {
                "name": "main",
                "patients": 0,
                "studies": 0,
                "series": 0,
                "instances": 0,
                "conflicts": 0,
                "discrepancies": 0,
                "file_bytes": 0,
            }
        ],
    }


def test_the_size_is_that_of_the_files(tmp_path: Path) -> None:
    assert run("db", "upgrade", "--data", tmp_path).exit_code == 0
    segment = tmp_path / "archives" / "main" / "store" / "node1" / "0001"
    segment.mkdir(parents=True)
    (segment / "a.dcm").write_bytes(bytes(700))
    (segment / "b.dcm").write_bytes(bytes(300))
    (segment / "c.dcm").touch()
    (archive,) = json.loads(run("stats", "--data", tmp_path, "--json").stdout)["archives"]
    assert archive["file_bytes"] == 1000


def test_people_get_a_table_and_the_owner(tmp_path: Path) -> None:
    assert run("db", "upgrade", "--data", tmp_path).exit_code == 0
    with DataFolderLock(tmp_path):
        result = run("stats", "--data", tmp_path)
    assert result.exit_code == 0
    assert f"process {os.getpid()}" in result.stdout
    assert str(tmp_path) in result.stdout
    assert "patients" in result.stdout
    assert "main" in result.stdout


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    result = run("stats", "--data", tmp_path / "none")
    assert result.exit_code == 4
    assert "pacslite db upgrade" in result.stderr
    assert not (tmp_path / "none").exists()
