"""The writer: groups, failures, and what those who wait are told; on both databases."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

import pytest
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from support.index import Index, make_entry

from pacslite.index.failures import CommitInDoubtError
from pacslite.index.recording import record_receipt
from pacslite.index.tables import patient
from pacslite.index.transaction import WriteTransaction
from pacslite.model.errors import OutOfResourcesError
from pacslite.model.instances import Outcome
from pacslite.model.statuses import Status
from pacslite.settings.schema import IndexSettings


class BugError(Exception):
    pass


def fail(_: WriteTransaction) -> None:
    raise BugError


@contextmanager
def failing_commits(index: Index, error: BaseException) -> Iterator[None]:
    """Let every COMMIT fail as the driver would."""

    def refuse(_: object) -> None:
        raise OperationalError("COMMIT", {}, error)

    event.listen(index.writer_engine, "commit", refuse)
    try:
        yield
    finally:
        event.remove(index.writer_engine, "commit", refuse)


def test_what_waits_shares_one_commit(index: Index) -> None:
    with index.held_back():
        before = index.writer.statistics()
        futures = [index.submit(make_entry(f"1.{number}")) for number in range(10)]
        assert before.queued == 0
        assert index.writer.statistics().queued == 10
    assert [future.result(timeout=20).outcome for future in futures] == [Outcome.STORED] * 10
    after = index.writer.statistics()
    assert (after.commits - before.commits, after.largest_group) == (2, 10)
    assert after.commands == 11


def test_a_group_is_no_larger_than_the_settings_say(index_url: str) -> None:
    index = Index(index_url, IndexSettings(max_group_count=4))
    try:
        with index.held_back():
            futures = [index.submit(make_entry(f"1.{number}")) for number in range(10)]
        for future in futures:
            future.result(timeout=20)
        assert index.writer.statistics().largest_group == 4
    finally:
        index.close()


def test_a_result_is_visible_to_readers_when_its_future_is_done(index: Index) -> None:
    for number in range(20):
        index.submit(make_entry(f"1.{number}")).result(timeout=20)
        assert index.reader.instance(f"1.{number}") is not None


def test_a_command_that_raises_harms_nobody_else_in_its_group(index: Index) -> None:
    with index.held_back():
        futures = [index.submit(make_entry(f"1.{number}")) for number in range(3)]
        bad = index.writer.submit(fail)
        futures += [index.submit(make_entry(f"1.{number}")) for number in range(3, 6)]
    assert [future.result(timeout=20).outcome for future in futures] == [Outcome.STORED] * 6
    with pytest.raises(BugError):
        bad.result(timeout=20)
    assert index.reader.counts().instances == 6
    study = index.reader.study("1.2.3.1")
    assert study is not None
    assert study["number_of_study_related_instances"] == 6
    statistics = index.writer.statistics()
    assert (statistics.replays, statistics.failures) == (1, 1)
    assert index.is_healthy()


def test_a_bad_statement_harms_nobody_else_in_its_group(index: Index) -> None:
    def break_a_rule(transaction: WriteTransaction) -> None:
        transaction.connection.execute(insert(patient), {"patient_key": None})

    with index.held_back():
        good = index.submit(make_entry("1.1"))
        bad = index.writer.submit(break_a_rule)
    assert good.result(timeout=20).outcome is Outcome.STORED
    with pytest.raises(IntegrityError):
        bad.result(timeout=20)
    assert index.reader.counts().patients == 1


def test_a_rolled_back_transaction_leaves_no_ghosts_in_the_cache(index: Index) -> None:
    def record_and_fail(transaction: WriteTransaction) -> None:
        record_receipt(transaction, make_entry("1.1"))
        raise BugError

    with pytest.raises(BugError):
        index.run(record_and_fail)
    assert index.reader.counts().patients == 0
    assert index.receive(make_entry("1.2")).outcome is Outcome.STORED
    counts = index.reader.counts()
    assert (counts.patients, counts.studies, counts.series, counts.instances) == (1, 1, 1, 1)
    study = index.reader.study("1.2.3.1")
    assert study is not None
    assert (study["number_of_study_related_instances"], study["modalities_in_study"]) == (1, "CT")


def test_rows_that_another_hand_removed_are_made_again(index: Index) -> None:
    index.receive(make_entry("1.1"))

    def remove_all(transaction: WriteTransaction) -> None:
        for table in ("receipt", "instance", "series", "study", "patient"):
            transaction.connection.execute(text(f"DELETE FROM {table}"))

    index.run(remove_all)
    assert index.receive(make_entry("1.2")).outcome is Outcome.STORED
    assert index.reader.counts().instances == 1


def test_a_failed_command_statement_is_out_of_resources(index: Index) -> None:
    def miss(_: WriteTransaction) -> None:
        raise OperationalError("INSERT", {"name": "Doe"}, Exception("disk I/O error"))

    with pytest.raises(OutOfResourcesError) as caught:
        index.run(miss)
    assert caught.value.report.status is Status.FAILURE_A700_OUT_OF_RESOURCES
    assert caught.value.comment == "The index cannot be written"
    assert not isinstance(caught.value, CommitInDoubtError)
    assert not index.is_healthy()
    index.receive(make_entry())
    assert index.is_healthy()


def test_a_failed_commit_is_in_doubt_for_each_who_waits(index: Index) -> None:
    with failing_commits(index, OSError("disk I/O error")):
        with held_back_failing(index):
            futures = [index.submit(make_entry(f"1.{number}")) for number in range(3)]
        errors = [future.exception(timeout=20) for future in futures]
        assert not index.is_healthy()
    assert {type(error) for error in errors} == {CommitInDoubtError}
    assert len({id(error) for error in errors}) == 3
    assert index.reader.counts().instances == 0
    assert index.receive(make_entry("1.1")).outcome is Outcome.STORED


@contextmanager
def held_back_failing(index: Index) -> Iterator[None]:
    try:
        with index.held_back():
            yield
    except CommitInDoubtError:
        pass


def test_a_lost_race_between_nodes_is_run_again(index: Index) -> None:
    attempts = []

    def lose_twice(transaction: WriteTransaction) -> Outcome | None:
        attempts.append(1)
        if len(attempts) < 3:
            raise IntegrityError("INSERT", {}, Exception("unique"))
        return record_receipt(transaction, make_entry()).outcome

    assert index.run(lose_twice) is Outcome.STORED
    assert len(attempts) == 3


def test_a_cancelled_command_is_not_carried_out(index: Index) -> None:
    with index.held_back():
        cancelled = index.submit(make_entry("1.1"))
        kept = index.submit(make_entry("1.2"))
        assert cancelled.cancel()
    assert kept.result(timeout=20).outcome is Outcome.STORED
    with pytest.raises(CancelledError):
        cancelled.result(timeout=20)
    assert index.reader.counts().instances == 1


def test_stop_carries_out_what_is_queued_and_refuses_what_comes_later(index_url: str) -> None:
    index = Index(index_url)
    futures = [index.submit(make_entry(f"1.{number}")) for number in range(200)]
    index.writer.stop()
    assert all(future.done() for future in futures)
    assert index.reader.counts().instances == 200
    with pytest.raises(OutOfResourcesError):
        index.submit(make_entry("1.0"))
    index.close()


def test_the_thread_is_gone_after_stop(index_url: str) -> None:
    index = Index(index_url)
    index.receive(make_entry())
    index.close()
    assert "pacslite-index" not in {thread.name for thread in threading.enumerate()}


def test_readers_cannot_write(index: Index) -> None:
    with index.reader_engine.connect() as connection, pytest.raises(Exception, match=r"read-?only"):
        connection.execute(insert(patient), {"patient_key": "x"})


def test_errors_tell_no_values(index: Index) -> None:
    def duplicate(transaction: WriteTransaction) -> None:
        for _ in range(2):
            transaction.connection.execute(
                insert(patient), {"patient_key": "k", "patient_name": "SECRET^NAME"}
            )

    with pytest.raises(IntegrityError) as caught:
        index.run(duplicate)
    assert "SECRET" not in str(caught.value)


def test_an_answer_can_be_read_in_the_same_transaction(index: Index) -> None:
    def count(transaction: WriteTransaction) -> int:
        record_receipt(transaction, make_entry())
        return len(transaction.connection.execute(select(patient.c.pk)).all())

    assert index.run(count) == 1
