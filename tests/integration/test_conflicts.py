"""Settling conflicts: which version is the archive's, and that nothing else changes; on both databases."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.index import CT, MR, Index, make_entry
from support.instances import Instance, make_instance, unique_uid
from support.kept import (
    archive_of,
    aside,
    check_nothing_else,
    indexed,
    outcomes,
    path_of,
    stored_data_set,
)
from support.nodes import RunningNode, running_node
from support.raw_sender import store

from pacslite.archive.conflicts import (
    ConflictArguments,
    accept_conflict,
    discard_conflict,
    list_conflicts,
    show_conflict,
)
from pacslite.archive.operation import ignore_progress
from pacslite.index import conflicts, evidence, tables
from pacslite.index.entries import IndexEntry
from pacslite.index.evidence import ConflictFilter, find_conflict, find_conflicts
from pacslite.index.removals import doomed_paths
from pacslite.model.attributes import Level
from pacslite.model.errors import NotFoundError, OperationError
from pacslite.model.instances import DuplicatePolicy, Outcome
from pacslite.settings.schema import ArchiveSettings

UID = "1.2.3.1.1.1"


def accept(index: Index, pk: int, entry: IndexEntry) -> None:
    index.run(partial(conflicts.accept, conflict_pk=pk, entry=entry))


def current(index: Index, uid: str = UID) -> Any:
    found = index.reader.instance(uid)
    assert found is not None
    return found


def study_of(index: Index, uid: str) -> dict[str, Any]:
    found = index.reader.study(uid)
    assert found is not None
    return dict(found)


def doomed(index: Index) -> set[str]:
    return index.reader.read(lambda connection: doomed_paths(connection, ""))


def test_an_accepted_version_is_the_archives_and_the_other_is_kept_aside(index: Index) -> None:
    first = make_entry(content="a", InstanceNumber="1")
    second = make_entry(content="b", InstanceNumber="2", sender="OTHER")
    index.receive(first)
    index.receive(second)
    (before,) = index.reader.conflicts(UID)
    accept(index, before["pk"], second)
    found = current(index)
    assert (found.file, found.calling_ae_title) == (second.file, "OTHER")
    assert found.received_at == second.provenance.received_at
    assert found.values[Level.INSTANCE]["instance_number"] == 2
    (after,) = index.reader.conflicts(UID)
    assert (after["role"], after["path"], after["digest"]) == ("replaced", first.file.path, first.file.digest)
    assert (after["other_digest"], json.loads(after["differing_keywords"])) == (
        second.file.digest,
        ["InstanceNumber"],
    )
    assert after["receipt_pk"] == index.reader.receipts(UID)[0]["pk"]
    assert after["pk"] > before["pk"]
    # nobody sent anything: no receipt, no file less
    assert [row["outcome"] for row in index.reader.receipts(UID)] == ["stored", "kept-aside"]
    assert index.reader.named_paths("") == {first.file.path, second.file.path}
    assert doomed(index) == set()


def test_accepting_back_restores_what_was(index: Index) -> None:
    first, second = make_entry(content="a"), make_entry(content="b")
    for entry in (first, second):
        index.receive(entry)
    for entry in (second, first, second, first):
        (row,) = index.reader.conflicts(UID)
        accept(index, row["pk"], entry)
        assert current(index).file == entry.file
    (row,) = index.reader.conflicts(UID)
    assert row["receipt_pk"] == index.reader.receipts(UID)[1]["pk"]


def test_s10_an_accepted_version_of_another_study_takes_its_counts_along(index: Index) -> None:
    stays = make_entry("1.1", series="7.1", Modality="MR", sop_class=MR)
    first = make_entry("1.2", series="7.2", content="a")
    second = make_entry("1.2", study="9.1", series="9.1.1", content="b", PatientID="P9")
    for entry in (stays, first, second):
        index.receive(entry)
    assert index.reader.study("9.1") is None
    (row,) = index.reader.conflicts("1.2")
    accept(index, row["pk"], second)
    left, joined = study_of(index, "1.2.3.1"), study_of(index, "9.1")
    for study, modality, sop_class in ((left, "MR", MR), (joined, "CT", CT)):
        assert study["number_of_study_related_instances"] == 1
        assert study["number_of_study_related_series"] == 1
        assert (study["modalities_in_study"], study["sop_classes_in_study"]) == (modality, sop_class)
    assert joined["patient_id"] == "P9"
    assert index.reader.series("7.2") == []
    (row,) = index.reader.conflicts("1.2")
    assert (row["study_instance_uid"], row["series_instance_uid"]) == ("1.2.3.1", "7.2")
    accept(index, row["pk"], first)
    assert study_of(index, "1.2.3.1")["number_of_study_related_instances"] == 2
    assert study_of(index, "1.2.3.1")["modalities_in_study"] == "CT\\MR"
    assert index.reader.study("9.1") is None
    assert index.reader.patients("P9") == []


def test_an_unknown_conflict_and_one_that_changed_are_refused(index: Index) -> None:
    index.receive(make_entry(content="a"))
    aside_one = make_entry(content="b")
    index.receive(aside_one)
    (row,) = index.reader.conflicts(UID)
    with pytest.raises(NotFoundError, match="no conflict 4711"):
        accept(index, 4711, aside_one)
    with pytest.raises(NotFoundError, match="no conflict 4711"):
        index.run(partial(conflicts.discard, conflict_pk=4711))
    with pytest.raises(NotFoundError, match="no conflict 4711"):
        index.reader.read(lambda connection: find_conflict(connection, 4711))
    with pytest.raises(OperationError, match="changed meanwhile"):
        accept(index, row["pk"], make_entry(content="b"))
    assert [each["pk"] for each in index.reader.conflicts(UID)] == [row["pk"]]


def test_a_discarded_version_is_gone_and_its_file_doomed(index: Index) -> None:
    first, second = make_entry(content="a"), make_entry(content="b")
    index.receive(first)
    index.receive(second)
    (row,) = index.reader.conflicts(UID)
    removal = index.run(partial(conflicts.discard, conflict_pk=row["pk"]))
    assert removal.paths == (second.file.path,)
    assert index.reader.conflicts(UID) == []
    assert doomed(index) == {second.file.path}
    assert current(index).file == first.file


def test_a_conflicts_number_never_comes_to_mean_another(index: Index) -> None:
    index.receive(make_entry(content="a"))
    index.receive(make_entry(content="b"))
    (first,) = index.reader.conflicts(UID)
    index.run(partial(conflicts.discard, conflict_pk=first["pk"]))
    index.receive(make_entry(content="c"))
    (second,) = index.reader.conflicts(UID)
    assert second["pk"] > first["pk"]


def test_versions_that_replace_each_other_for_ever_leave_two_files(index: Index) -> None:
    last: dict[str, IndexEntry] = {}
    for turn in range(20):
        last["ab"[turn % 2]] = entry = make_entry(content="ab"[turn % 2], policy=DuplicatePolicy.REPLACE)
        assert index.receive(entry).outcome is (Outcome.REPLACED if turn else Outcome.STORED)
    assert current(index).file == last["b"].file
    (row,) = index.reader.conflicts(UID)
    assert (row["role"], row["path"]) == ("replaced", last["a"].file.path)
    assert index.reader.named_paths("") == {entry.file.path for entry in last.values()}
    assert len(doomed(index)) == 18
    assert len(index.reader.receipts(UID)) == 20


def test_the_list_is_filtered_by_either_version(index: Index) -> None:
    index.receive(make_entry("1.1", content="a"))
    index.receive(make_entry("1.1", content="b", study="9.1", series="9.1.1", sender="OTHER"))
    index.receive(make_entry("1.2", content="a"))
    index.receive(make_entry("1.2", content="b", policy=DuplicatePolicy.REPLACE))

    def found(limit: int = 10, **wanted: str) -> list[tuple[str, str]]:
        listed = index.reader.read(
            lambda connection: find_conflicts(connection, ConflictFilter(**wanted), limit=limit)
        )
        return [(each.sop_instance_uid, each.role) for each in listed]

    both = [("1.1", "newcomer"), ("1.2", "replaced")]
    assert found() == found(study="1.2.3.1") == found(series="1.2.3.1.1") == both
    assert found(limit=1) == found(study="9.1") == found(series="9.1.1") == found(instance="1.1") == both[:1]
    assert found(role="replaced") == found(role="replaced", instance="1.2") == both[1:]
    assert found(role="replaced", instance="1.1") == found(study="5") == []


def test_the_evidence_tells_how_both_versions_came(index: Index) -> None:
    first, second = make_entry(content="a"), make_entry(content="b", sender="OTHER", PatientName="Roe^R")
    index.receive(first)
    index.receive(make_entry(content="a"))  # identical: does not bring the file
    index.receive(second)
    (row,) = index.reader.conflicts(UID)
    found = index.reader.read(lambda connection: evidence.find_conflict(connection, row["pk"]))
    assert (found.current.file, found.current.origin) == (first.file, first.provenance)
    assert (found.aside.file, found.aside.origin) == (second.file, second.provenance)
    assert found.differing_keywords == ("PatientName",)
    assert found.recorded_at == second.provenance.received_at


def check_consistency(index: Index) -> None:
    """Check every counter and collected value against the instances that there are."""

    def read(connection: Any) -> None:
        expected: defaultdict[int, list[Any]] = defaultdict(list)
        joined = select(
            tables.instance.c.sop_class_uid, tables.instance.c.series_pk, tables.series.c.study_pk
        ).join_from(tables.instance, tables.series)
        for row in connection.execute(joined):
            expected[row.study_pk].append(row)
        studies = {row.pk: row for row in connection.execute(select(tables.study))}
        series = {row.pk: row for row in connection.execute(select(tables.series))}
        assert studies.keys() == expected.keys()
        for pk, rows in expected.items():
            study, members = studies[pk], {row.series_pk for row in rows}
            assert study.number_of_study_related_instances == len(rows)
            assert study.number_of_study_related_series == len(members)
            assert study.sop_classes_in_study == "\\".join(sorted({row.sop_class_uid for row in rows}))
            modalities = sorted({series[member].modality for member in members})
            assert study.modalities_in_study == "\\".join(modalities)
        assert series.keys() == {row.series_pk for rows in expected.values() for row in rows}
        patients = set(connection.scalars(select(tables.patient.c.pk)))
        assert patients == {study.patient_pk for study in studies.values()}

    index.reader.read(read)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_sent_and_settled_counters_and_versions_stay_right(index: Index, seed: int) -> None:
    rng = random.Random(seed)
    entries: dict[str, IndexEntry] = {}
    for _ in range(120):
        pending = index.reader.read(
            lambda connection: find_conflicts(connection, ConflictFilter(), limit=1000)
        )
        action = rng.choice(["send", "send", "send", "accept", "discard"])
        if action == "send" or not pending:
            uid, study = f"1.{rng.randrange(4)}", rng.randrange(3)
            series = rng.randrange(2)
            entry = make_entry(
                uid,
                content=f"{study}{series}{rng.randrange(2)}",
                study=f"2.{study}",
                series=f"2.{study}.{series}",
                Modality="CT" if series else "MR",
                sop_class=CT if series else MR,
                PatientID=f"P{study % 2}",
                policy=rng.choice([DuplicatePolicy.KEEP_FIRST, DuplicatePolicy.REPLACE]),
            )
            entries[entry.file.path] = entry
            index.receive(entry)
        else:
            chosen = rng.choice(pending)
            if action == "accept":
                accept(index, chosen.pk, entries[chosen.aside.file.path])
            else:
                index.run(partial(conflicts.discard, conflict_pk=chosen.pk))
        check_consistency(index)
    versions = index.reader.read(lambda connection: find_conflicts(connection, ConflictFilter(), limit=1000))
    for each in versions:
        assert each.aside.file.digest != each.current.file.digest
    keys = [(each.sop_instance_uid, each.aside.file.digest) for each in versions]
    assert len(keys) == len(set(keys))


def version(number: int, uid: str, **values: Any) -> Instance:
    names = {"StudyInstanceUID": f"{uid}.1", "SeriesInstanceUID": f"{uid}.2", **values}
    return make_instance(SOPInstanceUID=uid, pixels=bytes([number]) * 40_000, **names)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node of the default policy, keep-first."""
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running
        assert not running.loop_errors


def number_of(node: RunningNode, uid: str) -> int:
    (row,) = archive_of(node).reader.conflicts(uid)
    return int(row["pk"])


def arguments(node: RunningNode, uid: str) -> ConflictArguments:
    return ConflictArguments(number=number_of(node, uid))


def test_s9_a_keeper_accepts_what_was_kept_aside(tmp_path: Path) -> None:
    uid = unique_uid()
    first, second = version(1, uid), version(2, uid, PatientName="Roe^Richard")
    with running_node(tmp_path) as node:
        assert store(node.address, first, calling="CT1").status == 0
        assert store(node.address, second, calling="CT2").status == 0
        accepted = accept_conflict(archive_of(node), arguments(node, uid), ignore_progress)
        assert accepted["sop_instance_uid"] == uid
        assert stored_data_set(node, indexed(node, uid).file) == second.raw
        assert indexed(node, uid).calling_ae_title == "CT2"
        assert aside(node, uid) == [("replaced", first.raw)]
        check_nothing_else(node)
        # both are known: no resend makes anything new
        for each, sender in ((first, "CT1"), (second, "CT2")):
            assert store(node.address, each, calling=sender).status == 0
        assert outcomes(node, uid) == ["stored", "kept-aside", "identical", "identical"]
    with running_node(tmp_path) as node:
        assert stored_data_set(node, indexed(node, uid).file) == second.raw
        assert aside(node, uid) == [("replaced", first.raw)]


def test_s10_a_keeper_accepts_a_version_of_another_study(node: RunningNode) -> None:
    uid = unique_uid()
    first = version(1, uid)
    second = version(1, uid, StudyInstanceUID=unique_uid(), SeriesInstanceUID=unique_uid())
    for each in (first, second):
        assert store(node.address, each).status == 0
    accept_conflict(archive_of(node), arguments(node, uid), ignore_progress)
    assert indexed(node, uid).study_instance_uid == second.study_instance_uid
    assert archive_of(node).reader.study(first.study_instance_uid) is None
    joined = archive_of(node).reader.study(second.study_instance_uid)
    assert joined is not None
    assert joined["number_of_study_related_instances"] == 1
    # what is sent next to either study finds its counters right
    assert store(node.address, make_instance(StudyInstanceUID=second.study_instance_uid)).status == 0
    assert store(node.address, make_instance(StudyInstanceUID=first.study_instance_uid)).status == 0
    joined = archive_of(node).reader.study(second.study_instance_uid)
    assert joined is not None
    assert joined["number_of_study_related_instances"] == 2
    check_nothing_else(node)


def test_s9_a_keeper_discards_what_was_kept_aside(node: RunningNode) -> None:
    uid = unique_uid()
    first, second = version(1, uid), version(2, uid)
    for each in (first, second):
        assert store(node.address, each).status == 0
    (row,) = archive_of(node).reader.conflicts(uid)
    path = archive_of(node).store.path(row["path"])
    assert discard_conflict(archive_of(node), arguments(node, uid), ignore_progress)["files_left"] == 0
    assert not path.exists()
    assert aside(node, uid) == []
    assert stored_data_set(node, indexed(node, uid).file) == first.raw
    check_nothing_else(node)
    # it may come again
    assert store(node.address, second).status == 0
    assert aside(node, uid) == [("newcomer", second.raw)]


def test_a_damaged_version_is_not_accepted(tmp_path: Path) -> None:
    with running_node(tmp_path) as node:
        uid = unique_uid()
        first, second = version(1, uid), version(2, uid)
        for each in (first, second):
            assert store(node.address, each).status == 0
        (row,) = archive_of(node).reader.conflicts(uid)
        path = archive_of(node).store.path(row["path"])
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
        with pytest.raises(OperationError, match="damaged"):
            accept_conflict(archive_of(node), arguments(node, uid), ignore_progress)
        told = show_conflict(archive_of(node), row["pk"], with_values=False)
        assert (told["current"]["is_whole"], told["aside"]["is_whole"]) == (True, False)
        path.unlink()
        with pytest.raises(OperationError, match="damaged"):
            accept_conflict(archive_of(node), arguments(node, uid), ignore_progress)
        told = show_conflict(archive_of(node), row["pk"], with_values=True)
        assert told["aside"]["is_whole"] is False
        assert stored_data_set(node, indexed(node, uid).file) == first.raw


def test_both_versions_are_shown_and_values_only_on_demand(node: RunningNode) -> None:
    uid = unique_uid()
    first = version(1, uid, PatientName="Doe^Jane", Rows=8, PatientComments=None)
    second = version(2, uid, PatientName="Roe^Ann", Rows=9, PatientComments="fasting")
    for each, sender in ((first, "CT1"), (second, "CT2")):
        assert store(node.address, each, calling=sender).status == 0
    number = number_of(node, uid)
    told = show_conflict(archive_of(node), number, with_values=False)
    names = ["PatientName", "PatientComments", "Rows", "PixelData"]
    assert told["differing"] == [{"name": name} for name in names]
    assert not any(text in json.dumps(told) for text in ("Doe", "Roe", "fasting"))
    assert told["current"]["origin"]["calling_ae_title"] == "CT1"
    assert told["aside"]["origin"]["calling_ae_title"] == "CT2"
    told = show_conflict(archive_of(node), number, with_values=True)
    values = {each["name"]: (each["current"], each["aside"]) for each in told["differing"]}
    assert values == {
        "PatientName": ("Doe^Jane", "Roe^Ann"),
        "PatientComments": (None, "fasting"),
        "Rows": ("8", "9"),
        "PixelData": ("40000 bytes", "40000 bytes"),
    }
    (listed,) = list_conflicts(archive_of(node), ConflictFilter(instance=uid), limit=5)
    assert (listed["number"], listed["role"]) == (number, "newcomer")
    assert "Doe" not in json.dumps(listed)


def test_s9_two_senders_that_replace_each_other_leave_two_files(tmp_path: Path) -> None:
    uid = unique_uid()
    versions = {"CT1": version(1, uid), "CT2": version(2, uid)}
    archives = [ArchiveSettings(duplicate_policy=DuplicatePolicy.REPLACE)]
    with running_node(tmp_path, archives=archives) as node:
        for _ in range(6):
            for sender, each in versions.items():
                assert store(node.address, each, calling=sender).status == 0
        assert stored_data_set(node, indexed(node, uid).file) == versions["CT2"].raw
        assert aside(node, uid) == [("replaced", versions["CT1"].raw)]
        check_nothing_else(node)
        assert len(node.stored_files()) == 2


def test_an_accepted_version_follows_the_policy_of_its_source(tmp_path: Path) -> None:
    uid = unique_uid()
    archives = [ArchiveSettings(duplicate_policy=DuplicatePolicy.REPLACE_SAME_SOURCE)]
    with running_node(tmp_path, archives=archives) as node:
        assert store(node.address, version(1, uid), calling="CT1").status == 0
        assert store(node.address, version(2, uid), calling="CT2").status == 0
        accept_conflict(archive_of(node), arguments(node, uid), ignore_progress)
        # CT2's is the archive's now: CT2 may replace it, CT1 may not
        assert store(node.address, version(3, uid), calling="CT1").status == 0
        assert outcomes(node, uid)[-1] == "kept-aside"
        assert store(node.address, version(4, uid), calling="CT2").status == 0
        assert outcomes(node, uid)[-1] == "replaced"
        (receipt,) = [row for row in archive_of(node).reader.conflicts(uid) if row["role"] == "replaced"][-1:]
        came = {row["pk"]: row["calling_ae_title"] for row in archive_of(node).reader.receipts(uid)}
        assert came[receipt["receipt_pk"]] == "CT2"
        check_nothing_else(node)


def test_a_file_that_a_row_names_again_is_not_removed(node: RunningNode) -> None:
    """A job's payload is only believed as far as no row contradicts it."""
    from pacslite.archive.removal import remove_files  # noqa: PLC0415 - a guard, seen nowhere else
    from pacslite.index.jobs import Job  # noqa: PLC0415 - see above

    instance = make_instance()
    assert store(node.address, instance).status == 0
    file = indexed(node, instance.sop_instance_uid).file
    job = Job(1, "remove-files", {"paths": [file.path]}, 1, datetime.now(UTC))
    remove_files(archive_of(node), job)
    assert path_of(node, file).exists()


def test_an_entry_is_not_changed_by_being_told_twice(index: Index) -> None:
    """A command that is run again after a lost race finds what it finds, and decides the same."""
    first, second = make_entry(content="a"), make_entry(content="b", policy=DuplicatePolicy.REPLACE)
    index.receive(first)
    assert index.receive(second).outcome is Outcome.REPLACED
    assert index.receive(replace(second)).outcome is Outcome.STORED
    assert len(index.reader.conflicts(UID)) == 1
