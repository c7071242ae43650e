"""The queue of jobs and its runner, on both databases."""

import asyncio
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from structlog.testing import capture_logs
from support.index import Index
from support.jobs import FAST, RunningJobs, change, jobs_of, promise, running_jobs, wait_until

from pacslite.archive import jobs as runner_module
from pacslite.archive.jobs import do_due_jobs
from pacslite.index import leases
from pacslite.index.job_list import JobFilter, cancel_jobs, count_jobs, find_jobs, retry_jobs
from pacslite.index.jobs import Job, enqueue
from pacslite.index.leases import retry_pause
from pacslite.index.transaction import WriteTransaction
from pacslite.model.errors import OperationError, OutOfResourcesError
from pacslite.model.jobs import JobState
from pacslite.settings.schema import JobSettings

HOUR = timedelta(hours=1)
SLOW = FAST.model_copy(update={"retry_seconds_min": 3600.0, "retry_seconds_max": 7200.0})


class Notes:
    """A handler that remembers what it was given."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def __call__(self, job: Job) -> None:
        self.jobs.append(job)


class Gate:
    """A handler that waits for the test."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, _: Job) -> None:
        self.entered.release()
        assert self.open.wait(20)


def lease(
    index: Index, owner: str = "node1", limit: int = 10, kinds: tuple[str, ...] = ("note",)
) -> list[Job]:
    leased: list[Job] = index.run(
        partial(leases.lease, owner=owner, kinds=kinds, at_work=[], limit=limit, lease_seconds=60.0)
    )
    return leased


def test_a_job_comes_with_its_transaction_and_only_with_it(index: Index) -> None:
    def fail(transaction: WriteTransaction) -> None:
        enqueue(transaction, "note", {"n": 1})
        raise OperationError("no")

    with pytest.raises(OperationError):
        index.run(fail)
    assert jobs_of(index) == []
    number = promise(index, payload={"n": 2})
    (job,) = jobs_of(index)
    assert (job.pk, job.kind, job.state, job.payload) == (number, "note", JobState.QUEUED, {"n": 2})
    assert (job.attempts, job.lease_owner, job.last_error) == (0, None, None)
    assert abs(job.not_before - datetime.now(UTC)) < HOUR


def test_a_number_is_never_given_again(index: Index) -> None:
    first = promise(index)
    (job,) = lease(index)
    assert index.run(partial(leases.complete, owner="node1", done=job))
    assert jobs_of(index) == []
    assert promise(index) > first


def test_a_purpose_is_promised_once_until_it_is_done(index: Index) -> None:
    assert promise(index, dedupe_key="study 1") is not None
    assert promise(index, dedupe_key="study 1") is None
    assert promise(index, dedupe_key="study 2") is not None
    job = lease(index, limit=1)[0]
    assert promise(index, dedupe_key="study 1") is None
    index.run(partial(leases.complete, owner="node1", done=job))
    assert promise(index, dedupe_key="study 1") is not None


@pytest.mark.parametrize("state", [JobState.DEAD, JobState.CANCELLED])
def test_what_was_given_up_gives_way_to_the_same_purpose(index: Index, state: JobState) -> None:
    old = promise(index, payload={"n": 1}, dedupe_key="study 1")
    change(index, old, state=state)
    new = promise(index, payload={"n": 2}, dedupe_key="study 1")
    assert [(job.pk, job.state) for job in jobs_of(index)] == [(new, JobState.QUEUED)]
    assert new != old


def test_the_longest_due_are_leased_first_and_none_before_its_time(index: Index) -> None:
    now = datetime.now(UTC)
    later = promise(index, not_before=now - timedelta(minutes=1))
    sooner = promise(index, not_before=now - timedelta(minutes=2))
    promise(index, not_before=now + HOUR)
    promise(index, kind="other")
    assert [job.pk for job in lease(index)] == [sooner, later]
    assert lease(index) == []
    assert [job.attempts for job in jobs_of(index)] == [1, 1, 0, 0]


def test_a_lease_holds_for_one_owner_and_one_attempt(index: Index) -> None:
    promise(index)
    (job,) = lease(index, "node2")
    assert not index.run(partial(leases.complete, owner="node1", done=job))
    assert (
        index.run(partial(leases.fail, owner="node2", failed=job, why="no", settings=FAST)) is JobState.QUEUED
    )
    change(index, job.pk, not_before=job.created_at)
    (again,) = lease(index, "node2")
    assert again.attempts == 2
    assert not index.run(partial(leases.complete, owner="node2", done=job))
    assert index.run(partial(leases.renew, owner="node2", jobs=[job, again], lease_seconds=9.0)) == {job.pk}
    assert index.run(partial(leases.complete, owner="node2", done=again))


def test_nodes_do_not_take_each_others_jobs(index_url: str) -> None:
    nodes = [Index(index_url) for _ in range(3)] if index_url.startswith("postgresql") else [Index(index_url)]
    done: Counter[int] = Counter()
    lock = threading.Lock()

    def note(job: Job) -> None:
        with lock:
            done[job.pk] += 1

    runners = []
    try:
        numbers = [promise(nodes[0], payload={"n": n}) for n in range(60)]
        runners = [
            RunningJobs(node, {"note": note}, node_name=f"node{place}").start()
            for place, node in enumerate(nodes)
        ]
        numbers += [promise(node) for node in nodes for _ in range(20)]
        wait_until(lambda: not jobs_of(nodes[0]), 30)
    finally:
        for runner in runners:
            runner.stop()
        for node in nodes:
            node.close()
    assert done == Counter(numbers)


def test_a_commit_wakes_the_runner(index: Index) -> None:
    notes = Notes()
    patient = FAST.model_copy(update={"lease_seconds": 600.0})
    with running_jobs(index, {"note": notes}, patient):
        promise(index, payload={"n": 7})
        wait_until(lambda: not jobs_of(index) and notes.jobs)
    assert [(job.payload, job.attempts) for job in notes.jobs] == [({"n": 7}, 1)]


def test_coroutines_are_handlers_too(index: Index) -> None:
    done: list[int] = []

    async def note(job: Job) -> None:
        await asyncio.sleep(0)
        done.append(job.pk)

    with running_jobs(index, {"note": note}):
        number = promise(index)
        wait_until(lambda: not jobs_of(index))
    assert done == [number]


def test_no_more_jobs_at_a_time_than_workers(index: Index) -> None:
    gate = Gate()
    with running_jobs(index, {"note": gate}, FAST.model_copy(update={"worker_count": 2})):
        for _ in range(5):
            promise(index)
        assert all(gate.entered.acquire(timeout=10) for _ in range(2))
        assert not gate.entered.acquire(timeout=0.1)
        states = Counter(job.state for job in jobs_of(index))
        assert states == {JobState.LEASED: 2, JobState.QUEUED: 3}
        gate.open.set()
        wait_until(lambda: not jobs_of(index))


def test_a_failed_attempt_is_repeated_until_it_succeeds(index: Index) -> None:
    attempts: list[int] = []

    def flaky(job: Job) -> None:
        attempts.append(job.attempts)
        if job.attempts < 3:
            raise OSError(5, "Input/output error")

    with running_jobs(index, {"note": flaky}), capture_logs() as events:
        promise(index)
        wait_until(lambda: not jobs_of(index))
    assert attempts == [1, 2, 3]
    failures = [event for event in events if event["event"] == "job.failed"]
    assert [event["why"] for event in failures] == ["OSError: Input/output error"] * 2


def test_a_job_that_never_succeeds_is_given_up_and_says_why_without_data(index: Index) -> None:
    def fail(_: Job) -> None:
        raise ValueError("Doe^Jane is no number")

    with running_jobs(index, {"note": fail}), capture_logs() as events:
        promise(index, dedupe_key="once")
        wait_until(lambda: jobs_of(index)[0].state is JobState.DEAD)
    (job,) = jobs_of(index)
    assert (job.attempts, job.last_error, job.lease_owner) == (3, "ValueError", None)
    assert "Doe" not in str(events)
    assert [event["event"] for event in events].count("job.given_up") == 1


def test_our_own_errors_are_told_in_full(index: Index) -> None:
    def fail(_: Job) -> None:
        raise OperationError("the peer wants nothing")

    with running_jobs(index, {"note": fail}, SLOW):
        promise(index)
        wait_until(lambda: jobs_of(index)[0].last_error)
    (job,) = jobs_of(index)
    assert job.last_error == "OperationError: the peer wants nothing"
    assert job.not_before > datetime.now(UTC) + HOUR / 3


def test_a_keeper_revives_and_cancels(index: Index) -> None:
    dead, waiting, leased = (promise(index) for _ in range(3))
    change(index, dead, state=JobState.DEAD, attempts=3)
    change(index, waiting, not_before=datetime.now(UTC) + HOUR)
    change(index, leased, state=JobState.LEASED, lease_owner="node2", attempts=1)
    numbers = [dead, waiting, leased]
    assert index.run(partial(retry_jobs, numbers=numbers)) == [dead, waiting]
    assert [job.attempts for job in jobs_of(index)] == [0, 0, 1]
    assert index.run(partial(cancel_jobs, numbers=numbers)) == numbers
    assert index.run(partial(cancel_jobs, numbers=numbers)) == []
    assert index.reader.read(count_jobs) == {("note", JobState.CANCELLED): 3}
    notes = Notes()
    with running_jobs(index, {"note": notes}):
        index.run(partial(retry_jobs, numbers=[dead]))
        wait_until(lambda: notes.jobs)
    assert [job.pk for job in notes.jobs] == [dead]


def test_a_keeper_sees_pages_and_chooses(index: Index) -> None:
    numbers = [promise(index, kind="a" if place % 2 else "b") for place in range(5)]
    page = index.reader.read(partial(find_jobs, wanted=JobFilter(), limit=2))
    assert [job.pk for job in page] == numbers[:2]
    page = index.reader.read(partial(find_jobs, wanted=JobFilter(), after=page[-1].pk, limit=9))
    assert [job.pk for job in page] == numbers[2:]
    chosen = JobFilter(kind="a", state=JobState.QUEUED)
    assert [job.pk for job in index.reader.read(partial(find_jobs, wanted=chosen, limit=9))] == numbers[1::2]


def test_unknown_kinds_wait_and_are_told_once(index: Index) -> None:
    with capture_logs() as events, running_jobs(index, {"note": Notes()}):
        for kind in ("unheard-of", "unseen"):
            promise(index, kind=kind)
            wait_until(lambda: kind in [event.get("kind") for event in events])  # noqa: B023 - at once
    told = [event["kind"] for event in events if event["event"] == "jobs.kind_unknown"]
    assert told == ["unheard-of", "unseen"]
    assert [job.state for job in jobs_of(index)] == [JobState.QUEUED] * 2


def test_what_a_killed_node_left_is_taken_again_at_its_start(index: Index) -> None:
    promise(index)
    lease(index)
    notes = Notes()
    patient = FAST.model_copy(update={"lease_seconds": 600.0})
    with running_jobs(index, {"note": notes}, patient), capture_logs():
        wait_until(lambda: not jobs_of(index))
    assert [job.attempts for job in notes.jobs] == [2]


def test_a_job_that_kills_its_node_each_time_is_given_up(index: Index) -> None:
    number = promise(index)
    for attempt in range(1, FAST.max_attempts + 1):
        change(index, number, not_before=datetime(2000, 1, 1, tzinfo=UTC))
        assert [job.attempts for job in lease(index)] == [attempt]
        assert index.run(partial(leases.recover, owner="node1", settings=FAST)) == 1
    (job,) = jobs_of(index)
    assert job.state is JobState.DEAD
    assert job.last_error == "the node ended during the attempt"


def test_another_nodes_leases_are_taken_over_when_it_falls_silent(index: Index) -> None:
    promise(index)
    lease(index, "node2")
    notes = Notes()
    started = time.monotonic()
    with running_jobs(index, {"note": notes}), capture_logs() as events:
        wait_until(lambda: not jobs_of(index))
    assert time.monotonic() - started >= FAST.lease_seconds
    assert [job.attempts for job in notes.jobs] == [2]
    assert "jobs.taken_over" in {event["event"] for event in events}


@pytest.mark.parametrize("step", [HOUR * 24, -HOUR * 24], ids=["ahead", "behind"])
def test_a_lease_by_a_clock_that_is_a_day_off_is_taken_over_all_the_same(
    index: Index, step: timedelta
) -> None:
    number = promise(index)
    lease(index, "node2")
    change(index, number, lease_until=datetime.now(UTC) + step)
    notes = Notes()
    with running_jobs(index, {"note": notes}), capture_logs():
        wait_until(lambda: notes.jobs)
    assert [job.pk for job in notes.jobs] == [number]


def test_a_clock_set_back_holds_nothing_up(index: Index) -> None:
    """What was promised and retried before the step is done after it; what was put off stays put off."""
    ahead = datetime.now(UTC) + HOUR * 24
    at_once, retried, put_off, due_later = (promise(index) for _ in range(4))
    change(index, at_once, created_at=ahead, not_before=ahead)
    change(index, retried, attempts=1, created_at=ahead - HOUR, not_before=ahead)
    change(index, put_off, created_at=ahead, not_before=ahead + HOUR)
    change(index, due_later, not_before=ahead)
    notes = Notes()
    with running_jobs(index, {"note": notes}):
        wait_until(lambda: len(notes.jobs) == 2)
    assert {job.pk for job in notes.jobs} == {at_once, retried}
    assert [job.pk for job in jobs_of(index)] == [put_off, due_later]


def test_a_clock_set_back_while_the_node_runs_is_noticed(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_set_back = threading.Event()
    monkeypatch.setattr("pacslite.archive.lease_watch._offset", lambda: -3600.0 * is_set_back.is_set())
    notes = Notes()
    with running_jobs(index, {"note": notes}), capture_logs() as events:
        number = promise(index, not_before=datetime.now(UTC) + HOUR)
        ahead = datetime.now(UTC) + HOUR
        change(index, number, created_at=ahead, not_before=ahead)
        is_set_back.set()
        wait_until(lambda: notes.jobs)
    assert [event["event"] for event in events].count("jobs.clock_was_set_back") == 1


def test_leases_are_renewed_while_the_handler_works(index: Index) -> None:
    gate = Gate()
    with running_jobs(index, {"note": gate}):
        promise(index)
        assert gate.entered.acquire(timeout=10)
        first = jobs_of(index)[0].lease_until
        wait_until(lambda: jobs_of(index)[0].lease_until != first)
        assert jobs_of(index)[0].lease_owner == "node1"
        gate.open.set()
        wait_until(lambda: not jobs_of(index))


def test_a_coroutine_that_takes_too_long_is_cancelled_and_counts_as_failed(index: Index) -> None:
    ends: list[str] = []

    async def hang(_: Job) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    short = SLOW.model_copy(update={"attempt_seconds": 0.05})
    with running_jobs(index, {"note": hang}, short):
        promise(index)
        wait_until(lambda: ends and jobs_of(index)[0].last_error)
    assert jobs_of(index)[0].last_error == "took longer than 0.05 s"
    assert ends == ["cancelled"]


def test_a_thread_that_takes_too_long_counts_as_failed_and_is_not_doubled(index: Index) -> None:
    gate = Gate()
    with running_jobs(index, {"note": gate}, FAST.model_copy(update={"attempt_seconds": 0.05})):
        promise(index)
        wait_until(lambda: jobs_of(index)[0].last_error)
        assert gate.entered.acquire(timeout=10)
        assert not gate.entered.acquire(timeout=0.3)
        gate.open.set()
        wait_until(lambda: not jobs_of(index))


def test_a_cancelled_job_is_broken_off_at_the_next_renewal(index: Index) -> None:
    is_begun, is_broken_off = threading.Event(), threading.Event()

    async def hang(_: Job) -> None:
        is_begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            is_broken_off.set()

    with running_jobs(index, {"note": hang}):
        number = promise(index)
        assert is_begun.wait(10)
        assert index.run(partial(cancel_jobs, numbers=[number])) == [number]
        assert is_broken_off.wait(10)
    assert [job.state for job in jobs_of(index)] == [JobState.CANCELLED]


def test_a_stop_breaks_coroutines_off_and_their_attempt_does_not_count(index: Index) -> None:
    is_begun = threading.Event()

    async def hang(_: Job) -> None:
        is_begun.set()
        await asyncio.sleep(60)

    with running_jobs(index, {"note": hang}):
        promise(index)
        assert is_begun.wait(10)
    (job,) = jobs_of(index)
    assert (job.state, job.attempts, job.last_error) == (JobState.QUEUED, 0, None)


def test_a_drain_waits_for_what_is_under_way_and_begins_nothing(index: Index) -> None:
    gate = Gate()
    with running_jobs(index, {"note": gate}, FAST.model_copy(update={"worker_count": 1})) as running:
        promise(index)
        assert gate.entered.acquire(timeout=10)
        promise(index)
        threading.Timer(0.1, gate.open.set).start()
        running.call(running.runner.drain())
        assert [job.attempts for job in jobs_of(index)] == [0]


def test_an_end_that_cannot_be_recorded_is_recorded_later(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_FAILED_INDEX_SECONDS", 0.02)
    complete = leases.complete
    failures = iter(range(2))

    def fail_first(*arguments: object, **choices: object) -> bool:
        if next(failures, None) is not None:
            raise OutOfResourcesError("The index cannot be written")
        return complete(*arguments, **choices)  # type: ignore[arg-type] # handed on as they came

    monkeypatch.setattr(leases, "complete", fail_first)
    notes = Notes()
    with running_jobs(index, {"note": notes}), capture_logs() as events:
        promise(index)
        wait_until(lambda: not jobs_of(index))
    assert len(notes.jobs) == 1
    assert [event["event"] for event in events].count("job.not_recorded") == 2


def test_a_look_that_fails_is_repeated(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_FAILED_INDEX_SECONDS", 0.02)
    lease_jobs = leases.lease
    failures = iter((OutOfResourcesError("The index cannot be written"), RuntimeError("a bug")))

    def fail_first(*arguments: object, **choices: object) -> list[Job]:
        if (error := next(failures, None)) is not None:
            raise error
        return lease_jobs(*arguments, **choices)  # type: ignore[arg-type] # handed on as they came

    monkeypatch.setattr(leases, "lease", fail_first)
    notes = Notes()
    with capture_logs() as events, running_jobs(index, {"note": notes}):
        promise(index)
        wait_until(lambda: notes.jobs)
    assert [event["why"] for event in events if event["event"] == "jobs.not_leased"] == [
        "OutOfResourcesError: The index cannot be written",
        "RuntimeError",
    ]


def test_due_jobs_can_be_done_without_a_node(index: Index) -> None:
    notes = Notes()
    for _ in range(10):
        promise(index)
    later = promise(index, not_before=datetime.now(UTC) + HOUR)
    running = RunningJobs(index, {"note": notes})
    running.call(do_due_jobs(running.runner._archive, {"note": notes}, FAST))
    running.abandon()
    assert len(notes.jobs) == 10
    assert [job.pk for job in jobs_of(index)] == [later]


def test_pauses_double_scatter_and_are_bounded() -> None:
    settings = JobSettings(retry_seconds_min=4.0, retry_seconds_max=30.0)
    for attempts, longest in ((1, 4.0), (2, 8.0), (3, 16.0), (4, 30.0), (10_000, 30.0)):
        pauses = [retry_pause(attempts, settings).total_seconds() for _ in range(100)]
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest
        assert len(set(pauses)) > 50
