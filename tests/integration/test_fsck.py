"""fsck finds whatever is wrong, and nothing else."""

import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.archives import index_of, keep, settings_of, started, store_of
from support.instances import Instance, make_instance, unique_uid, write_part10
from support.kept import archive_of
from support.nodes import RunningNode, running_node
from support.raw_sender import RawSender
from support.real_files import RealFile, colliding_files, distinct_files

from pacslite.archive.archive import Archive
from pacslite.archive.conflicts import ConflictArguments, accept_conflict, discard_conflict
from pacslite.archive.deletion import DeleteArguments, delete
from pacslite.archive.fsck import Finding, FsckReport, Kind, fsck
from pacslite.archive.operation import ignore_progress
from pacslite.archive.reindex.run import reindex
from pacslite.model.instances import DuplicatePolicy
from pacslite.settings.schema import Settings
from pacslite.storage.part10 import read_part10_head


def checked(settings: Settings, *, is_running: bool = False, is_quick: bool = False) -> FsckReport:
    with Archive(settings, settings.archives[0]).reading() as archive:
        return fsck(archive, is_node_running=lambda: is_running, is_quick=is_quick)


def kinds(report: FsckReport) -> list[str]:
    return sorted(finding.kind.value for finding in report.findings)


def send_files(node: RunningNode, files: tuple[RealFile, ...], calling: str) -> None:
    with RawSender.of(node.address, *files, calling=calling) as sender:
        for file in files:
            if not sender.result(file):
                sender.store(file)


def path_in(archive: Archive, instance: Instance) -> Path:
    found = archive.reader.instance(instance.sop_instance_uid)
    assert found is not None
    return archive.store.path(found.file.path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path)


@pytest.fixture
def archive(settings: Settings) -> Iterator[Archive]:
    with started(settings) as opened:
        yield opened


@pytest.mark.parametrize("policy", list(DuplicatePolicy), ids=lambda policy: policy.value)
def test_nothing_is_wrong_with_real_files(tmp_path: Path, policy: DuplicatePolicy) -> None:
    settings = settings_of(tmp_path, policy)
    with running_node(tmp_path, archives=settings.archives) as node:
        for files, calling in ((distinct_files(), "MODALITY"), (colliding_files(), "OTHER")):
            send_files(node, files, calling)
        send_files(node, colliding_files()[::-1], "MODALITY")
        report = checked(settings, is_running=True)
        assert report.findings == []
        assert report.files >= archive_of(node).reader.counts().instances > 100
        for number, row in enumerate(archive_of(node).reader.read(all_conflicts)):
            act = (accept_conflict, discard_conflict)[number % 2]
            act(archive_of(node), ConflictArguments(number=row), ignore_progress)
        for file in distinct_files()[::10]:
            if archive_of(node).reader.instance(file.sop_instance_uid) is not None:
                arguments = DeleteArguments(
                    level="instance", uid=file.sop_instance_uid, forget=policy is KEEP
                )
                delete(archive_of(node), arguments, ignore_progress)
        assert checked(settings, is_running=True).findings == []
        send_files(node, distinct_files()[::10], "THIRD")
        assert checked(settings, is_running=True).findings == []
    assert checked(settings).findings == []
    reindex(settings, settings.archives[0])
    assert checked(settings).findings == []
    index_of(tmp_path).unlink()
    reindex(settings, settings.archives[0])
    assert checked(settings).findings == []


KEEP = DuplicatePolicy.KEEP_FIRST


def all_conflicts(connection: Any) -> list[int]:
    return [pk for (pk,) in connection.exec_driver_sql("SELECT pk FROM conflict ORDER BY pk LIMIT 20")]


def test_any_bit_of_any_file(settings: Settings, archive: Archive) -> None:
    instance = make_instance()
    keep(archive, instance)
    keep(archive, make_instance(SOPInstanceUID=instance.sop_instance_uid, Rows=9))
    (conflict,) = archive.reader.conflicts(instance.sop_instance_uid)
    rng = random.Random(20_240_229)
    for path in (path_in(archive, instance), archive.store.path(conflict["path"])):
        whole = path.read_bytes()
        for position in range(rng.randrange(4), len(whole), 4):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            (finding,) = checked(settings, is_running=True).findings
            assert (finding.kind, finding.sop_instance_uid) == (Kind.DAMAGED, instance.sop_instance_uid), (
                position
            )
        path.write_bytes(whole)
    assert checked(settings, is_running=True).findings == []


def test_missing_cut_and_unreadable_files(settings: Settings, archive: Archive) -> None:
    missing, cut, grown, link = (make_instance() for _ in range(4))
    for instance in (missing, cut, grown, link):
        keep(archive, instance)
    path_in(archive, missing).unlink()
    path_in(archive, cut).write_bytes(path_in(archive, cut).read_bytes()[:-1])
    path_in(archive, grown).write_bytes(path_in(archive, grown).read_bytes() + b"\0")
    copy = path_in(archive, link).rename(settings.data_folder / "elsewhere.dcm")
    path_in(archive, link).symlink_to(copy)
    found = {finding.sop_instance_uid: finding for finding in checked(settings, is_running=True).findings}
    assert found[missing.sop_instance_uid].kind is Kind.MISSING
    assert {found[each.sop_instance_uid].kind for each in (cut, grown, link)} == {Kind.DAMAGED}
    assert len(found) == 4
    quick = checked(settings, is_running=True, is_quick=True)
    assert kinds(quick) == ["damaged", "damaged", "damaged", "missing"]


def test_quick_reads_nothing(settings: Settings, archive: Archive) -> None:
    instance = make_instance()
    keep(archive, instance)
    path = path_in(archive, instance)
    path.write_bytes(bytes(path.stat().st_size))
    assert checked(settings, is_running=True, is_quick=True).findings == []
    assert kinds(checked(settings, is_running=True)) == ["damaged"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE instance SET sop_instance_uid = '1.2.3'", "sop_instance_uid"),
        ("UPDATE instance SET sop_class_uid = '1.2.3'", "sop_class_uid"),
        ("UPDATE instance SET transfer_syntax_uid = '1.2.840.10008.1.2'", "transfer_syntax_uid"),
        ("UPDATE instance SET rows = 4711", "rows"),
        ("UPDATE instance SET received_at = received_at + 1", "received_at"),
        ("UPDATE instance SET calling_ae_title = 'X'", "calling_ae_title"),
        ("UPDATE instance SET is_misdeclared = 1", "is_misdeclared"),
        ("UPDATE series SET series_instance_uid = '1.2.3'", "series_instance_uid"),
        ("UPDATE series SET modality = 'XA'", "modality"),
        ("UPDATE study SET study_instance_uid = '1.2.3'", "study_instance_uid"),
        ("UPDATE study SET study_date = '19000101'", "study_date"),
        ("UPDATE patient SET patient_name_alphabetic = 'nobody'", "patient_name_alphabetic"),
        ("UPDATE patient SET patient_id = 'P9'", "patient_id"),
        ("UPDATE patient SET patient_key = 'P9'", "patient_key"),
    ],
)
def test_wrong_metadata(settings: Settings, change: str, what: str) -> None:
    with started(settings) as archive:
        keep(archive, make_instance())
    with closing(sqlite3.connect(index_of(settings.data_folder))) as index, index:
        index.execute(change)
    findings = [each for each in checked(settings).findings if each.kind is not Kind.INDEX]
    assert [each.kind for each in findings] == [Kind.WRONG_METADATA]
    assert what in findings[0].what


@pytest.mark.parametrize("column", ["sop_class_uid", "study_instance_uid", "series_instance_uid"])
def test_wrong_metadata_of_a_conflict(settings: Settings, column: str) -> None:
    instance = make_instance()
    with started(settings) as archive:
        keep(archive, instance)
        keep(archive, make_instance(SOPInstanceUID=instance.sop_instance_uid, Rows=9))
    with closing(sqlite3.connect(index_of(settings.data_folder))) as index, index:
        index.execute(f"UPDATE conflict SET {column} = '1.2.3'")
    assert kinds(checked(settings)) == ["wrong-metadata"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE study SET number_of_study_related_instances = 7",
        "UPDATE study SET number_of_study_related_series = 0",
        "UPDATE study SET modalities_in_study = 'MR'",
        "UPDATE study SET sop_classes_in_study = ''",
        "UPDATE series SET number_of_series_related_instances = 7",
        "UPDATE instance SET availability = 'UNAVAILABLE'",
        "INSERT INTO patient (patient_key) VALUES ('x')",
        "PRAGMA writable_schema=1; UPDATE sqlite_master SET rootpage=3 WHERE name = 'ix_patient_patient_id'",
        "PRAGMA foreign_keys = 0; UPDATE receipt SET instance_pk = 4711",
    ],
)
def test_an_index_that_contradicts_itself(settings: Settings, change: str) -> None:
    with started(settings) as archive:
        keep(archive, make_instance())
    with closing(sqlite3.connect(index_of(settings.data_folder))) as index:
        index.executescript(change)
    assert set(kinds(checked(settings))) == {"index"}


def test_a_study_without_instances(settings: Settings) -> None:
    with started(settings) as archive:
        keep(archive, make_instance())
        keep(archive, make_instance())
    with closing(sqlite3.connect(index_of(settings.data_folder))) as index, index:
        index.execute("DELETE FROM receipt")
        index.execute("DELETE FROM instance WHERE pk = 1")
        index.execute("DELETE FROM instance WHERE pk = 2")
        index.execute("DELETE FROM series WHERE pk = 2")
    report = checked(settings)
    assert "extra" in kinds(report)
    assert any("has no instance" in finding.what for finding in report.findings)
    assert any("has no series" in finding.what for finding in report.findings)


def test_extra_files_of_a_stopped_node(settings: Settings) -> None:
    instance = make_instance()
    with started(settings) as archive:
        keep(archive, instance)
        path = path_in(archive, instance)
    store = store_of(settings.data_folder)
    write_part10(make_instance(), path.with_name("aaaa.dcm"))
    write_part10(make_instance(), store / "aaaa.dcm")
    (path.parent / "bbbb.dcm").symlink_to(path)
    (path.parent / "cccc.dcm").touch()
    (unsealed := store / "node1" / "ffff").mkdir()
    (unsealed / "0000.dcm").touch()
    (unsealed / "0001.dcm").write_bytes(b"not whole")
    (other := store / "node2" / "ffff").mkdir(parents=True)
    (other / "0000.dcm").write_bytes(b"another node's")
    found = checked(settings).findings
    assert {finding.kind for finding in found} == {Kind.EXTRA}
    folder = path.parent.relative_to(store)
    assert {finding.path for finding in found} == {
        f"{folder}/aaaa.dcm",
        f"{folder}/bbbb.dcm",
        f"{folder}/cccc.dcm",
        "aaaa.dcm",
        "node1/ffff/0001.dcm",
    }
    in_use = {finding.path for finding in checked(settings, is_running=True).findings}
    assert "node1/ffff/0001.dcm" not in in_use


def test_what_waits_to_be_removed_is_counted(settings: Settings) -> None:
    instance = make_instance()
    with started(settings) as archive:
        keep(archive, instance)
        path = path_in(archive, instance)
        content = path.read_bytes()
        delete(archive, DeleteArguments(level="study", uid=instance.study_instance_uid), ignore_progress)
    report = checked(settings)
    assert (report.files, report.awaiting_removal, report.findings) == (0, 0, [])
    path.parent.mkdir(exist_ok=True)
    (path.parent / "sealed").touch()
    path.write_bytes(content)
    assert kinds(checked(settings)) == ["extra"]
    with closing(sqlite3.connect(index_of(settings.data_folder))) as index, index:
        index.execute(
            "INSERT INTO job (kind, payload, state, attempts, not_before, created_at, updated_at)"
            " VALUES ('remove-files', json_object('paths', json_array(?)), 'queued', 0, 0, 0, 0)",
            [str(path.relative_to(store_of(settings.data_folder)))],
        )
    report = checked(settings)
    assert (report.awaiting_removal, report.findings) == (1, [])


def test_a_file_by_hand_is_right_once_it_is_indexed(settings: Settings) -> None:
    with started(settings) as archive:
        keep(archive, make_instance())
    store = store_of(settings.data_folder)
    write_part10(make_instance(), store / "by-hand.dcm")
    assert checked(settings).findings == [Finding(Kind.EXTRA, "no row of the index names it", "by-hand.dcm")]
    reindex(settings, settings.archives[0])
    assert checked(settings).findings == []
    content = bytearray((store / "by-hand.dcm").read_bytes())
    content[read_part10_head(store / "by-hand.dcm").data_set_offset + 20] ^= 1
    (store / "by-hand.dcm").write_bytes(content)
    assert kinds(checked(settings)) == ["damaged"]


def test_a_path_that_leaves_the_store_is_not_followed(settings: Settings) -> None:
    with started(settings) as archive:
        keep(archive, make_instance())
    with closing(sqlite3.connect(index_of(settings.data_folder))) as index, index:
        index.execute("UPDATE instance SET path = '../../../../etc/passwd'")
    assert kinds(checked(settings)) == ["extra", "index"]


@pytest.mark.timeout(120)
def test_no_false_alarm_under_load(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, DuplicatePolicy.REPLACE)
    study = unique_uid()
    with running_node(tmp_path, archives=settings.archives) as node:
        ended = threading.Event()

        def load(seed: int) -> None:
            rng = random.Random(seed)
            while not ended.is_set():
                made = [
                    make_instance(
                        SOPInstanceUID=f"1.2.{rng.randrange(60)}",
                        StudyInstanceUID=rng.choice([study, f"1.3.{rng.randrange(4)}"]),
                        SeriesInstanceUID=f"1.4.{rng.randrange(4)}",
                        Rows=rng.randrange(8, 11),
                        PatientName=rng.choice(["Doe", "Roe"]),
                    )
                    for _ in range(10)
                ]
                with RawSender.of(node.address, *made, calling=f"LOAD{seed}") as sender:
                    for instance in made:
                        assert sender.store(instance).status == 0

        def remove() -> None:
            rng = random.Random(0)
            while not ended.wait(0.02):
                uid = f"1.2.{rng.randrange(60)}"
                if archive_of(node).reader.instance(uid) is not None:
                    arguments = DeleteArguments(level="instance", uid=uid, forget=rng.random() < 0.5)
                    delete(archive_of(node), arguments, ignore_progress)

        threads = [*(threading.Thread(target=load, args=(seed,)) for seed in range(3))]
        threads.append(threading.Thread(target=remove))
        for thread in threads:
            thread.start()
        try:
            reports = [checked(settings, is_running=True) for _ in range(25)]
        finally:
            ended.set()
            for thread in threads:
                thread.join()
    assert [finding for report in reports for finding in report.findings] == []
    assert max(report.files for report in reports) > 20
    assert checked(settings).findings == []
