"""Does the jobs of an archive: leases them, runs their handlers, and records how each ended."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from pacslite.archive.job_ledger import JobLedger
from pacslite.archive.lease_watch import ClockWatch
from pacslite.index.jobs import Job
from pacslite.model.errors import OutOfResourcesError, PacsliteError
from pacslite.model.jobs import JobState
from pacslite.settings.schema import JobSettings

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive

T = TypeVar("T")

JobHandler = Callable[[Job], Awaitable[None] | None]
"""Does a job of its kind, as a coroutine function or, in a thread, as a plain function.

It may be called more than once for one job, also after it came to its end, but in one node never twice at a
time. Whatever it raises ends the attempt. A coroutine is cancelled when its time is over or the node stops; a
function is waited for.
"""

RENEWALS_PER_LEASE: Final = 3
_FAILED_INDEX_SECONDS: Final = 1.0
_MIN_PAUSE_SECONDS: Final = 0.01

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Attempt:
    job: Job
    handling: "asyncio.Future[Any] | None" = None

    def cancel(self) -> None:
        """Break off a coroutine; what runs in a thread goes on."""
        if isinstance(self.handling, asyncio.Task):
            self.handling.cancel()


class JobRunner:
    """Runs the handlers of an archive's jobs; lives in one event loop, from `start` to `stop`.

    Parameters
    ----------
    archive
        Started, and stopped after the runner only.
    handlers
        By kind. Jobs of other kinds wait, and are said so once.
    settings
        Limits and times.
    """

    def __init__(self, archive: "Archive", handlers: Mapping[str, JobHandler], settings: JobSettings) -> None:
        self._archive = archive
        self._handlers = dict(handlers)
        self._settings = settings
        self._ledger: JobLedger
        self._log = log.bind(archive=archive.name)
        self._attempts: dict[int, _Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unknown_kinds: set[str] = set()
        self._clock = ClockWatch()
        self._is_started = False
        self._is_stopping = False
        self._executor: ThreadPoolExecutor
        self._wake: asyncio.Event
        self._rested: asyncio.Event
        self._dispatching: asyncio.Task[None]
        self._keeping: asyncio.Task[None]

    async def start(self) -> None:
        """Take back what an earlier life of this node left unfinished, and begin.

        Raises
        ------
        OutOfResourcesError
            The index cannot be written.
        """
        self._ledger = JobLedger(self._archive, self._handlers, self._settings)
        unfinished = await self._ledger.recover()
        if unfinished:
            self._log.info("jobs.recovered", jobs=unfinished)
        loop = asyncio.get_running_loop()
        wake = self._wake = asyncio.Event()
        self._rested = asyncio.Event()
        self._executor = ThreadPoolExecutor(self._settings.worker_count, thread_name_prefix="pacslite-job")

        def jobs_committed() -> None:
            with contextlib.suppress(RuntimeError):  # a loop that ended without `stop` has no more use for it
                loop.call_soon_threadsafe(wake.set)

        self._archive.writer.call_when_jobs_are_committed(jobs_committed)
        self._dispatching = loop.create_task(self._dispatch())
        self._keeping = loop.create_task(self._keep_leases())
        self._is_started = True

    async def rest(self) -> None:
        """Return once nothing is due and nothing under way, or the index fails."""
        self._rested.clear()
        self._wake.set()
        await self._rested.wait()

    async def drain(self) -> None:
        """Begin no further attempt and return once those under way have ended."""
        self._is_stopping = True
        self._wake.set()
        await asyncio.wait({self._dispatching})
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """Break off coroutines, wait for threads, and end; what was broken off is queued again."""
        if not self._is_started:
            return
        self._is_stopping = True
        self._archive.writer.call_when_jobs_are_committed(None)
        if self._attempts:
            self._log.info("jobs.awaited", jobs=len(self._attempts))
        for attempt in self._attempts.values():
            attempt.cancel()
        await self.drain()
        self._keeping.cancel()
        await asyncio.wait({self._keeping})
        self._executor.shutdown()

    async def _dispatch(self) -> None:
        while not self._is_stopping:
            self._wake.clear()
            try:
                pause = await self._begin_due()
            except Exception as error:  # noqa: BLE001 - whatever one look met, the jobs must go on
                self._tell("jobs.not_leased", error)
                self._rested.set()
                pause = _FAILED_INDEX_SECONDS
            if not self._is_stopping:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    async def _begin_due(self) -> float:
        """Lease and begin what is due and there is a worker for; return when to look again, in seconds."""
        longest = self._settings.lease_seconds
        free = self._settings.worker_count - len(self._attempts)
        if not free:
            return longest
        wait = await self._ledger.seconds_until_due(list(self._attempts))
        if wait is None or wait > 0:
            if not self._attempts:
                self._rested.set()
            return longest if wait is None else min(wait, longest)
        jobs = await self._ledger.lease(list(self._attempts), free)
        for job in jobs:
            self._begin(_Attempt(job))
        return longest if len(jobs) == free else _MIN_PAUSE_SECONDS

    def _begin(self, attempt: _Attempt) -> None:
        self._attempts[attempt.job.pk] = attempt
        task = asyncio.create_task(self._attempt(attempt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempt(self, attempt: _Attempt) -> None:
        try:
            if self._is_stopping:
                await self._record(self._ledger.give_back, attempt.job)
            else:
                await self._handle(attempt)
        finally:
            del self._attempts[attempt.job.pk]
            self._wake.set()

    async def _handle(self, attempt: _Attempt) -> None:
        job = attempt.job
        handling = attempt.handling = self._call(job)
        done, _ = await asyncio.wait({handling}, timeout=self._settings.attempt_seconds)
        if not done:
            await self._fail(job, f"took longer than {self._settings.attempt_seconds:g} s")
            attempt.cancel()
            await asyncio.wait({handling})
            _ = handling.cancelled() or handling.exception()  # it is over; how it ended does not count
        elif handling.cancelled():
            await self._record(self._ledger.give_back, job)
        elif (error := handling.exception()) is not None:
            await self._fail(job, describe(error))
        else:
            await self._record(self._ledger.complete, job)

    def _call(self, job: Job) -> "asyncio.Future[Any]":
        handler = self._handlers[job.kind]
        if iscoroutinefunction(handler):
            return asyncio.ensure_future(handler(job))
        return asyncio.get_running_loop().run_in_executor(self._executor, handler, job)

    async def _fail(self, job: Job, why: str) -> None:
        async def fail(failed: Job) -> JobState | None:
            return await self._ledger.fail(failed, why)

        state = await self._record(fail, job)
        tell = self._log.error if state is JobState.DEAD else self._log.warning
        event = "job.given_up" if state is JobState.DEAD else "job.failed"
        tell(event, kind=job.kind, job=job.pk, attempts=job.attempts, why=why)

    async def _record(self, record: Callable[[Job], Awaitable[T]], job: Job) -> T | None:
        """Record how an attempt ended, however long the index takes; after a stop recovery does it."""
        while True:
            try:
                return await record(job)
            except OutOfResourcesError as error:
                self._tell("job.not_recorded", error)
            if self._is_stopping:
                return None
            await asyncio.sleep(_FAILED_INDEX_SECONDS)

    async def _keep_leases(self) -> None:
        """Renew our leases, take those of nodes that fell silent, and mind the clock."""
        while True:
            try:
                await self._renew()
                if taken := await self._ledger.take_over():
                    self._log.warning("jobs.taken_over", jobs=taken)
                await self._tell_of_unknown_kinds()
                if self._clock.was_set_back():
                    self._log.warning("jobs.clock_was_set_back")
                    await self._ledger.mend_times()
            except Exception as error:  # noqa: BLE001 - as above: the next time may be better
                self._tell("jobs.leases_not_kept", error)
            await asyncio.sleep(self._settings.lease_seconds / RENEWALS_PER_LEASE)

    async def _renew(self) -> None:
        jobs = [attempt.job for attempt in self._attempts.values()]
        lost = await self._ledger.renew(jobs) if jobs else set()
        for job in jobs:
            attempt = self._attempts.get(job.pk)
            if job.pk in lost and attempt is not None and attempt.job is job:
                attempt.cancel()

    async def _tell_of_unknown_kinds(self) -> None:
        found = await self._ledger.unknown_kinds()
        for kind in sorted(found - self._unknown_kinds):
            self._log.warning("jobs.kind_unknown", kind=kind)
        self._unknown_kinds |= found

    def _tell(self, event: str, error: Exception) -> None:
        self._log.warning(event, why=describe(error), exc_info=not isinstance(error, OutOfResourcesError))


async def do_due_jobs(archive: "Archive", handlers: Mapping[str, JobHandler], settings: JobSettings) -> None:
    """Do the jobs of `archive` that are due now, once; those that fail wait for a node.

    Raises
    ------
    OutOfResourcesError
        The index cannot be written.
    """
    runner = JobRunner(archive, handlers, settings)
    await runner.start()
    try:
        await runner.rest()
    finally:
        await runner.stop()


def describe(error: BaseException) -> str:
    """Say why an attempt failed without what a data set may have put into a foreign error's text."""
    if isinstance(error, PacsliteError):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__
