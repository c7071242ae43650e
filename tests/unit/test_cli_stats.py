import json
import os
from pathlib import Path

from support.command_line import run

from pacslite.storage.lock import DataFolderLock
from pacslite.testing import RunningNode, write_instance


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
                "unavailable": 0,
                "file_bytes": 0,
            }
        ],
    }


def test_a_running_node_and_the_size_of_its_files(pacs: RunningNode, tmp_path: Path) -> None:
    sent = write_instance(tmp_path / "a.dcm")
    peer = f"{pacs.ae_title}@{pacs.host}:{pacs.port}"
    assert run("send", peer, sent).exit_code == 0
    (received,) = pacs.wait_for(1)
    found = json.loads(run("stats", "--data", pacs.data_folder, "--json").stdout)
    assert found["pid"] == os.getpid()
    assert found["archives"][0]["instances"] == 1
    assert found["archives"][0]["file_bytes"] == received.path.stat().st_size


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
