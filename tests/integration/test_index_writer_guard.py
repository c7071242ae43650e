"""The writer's thread outlives what nobody foresaw, and nobody waits for ever."""

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.index import Index, make_entry

from pacslite.index.checkpoints import Checkpointer
from pacslite.index.failures import CommitInDoubtError
from pacslite.index.transaction import WriteTransaction
from pacslite.index.writer import IndexWriter
from pacslite.model.errors import OutOfResourcesError
from pacslite.model.instances import Outcome


class UnforeseenError(Exception):
    pass


def raise_it(*_: Any) -> None:
    raise UnforeseenError


def test_a_mistake_after_the_commit_leaves_nobody_waiting(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, capture_logs() as events:
        patch.setattr(Checkpointer, "note", raise_it)
        with pytest.raises(CommitInDoubtError):  # it is committed: its file must not be removed
            index.submit(make_entry("1.1")).result(timeout=20)
        assert not index.is_healthy()
    assert [event["log_level"] for event in events if event["event"] == "index.writer_failed"] == ["critical"]
    assert index.receive(make_entry("1.2")).outcome is Outcome.STORED
    assert index.is_healthy()
    assert index.reader.counts().instances == 2


def test_a_mistake_in_the_middle_of_a_group_leaves_none_of_it_waiting(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed = IndexWriter._succeed

    def succeed_half(self: IndexWriter, group: Sequence[Any], results: Sequence[Any]) -> None:
        succeed(self, group[:1], results[:1])
        raise UnforeseenError

    with monkeypatch.context() as patch:
        with index.held_back():
            futures = [index.submit(make_entry(f"1.{number}")) for number in range(3)]
            patch.setattr(IndexWriter, "_succeed", succeed_half)
        assert futures[0].result(timeout=20).outcome is Outcome.STORED
        assert [type(future.exception(timeout=20)) for future in futures[1:]] == [CommitInDoubtError] * 2
    assert index.receive(make_entry("1.9")).outcome is Outcome.STORED


def test_a_failing_checkpoint_ends_nothing(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "run_if_due", raise_it)
        assert index.receive(make_entry("1.1")).outcome is Outcome.STORED
        assert index.receive(make_entry("1.2")).outcome is Outcome.STORED
    assert index.receive(make_entry("1.3")).outcome is Outcome.STORED


def test_a_command_that_ends_threads_does_not_end_the_writers(index: Index) -> None:
    def leave(_: WriteTransaction) -> None:
        raise SystemExit

    with pytest.raises(OutOfResourcesError):
        index.run(leave)
    assert index.receive(make_entry()).outcome is Outcome.STORED


def test_jobs_that_nobody_can_be_told_of_are_committed_once(index: Index) -> None:
    runs = []

    def enqueue(transaction: WriteTransaction) -> None:
        runs.append(1)
        transaction.has_new_jobs = True

    index.writer.call_when_jobs_are_committed(raise_it)  # as when the event loop is closed
    index.run(enqueue)
    assert runs == [1]
    assert index.is_healthy()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_all_the_same_refuses_what_comes_and_fails_what_waits(
    index_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(index_url)
    with capture_logs() as events:
        with index.held_back():
            monkeypatch.setattr(IndexWriter, "_work", raise_it)  # for the round after this one
            waiting = index.submit(make_entry())
        with pytest.raises(OutOfResourcesError):
            waiting.result(timeout=20)
        index.writer._thread.join(20)
    with pytest.raises(OutOfResourcesError):
        index.submit(make_entry())
    assert not index.is_healthy()
    assert "index.writer_ended" in {event["event"] for event in events}
    index.close()
