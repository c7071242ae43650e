"""Success is a promise (S1), and what cannot be promised is refused with nothing left behind (S14, S15)."""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import pdus
from support.instances import Instance, make_instance
from support.kept import (
    archive_of,
    check_kept,
    check_nothing_else,
    indexed,
    outcomes,
    path_of,
    unnamed_files,
    wait_until,
)
from support.nodes import STORAGE, RunningNode, running_node
from support.raw_sender import Answer, RawSender, store

from pacslite.archive import ingest
from pacslite.index import recording
from pacslite.index.failures import CommitInDoubtError
from pacslite.model.statuses import ERROR_COMMENT_MAX_LENGTH
from pacslite.settings.schema import IndexSettings

OUT_OF_RESOURCES, PROCESSING_FAILURE = 0xA700, 0x0110
QUIET_SECONDS = 0.3
LARGE = bytes(3_000_000)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with running_node(tmp_path, index=IndexSettings(busy_seconds=0.2)) as running:
        yield running
        assert not running.loop_errors


def is_silent(sender: RawSender) -> bool:
    """Whether nothing comes from the node for a while."""
    sender.peer.socket.settimeout(QUIET_SECONDS)
    try:
        return not sender.peer.socket.recv(1)
    except TimeoutError:
        return True
    finally:
        sender.peer.socket.settimeout(sender.peer.deadline_seconds)


def refused_then_kept(
    node: RunningNode, instance: Instance, mend: Callable[[], None], *, good: Instance | None = None
) -> Answer:
    """Send `instance`, which is refused; `mend`; send it, or `good`, on the same association."""
    good = good or instance
    with RawSender(
        node.address,
        [(instance.sop_class_uid, instance.transfer_syntax_uid), (pdus.VERIFICATION, pdus.IMPLICIT)],
    ) as sender:
        answer = sender.store(instance)
        assert archive_of(node).reader.instance(instance.sop_instance_uid) is None
        check_nothing_else(node)
        sender.peer.send(pdus.echo_pdu(context_id=3))
        assert sender.peer.expect_response().status == 0
        mend()
        assert sender.store(good).status == 0
    check_kept(node, good)
    check_nothing_else(node)
    assert len(answer.comment) <= ERROR_COMMENT_MAX_LENGTH
    return answer


def test_s1_success_waits_for_the_disk(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    may_sync = threading.Event()
    real_sync = os.fdatasync

    def slow_sync(descriptor: int) -> None:
        may_sync.wait(20)
        real_sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow_sync)
    instance = make_instance()
    with RawSender.of(node.address, instance) as sender:
        sender.peer.send(sender.command(instance) + sender.data(instance))
        assert is_silent(sender)
        assert archive_of(node).reader.instance(instance.sop_instance_uid) is None
        may_sync.set()
        assert sender.answer().status == 0
    check_kept(node, instance)


def test_s1_success_waits_for_the_index(node: RunningNode) -> None:
    may_write = threading.Event()
    blocking = archive_of(node).writer.submit(lambda _: may_write.wait(20))
    instance = make_instance()
    with RawSender.of(node.address, instance) as sender:
        sender.peer.send(sender.command(instance) + sender.data(instance))
        assert is_silent(sender)
        may_write.set()
        assert sender.answer().status == 0
        # at this very moment another process sees row and file
        folder = node.settings.data_folder / "archives" / "main"
        with sqlite3.connect(f"file:{folder / 'index.sqlite'}?mode=ro", uri=True) as database:
            (path,) = database.execute(
                "SELECT path FROM instance WHERE sop_instance_uid = ?", [instance.sop_instance_uid]
            ).fetchone()
        database.close()
        assert (folder / "store" / path).read_bytes().endswith(instance.raw)
    assert blocking.result(5)


def test_s1_an_observer_that_fails_changes_no_answer(node: RunningNode) -> None:
    told: list[Any] = []

    def fail(kept: Any) -> None:
        told.append(kept)
        raise RuntimeError

    node.node.observe(fail)
    instance = make_instance()
    assert store(node.address, instance).status == 0
    check_kept(node, instance)
    assert [kept.key.sop_instance_uid for kept in told] == [instance.sop_instance_uid]


def no_space(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_s14_at_the_disk_reserve_it_is_a700(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = STORAGE.model_copy(update={"reserve_bytes": 4096 * 1000})
    with running_node(tmp_path, storage=storage) as node:
        monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=999, f_frsize=4096))
        # a new association is negotiated all the same
        answer = refused_then_kept(node, make_instance(pixels=LARGE), monkeypatch.undo)
        assert (answer.status, answer.comment) == (OUT_OF_RESOURCES, "the store is at its disk reserve")
        assert not archive_of(node).store.health.is_degraded


def test_s14_a_full_disk_is_a700(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "writev", no_space)
    answer = refused_then_kept(node, make_instance(pixels=LARGE), monkeypatch.undo)
    assert answer.status == OUT_OF_RESOURCES
    assert not archive_of(node).store.health.is_degraded


def test_s14_a_disk_that_fills_up_amid_an_instance_is_a700(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write, calls = os.writev, iter(range(1000))
    monkeypatch.setattr(os, "writev", lambda *given: real_write(*given) if next(calls) < 2 else no_space())
    answer = refused_then_kept(node, make_instance(pixels=LARGE), monkeypatch.undo)
    assert answer.status == OUT_OF_RESOURCES


def test_s14_no_file_to_be_had_is_a700(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def open_elsewhere(path: Any, *given: Any, **named: Any) -> int:
        if str(path).endswith(".dcm"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real_open(path, *given, **named)

    monkeypatch.setattr(os, "open", open_elsewhere)
    answer = refused_then_kept(node, make_instance(), monkeypatch.undo)
    assert answer.status == OUT_OF_RESOURCES


def test_s14_an_instance_over_the_size_limit_is_a700(tmp_path: Path) -> None:
    storage = STORAGE.model_copy(update={"max_object_bytes": 200_000})
    small = make_instance()
    room = 200_000 - len(small.raw)
    largest = make_instance(pixels=bytes(room // 2 * 2))
    with running_node(tmp_path, storage=storage) as node:
        for size in (300_000, 3_000_000):
            answer = refused_then_kept(
                node, make_instance(pixels=bytes(size)), lambda: None, good=make_instance(pixels=bytes(1000))
            )
            assert answer.status == OUT_OF_RESOURCES
            assert answer.comment == "the instance is larger than this archive takes"
        assert len(largest.raw) <= 200_000 + 128
        assert store(node.address, small).status == 0


def test_s14_over_the_quota_of_open_bytes_it_is_a700(tmp_path: Path) -> None:
    storage = STORAGE.model_copy(update={"max_object_bytes": 1_000_000, "max_open_bytes": 1_000_000})
    held, other = make_instance(pixels=bytes(900_000)), make_instance(pixels=bytes(500_000))
    with running_node(tmp_path, storage=storage) as node, RawSender.of(node.address, held) as holder:
        data = holder.data(held)
        holder.peer.send(holder.command(held) + data[:800_000])
        archive = archive_of(node)
        wait_until(lambda: archive._intake._open_bytes > 700_000, "the first bytes did not arrive")
        with RawSender.of(node.address, other) as sender:
            answer = sender.store(other)
            assert (answer.status, answer.comment) == (
                OUT_OF_RESOURCES,
                "too much is being received at the moment",
            )
            holder.peer.send(data[800_000:])
            assert holder.answer().status == 0
            assert sender.store(other).status == 0
        for each in (held, other):
            check_kept(node, each)
        check_nothing_else(node)
        assert archive._intake._open_bytes == 0


def test_s14_what_is_aborted_or_refused_leaves_the_quota(tmp_path: Path) -> None:
    storage = STORAGE.model_copy(update={"max_object_bytes": 1_000_000, "max_open_bytes": 1_000_000})
    with running_node(tmp_path, storage=storage) as node:
        for _ in range(5):
            aborted = make_instance(pixels=bytes(900_000))
            sender = RawSender.of(node.address, aborted)
            data = b"".join(sender.data_pdus(aborted)[:5])
            sender.peer.send(sender.command(aborted) + data + pdus.abort())
            sender.peer.drain()
            sender.peer.close()
            too_large = make_instance(pixels=bytes(1_500_000))
            assert store(node.address, too_large).status == OUT_OF_RESOURCES
            cut = Instance(
                too_large.sop_class_uid,
                too_large.sop_instance_uid,
                pdus.EXPLICIT,
                too_large.raw[:900_000],
                "",
                "",
            )
            assert store(node.address, cut).status == 0xC000
        wait_until(lambda: archive_of(node)._intake._open_bytes == 0, "the quota leaks")
        good = make_instance(pixels=bytes(900_000))
        assert store(node.address, good).status == 0
        check_kept(node, good)
        check_nothing_else(node)


@pytest.mark.parametrize("pixels", [bytes(100), LARGE, bytes(20_000_000)], ids=["small", "3 MB", "20 MB"])
def test_s15_a_failed_sync_is_a700_and_not_tried_again(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch, pixels: bytes
) -> None:
    synced: list[int] = []

    def fail(descriptor: int) -> None:
        synced.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    answer = refused_then_kept(node, make_instance(pixels=pixels), monkeypatch.undo)
    assert answer.status == OUT_OF_RESOURCES
    assert len(synced) == 1
    assert archive_of(node).store.health.is_degraded


def test_s15_a_failed_write_is_a700(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "writev", fail)
    answer = refused_then_kept(node, make_instance(pixels=LARGE), monkeypatch.undo)
    assert (answer.status, answer.comment) == (OUT_OF_RESOURCES, "the store could not be written to")
    assert archive_of(node).store.health.is_degraded


def test_s15_a_locked_index_is_a700(node: RunningNode) -> None:
    path = node.settings.data_folder / "archives" / "main" / "index.sqlite"
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        answer = refused_then_kept(node, make_instance(), database.rollback)
    finally:
        database.close()
    assert (answer.status, answer.comment) == (OUT_OF_RESOURCES, "The index cannot be written")


def test_s15_a_read_only_index_is_a700(tmp_path: Path) -> None:
    instance = make_instance()
    with running_node(tmp_path) as node:
        query_only = "PRAGMA query_only = 1"
        archive = archive_of(node)
        archive.writer.submit(lambda transaction: transaction.connection.exec_driver_sql(query_only)).result(
            5
        )
        with RawSender.of(node.address, instance) as sender:
            for _ in range(2):
                answer = sender.store(instance)
                assert (answer.status, answer.comment) == (OUT_OF_RESOURCES, "The index cannot be written")
        check_nothing_else(node)
    with running_node(tmp_path) as node:
        assert store(node.address, instance).status == 0
        check_kept(node, instance)


@pytest.mark.parametrize("error", [RuntimeError("Doe^Jane"), KeyError("P1"), MemoryError()])
def test_s15_an_error_of_ours_is_0110_without_its_words(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(ingest, "record_receipt", fail)
    answer = refused_then_kept(node, make_instance(), monkeypatch.undo)
    assert (answer.status, answer.comment) == (PROCESSING_FAILURE, "internal error")


def test_s15_one_bad_receipt_harms_no_other_of_its_commit(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *good = (make_instance() for _ in range(6))
    record = recording.record_receipt

    def fail_for_one(transaction: Any, entry: Any) -> Any:
        if entry.key.sop_instance_uid == bad.sop_instance_uid:
            raise RuntimeError
        return record(transaction, entry)

    monkeypatch.setattr(ingest, "record_receipt", fail_for_one)
    may_write = threading.Event()
    blocking = archive_of(node).writer.submit(lambda _: may_write.wait(20))
    senders = [RawSender.of(node.address, each) for each in (bad, *good)]
    for sender, instance in zip(senders, (bad, *good), strict=True):
        sender.peer.send(sender.command(instance) + sender.data(instance))
    wait_until(lambda: archive_of(node).writer.statistics().queued == len(senders), "not all are queued")
    may_write.set()
    assert [sender.answer().status for sender in senders] == [PROCESSING_FAILURE, *[0] * len(good)]
    for sender in senders:
        sender.peer.release()
    for each in good:
        check_kept(node, each)
    check_nothing_else(node)
    assert blocking.result(5)


def test_s15_after_a_commit_in_doubt_the_next_start_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubt(*_: Any) -> Any:
        raise CommitInDoubtError("The index could not be synced")

    instance = make_instance()
    with running_node(tmp_path) as node:
        monkeypatch.setattr(ingest, "record_receipt", doubt)
        assert store(node.address, instance).status == OUT_OF_RESOURCES
        monkeypatch.undo()
        assert len(unnamed_files(node)) == 1
    with running_node(tmp_path) as node:
        check_nothing_else(node)
        assert store(node.address, instance).status == 0
        check_kept(node, instance)


def test_s15_the_loss_of_the_association_before_the_answer_takes_nothing_back(
    node: RunningNode,
) -> None:
    may_write = threading.Event()
    blocking = archive_of(node).writer.submit(lambda _: may_write.wait(20))
    instance = make_instance()
    sender = RawSender.of(node.address, instance)
    sender.peer.send(sender.command(instance) + sender.data(instance))
    wait_until(lambda: archive_of(node).writer.statistics().queued == 1, "nothing is queued")
    sender.peer.reset()
    wait_until(lambda: node.connection_count == 0, "the connection is still counted")
    may_write.set()
    assert blocking.result(5)
    wait_until(
        lambda: archive_of(node).reader.instance(instance.sop_instance_uid) is not None, "it was not kept"
    )
    check_kept(node, instance)
    check_nothing_else(node)


def test_s15_a_newcomer_is_not_lost_for_a_stored_file_that_is_gone(node: RunningNode) -> None:
    first = make_instance(PatientName="Doe^Jane")
    second = make_instance(
        SOPInstanceUID=first.sop_instance_uid,
        StudyInstanceUID=first.study_instance_uid,
        PatientName="Roe^Rick",
    )
    assert store(node.address, first).status == 0
    path = path_of(node, indexed(node, first.sop_instance_uid).file)
    kept_elsewhere = path.with_suffix(".elsewhere")
    path.rename(kept_elsewhere)
    # what cannot be compared is other content: both are kept
    assert store(node.address, second).status == 0
    assert outcomes(node, first.sop_instance_uid) == ["stored", "kept-aside"]
    kept_elsewhere.rename(path)
    check_kept(node, first)
    check_nothing_else(node)
