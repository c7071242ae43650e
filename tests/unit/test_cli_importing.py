import json
from pathlib import Path

import pytest
from support.command_line import run
from support.nodes import running_node

from pacslite.archive import importing
from pacslite.testing import RunningNode, write_instance


def test_without_a_node_the_command_does_it(tmp_path: Path) -> None:
    for number in range(3):
        write_instance(tmp_path / "source" / str(number))
    (tmp_path / "source" / "notes\x1b[2J").write_text("no instance")
    result = run("import", tmp_path / "source", "--data", tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert "no node runs" in result.stderr
    assert "skipped   " in result.stdout
    assert "\x1b" not in result.stdout
    assert "1 skipped, 3 stored; " in result.stdout


def test_a_running_node_does_it_and_its_observers_are_told(pacs: RunningNode, tmp_path: Path) -> None:
    path = write_instance(tmp_path / "source" / "1")
    result = run("import", path.parent, "--data", pacs.data_folder, "--json")
    assert result.exit_code == 0, result.output
    assert "through node process" in result.stderr
    told = json.loads(result.stdout)
    assert told["counts"] == {"stored": 1}
    assert told["bytes"] > 0
    (received,) = pacs.wait_for(1)
    assert received.provenance.calling_ae_title == "IMPORT"


def test_paths_are_made_absolute_for_the_node(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "1")
    relative = Path("/proc/self/cwd").resolve()
    with running_node(tmp_path / "data"):
        up = Path(*[".."] * (len(relative.parts) - 1))
        result = run("import", up / path.relative_to("/"), "--data", tmp_path / "data", "--json")
    assert json.loads(result.stdout)["counts"] == {"stored": 1}


def test_failures_end_with_code_1(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no instance")
    result = run("import", tmp_path / "text", "--data", tmp_path / "data")
    assert result.exit_code == 1
    assert "failed    " in result.stdout
    assert "not DICOM" in result.stdout
    (tmp_path / "empty").mkdir()
    result = run("import", tmp_path / "empty", "--data", tmp_path / "data")
    assert result.exit_code == 1
    assert "nothing to import" in result.stdout


def test_failures_beyond_a_number_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_TOLD", 1)
    for number in range(3):
        (tmp_path / str(number)).write_text("no instance")
    result = run("import", *(tmp_path / str(number) for number in range(3)), "--data", tmp_path / "data")
    assert "and 2 more\n" in result.stdout


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    first = write_instance(tmp_path / "source" / "0")
    for number in range(1, 150):
        (tmp_path / "source" / str(number)).write_bytes(first.read_bytes())
    settings = {"PACSLITE_STORAGE__RESERVE_BYTES": str(1 << 60)}
    result = run("import", tmp_path / "source", "--data", tmp_path / "data", env=settings)
    assert result.exit_code == 1
    assert "not all were tried: the store is at its disk reserve" in result.stderr


def test_an_unknown_archive_is_told(tmp_path: Path) -> None:
    result = run("import", tmp_path, "--data", tmp_path / "data", "--archive", "none")
    assert result.exit_code == 3
    assert "main" in result.stderr
