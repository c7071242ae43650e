import errno
import json
import os
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from support.care import do_import, filled, named_contents, started_archive, viewed
from support.nodes import node_settings, running_node

from pacslite.archive import backup, restoring, saving
from pacslite.archive.archive import archive_folder
from pacslite.archive.backup import back_up
from pacslite.archive.operation import ignore_progress
from pacslite.archive.restoring import MendArguments, check_restorable, mend, restore_archive
from pacslite.archive.saving import BackupChoices
from pacslite.index import files as index_files
from pacslite.index import snapshot
from pacslite.model.errors import DataFolderError, OperationError, OperationStoppedError
from pacslite.settings.schema import ArchiveSettings, Settings
from pacslite.storage import copying
from pacslite.storage.lock import DataFolderLock
from pacslite.storage.segments import SEAL_NAME
from pacslite.testing import make_instance, write_instance

PLAIN = BackupChoices()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of instances, two of which are a conflict."""
    for number in range(40):
        write_instance(tmp_path / "source" / f"{number:02}", seed=number, side=16)
    other = make_instance(seed=0, side=16, InstanceNumber=77)
    write_instance(tmp_path / "source" / "40", other)
    return tmp_path / "source"


@pytest.fixture
def settings(tmp_path: Path, source: Path) -> Settings:
    return filled(tmp_path / "data", source)


def save(settings: Settings, folder: Path, choices: BackupChoices = PLAIN) -> dict[str, Any]:
    with viewed(settings) as view:
        return back_up(view, folder, choices, ignore_progress)


def bring_back(folder: Path, data_folder: Path) -> tuple[Settings, dict[str, Any]]:
    settings = node_settings(data_folder)
    check_restorable(folder, settings)
    with DataFolderLock(data_folder):
        return settings, restore_archive(folder, settings, settings.archives[0], ignore_progress)


def do_mend(settings: Settings, folder: Path) -> dict[str, Any]:
    with started_archive(settings) as archive:
        return mend(archive, MendArguments(folder=folder), ignore_progress)


def copies(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "main" / "store").rglob("*") if path.is_file())


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def originals(settings: Settings) -> list[Path]:
    with viewed(settings) as view:
        return [view.path(path) for path in sorted(view.reader.named_paths(""))]


def test_a_backup_is_restored_elsewhere_with_the_same_answers(settings: Settings, tmp_path: Path) -> None:
    result = save(settings, tmp_path / "backup")
    assert (result["files"], result["copied"], result["damaged_count"], result["rounds"]) == (41, 41, 0, 1)
    restored, told = bring_back(tmp_path / "backup", tmp_path / "other")
    assert (told["files"], told["bytes"]) == (41, result["bytes"])
    assert named_contents(restored) == named_contents(settings)
    with viewed(settings) as one, viewed(restored) as other:
        assert one.reader.counts() == other.reader.counts()
    store = archive_folder(restored, restored.archives[0]) / "store" / "node1"
    assert all((segment / SEAL_NAME).exists() for segment in store.iterdir() if segment.is_dir())
    with running_node(tmp_path / "other") as running:
        assert len(running.stored_paths()) == 41
    shutil.rmtree(tmp_path / "backup")
    assert len(named_contents(restored)) == 41


def test_files_are_listed_page_by_page(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_files, "PAGE_ROWS", 7)
    with viewed(settings) as view:
        listed = [named.file.path for named in index_files.named_files(view.reader)]
        assert listed == sorted(view.reader.named_paths(""))
    assert save(settings, tmp_path / "backup")["files"] == 41


def test_a_second_backup_copies_what_is_new_only(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    before = {path: path.stat().st_mtime_ns for path in copies(folder)}
    with started_archive(settings) as archive:
        do_import(archive, write_instance(tmp_path / "new"))
    result = save(settings, folder)
    assert (result["files"], result["copied"]) == (42, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    parts = sorted(path.name.split("-")[0] for path in (folder / "main").iterdir() if "-" in path.name)
    assert parts == ["files", "index"]
    restored, _ = bring_back(folder, tmp_path / "other")
    assert named_contents(restored) == named_contents(settings)


def test_a_backup_that_was_cut_off_is_gone_on_with(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"

    def stop(done: int, total: int | None, what: str) -> None:
        if what == "files" and done == 20:
            assert total == 41
            raise OperationStoppedError("enough")

    with viewed(settings) as view, pytest.raises(OperationStoppedError):
        back_up(view, folder, PLAIN, stop)
    assert not (folder / "main" / "manifest.json").exists()
    there = len(copies(folder))
    assert 20 <= there < 41 + 1
    flip(copies(folder)[3], 1000)
    (copies(folder)[5].with_suffix(".dcm.part")).write_text("debris")
    result = save(settings, folder)
    assert result["copied"] == 41 - there + 1
    restored, told = bring_back(folder, tmp_path / "other")
    assert told["damaged_count"] == 0
    assert named_contents(restored) == named_contents(settings)


def test_the_backup_before_counts_until_the_next_is_complete(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    manifest = (folder / "main" / "manifest.json").read_bytes()
    with started_archive(settings) as archive:
        do_import(archive, write_instance(tmp_path / "new"))

    def stop(done: int, _: int | None, what: str) -> None:
        if (done, what) == (42, "files"):
            raise OperationStoppedError("enough")

    with viewed(settings) as view, pytest.raises(OperationStoppedError):
        back_up(view, folder, PLAIN, stop)
    assert (folder / "main" / "manifest.json").read_bytes() == manifest
    restored, _ = bring_back(folder, tmp_path / "other")
    assert len(named_contents(restored)) == 41


def test_links_share_the_file_and_copies_do_not(settings: Settings, tmp_path: Path) -> None:
    save(settings, tmp_path / "links", BackupChoices(links=True))
    save(settings, tmp_path / "copies")
    assert {path.stat().st_nlink for path in copies(tmp_path / "links")} == {2}
    assert {path.stat().st_nlink for path in copies(tmp_path / "copies")} == {1}
    restored, _ = bring_back(tmp_path / "links", tmp_path / "other")
    assert named_contents(restored) == named_contents(settings)


def test_where_links_cannot_be_made_files_are_copied(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert save(settings, tmp_path / "backup", BackupChoices(links=True))["copied"] == 41


def test_a_link_that_fails_otherwise_ends_the_backup(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OperationError, match="quota"):
        save(settings, tmp_path / "backup", BackupChoices(links=True))


def test_without_help_of_the_kernel_files_are_copied_all_the_same(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    save(settings, tmp_path / "backup")
    restored, _ = bring_back(tmp_path / "backup", tmp_path / "other")
    assert named_contents(restored) == named_contents(settings)


def test_what_is_damaged_in_the_archive_is_named_and_the_copy_of_before_stays(
    settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    first, second, third, *_ = originals(settings)
    flip(first, 1200)
    second.unlink()
    flip(third, third.read_bytes().index(b"2.25."))
    result = save(settings, folder)
    assert [damaged["reason"] for damaged in result["damaged"]] == [
        "its data set is not what was received",
        "No such file or directory",
        "its file meta is damaged",
    ]
    assert (result["files"], result["rounds"]) == (38, 1)
    _, told = bring_back(folder, tmp_path / "other")
    assert told["missing_count"] == 3
    whole = tmp_path / "whole"
    other = filled(tmp_path / "second", tmp_path / "source")
    save(other, whole)
    flip(originals(other)[0], 1200)
    assert save(other, whole)["damaged_count"] == 0
    assert do_mend(other, whole)["mended_count"] == 1


def test_copies_are_verified_when_asked(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    flip(copies(folder)[0], 1200)
    assert save(settings, folder)["copied"] == 0
    assert save(settings, folder, BackupChoices(verifies=True))["copied"] == 1
    assert bring_back(folder, tmp_path / "other")[1]["damaged_count"] == 0


def test_a_copy_that_is_gone_or_short_is_made_anew(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    copies(folder)[0].unlink()
    os.truncate(copies(folder)[0], 10)
    assert save(settings, folder)["copied"] == 2


def test_pruning_removes_what_the_archive_has_no_longer(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    stray = copies(folder)[0].parent / "ffff.dcm"
    stray.write_text("of an instance that was deleted")
    assert save(settings, folder)["removed"] == 0
    assert stray.exists()
    assert save(settings, folder, BackupChoices(prunes=True))["removed"] == 1
    assert len(copies(folder)) == 41


@pytest.fixture
def forgetting(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Delete a file and its row after each snapshot; return what is to go, the last one first."""
    victims = originals(settings)
    real = snapshot.take_snapshot
    database = archive_folder(settings, settings.archives[0]) / "index.sqlite"

    def take(*arguments: Any) -> None:
        real(*arguments)
        if victims:
            victim = victims.pop()
            name = str(victim.relative_to(victim.parents[2]))
            forget(database, name)
            victim.unlink()

    monkeypatch.setattr(backup, "take_snapshot", take)
    return victims


def forget(database: Path, path: str) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE instance SET path = NULL WHERE path = ?", (path,))
        connection.execute("DELETE FROM conflict WHERE path = ?", (path,))
    connection.close()


def test_what_is_deleted_meanwhile_leads_to_another_snapshot(
    settings: Settings, forgetting: list[Path], tmp_path: Path
) -> None:
    del forgetting[:-1]
    result = save(settings, tmp_path / "backup")
    assert (result["rounds"], result["files"], result["damaged_count"]) == (2, 40, 0)
    assert result["copied"] == 0
    restored, told = bring_back(tmp_path / "backup", tmp_path / "other")
    assert told["damaged_count"] == told["missing_count"] == 0
    assert named_contents(restored) == named_contents(settings)


def test_what_is_deleted_once_it_was_saved_is_in_the_backup(
    settings: Settings, forgetting: list[Path], tmp_path: Path
) -> None:
    victims = forgetting[-2:]
    forgetting.clear()
    save(settings, tmp_path / "backup")
    forgetting += victims
    result = save(settings, tmp_path / "backup")
    assert (result["rounds"], result["files"], result["copied"]) == (1, 41, 0)
    result = save(settings, tmp_path / "backup", BackupChoices(prunes=True))
    assert (result["files"], result["removed"]) == (40, 1)


def test_deletions_without_end_end_the_backup(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals(settings)[0].unlink()
    monkeypatch.setattr(backup, "is_named", lambda *_: False)
    with pytest.raises(OperationError, match="removed faster"):
        save(settings, tmp_path / "backup")
    assert not (tmp_path / "backup" / "main" / "manifest.json").exists()


def test_another_archives_backup_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    other = filled(tmp_path / "second", write_instance(tmp_path / "one"))
    with pytest.raises(OperationError, match="another archive"):
        save(other, folder)
    with pytest.raises(OperationError, match="another archive"):
        do_mend(other, folder)


def test_two_backups_at_a_time_are_refused(settings: Settings, tmp_path: Path) -> None:
    with DataFolderLock(tmp_path / "backup" / "main"), pytest.raises(DataFolderError, match=f"{os.getpid()}"):
        save(settings, tmp_path / "backup")


def test_a_full_backup_disk_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copying, "copy_content", refuse)
    with pytest.raises(OperationError, match="No space left"):
        save(settings, tmp_path / "backup")


def test_a_file_that_cannot_be_read_is_damaged(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = originals(settings)[0].stat().st_ino
    real = os.preadv

    def read(descriptor: int, *arguments: Any) -> int:
        if os.fstat(descriptor).st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, *arguments)

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    monkeypatch.setattr(os, "preadv", read)
    result = save(settings, tmp_path / "backup")
    assert [damaged["reason"] for damaged in result["damaged"]] == ["Input/output error"]


def test_a_restore_names_damaged_copies_and_leaves_them_out(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    first, second, third, *_ = copies(folder)
    flip(first, 1200)
    second.unlink()
    os.truncate(third, 100)
    restored, told = bring_back(folder, tmp_path / "other")
    assert told["files"] == 38
    assert [damaged["path"] for damaged in told["damaged"]] == [
        str(path.relative_to(folder / "main" / "store")) for path in (first, second, third)
    ]
    assert [damaged["reason"] for damaged in told["damaged"]][:2] == [
        "its bytes are not what they were",
        "No such file or directory",
    ]
    result = do_mend(restored, folder)
    assert (result["checked"], result["mended_count"], result["unmended_count"]) == (41, 0, 3)
    assert "its copy in the backup: its bytes" in result["unmended"][0]["reason"]


def test_a_restore_refuses_what_it_cannot_do_whole(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    with pytest.raises(OperationError, match="holds backups of none"):
        check_restorable(folder, node_settings(tmp_path / "other"))
    save(settings, folder)
    with pytest.raises(DataFolderError, match="not empty"):
        check_restorable(folder, settings)
    two = [ArchiveSettings(name="main", ae_titles=["A"]), ArchiveSettings(name="second", ae_titles=["B"])]
    with pytest.raises(OperationError, match="archives main, second"):
        check_restorable(folder, node_settings(tmp_path / "other", archives=two))
    elsewhere = [ArchiveSettings(index_url="postgresql://localhost/none")]
    with pytest.raises(OperationError, match="index_url"):
        check_restorable(folder, node_settings(tmp_path / "other", archives=elsewhere))


@pytest.mark.parametrize("part", ["index", "files"])
def test_a_damaged_index_or_list_is_named(settings: Settings, tmp_path: Path, part: str) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    (path,) = (folder / "main").glob(f"{part}-*")
    flip(path, 200)
    with pytest.raises(OperationError, match=path.name):
        bring_back(folder, tmp_path / "other")


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"format": 2}'])
def test_a_strange_manifest_is_refused(settings: Settings, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    (folder / "main" / "manifest.json").write_text(text)
    for attempt in (lambda: save(settings, folder), lambda: bring_back(folder, tmp_path / "other")):
        with pytest.raises(OperationError, match="not the manifest"):
            attempt()


def test_a_manifest_leads_nowhere_else(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    path = folder / "main" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["index"]["name"] = "../../etc/passwd"
    path.write_text(json.dumps(manifest))
    with pytest.raises(OperationError, match="not the manifest"):
        bring_back(folder, tmp_path / "other")


def test_a_restore_that_was_cut_off_is_refused_by_the_node(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(settings, tmp_path / "backup")

    def stop(*_: object) -> str | None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(restoring, "copy_back", stop)
    with pytest.raises(OperationError, match="Input/output"):
        bring_back(tmp_path / "backup", tmp_path / "other")
    with pytest.raises(DataFolderError), started_archive(node_settings(tmp_path / "other")):
        pass


def test_any_flipped_bit_is_mended(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    before = named_contents(settings)
    victims = originals(settings)
    for number, position in enumerate((0, 130, 133, 160, 400, 600, 900, -1)):
        flip(victims[number], position)
    victims[10].unlink()
    shutil.rmtree(victims[20].parent)
    result = do_mend(settings, folder)
    assert result["unmended"] == []
    assert result["mended_count"] >= 10
    assert named_contents(settings) == before
    assert do_mend(settings, folder)["mended"] == []
    with running_node(tmp_path / "data") as running:
        assert len(running.stored_paths()) == 41


def test_mending_says_what_the_backup_does_not_have(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    with started_archive(settings) as archive:
        do_import(archive, write_instance(tmp_path / "new"))
    originals(settings)[-1].unlink()
    result = do_mend(settings, folder)
    (unmended,) = result["unmended"]
    assert unmended["reason"] == "No such file or directory; the backup does not have it"


def test_mending_leaves_alone_what_is_deleted_meanwhile(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    save(settings, folder)
    victims = originals(settings)
    for victim in victims[:2]:
        victim.unlink()
    answers = iter([False, True, False])
    monkeypatch.setattr(restoring, "is_named", lambda *_: next(answers))
    do_mend(settings, folder)
    assert not victims[0].exists()
    assert not victims[1].exists()


def test_mending_needs_an_absolute_folder() -> None:
    with pytest.raises(ValueError, match="absolute"):
        MendArguments(folder=Path("backup"))


def test_the_snapshot_does_not_start_over_while_instances_arrive(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_STEP_PAGES", 1)
    told: list[int] = []
    with started_archive(settings) as archive, viewed(settings) as view:

        def progress(done: int, total: int) -> None:
            told.append(done)
            if done in {10, 30}:
                do_import(archive, write_instance(tmp_path / f"new {done}"))
            assert done <= total

        snapshot.take_snapshot(view.url, tmp_path / "copy", progress)
        assert view.reader.counts().instances == 42
    assert told == sorted(set(told))
    with backup.snapshot_reader(tmp_path / "copy") as reader:
        assert reader.counts().instances == 40
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_a_damaged_index_is_not_saved(settings: Settings, tmp_path: Path) -> None:
    database = archive_folder(settings, settings.archives[0]) / "index.sqlite"
    with viewed(settings) as view:
        data = bytearray(database.read_bytes())
        data[8192:12288] = bytes(4096)
        database.write_bytes(data)
        with pytest.raises(DataFolderError, match="index"):
            back_up(view, tmp_path / "backup", PLAIN, ignore_progress)


def test_a_file_that_is_no_index_is_not_saved(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    url = make_url(f"sqlite:///{tmp_path}/text")
    with pytest.raises(DataFolderError, match="cannot be copied"):
        snapshot.take_snapshot(url, tmp_path / "copy", lambda *_: None)


def test_an_index_that_fails_while_it_is_read_is_told(settings: Settings) -> None:
    with pytest.raises(DataFolderError, match="the index of archive main"), viewed(settings) as view:
        view.reader.read(lambda connection: connection.exec_driver_sql("SELECT * FROM nothing"))


def test_there_must_be_a_backup_to_mend_from(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="holds no backup"):
        do_mend(settings, tmp_path / "none")


def test_postgresql_is_told_how(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="pg_dump"):
        snapshot.take_snapshot(make_url("postgresql://localhost/x"), tmp_path / "copy", lambda *_: None)


def test_several_threads_save(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: set[str] = set()
    real = copying.new_copy

    def new_copy(*arguments: Any) -> Any:
        names.add(threading.current_thread().name)
        return real(*arguments)

    monkeypatch.setattr(saving, "new_copy", new_copy)
    save(settings, tmp_path / "backup")
    assert names
    assert all(name.startswith("pacslite-files") for name in names)
