import json
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run

from pacslite.archive import backup, restoring
from pacslite.testing import RunningNode, write_instance


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number in range(3):
        write_instance(tmp_path / "source" / str(number))
    assert run("import", tmp_path / "source", "--data", tmp_path / "data").exit_code == 0
    return tmp_path / "data"


def _stored(data_folder: Path) -> list[Path]:
    return sorted(path for path in data_folder.rglob("*.dcm") if path.stat().st_size)


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_save_and_restore(data: Path, tmp_path: Path) -> None:
    result = run("backup", tmp_path / "backup", "--data", data)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("main: 3 files (")
    assert "3 of them new" in result.stdout
    result = run("backup", tmp_path / "backup", "--data", data, "--json")
    (told,) = json.loads(result.stdout)
    assert (told["files"], told["copied"], told["damaged"]) == (3, 0, [])
    result = run("restore", tmp_path / "backup", "--data", tmp_path / "other")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("main: 3 files (")
    counts = [
        json.loads(run("stats", "--data", folder, "--json").stdout)["archives"]
        for folder in (data, tmp_path / "other")
    ]
    assert counts[0] == counts[1]


def test_the_node_may_run(pacs: RunningNode, tmp_path: Path) -> None:
    path = write_instance(tmp_path / "1")
    run("send", f"{pacs.ae_title}@{pacs.host}:{pacs.port}", path)
    (received,) = pacs.wait_for(1)
    before = received.path.read_bytes()
    assert run("backup", tmp_path / "backup", "--data", pacs.data_folder).exit_code == 0
    _damage(received.path)
    result = run("restore", tmp_path / "backup", "--only-damaged", "--data", pacs.data_folder)
    assert result.exit_code == 0, result.output
    assert "through node process" in result.stderr
    assert "main: 1 files checked, 1 mended" in result.stdout
    assert received.path.read_bytes() == before
    result = run("restore", tmp_path / "backup", "--data", pacs.data_folder)
    assert result.exit_code == 4
    assert "not empty" in result.stderr


def test_damage_is_named_with_code_1(data: Path, tmp_path: Path) -> None:
    damaged, *_ = _stored(data)
    _damage(damaged)
    result = run("backup", tmp_path / "backup", "--data", data)
    assert result.exit_code == 1
    assert f"not saved node1/{damaged.parent.name}/{damaged.name}: its data set" in result.stdout
    _damage(_stored(tmp_path / "backup")[0])
    result = run("restore", tmp_path / "backup", "--data", tmp_path / "other")
    assert result.exit_code == 1
    assert "not restored node1/" in result.stdout
    assert "1 files could not be saved at the time" in result.stdout
    result = run("restore", tmp_path / "backup", "--only-damaged", "--data", tmp_path / "other")
    assert result.exit_code == 1
    assert "not mended node1/" in result.stdout


def test_what_is_too_much_to_be_named_is_counted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "MAX_TOLD", 1)
    for path in _stored(data):
        _damage(path)
    assert "and 2 more not saved" in run("backup", tmp_path / "backup", "--data", data).stdout


def test_one_archive_of_two(tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text("archives: [{name: main, ae_titles: [A]}, {name: second, ae_titles: [B]}]\n")
    options = ("--config", config, "--data", tmp_path / "data")
    run("db", "upgrade", *options)
    path = write_instance(tmp_path / "1")
    for name in ("main", "second"):
        assert run("import", path, "--archive", name, *options).exit_code == 0
    result = run("backup", tmp_path / "backup", "--archive", "second", *options)
    assert result.stdout.startswith("second: 1 files")
    result = run("restore", tmp_path / "backup", "--config", config, "--data", tmp_path / "other")
    assert result.exit_code == 1
    assert "holds backups of second" in result.stderr
    assert not (tmp_path / "other").exists()
    run("backup", tmp_path / "backup", *options)
    assert (
        run("restore", tmp_path / "backup", "--config", config, "--data", tmp_path / "other").exit_code == 0
    )


def test_options_reach_the_backup(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def back_up(_view: Any, folder: Path, choices: Any, _progress: Any) -> Any:
        seen.append((folder, choices.links, choices.prunes, choices.verifies))
        raise KeyboardInterrupt

    monkeypatch.setattr(backup, "back_up", back_up)
    options = ("--link", "--prune", "--verify")
    assert run("backup", tmp_path / "backup", "--data", data, *options).exit_code == 130
    assert seen == [(tmp_path / "backup", True, True, True)]


def test_an_interrupted_restore_has_its_code(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    run("backup", tmp_path / "backup", "--data", data)
    monkeypatch.setattr(restoring, "restore_archive", interrupt)
    assert run("restore", tmp_path / "backup", "--data", tmp_path / "other").exit_code == 130
