import json
from pathlib import Path

from support.archives import archive_folder, files_of, index_of, keep, settings_of, started, store_of
from support.command_line import run
from support.instances import Instance, make_instance


def fill(folder: Path) -> tuple[Instance, Path]:
    instance = make_instance()
    with started(settings_of(folder)) as archive:
        keep(archive, instance)
        (path,) = files_of(archive)
    return instance, store_of(folder) / path


def test_nothing_is_wrong(tmp_path: Path) -> None:
    _, path = fill(tmp_path)
    result = run("fsck", "--data", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.startswith("main: 1 files, 1.1 kB, checked in ")
    assert result.stdout.endswith(": nothing is wrong\n")
    result = run("fsck", "--data", tmp_path, "--json", "--quick", "--archive", "main")
    assert result.exit_code == 0
    (told,) = json.loads(result.stdout)["archives"]
    assert told.pop("seconds") >= 0
    assert told == {
        "name": "main",
        "files": 1,
        "file_bytes": path.stat().st_size,
        "awaiting_removal": 0,
        "findings": [],
    }


def test_what_is_wrong_is_told_and_left(tmp_path: Path) -> None:
    instance, path = fill(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    result = run("fsck", "--data", tmp_path)
    assert result.exit_code == 1
    name = path.relative_to(store_of(tmp_path))
    what = "its data set is not what was received"
    uid = instance.sop_instance_uid
    assert result.stdout.startswith(f"main: damaged '{name}': {what} (instance {uid})\n")
    assert result.stdout.endswith(": 1 findings\n")
    result = run("fsck", "--data", tmp_path, "--json")
    assert result.exit_code == 1
    (told,) = json.loads(result.stdout)["archives"]
    assert told["findings"] == [
        {"kind": "damaged", "what": what, "path": str(name), "sop_instance_uid": uid},
    ]
    assert path.read_bytes() == damaged


def test_every_archive_is_checked(tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text("archives:\n  - name: main\n  - name: other\n    ae_titles: [OTHER]\n")
    fill(tmp_path)
    result = run("fsck", "--data", tmp_path, "--config", config)
    assert result.exit_code == 4
    assert run("db", "upgrade", "--data", tmp_path, "--config", config).exit_code == 0
    result = run("fsck", "--data", tmp_path, "--config", config)
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["main", "other"]


def test_a_lost_index_names_the_command_that_mends(tmp_path: Path) -> None:
    fill(tmp_path)
    for path in archive_folder(tmp_path).glob("index.sqlite*"):
        path.unlink()
    result = run("fsck", "--data", tmp_path)
    assert result.exit_code == 4
    assert "pacslite reindex" in result.stderr
    assert not index_of(tmp_path).exists()


def test_an_index_that_is_none(tmp_path: Path) -> None:
    fill(tmp_path)
    index_of(tmp_path).write_bytes(b"no database" * 100)
    result = run("fsck", "--data", tmp_path)
    assert result.exit_code == 4
    assert "file is not a database" in result.stderr
    assert run("fsck", "--data", tmp_path, "--archive", "none").exit_code == 3
