import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import MediaStorageDirectoryStorage
from structlog.testing import capture_logs
from support.care import do_import, filled, started_archive
from support.nodes import STORAGE, node_settings
from support.real_files import readable_files

from pacslite.archive import importing
from pacslite.archive.archive import Archive
from pacslite.archive.importing import ImportArguments
from pacslite.media import files
from pacslite.model.errors import OperationStoppedError
from pacslite.model.instances import DuplicatePolicy
from pacslite.settings.schema import ArchiveSettings
from pacslite.storage.part10 import read_part10_head
from pacslite.testing import make_instance, write_instance

UID = "1.2.826.0.1.3680043.8.498.4711"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with started_archive(node_settings(tmp_path / "data")) as archive:
        yield archive


def _verdicts(result: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {Path(file["path"]).name: (file["verdict"], file["reason"]) for file in result["files"]}


def _stored(archive: Archive, uid: str = UID) -> bytes:
    """Return the data set that is stored."""
    found = archive.reader.instance(uid)
    assert found is not None
    return archive.store.path(found.file.path).read_bytes()[found.file.data_set_offset :]


def test_folders_are_taken_whole_and_what_is_no_instance_is_told(archive: Archive, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(40):
        write_instance(source / f"{number % 3}" / f"{number}", seed=number)
    (source / "read me.txt").write_text("no instance")
    os.mkfifo(source / "pipe")
    (source / "link").symlink_to(source / "0" / "0")
    (source / "folder").symlink_to(tmp_path)
    directory = make_instance()
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        delattr(directory, keyword)
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.save_as(source / "DICOMDIR", enforce_file_format=True)
    result = do_import(archive, source)
    assert result["counts"] == {"stored": 40, "skipped": 5}
    assert result["stopped"] is None
    assert result["untold"] == 0
    assert _verdicts(result) == {
        "read me.txt": ("skipped", "not DICOM"),
        "pipe": ("skipped", "not a regular file"),
        "link": ("skipped", "a symbolic link"),
        "folder": ("skipped", "a symbolic link"),
        "DICOMDIR": ("skipped", "a DICOMDIR"),
    }
    assert archive.reader.counts().instances == 40


def test_what_is_named_and_is_no_instance_failed(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no instance")
    whole = write_instance(tmp_path / "whole", SOPInstanceUID=UID)
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:1400])
    (tmp_path / "link").symlink_to(whole)
    result = do_import(archive, *(tmp_path / name for name in ("text", "none", "cut", "link")))
    assert result["counts"] == {"stored": 1, "failed": 3}
    verdicts = _verdicts(result)
    assert verdicts.pop("cut")[1].startswith("C000 ")
    assert verdicts == {"text": ("failed", "not DICOM"), "none": ("failed", "No such file or directory")}


def test_with_and_without_file_meta_and_of_any_size(archive: Archive, tmp_path: Path) -> None:
    source = tmp_path / "source"
    expected = {}
    for number, size in enumerate((200, 60_000, 70_000, 3_500_000)):
        uid = f"{UID}.{number}"
        path = write_instance(source / f"{number}", SOPInstanceUID=uid, size_bytes=size)
        expected[uid] = path.read_bytes()[read_part10_head(path).data_set_offset :]
        bare = write_instance(source / f"bare {number}", SOPInstanceUID=f"{uid}.1", size_bytes=size)
        expected[f"{uid}.1"] = bare.read_bytes()[read_part10_head(bare).data_set_offset :]
        bare.write_bytes(expected[f"{uid}.1"])
    assert do_import(archive, source)["counts"] == {"stored": 8}
    for uid, data in expected.items():
        assert _stored(archive, uid) == data


def test_a_polyglot_preamble_is_not_kept_and_provenance_names_the_import(
    archive: Archive, tmp_path: Path
) -> None:
    path = write_instance(tmp_path / "Doe^Jane.dcm", SOPInstanceUID=UID)
    path.write_bytes(b"MZ\x90\0".ljust(128, b"x") + path.read_bytes()[128:])
    with capture_logs() as events:
        assert do_import(archive, path)["counts"] == {"stored": 1}
    found = archive.reader.instance(UID)
    assert found is not None
    stored = archive.store.path(found.file.path)
    assert stored.read_bytes()[:132] == bytes(128) + b"DICM"
    assert str(dcmread(stored).SOPInstanceUID) == UID
    origin = read_part10_head(stored).provenance
    assert origin is not None
    assert origin.calling_ae_title == found.calling_ae_title == "IMPORT"
    assert origin.called_ae_title == "PACSLITE"
    assert origin.peer_address == origin.local_address == "import"
    assert origin.association_id.startswith("import-")
    assert "Doe" not in str(events)


def test_the_duplicate_policy_decides(tmp_path: Path) -> None:
    first = write_instance(tmp_path / "1", SOPInstanceUID=UID, seed=1)
    second = write_instance(tmp_path / "2", SOPInstanceUID=UID, seed=2)
    wanted = {
        DuplicatePolicy.KEEP_FIRST: "kept-aside",
        DuplicatePolicy.REPLACE: "replaced",
        DuplicatePolicy.REPLACE_SAME_SOURCE: "replaced",
        DuplicatePolicy.REFUSE: "failed",
    }
    for policy, verdict in wanted.items():
        archives = [ArchiveSettings(duplicate_policy=policy)]
        with started_archive(node_settings(tmp_path / policy.value, archives=archives)) as archive:
            assert do_import(archive, first)["counts"] == {"stored": 1}
            assert do_import(archive, first)["counts"] == {"identical": 1}
            assert do_import(archive, second)["counts"] == {verdict: 1}


def test_an_import_heals_what_the_disk_has_lost(archive: Archive, tmp_path: Path) -> None:
    path = write_instance(tmp_path / "1", SOPInstanceUID=UID)
    do_import(archive, path)
    found = archive.reader.instance(UID)
    assert found is not None
    archive.store.path(found.file.path).unlink()
    assert do_import(archive, path)["counts"] == {"healed": 1}
    assert _stored(archive)


def test_every_real_file_is_taken_or_refused_as_a_sender_would_have_it(archive: Archive) -> None:
    result = do_import(archive, *sorted({real.path for real in readable_files()}))
    counts = result["counts"]
    assert sum(counts.values()) - counts["failed"] > 200
    reasons = {reason for verdict, reason in _verdicts(result).values() if verdict == "failed"}
    assert {reason for reason in reasons if reason[:4] not in {"C000", "A900", "A901"}} == {
        "a DICOMDIR",
        "it is identified by what is no UID",
    }


def test_a_full_disk_ends_it_early(tmp_path: Path) -> None:
    storage = STORAGE.model_copy(update={"reserve_bytes": 1 << 60})
    source = tmp_path / "source"
    first = write_instance(source / "0")
    for number in range(1, 200):
        (source / str(number)).write_bytes(first.read_bytes())
    with started_archive(node_settings(tmp_path / "data", storage=storage)) as archive:
        result = do_import(archive, source)
    assert result["stopped"] == "the store is at its disk reserve"
    assert importing.MAX_FULL <= result["counts"]["failed"] < 200
    assert result["files"][0]["reason"] == "A700 the store is at its disk reserve"


def test_progress_ends_with_all_and_may_stop_it(archive: Archive, tmp_path: Path) -> None:
    for number in range(80):
        write_instance(tmp_path / "source" / str(number), seed=number, side=8)
    told: list[tuple[int, int | None]] = []

    def stop(done: int, total: int | None, what: str) -> None:
        assert what == "files"
        told.append((done, total))
        if done >= 10:
            raise OperationStoppedError("the node stops")

    with pytest.raises(OperationStoppedError):
        do_import(archive, tmp_path / "source", progress=stop)
    kept = archive.reader.counts().instances
    assert kept == len(told)
    assert 10 <= kept <= 10 + importing.FILES_IN_FLIGHT
    told.clear()
    result = do_import(
        archive, tmp_path / "source", progress=lambda done, total, _: told.append((done, total))
    )
    assert told[-1] == (80, 80)
    assert result["counts"] == {"stored": 80 - kept, "identical": kept}


def test_counting_tells_its_progress_too(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_COUNTED_AT_A_TIME", 2)
    for number in range(5):
        write_instance(tmp_path / "source" / str(number), seed=number, side=8)
    told: list[tuple[int, int | None, str]] = []
    do_import(archive, tmp_path / "source", progress=lambda *step: told.append(step))
    assert told[:3] == [(2, None, "files found"), (4, None, "files found"), (1, 5, "files")]


def test_a_fault_of_ours_costs_one_file(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_instance(tmp_path / "source" / "1")
    write_instance(tmp_path / "source" / "2")
    real = files.recognise

    def recognise(path: Path, head: Any) -> Any:
        if path.name == "1":
            raise ZeroDivisionError
        return real(path, head)

    monkeypatch.setattr(importing, "recognise", recognise)
    with capture_logs() as events:
        result = do_import(archive, tmp_path / "source")
    assert result["counts"] == {"stored": 1, "failed": 1}
    assert [event["event"] for event in events if event["log_level"] == "error"] == ["import.failed"]


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_instance(tmp_path / "1")
    real = files.read_head

    def read_head(descriptor: int) -> Any:
        head = real(descriptor)
        os.utime(path, ns=(1, 1))
        return head

    monkeypatch.setattr(importing, "read_head", read_head)
    assert _verdicts(do_import(archive, path)) == {"1": ("failed", "the file was changed meanwhile")}
    monkeypatch.undo()
    size = path.stat().st_size

    def shrink(descriptor: int) -> Any:
        head = real(descriptor)
        os.truncate(path, size - 100)
        return head

    write_instance(path, size_bytes=200_000)
    size = path.stat().st_size
    monkeypatch.setattr(importing, "read_head", shrink)
    assert _verdicts(do_import(archive, path)) == {"1": ("failed", "the file could not be read to its end")}
    assert archive.reader.counts().instances == 0


def test_an_unreadable_folder_is_told(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_instance(tmp_path / "source" / "1")
    (tmp_path / "source" / "secret").mkdir()
    scandir, opening = os.scandir, os.open

    def refuse(path: Any) -> Any:
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def refuse_too(path: Any, *arguments: Any, **options: Any) -> int:
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return opening(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "open", refuse_too)
    assert _verdicts(do_import(archive, tmp_path / "source")) == {"secret": ("failed", "Permission denied")}


def test_many_failures_are_counted_and_not_all_told(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_TOLD", 3)
    for number in range(5):
        (tmp_path / f"{number}").write_text("no instance")
    result = do_import(archive, *(tmp_path / f"{number}" for number in range(5)))
    assert (len(result["files"]), result["untold"]) == (3, 2)


def test_paths_are_absolute_and_there_is_one() -> None:
    for paths in ((), (Path("a"),)):
        with pytest.raises(ValueError, match="absolute"):
            ImportArguments(paths=paths)


def test_nothing_is_left_over(tmp_path: Path) -> None:
    for number in range(30):
        write_instance(tmp_path / "source" / str(number), seed=number // 2)
    settings = filled(tmp_path / "data", tmp_path / "source")
    stored = [path for path in settings.data_folder.rglob("*.dcm") if path.is_file()]
    assert len(stored) == 15
