"""The index made anew from the files says what it said before."""

import os
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.archives import archive_folder, files_of, index_of, keep, settings_of, started, store_of
from support.dumps import FOUR_LEVELS, Dump, difference, dump
from support.instances import EXPLICIT, IMPLICIT, MR, Instance, make_instance, unique_uid, write_part10
from support.kept import (
    archive_of,
    check_nothing_else,
    indexed,
    stored_data_set,
    unnamed_files,
    wait_until,
)
from support.nodes import RunningNode, running_node
from support.raw_sender import RawSender
from support.real_files import RealFile, colliding_files, distinct_files

from pacslite.archive.archive import Archive
from pacslite.archive.conflicts import ConflictArguments, accept_conflict
from pacslite.archive.deletion import DeleteArguments, delete
from pacslite.archive.fsck import fsck
from pacslite.archive.operation import ignore_progress
from pacslite.archive.reindex.report import ReindexReport
from pacslite.archive.reindex.run import reindex
from pacslite.index.deletion import Target, find_instances, settle, take_instances
from pacslite.index.jobs import enqueue
from pacslite.index.transaction import WriteTransaction
from pacslite.model.attributes import Level
from pacslite.model.errors import DataFolderError, IndexRevisionError, OperationError, OperationStoppedError
from pacslite.model.instances import DuplicatePolicy, Outcome
from pacslite.settings.schema import Settings

KEEPERS = [DuplicatePolicy.KEEP_FIRST, DuplicatePolicy.REPLACE, DuplicatePolicy.REPLACE_SAME_SOURCE]


def rebuilt(settings: Settings) -> tuple[ReindexReport, Dump]:
    report = reindex(settings, settings.archives[0])
    return report, dump(index_of(settings.data_folder))


def lose_index(folder: Path) -> Dump:
    before = dump(index_of(folder))
    for path in index_of(folder).parent.glob("index.sqlite*"):
        path.unlink()
    return before


def with_files(before: Dump) -> Dump:
    """Return a dump without the receipts that left no file."""
    outcomes = {"identical", "refused"}
    receipts = {row: count for row, count in before["receipt"].items() if row[1] not in outcomes}
    return before | {"receipt": Counter(receipts)}


def send(node: RunningNode, *instances: Instance, calling: str = "MODALITY") -> None:
    with RawSender.of(node.address, *instances, calling=calling) as sender:
        for instance in instances:
            assert sender.store(instance).status in (0, 0x0111)


def send_files(node: RunningNode, files: tuple[RealFile, ...], calling: str) -> None:
    with RawSender.of(node.address, *files, calling=calling) as sender:
        for file in files:
            if not sender.result(file):
                sender.store(file)


@pytest.mark.parametrize("policy", list(DuplicatePolicy), ids=lambda policy: policy.value)
def test_real_files_give_the_same_answers_without_the_former_index(
    tmp_path: Path, policy: DuplicatePolicy
) -> None:
    settings = settings_of(tmp_path, policy)
    with running_node(tmp_path, archives=settings.archives) as node:
        send_files(node, distinct_files(), "MODALITY")
        send_files(node, colliding_files(), "OTHER")
    before = lose_index(tmp_path)
    report, after = rebuilt(settings)
    assert report.former == "none"
    assert report.kept_as is None
    assert not report.left
    assert report.instances == before["instance"].total() > 100
    assert report.conflicts == before["conflict"].total()
    assert (report.conflicts > 0) == (policy is not DuplicatePolicy.REFUSE)
    assert not difference(with_files(before), after)
    with running_node(tmp_path, archives=settings.archives) as node:
        assert archive_of(node).reader.counts().instances == report.instances
        check_nothing_else(node)


@pytest.mark.parametrize("policy", list(DuplicatePolicy), ids=lambda policy: policy.value)
def test_nothing_is_lost_with_the_former_index(tmp_path: Path, policy: DuplicatePolicy) -> None:
    settings = settings_of(tmp_path, policy)
    with running_node(tmp_path, archives=settings.archives) as node:
        send_files(node, distinct_files(), "MODALITY")
        send_files(node, colliding_files(), "OTHER")
        send_files(node, colliding_files(), "OTHER")
        check_nothing_else(node)
    before = dump(index_of(tmp_path))
    report, after = rebuilt(settings)
    assert report.former == "used"
    assert not report.left
    assert not difference(before, after)
    assert report.kept_as is not None
    assert not difference(before, dump(Path(report.kept_as)))


@pytest.mark.parametrize("policy", KEEPERS, ids=lambda policy: policy.value)
def test_versions_that_came_back_give_the_same_answers(tmp_path: Path, policy: DuplicatePolicy) -> None:
    settings = settings_of(tmp_path, policy)
    with running_node(tmp_path, archives=settings.archives) as node:
        for files in (distinct_files(), colliding_files(), distinct_files(), colliding_files()[:20]):
            send_files(node, files, "MODALITY")
        check_nothing_else(node)  # what is to be removed is gone
    before = dump(index_of(tmp_path))
    _, after = rebuilt(settings)
    assert not difference(before, after)
    lose_index(tmp_path)
    report, after = rebuilt(settings)
    assert not report.left
    assert report.conflicts == before["conflict"].total()
    assert not difference(before, after, "patient", "instance")


def test_a_study_keeps_what_it_first_received(tmp_path: Path) -> None:
    of_series: dict[str, Any] = {"StudyInstanceUID": unique_uid(), "SeriesInstanceUID": unique_uid()}
    with running_node(tmp_path) as node:
        send(node, make_instance(**of_series, PatientName="First", StudyDescription="One"))
        send(node, make_instance(**of_series, PatientName="Second", StudyDescription="Two"))
        send(node, make_instance(**of_series, PatientID="P2", SOPClassUID=MR, Modality="MR"))
    before = lose_index(tmp_path)
    assert before["discrepancy"].total() >= 4
    _, after = rebuilt(settings_of(tmp_path))
    assert not difference(before, after)


def test_what_only_the_former_index_tells_is_kept(tmp_path: Path) -> None:
    """Deletions, what stood above them, jobs, decisions, resends."""
    of_series: dict[str, Any] = {"StudyInstanceUID": unique_uid(), "SeriesInstanceUID": unique_uid()}
    first, second = make_instance(**of_series, PatientName="First"), make_instance(**of_series, Rows=9)
    lonely = make_instance(PatientID="P3")
    other = make_instance(**of_series, SOPInstanceUID=second.sop_instance_uid, Rows=10)
    third = make_instance(**of_series, SOPInstanceUID=second.sop_instance_uid, Rows=11)
    with running_node(tmp_path) as node:
        send(node, first, second, lonely, other, third, second, other)
        archive = archive_of(node)
        conflicts = archive.reader.conflicts(second.sop_instance_uid)
        accept_conflict(archive, ConflictArguments(number=conflicts[0]["pk"]), ignore_progress)
        delete(archive, DeleteArguments(level="instance", uid=first.sop_instance_uid), ignore_progress)
        delete(archive, DeleteArguments(level="study", uid=lonely.study_instance_uid), ignore_progress)
        archive.writer.submit(lambda transaction: enqueue(transaction, "unheard-of", {"a": 1})).result()
        check_nothing_else(node)
    before = dump(index_of(tmp_path))
    report, after = rebuilt(settings_of(tmp_path))
    assert (report.former, report.unavailable, report.jobs, report.left) == ("used", 2, 1, {})
    assert not difference(before, after)
    with running_node(tmp_path) as node:
        send(node, first, lonely)
        assert stored_data_set(node, indexed(node, first.sop_instance_uid).file) == first.data_set()
        wait_until(lambda: not unnamed_files(node), "a file has no row")


def path_in(archive: Archive, instance: Instance) -> str:
    found = archive.reader.instance(instance.sop_instance_uid)
    assert found is not None
    return found.file.path


def flip_a_bit(path: Path, position: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_damaged_and_missing_files_keep_their_rows(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    whole, damaged, missing, cut = (make_instance() for _ in range(4))
    aside = make_instance(SOPInstanceUID=whole.sop_instance_uid, Rows=9)
    with started(settings) as archive:
        for instance in (whole, damaged, missing, cut, aside):
            keep(archive, instance)
        paths = {
            each.sop_instance_uid: archive.store.path(path_in(archive, each))
            for each in (damaged, missing, cut)
        }
        (conflict,) = archive.reader.conflicts(whole.sop_instance_uid)
        aside_path = archive.store.path(conflict["path"])
    flip_a_bit(paths[damaged.sop_instance_uid])
    paths[missing.sop_instance_uid].unlink()
    cut_path = paths[cut.sop_instance_uid]
    cut_path.write_bytes(cut_path.read_bytes()[:-10])
    flip_a_bit(aside_path)
    before = dump(index_of(tmp_path))
    report, after = rebuilt(settings)
    assert not difference(before, after)
    store = store_of(tmp_path)
    assert report.left == {
        str(paths[damaged.sop_instance_uid].relative_to(store)): "Not what was received",
        str(cut_path.relative_to(store)): "Data set ends inside an element",
        str(aside_path.relative_to(store)): "Not what was received",
    }
    with started(settings) as archive:  # and the next start leaves all of them alone
        for instance in (damaged, missing, cut):
            assert keep(archive, instance).value == "healed"
    assert aside_path.exists()


def test_what_lies_in_the_store_and_is_none_of_ours(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, DuplicatePolicy.REPLACE)
    ours, foreign = make_instance(), make_instance(IMPLICIT)
    rival = make_instance(SOPInstanceUID=ours.sop_instance_uid, Rows=9)
    with started(settings) as archive:
        keep(archive, ours)
        (path,) = files_of(archive)
    store = store_of(tmp_path)
    segment = (store / path).parent
    lose_index(tmp_path)
    write_part10(foreign, store / "by-hand.dcm")
    write_part10(rival, segment / "aaaa.dcm")
    os.utime(segment / "aaaa.dcm", (0, 0))
    (store / "folder" / "in" / "folder").mkdir(parents=True)
    write_part10(make_instance(), store / "folder" / "in" / "folder" / "c.dcm")
    (segment / "notes.txt").write_text("Not DICOM")
    (segment / "link.dcm").symlink_to("/etc/passwd")
    (segment / "empty.dcm").touch()
    (segment / "folder").mkdir()
    os.mkfifo(segment / "pipe")
    Path(os.fsdecode(os.fsencode(segment) + b"/\xff.dcm")).touch()
    report, _ = rebuilt(settings)
    assert (report.instances, report.conflicts) == (3, 1)
    inside = segment.relative_to(store)
    assert report.left == {
        f"{inside}/notes.txt": "Not a DICOM Part 10 file",
        f"{inside}/link.dcm": "Too many levels of symbolic links",
        f"{inside}/empty.dcm": "Not a DICOM Part 10 file",
        f"{inside}/pipe": "Not a regular file",
        f"{inside}/?.dcm": "Its name is no text",
    }
    with started(settings) as archive:
        found = archive.reader.instance(ours.sop_instance_uid)
        assert found is not None
        assert found.file.path == path
        unknown = archive.reader.instance(foreign.sop_instance_uid)
        assert unknown is not None
        assert (unknown.file.path, unknown.calling_ae_title) == ("by-hand.dcm", "")
        (receipt,) = archive.reader.receipts(foreign.sop_instance_uid)
        assert (receipt["peer_address"], receipt["called_ae_title"]) == ("", "")
    assert sorted(entry.name for entry in segment.iterdir() if entry.name.isascii()) == sorted(
        [Path(path).name, "aaaa.dcm", "empty.dcm", "folder", "link.dcm", "notes.txt", "pipe", "sealed"]
    )


def test_files_that_a_kill_left_are_taken_in_once(tmp_path: Path) -> None:
    """Nobody can tell any longer what was acknowledged, so that whatever is whole counts."""
    settings = settings_of(tmp_path)
    instance = make_instance()
    with started(settings) as archive:
        keep(archive, instance)
        (path,) = files_of(archive)
    lose_index(tmp_path)
    file = store_of(tmp_path) / path
    (file.parent / "sealed").unlink()
    copy = file.with_name("ffff.dcm")
    copy.write_bytes(file.read_bytes())
    file.with_name("fffe.dcm").touch()
    file.with_name("fffd.dcm").write_bytes(file.read_bytes()[:700])
    report, after = rebuilt(settings)
    assert report.instances == 1
    assert after["job"].total() == 0
    assert set(report.left) == {
        str(each.relative_to(store_of(tmp_path)))
        for each in (copy, copy.with_name("fffd.dcm"), copy.with_name("fffe.dcm"))
    }
    assert not file.with_name("fffe.dcm").exists()
    with started(settings):
        assert copy.exists()


def test_wrong_rows_are_mended(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with started(settings) as archive:
        for _ in range(3):
            keep(archive, make_instance())
    right = dump(index_of(tmp_path))
    with closing(sqlite3.connect(index_of(tmp_path))) as index, index:
        index.execute("UPDATE instance SET sop_instance_uid = '9.9', rows = 4711 WHERE pk = 1")
        index.execute("UPDATE study SET study_date = '19000101' WHERE pk = 2")
        index.execute("UPDATE patient SET patient_name = 'Nobody' WHERE pk = 1")
        index.execute("UPDATE study SET number_of_study_related_instances = 7")
        index.execute("DELETE FROM receipt WHERE pk = 3")
    _, after = rebuilt(settings)
    assert not difference(right, after, *FOUR_LEVELS)
    with started(settings):
        pass


def test_a_damaged_former_index_is_kept_and_told(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with started(settings) as archive:
        keep(archive, make_instance())
    before = dump(index_of(tmp_path))
    index = index_of(tmp_path)
    index.write_bytes(b"no database" + index.read_bytes()[11:])
    log = index.with_name("index.sqlite-wal")
    log.write_bytes(b"a log that nobody can read")
    damaged = index.read_bytes()
    report, after = rebuilt(settings)
    assert report.former == "unreadable: file is not a database"
    assert not difference(before, after)
    assert report.kept_as is not None
    assert Path(report.kept_as).read_bytes() == damaged
    assert Path(f"{report.kept_as}-wal").read_bytes() == b"a log that nobody can read"
    assert not log.exists()
    assert not list(archive_folder(tmp_path).glob("*draft*"))


def test_a_log_without_its_database_does_not_reach_the_new_one(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with started(settings) as archive:
        keep(archive, make_instance())
        log = index_of(tmp_path).with_name("index.sqlite-wal")
        content = log.read_bytes()
        before = dump(index_of(tmp_path))
    index_of(tmp_path).unlink()
    log.write_bytes(content)
    report, after = rebuilt(settings)
    assert not difference(before, after)
    assert report.kept_as is not None
    assert Path(f"{report.kept_as}-wal").read_bytes() == content


def test_what_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    forgotten, deleted = make_instance(), make_instance()
    aside = make_instance(SOPInstanceUID=deleted.sop_instance_uid, Rows=9)
    with started(settings) as archive:
        for instance in (forgotten, deleted, aside):
            keep(archive, instance)
        target = Target(Level.STUDY, forgotten.study_instance_uid)
        take(archive, target, is_forgetting=True)
        take(archive, Target(Level.STUDY, deleted.study_instance_uid), is_forgetting=False)
    before = dump(index_of(tmp_path))
    assert before["job"].total() == 2
    report, after = rebuilt(settings)
    assert not difference(before, after)
    assert set(report.left.values()) == {"To be removed"}
    with closing(sqlite3.connect(index_of(tmp_path))) as index, index:
        index.execute("DELETE FROM job")
    report, after = rebuilt(settings)
    # without the job the files of what was forgotten, and of what was aside, are files like all others
    assert sorted(report.left.values()) == ["Deleted"]
    assert report.unavailable == 0


def take(archive: Archive, target: Target, *, is_forgetting: bool) -> None:
    """Delete in the index and leave the files to the job."""

    def command(transaction: WriteTransaction) -> None:
        keys = find_instances(transaction.connection, target, is_forgetting=is_forgetting)
        taken = take_instances(transaction, target, keys, is_forgetting=is_forgetting)
        settle(transaction, taken.study_pks)

    archive.writer.submit(command).result()


def test_healed_files_keep_their_history(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    instance = make_instance()
    aside = make_instance(SOPInstanceUID=instance.sop_instance_uid, Rows=9)
    with started(settings) as archive:
        for each in (instance, aside):
            keep(archive, each)
        (conflict,) = archive.reader.conflicts(instance.sop_instance_uid)
        damaged = [archive.store.path(path) for path in (path_in(archive, instance), conflict["path"])]
        for path in damaged:
            flip_a_bit(path)
        assert [keep(archive, each).value for each in (instance, aside)] == ["healed", "healed"]
    before = dump(index_of(tmp_path))
    _, after = rebuilt(settings)
    assert not difference(before, after)
    lose_index(tmp_path)
    for path in damaged:
        path.unlink()
    report, after = rebuilt(settings)
    assert (report.instances, report.conflicts) == (1, 1)
    assert not difference(before, after, "patient", "instance")


def test_rows_that_refer_to_nothing_make_a_former_index_unreadable(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with started(settings) as archive:
        keep(archive, make_instance())
    before = dump(index_of(tmp_path))
    with closing(sqlite3.connect(index_of(tmp_path))) as index, index:
        index.execute("UPDATE receipt SET instance_pk = 4711")
    report, after = rebuilt(settings)
    assert report.former == "unreadable: a row of receipt refers to a row of instance that is not there"
    assert not difference(before, after)


def test_an_older_index_learns_what_came_since(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    study = unique_uid()
    first, conflicting = make_instance(StudyInstanceUID=study), make_instance()
    second = make_instance(SOPInstanceUID=conflicting.sop_instance_uid, Rows=9)
    with started(settings) as archive:
        keep(archive, first)
        keep(archive, conflicting)
    older = index_of(tmp_path).read_bytes()
    with started(settings) as archive:
        keep(archive, make_instance(StudyInstanceUID=study))
        keep(archive, second)
    newest = dump(index_of(tmp_path))
    index_of(tmp_path).write_bytes(older)
    with pytest.raises(DataFolderError, match="pacslite reindex"), started(settings):
        pass
    _, after = rebuilt(settings)
    assert not difference(newest, after)
    with started(settings):
        pass


def test_an_index_of_another_revision_is_not_replaced(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with started(settings) as archive:
        keep(archive, make_instance())
    with closing(sqlite3.connect(index_of(tmp_path))) as index, index:
        index.execute("UPDATE alembic_version SET version_num = 'another'")
    before = index_of(tmp_path).read_bytes()
    with pytest.raises(IndexRevisionError):
        rebuilt(settings)
    assert index_of(tmp_path).read_bytes() == before


def test_an_index_that_is_being_read_is_not_replaced(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with started(settings) as archive:
        keep(archive, make_instance())
    with closing(sqlite3.connect(index_of(tmp_path), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM instance").fetchall()
        with closing(sqlite3.connect(index_of(tmp_path))) as writer, writer:
            writer.execute("PRAGMA wal_autocheckpoint = 0")
            writer.execute("UPDATE series SET modality = modality")
        with pytest.raises(DataFolderError, match="being read"):
            rebuilt(settings)


def test_stopping_half_way_changes_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with started(settings) as archive:
        for _ in range(3):
            keep(archive, make_instance())
    before = index_of(tmp_path).read_bytes()

    def stop(done: int, total: int | None, what: str) -> None:
        if what == "instances indexed":
            raise OperationStoppedError(f"{done} of {total}")

    with pytest.raises(OperationStoppedError):
        reindex(settings, settings.archives[0], stop)
    assert index_of(tmp_path).read_bytes() == before
    assert not list(archive_folder(tmp_path).glob("*draft*"))


def test_many_files_are_read_by_processes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with started(settings) as archive:
        for number in range(10):
            keep(archive, make_instance(InstanceNumber=str(number)))
    before = dump(index_of(tmp_path))
    store = store_of(tmp_path)
    (store / "foreign").mkdir()
    for number in range(300):
        write_part10(make_instance(), store / "foreign" / f"{number}.dcm")
    told: list[tuple[int, int | None, str]] = []
    report = reindex(settings, settings.archives[0], lambda *progress: told.append(progress))
    assert (report.files, report.instances) == (310, 310)
    after = dump(index_of(tmp_path))
    assert before["instance"] - after["instance"] == Counter()
    assert told[-1] == (310, 310, "instances indexed")
    assert (310, 310, "files read") in told


def test_a_former_index_is_never_overwritten_by_another(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with started(settings) as archive:
        keep(archive, make_instance())
    kept = {rebuilt(settings)[0].kept_as for _ in range(3)}
    assert len(kept) == 3


def test_postgresql_is_filled_when_it_is_empty(tmp_path: Path, postgresql_url: str) -> None:
    settings = settings_of(tmp_path)
    with running_node(tmp_path) as node:
        send_files(node, distinct_files(), "MODALITY")
        send_files(node, colliding_files(), "OTHER")
        before = archive_of(node).reader.counts()
    archives = [settings.archives[0].model_copy(update={"index_url": postgresql_url})]
    settings = settings.model_copy(update={"archives": archives})
    report = reindex(settings, settings.archives[0])
    assert (report.instances, report.conflicts, report.left) == (before.instances, before.conflicts, {})
    with started(settings) as archive:
        assert archive.reader.counts() == before
        assert keep(archive, make_instance()).value == "stored"
        assert fsck(archive, is_node_running=lambda: True).findings == []
    with pytest.raises(OperationError, match="create an empty database"):
        reindex(settings, settings.archives[0])


@st.composite
def receipts(draw: st.DrawFn) -> Instance:
    """Instances of few UIDs: much of what they say collides."""
    number, study = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    return make_instance(
        draw(st.sampled_from([EXPLICIT, IMPLICIT])),
        SOPInstanceUID=f"1.2.{number}",
        StudyInstanceUID=f"1.3.{study}",
        SeriesInstanceUID=f"1.4.{draw(st.integers(1, 2))}",
        PatientID=draw(st.sampled_from(["P1", "P2", None])),
        PatientName=draw(st.sampled_from(["Doe^Jane", "Roe", None])),
        Modality=draw(st.sampled_from(["CT", "MR"])),
        Rows=draw(st.integers(8, 9)),
    )


@given(
    policy=st.sampled_from(list(DuplicatePolicy)),
    received=st.lists(st.tuples(receipts(), st.sampled_from(["A", "B"])), min_size=1, max_size=12),
    deleted=st.sampled_from([None, "1.2.1", "1.2.2"]),
    is_accepting=st.booleans(),
)
@hypothesis_settings(max_examples=25, deadline=None)
def test_whatever_came_is_there_again(
    policy: DuplicatePolicy,
    received: list[tuple[Instance, str]],
    deleted: str | None,
    is_accepting: bool,  # noqa: FBT001 - hypothesis passes it by name
) -> None:
    with TemporaryDirectory(prefix="pacslite-test-") as name:
        folder = Path(name)
        settings = settings_of(folder, policy)
        with started(settings) as archive:
            outcomes = Counter(keep(archive, instance, calling=calling) for instance, calling in received)
            undisturbed = dump(index_of(folder))
            if is_accepting:
                accept_first(archive)
            if deleted is not None and archive.reader.instance(deleted) is not None:
                take(archive, Target(Level.INSTANCE, deleted), is_forgetting=False)
        before = dump(index_of(folder))
        report, after = rebuilt(settings)
        assert not difference(before, after)
        with started(settings):
            pass
        if before == undisturbed and not undisturbed["job"]:
            lose_index(folder)
            report, after = rebuilt(settings)
            assert not difference(with_files(before), after)
            assert report.files == sum(outcomes[outcome] for outcome in KEPT)
            with started(settings):
                pass


KEPT = (Outcome.STORED, Outcome.KEPT_ASIDE, Outcome.REPLACED)


def accept_first(archive: Archive) -> None:
    for number in range(1, 5):
        for conflict in archive.reader.conflicts(f"1.2.{number}")[:1]:
            accept_conflict(archive, ConflictArguments(number=conflict["pk"]), ignore_progress)
