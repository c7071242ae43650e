"""Deleting in a whole archive: files, receipts meanwhile, crashes at every step."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from support.instances import Instance, make_instance, unique_uid
from support.kept import (
    archive_of,
    aside,
    check_kept,
    check_nothing_else,
    indexed,
    outcomes,
    path_of,
    stored_data_set,
    wait_until,
)
from support.nodes import RunningNode, running_node
from support.raw_sender import RawSender, store

from pacslite.archive.deletion import DeleteArguments, delete, extent_of
from pacslite.archive.operation import ignore_progress
from pacslite.index import tables
from pacslite.model.errors import NotFoundError, OperationStoppedError
from pacslite.model.instances import Outcome
from pacslite.storage.removal import remove_durably
from pacslite.storage.segments import SEAL_NAME

REMOVE = "pacslite.archive.removal.remove_durably"


def version(number: int, uid: str, **values: Any) -> Instance:
    return make_instance(SOPInstanceUID=uid, pixels=bytes([number]) * 40_000, **values)


def study_instances(count: int, study: str | None = None) -> list[Instance]:
    study = study or unique_uid()
    return [make_instance(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1") for _ in range(count)]


def send_all(node: RunningNode, instances: Sequence[Instance]) -> None:
    with RawSender.of(node.address, *instances) as sender:
        for instance in instances:
            assert sender.store(instance).status == 0


def delete_study(node: RunningNode, uid: str, progress: Any = ignore_progress, **choices: Any) -> Any:
    arguments = DeleteArguments(level="study", uid=uid, **choices)
    return delete(archive_of(node), arguments, progress)


def segments(node: RunningNode) -> list[Path]:
    return sorted(path for path in (archive_of(node).store.folder / "node1").iterdir() if path.is_dir())


@pytest.mark.parametrize("forget", [False, True], ids=["keep", "forget"])
def test_deleted_files_are_gone_when_the_operation_returns(tmp_path: Path, *, forget: bool) -> None:
    goes, stays = study_instances(40), make_instance()
    with running_node(tmp_path) as node:
        send_all(node, [*goes, stays])
        conflict = version(2, goes[0].sop_instance_uid)
        assert store(node.address, conflict).status == 0
        told = delete_study(node, goes[0].study_instance_uid, forget=forget)
        assert told == {"instances": 40, "conflicts": 1, "files_left": 0}
        assert node.stored_files() == [path_of(node, indexed(node, stays.sop_instance_uid).file)]
        # segments of which nothing is left are gone as well
        wait_until(
            lambda: all(any(segment.glob("*.dcm")) for segment in segments(node)), "an empty segment is left"
        )
        check_kept(node, stays)
        check_nothing_else(node)
        known = archive_of(node).reader.study(goes[0].study_instance_uid)
        assert (known is None) is forget
    with running_node(tmp_path) as node:
        check_kept(node, stays)
        assert len(node.stored_files()) == 1
        send_all(node, goes)
        for each in goes:
            check_stored(node, each)
        check_nothing_else(node)


def check_stored(node: RunningNode, instance: Instance) -> None:
    assert stored_data_set(node, indexed(node, instance.sop_instance_uid).file) == instance.raw


def test_what_is_not_there_cannot_be_deleted(tmp_path: Path) -> None:
    with running_node(tmp_path) as node:
        with pytest.raises(NotFoundError, match=r"there is no study 1\.2\.3"):
            delete_study(node, "1.2.3")
        with pytest.raises(NotFoundError, match="there is no series"):
            extent_of(archive_of(node), "series", "1.2.3")


def test_receipts_go_between_the_steps_of_a_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacslite.archive.deletion.BATCH", 5)
    goes = study_instances(20)
    study = goes[0].study_instance_uid
    arrived: list[Instance] = []
    with running_node(tmp_path) as node:
        send_all(node, goes)

        def progress(done: int, total: int | None, what: str) -> None:
            assert (total, what) == (20, "instances")
            if done < 20:
                # an acknowledged receipt in the middle of the deletion: of the study, and one that is back
                arrived.append(study_instances(1, study)[0])
                assert store(node.address, arrived[-1]).status == 0
            if done == 10:
                assert store(node.address, goes[0]).status == 0

        assert delete_study(node, study, progress)["instances"] == 20
        for each in (*arrived, goes[0]):
            check_stored(node, each)
        counts = archive_of(node).reader.counts()
        assert (counts.instances, counts.unavailable) == (20 + len(arrived), 19)
        found = archive_of(node).reader.study(study)
        assert found is not None
        assert found["number_of_study_related_instances"] == 20 + len(arrived)
        check_nothing_else(node)


@pytest.mark.parametrize("forget", [False, True], ids=["keep", "forget"])
def test_a_study_that_is_being_sent_and_deleted_is_whole_or_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, forget: bool
) -> None:
    """Whatever the order: each instance is there with its file, or not there; counters are right."""
    monkeypatch.setattr("pacslite.archive.deletion.BATCH", 3)
    instances = study_instances(60)
    study = instances[0].study_instance_uid
    with running_node(tmp_path) as node:
        send_all(node, instances[:10])
        sending = threading.Thread(target=send_all, args=(node, instances))
        sending.start()
        while sending.is_alive():
            try:
                delete_study(node, study, forget=forget)
            except NotFoundError:
                time.sleep(0.001)
        sending.join()
        there = 0
        for each in instances:
            found = archive_of(node).reader.instance(each.sop_instance_uid)
            if found is not None and found.stored_file is not None:
                there += 1
                check_stored(node, each)
        known = archive_of(node).reader.study(study)
        expected = there if forget else len(instances)
        assert (0 if known is None else known["number_of_study_related_instances"]) == expected
        check_nothing_else(node)
        # what is sent when nobody deletes any longer is all there
        send_all(node, instances)
        for each in instances:
            check_stored(node, each)
        check_nothing_else(node)


def test_a_stopped_deletion_goes_on_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacslite.archive.deletion.BATCH", 4)
    goes = study_instances(10)
    study = goes[0].study_instance_uid

    def stop(done: int, *_: Any) -> None:
        if done:
            raise OperationStoppedError("enough")

    with running_node(tmp_path) as node:
        send_all(node, [*goes[:4], make_instance(StudyInstanceUID=study, Modality="MR"), *goes[4:]])
        with pytest.raises(OperationStoppedError):
            delete_study(node, study, stop, forget=True)
        found = archive_of(node).reader.study(study)
        assert found is not None
        assert (found["number_of_study_related_instances"], found["modalities_in_study"]) == (7, "CT\\MR")
        with pytest.raises(OperationStoppedError):
            delete_study(node, study, stop, forget=True)
        found = archive_of(node).reader.study(study)
        assert found is not None
        assert (found["number_of_study_related_instances"], found["modalities_in_study"]) == (3, "CT")
        assert delete_study(node, study, forget=True)["instances"] == 3
        assert archive_of(node).reader.study(study) is None
        check_nothing_else(node)


class PowerCutError(BaseException):
    """Ends an operation where a crash would, with what is on disk as it is."""


@pytest.mark.parametrize("point", ["before unlinking", "after unlinking", "before the job is settled"])
@pytest.mark.parametrize("forget", [False, True], ids=["keep", "forget"])
def test_a_crash_between_commit_and_unlink_is_made_good_by_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, *, forget: bool
) -> None:
    goes, stays = study_instances(40), make_instance()
    with running_node(tmp_path) as node:
        send_all(node, [stays, *goes])
        node.call(node.node._runners[0].stop)  # as if it had no time any more

        def crash(paths: Any) -> int:
            if point == "after unlinking":
                remove_durably(list(paths)[:20])
            if point == "before the job is settled":
                remove_durably(paths)
            raise PowerCutError

        monkeypatch.setattr(REMOVE, crash)
        with pytest.raises(PowerCutError):
            delete_study(node, goes[0].study_instance_uid, forget=forget)
        monkeypatch.undo()
        left = {"before unlinking": 41, "after unlinking": 21, "before the job is settled": 1}
        assert len(node.stored_files()) == left[point]
        monkeypatch.setattr(node.node._runners[0], "stop", _nothing)
    with running_node(tmp_path) as node:  # starts: files of pending removals are no sign of a lost index
        wait_until(lambda: count_files(tmp_path) == 1, "the job was not done")
        check_kept(node, stays)
        check_nothing_else(node)
        wait_until(lambda: not jobs(node), "the job stays")
        send_all(node, goes)
        check_nothing_else(node)


async def _nothing() -> None:
    pass


def count_files(data_folder: Path) -> int:
    """Count files with content, while segments may vanish."""
    count = 0
    for folder, _, names in os.walk(data_folder / "archives"):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                count += path.suffix == ".dcm" and path.stat().st_size > 0
    return count


def jobs(node: RunningNode) -> int:
    def count(connection: Any) -> int:
        return int(connection.scalar(select(func.count()).select_from(tables.job)))

    return archive_of(node).reader.read(count)


def test_a_crash_before_the_commit_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes = study_instances(5)
    with running_node(tmp_path) as node:
        send_all(node, goes)
        with monkeypatch.context() as patch:
            patch.setattr("pacslite.index.deletion.promise_removal", _fail)
            with pytest.raises(RuntimeError):
                delete_study(node, goes[0].study_instance_uid)
        for each in goes:
            check_kept(node, each)
        check_nothing_else(node)


def _fail(*_: Any) -> None:
    raise RuntimeError


def test_files_that_resist_are_left_to_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes = study_instances(5)

    def resist(_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    with running_node(tmp_path) as node:
        send_all(node, goes)
        with monkeypatch.context() as patch:
            patch.setattr(REMOVE, resist)
            told = delete_study(node, goes[0].study_instance_uid)
            assert told == {"instances": 5, "conflicts": 0, "files_left": 5}
            assert jobs(node) == 1
            assert len(node.stored_files()) == 5
    with running_node(tmp_path) as node:
        wait_until(lambda: not count_files(tmp_path), "the job was not done")


def test_the_seal_of_a_segment_in_use_stays(tmp_path: Path) -> None:
    goes = study_instances(3)
    with running_node(tmp_path) as node:
        send_all(node, goes)
        delete_study(node, goes[0].study_instance_uid)
        assert not any((segment / SEAL_NAME).exists() for segment in segments(node))
        send_all(node, study_instances(20))
        check_nothing_else(node)


def test_observers_are_told_of_what_came_back(tmp_path: Path) -> None:
    (instance,) = study_instances(1)
    with running_node(tmp_path) as node:
        seen: list[Any] = []
        node.node.observe(seen.append)
        send_all(node, [instance])
        delete_study(node, instance.study_instance_uid)
        send_all(node, [instance])
        assert [each.outcome for each in seen] == [Outcome.STORED, Outcome.STORED]
        assert outcomes(node, instance.sop_instance_uid) == ["stored", "stored"]
        assert aside(node, instance.sop_instance_uid) == []


CRASHING_DELETE = """
import os, sys
from pacslite.archive import removal
from pacslite.cli import main

calls = []

def crash(paths):
    calls.append(paths)
    if len(calls) == 2:
        os._exit(86)  # committed, and not a file of this batch removed
    return remove(paths)

remove, removal.remove_durably = removal.remove_durably, crash
from pacslite.archive import deletion
deletion.BATCH = 10
main()
"""


@pytest.mark.parametrize("forget", [False, True], ids=["keep", "forget"])
def test_a_process_that_dies_while_deleting_leaves_the_rest_to_the_node(
    tmp_path: Path, *, forget: bool
) -> None:
    goes, stays = study_instances(35), make_instance()
    with running_node(tmp_path) as node:
        send_all(node, [stays, *goes])
    arguments = ["delete", "study", goes[0].study_instance_uid, "--yes", "--data", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-c", CRASHING_DELETE, *arguments, *(["--forget"] if forget else [])],
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 86, ended.stderr
    assert count_files(tmp_path) == 36 - 10
    with running_node(tmp_path) as node:
        wait_until(lambda: count_files(tmp_path) == 36 - 20, "the job was not done")
        wait_until(lambda: not jobs(node), "the job stays")
        for each in (stays, *goes[20:]):
            check_kept(node, each)
        counts = archive_of(node).reader.counts()
        assert (counts.instances, counts.unavailable) == ((16, 0) if forget else (36, 20))
        check_nothing_else(node)
        assert delete_study(node, goes[0].study_instance_uid, forget=forget)["instances"] == 15
        check_nothing_else(node)
        assert count_files(tmp_path) == 1
