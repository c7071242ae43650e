"""Deleting: what goes, what stays findable, what comes back; in the index, on both databases."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from support.index import CT, MR, Index, make_entry

from pacslite.archive.deletion import DeleteArguments, delete
from pacslite.archive.operation import ignore_progress
from pacslite.index import deletion, tables
from pacslite.index.deletion import Extent, Taken, Target
from pacslite.index.removals import doomed_paths
from pacslite.index.session import Session
from pacslite.model.attributes import Level
from pacslite.model.errors import UnavailableError
from pacslite.model.instances import DuplicatePolicy, Outcome

STUDY = Target(Level.STUDY, "1.2.3.1")


def take(index: Index, target: Target, *, forget: bool = False) -> list[Taken]:
    """Delete `target` in the index, in one step for instances and one for versions kept aside."""
    find = partial(deletion.find_instances, target=target, is_forgetting=forget)
    keys = index.reader.read(find)
    taken = index.run(partial(deletion.take_instances, target=target, keys=keys, is_forgetting=forget))
    if taken.study_pks:
        index.run(partial(deletion.settle, study_pks=taken.study_pks))
    asides = index.reader.read(partial(deletion.find_asides, target=target))
    return [taken, index.run(partial(deletion.take_asides, keys=asides, is_forgetting=forget))]


def extent(index: Index, target: Target) -> Extent:
    return index.reader.read(partial(deletion.extent_of, target=target))


def doomed(index: Index) -> set[str]:
    return index.reader.read(partial(doomed_paths, prefix=""))


def study_of(index: Index, uid: str) -> dict[str, Any]:
    found = index.reader.study(uid)
    assert found is not None
    return dict(found)


def test_a_deleted_study_stays_findable_without_files(index: Index) -> None:
    entries = [make_entry(f"1.{number}", series=f"2.{number % 2}") for number in range(5)]
    other = make_entry("9.1", study="9", series="9.9")
    for entry in (*entries, other):
        index.receive(entry)
    before = study_of(index, STUDY.uid)
    file_bytes = sum(entry.file.file_bytes for entry in entries)
    assert extent(index, STUDY) == Extent(5, 0, 0, file_bytes)
    taken, _ = take(index, STUDY)
    assert (taken.instances, taken.conflicts, taken.study_pks) == (5, 0, frozenset())
    assert doomed(index) == {entry.file.path for entry in entries}
    assert index.reader.named_paths("") == {other.file.path}
    assert study_of(index, STUDY.uid) == before  # its counters too: they count what is findable
    found = index.reader.instance("1.1")
    assert found is not None
    assert (found.availability, found.stored_file) == ("UNAVAILABLE", None)
    assert found.values[Level.PATIENT]["patient_name"] == "Doe^Jane"
    with pytest.raises(UnavailableError, match=r"1\.1 is no longer available"):
        _ = found.file
    assert extent(index, STUDY) == Extent(5, 5, 0, 0)
    counts = index.reader.counts()
    assert (counts.instances, counts.unavailable, counts.file_bytes) == (6, 5, other.file.file_bytes)
    # once is enough
    again, _ = take(index, STUDY)
    assert again == Taken()


@pytest.mark.parametrize(
    ("target", "gone"),
    [
        (Target(Level.SERIES, "2.1"), {"1.1", "1.3"}),
        (Target(Level.INSTANCE, "1.2"), {"1.2"}),
        (Target(Level.STUDY, "1.2.3"), set()),
        (Target(Level.INSTANCE, "2.1"), set()),
    ],
    ids=["series", "instance", "unknown study", "series as instance"],
)
@pytest.mark.parametrize("forget", [False, True], ids=["keep", "forget"])
def test_only_what_is_meant_goes(index: Index, target: Target, gone: set[str], *, forget: bool) -> None:
    for number in range(5):
        index.receive(make_entry(f"1.{number}", series=f"2.{number % 2}"))
    take(index, target, forget=forget)
    found = {f"1.{number}": index.reader.instance(f"1.{number}") for number in range(5)}
    unavailable = {uid for uid, each in found.items() if each is None or each.stored_file is None}
    assert unavailable == gone
    assert index.reader.counts().instances == (5 - len(gone) if forget else 5)


def test_versions_kept_aside_go_with_their_instance(index: Index) -> None:
    entries = [make_entry("1.1", content=content) for content in "abc"]
    for entry in entries:
        index.receive(entry)
    assert extent(index, STUDY).conflicts == 2
    taken, _ = take(index, STUDY)
    assert (taken.instances, taken.conflicts) == (1, 2)
    assert doomed(index) == {entry.file.path for entry in entries}
    assert index.reader.conflicts("1.1") == []


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES])
@pytest.mark.parametrize("forget", [False, True], ids=["keep", "forget"])
def test_s10_a_version_of_the_study_that_another_study_keeps_aside_goes_too(
    index: Index, level: Level, *, forget: bool
) -> None:
    stays = make_entry("1.1", content="a")
    goes = make_entry("1.1", content="b", study="9.1", series="9.2")
    for entry in (stays, goes):
        index.receive(entry)
    target = Target(level, "9.1" if level is Level.STUDY else "9.2")
    assert extent(index, target) == Extent(0, 0, 1, goes.file.file_bytes)
    taken = take(index, target, forget=forget)
    assert [each.conflicts for each in taken] == [0, 1]
    assert doomed(index) == {goes.file.path}
    assert index.reader.conflicts("1.1") == []
    found = index.reader.instance("1.1")
    assert found is not None
    assert found.file == stays.file
    recorded = [row["outcome"] for row in index.reader.receipts("1.1")]
    assert recorded == (["stored"] if forget else ["stored", "kept-aside"])


@pytest.mark.parametrize("policy", DuplicatePolicy)
@pytest.mark.parametrize("content", ["a", "b"], ids=["the same", "other content"])
def test_a_resend_brings_a_deleted_instance_back(index: Index, policy: DuplicatePolicy, content: str) -> None:
    index.receive(make_entry("1.1", content="a", InstanceNumber="1"))
    index.receive(make_entry("1.2"))
    take(index, Target(Level.INSTANCE, "1.1"))
    resent = make_entry("1.1", content=content, InstanceNumber="2", sender="OTHER", policy=policy)
    assert index.receive(resent).outcome is Outcome.STORED
    found = index.reader.instance("1.1")
    assert found is not None
    assert (found.file, found.availability, found.calling_ae_title) == (resent.file, "ONLINE", "OTHER")
    assert found.values[Level.INSTANCE]["instance_number"] == 2
    assert study_of(index, STUDY.uid)["number_of_study_related_instances"] == 2
    assert [row["outcome"] for row in index.reader.receipts("1.1")] == ["stored", "stored"]
    assert index.reader.counts().unavailable == 0
    assert resent.file.path not in doomed(index)
    # and conflicts work as ever
    third = make_entry("1.1", content="c", policy=DuplicatePolicy.KEEP_FIRST)
    assert index.receive(third).outcome is Outcome.KEPT_ASIDE


def test_s10_a_deleted_instance_may_come_back_in_another_study(index: Index) -> None:
    index.receive(make_entry("1.1", series="7.1", Modality="MR", sop_class=MR))
    index.receive(make_entry("1.2"))
    take(index, STUDY)
    index.receive(make_entry("1.1", study="9.1", series="9.1.1", PatientID="P9"))
    left, joined = study_of(index, STUDY.uid), study_of(index, "9.1")
    for study in (left, joined):
        assert study["number_of_study_related_instances"] == study["number_of_study_related_series"] == 1
        assert (study["modalities_in_study"], study["sop_classes_in_study"]) == ("CT", CT)
    assert index.reader.series("7.1") == []


def test_what_is_forgotten_leaves_nothing(index: Index) -> None:
    index.receive(make_entry("1.1", content="a", StudyID="A", PatientSex="F"))
    index.receive(make_entry("1.2", StudyID="B", StationName="X", PatientSex="M"))
    index.receive(make_entry("1.1", content="b"))
    assert index.reader.counts().discrepancies > 0
    take(index, STUDY, forget=True)
    counts = index.reader.counts()
    assert counts == type(counts)(0, 0, 0, 0, 0, 0, 0, 0)

    def rows(connection: Any) -> int:
        return int(connection.scalar(select(func.count()).select_from(tables.receipt)))

    assert index.reader.read(rows) == 0
    assert len(doomed(index)) == 3
    # it may come again, as something new
    assert index.receive(make_entry("1.1")).outcome is Outcome.STORED
    assert study_of(index, STUDY.uid)["number_of_study_related_instances"] == 1


def test_what_was_deleted_can_be_forgotten_later(index: Index) -> None:
    index.receive(make_entry("1.1"))
    take(index, STUDY)
    taken, _ = take(index, STUDY, forget=True)
    assert (taken.instances, taken.removal) == (1, None)
    assert index.reader.study(STUDY.uid) is None
    assert index.reader.counts().patients == 0


def test_forgetting_a_series_leaves_the_rest_of_the_study_right(index: Index) -> None:
    for number in range(4):
        index.receive(make_entry(f"1.{number}", series="2.1", Modality="CT"))
    index.receive(make_entry("1.9", series="2.2", Modality="MR", sop_class=MR))
    take(index, Target(Level.SERIES, "2.1"), forget=True)
    study = study_of(index, STUDY.uid)
    assert (study["number_of_study_related_series"], study["number_of_study_related_instances"]) == (1, 1)
    assert (study["modalities_in_study"], study["sop_classes_in_study"]) == ("MR", MR)
    assert index.reader.series("2.1") == []
    index.receive(make_entry("1.1", series="2.1"))
    assert study_of(index, STUDY.uid)["number_of_study_related_series"] == 2


def test_counters_are_right_between_two_steps_of_forgetting(index: Index) -> None:
    for number in range(6):
        index.receive(make_entry(f"1.{number}", series=f"2.{number % 2}"))
    keys = index.reader.read(partial(deletion.find_instances, target=STUDY, is_forgetting=True))
    index.run(partial(deletion.take_instances, target=STUDY, keys=keys[:3], is_forgetting=True))
    assert study_of(index, STUDY.uid)["number_of_study_related_instances"] == 3
    assert index.reader.series("2.0")[0]["number_of_series_related_instances"] == 1
    index.receive(make_entry("1.7", series="2.1"))
    assert study_of(index, STUDY.uid)["number_of_study_related_instances"] == 4


def test_an_instance_that_left_the_study_meanwhile_stays(index: Index) -> None:
    index.receive(make_entry("1.1", content="a"))
    keys = index.reader.read(partial(deletion.find_instances, target=STUDY, is_forgetting=False))
    moved = make_entry("1.1", content="b", study="9.1", policy=DuplicatePolicy.REPLACE)
    index.receive(moved)
    taken = index.run(partial(deletion.take_instances, target=STUDY, keys=keys, is_forgetting=False))
    assert taken == Taken()
    found = index.reader.instance("1.1")
    assert found is not None
    assert found.file == moved.file


def test_no_transaction_of_a_large_deletion_keeps_receipts_waiting(
    index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    futures = [index.submit(make_entry(f"1.{number}", series=f"2.{number % 4}")) for number in range(1000)]
    for future in futures:
        future.result(timeout=60)
    seconds: list[float] = []
    transact = Session.transact

    def timed(self: Session, commands: Sequence[Callable[..., Any]]) -> list[Any]:
        start = time.perf_counter()
        results = transact(self, commands)
        seconds.append(time.perf_counter() - start)
        return results

    monkeypatch.setattr(Session, "transact", timed)

    class BareArchive:
        """What of an archive a deletion needs."""

        name = "main"
        reader, writer = index.reader, index.writer

        class store:  # noqa: N801 - an attribute
            path = staticmethod(lambda relative: tmp_path / relative.replace("/", "-"))

    archive: Any = BareArchive()
    told = delete(archive, DeleteArguments(level="study", uid=STUDY.uid, forget=False), ignore_progress)
    assert told == {"instances": 1000, "conflicts": 0, "files_left": 0}
    told = delete(archive, DeleteArguments(level="study", uid=STUDY.uid, forget=True), ignore_progress)
    assert told["instances"] == 1000
    print(f"slowest of {len(seconds)}: {max(seconds) * 1000:.1f} ms")  # noqa: T201 - for whoever measures
    assert len(seconds) >= 20
    assert sorted(seconds)[-2] < 0.25  # 10 ms on a machine that is not busy
    assert index.reader.counts().instances == 0
    assert doomed(index) == set()
