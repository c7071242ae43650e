"""A resend of what the disk has lost or damaged takes its place; in the index, on both databases."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from support.index import Index, make_entry
from support.instances import IMPLICIT, Instance, make_instance, unique_uid
from support.kept import (
    archive_of,
    aside,
    check_kept,
    check_nothing_else,
    indexed,
    outcomes,
    path_of,
    stored_data_set,
)
from support.nodes import RunningNode, running_node
from support.raw_sender import RawSender, store

from pacslite.index.entries import Inspection, Question
from pacslite.index.removals import doomed_paths
from pacslite.model.instances import DuplicatePolicy, Outcome
from pacslite.settings.schema import ArchiveSettings

if TYPE_CHECKING:
    from pacslite.archive.ingest import InstanceKept

UID = "1.2.3.1.1.1"


def doomed(index: Index) -> set[str]:
    return index.reader.read(lambda connection: doomed_paths(connection, ""))


def test_the_index_asks_whether_the_file_is_whole_before_it_says_identical(index: Index) -> None:
    first, second = make_entry(), make_entry()
    index.receive(first)
    recorded = index.submit(second).result(timeout=20)
    assert (recorded.outcome, recorded.question, recorded.existing) == (None, Question.INSPECT, first.file)
    assert len(index.reader.receipts(UID)) == 1


def test_a_damaged_file_is_replaced_in_its_row(index: Index) -> None:
    first, second = make_entry(), make_entry(sender="OTHER")
    index.receive(first)
    recorded = index.receive_over(second, is_whole=False)
    assert (recorded.outcome, recorded.existing) == (Outcome.HEALED, first.file)
    found = index.reader.instance(UID)
    assert found is not None
    # as the file's own meta says
    assert (found.file, found.calling_ae_title, found.received_at) == (
        second.file,
        "OTHER",
        second.provenance.received_at,
    )
    assert [row["outcome"] for row in index.reader.receipts(UID)] == ["stored", "healed"]
    assert doomed(index) == {first.file.path}
    assert index.reader.counts().instances == 1
    study = index.reader.study("1.2.3.1")
    assert study is not None
    assert study["number_of_study_related_instances"] == 1


def test_a_damaged_file_kept_aside_is_replaced_in_its_row(index: Index) -> None:
    current, lost, resent = make_entry(content="a"), make_entry(content="b"), make_entry(content="b")
    index.receive(current)
    index.receive(lost)
    recorded = index.receive_over(resent, is_whole=False)
    assert (recorded.outcome, recorded.existing) == (Outcome.HEALED, lost.file)
    (conflict,) = index.reader.conflicts(UID)
    assert (conflict["role"], conflict["path"]) == ("newcomer", resent.file.path)
    assert conflict["receipt_pk"] == index.reader.receipts(UID)[-1]["pk"]
    found = index.reader.instance(UID)
    assert found is not None
    assert found.file == current.file
    assert doomed(index) == {lost.file.path}


def test_a_verdict_about_a_file_that_is_no_longer_named_is_asked_for_again(index: Index) -> None:
    index.receive(make_entry())
    stale = replace(make_entry(), inspection=Inspection("node1/0001/other.dcm", is_whole=False))
    recorded = index.submit(stale).result(timeout=20)
    assert (recorded.outcome, recorded.question) == (None, Question.INSPECT)


@pytest.mark.parametrize("damage", ["missing", "flipped", "shortened", "head"])
@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_a_resend_heals(tmp_path: Path, policy: DuplicatePolicy, damage: str) -> None:
    instance = make_instance(pixels=bytes(50_000))
    with policy_node(tmp_path, policy) as node:
        seen: list[InstanceKept] = []
        node.node.observe(seen.append)
        assert store(node.address, instance, calling="CT1").status == 0
        path = path_of(node, indexed(node, instance.sop_instance_uid).file)
        inflict(damage, path)
        with capture_logs() as events:
            assert store(node.address, instance, calling="CT2").status == 0
        assert "instance.healed" in {event["event"] for event in events}
        assert stored_data_set(node, indexed(node, instance.sop_instance_uid).file) == instance.raw
        assert indexed(node, instance.sop_instance_uid).calling_ae_title == "CT2"
        assert outcomes(node, instance.sop_instance_uid) == ["stored", "healed"]
        assert aside(node, instance.sop_instance_uid) == []
        check_nothing_else(node)
        assert len(node.stored_paths()) == 1
        assert not path.exists()
        # whole again: nothing more to heal
        assert store(node.address, instance, calling="CT1").status == 0
        assert outcomes(node, instance.sop_instance_uid) == ["stored", "healed", "identical"]
        assert [each.outcome for each in seen] == [Outcome.STORED, Outcome.HEALED, Outcome.IDENTICAL]
        assert seen[1].path == path_of(node, indexed(node, instance.sop_instance_uid).file)
        assert archive_of(node).ingest.outcomes == {
            Outcome.STORED: 1,
            Outcome.HEALED: 1,
            Outcome.IDENTICAL: 1,
        }
    with policy_node(tmp_path, policy) as node:
        assert stored_data_set(node, indexed(node, instance.sop_instance_uid).file) == instance.raw


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_resend_heals_what_is_kept_aside(node: RunningNode, damage: str) -> None:
    uid = unique_uid()
    first, second = version(1, uid), version(2, uid)
    assert store(node.address, first).status == store(node.address, second).status == 0
    (conflict,) = archive_of(node).reader.conflicts(uid)
    inflict(damage, archive_of(node).store.path(conflict["path"]))
    assert store(node.address, second).status == 0
    assert outcomes(node, uid) == ["stored", "kept-aside", "healed"]
    assert aside(node, uid) == [("newcomer", second.raw)]
    check_kept(node, first)
    check_nothing_else(node)


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_what_cannot_be_compared_is_never_lost(tmp_path: Path, policy: DuplicatePolicy) -> None:
    """The same values in another encoding, but the file that they were compared with is gone."""
    uid = unique_uid()
    first, second = version(1, uid), version(1, uid, syntax=IMPLICIT)
    with policy_node(tmp_path, policy) as node:
        assert store(node.address, first).status == 0
        lost = indexed(node, uid).file
        path_of(node, lost).unlink()
        with capture_logs() as events:
            assert store(node.address, second).status == 0
        assert {"event": "instance.damaged", "log_level": "warning", "file": lost.path} in events
        has_replaced = policy in (DuplicatePolicy.REPLACE, DuplicatePolicy.REPLACE_SAME_SOURCE)
        assert outcomes(node, uid) == ["stored", "replaced" if has_replaced else "kept-aside"]
        if has_replaced:
            assert stored_data_set(node, indexed(node, uid).file) == second.raw
        else:
            assert aside(node, uid) == [("newcomer", second.raw)]


def test_refuse_does_not_refuse_what_only_a_damaged_file_contradicts(tmp_path: Path) -> None:
    uid = unique_uid()
    first, second = version(1, uid), version(1, uid, syntax=IMPLICIT)
    with policy_node(tmp_path, DuplicatePolicy.REFUSE) as node:
        assert store(node.address, first).status == 0
        inflict("flipped", path_of(node, indexed(node, uid).file))
        assert store(node.address, second).status == 0
        assert aside(node, uid) == [("newcomer", second.raw)]
        # and the first sender's resend mends the archive's
        assert store(node.address, first).status == 0
        assert stored_data_set(node, indexed(node, uid).file) == first.raw
        assert outcomes(node, uid) == ["stored", "kept-aside", "healed"]


def test_many_resends_at_once_heal_once(node: RunningNode) -> None:
    instance = make_instance(pixels=bytes(50_000))
    assert store(node.address, instance).status == 0
    inflict("flipped", path_of(node, indexed(node, instance.sop_instance_uid).file))
    with RawSender.of(node.address, instance) as one, RawSender.of(node.address, instance) as other:
        for sender in (one, other):
            sender.peer.send(sender.command(instance) + sender.data(instance))
        assert one.answer().status == other.answer().status == 0
    assert stored_data_set(node, indexed(node, instance.sop_instance_uid).file) == instance.raw
    assert outcomes(node, instance.sop_instance_uid) == ["stored", "healed", "identical"]
    check_nothing_else(node)


def policy_node(folder: Path, policy: DuplicatePolicy) -> Any:
    return running_node(folder, archives=[ArchiveSettings(duplicate_policy=policy)])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node of the default policy, keep-first."""
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running
        assert not running.loop_errors


def version(number: int, uid: str, syntax: str = "1.2.840.10008.1.2.1", **values: Any) -> Instance:
    names = {"StudyInstanceUID": f"{uid}.1", "SeriesInstanceUID": f"{uid}.2", **values}
    return make_instance(syntax, SOPInstanceUID=uid, pixels=bytes([number]) * 40_000, **names)


def inflict(damage: str, path: Path) -> None:
    if damage == "missing":
        path.unlink()
    elif damage == "shortened":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        raw = bytearray(path.read_bytes())
        raw[130 if damage == "head" else -1000] ^= 4
        path.write_bytes(raw)
