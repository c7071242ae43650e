"""The index's only writer: one thread, one connection, one durable commit for all who wait."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog
from sqlalchemy import Engine

from pacslite.index.checkpoints import Checkpointer
from pacslite.index.failures import (
    CommitInDoubtError,
    DatabaseUnavailableError,
    as_reported,
    describe,
    is_worth_retrying,
)
from pacslite.index.session import Session
from pacslite.index.transaction import WriteTransaction
from pacslite.model.errors import OutOfResourcesError
from pacslite.settings.schema import IndexSettings

T = TypeVar("T")

Command = Callable[[WriteTransaction], T]

_MAX_ATTEMPTS: Final = 5
_IDLE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.002

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WriterStatistics:
    """What the writer has done since it started.

    Parameters
    ----------
    commits
        Durable transactions.
    commands
        Commands carried out by them.
    largest_group
        Most commands in one commit.
    replays
        Groups that failed as a whole and were replayed member by member.
    failures
        Commands that ended with an exception.
    checkpoints
        Checkpoints of the write-ahead log.
    wal_bytes
        Size of the write-ahead log's file; 0 for PostgreSQL.
    queued
        Commands that wait.
    """

    commits: int
    commands: int
    largest_group: int
    replays: int
    failures: int
    checkpoints: int
    wal_bytes: int
    queued: int


@dataclass(slots=True)
class _Request(Generic[T]):
    command: Command[T]
    future: "Future[T]"


class IndexWriter:
    """Carries out commands in durable transactions.

    Parameters
    ----------
    engine
        From `open_writer_engine`; the caller disposes of it after `stop`.
    settings
        Limits of groups and of the write-ahead log.
    """

    def __init__(self, engine: Engine, settings: IndexSettings) -> None:
        self._engine = engine
        self._max_group_count = settings.max_group_count
        self._checkpointer = Checkpointer(engine.url, settings.checkpoint_wal_bytes)
        self._queue: queue.SimpleQueue[_Request[Any] | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._is_open = False
        self._is_healthy = True
        self._commits = self._commands = self._largest_group = self._replays = self._failures = 0
        self._jobs_committed: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name="pacslite-index", daemon=True)

    @property
    def is_healthy(self) -> bool:
        """Whether the database took the last transaction; False from a failed one until the next success."""
        return self._is_healthy

    def start(self) -> None:
        """Start the thread."""
        self._is_open = True
        self._thread.start()

    def stop(self) -> None:
        """Carry out what is queued, move the write-ahead log into the database, end the thread."""
        with self._gate:
            was_open, self._is_open = self._is_open, False
            if was_open:
                self._queue.put(None)
        if was_open:
            self._thread.join()

    def submit(self, command: Command[T]) -> "Future[T]":
        """Queue `command`; the future has its result once that is durable.

        A future that is cancelled before its group starts is not carried out. Its exception is
        `OutOfResourcesError` when the database failed, `CommitInDoubtError` when even the outcome is unknown,
        else what the command raised. Commands may be run more than once, each time on a fresh transaction.

        Raises
        ------
        OutOfResourcesError
            If the writer is not running.
        """
        request = _Request(command, Future())
        with self._gate:
            if not self._is_open:
                raise OutOfResourcesError("The index is closed")
            self._queue.put(request)
        return request.future

    def call_when_jobs_are_committed(self, callback: Callable[[], None] | None) -> None:
        """Call `callback`, if any, in the writer's thread after each commit by which jobs may be due."""
        self._jobs_committed = callback

    def statistics(self) -> WriterStatistics:
        """Return the counters."""
        return WriterStatistics(
            commits=self._commits,
            commands=self._commands,
            largest_group=self._largest_group,
            replays=self._replays,
            failures=self._failures,
            checkpoints=self._checkpointer.count,
            wal_bytes=self._checkpointer.wal_bytes(),
            queued=self._queue.qsize(),
        )

    def _run(self) -> None:
        try:
            with Session(self._engine, self._tell_of_jobs) as session:
                while self._work(session):
                    pass
                self._checkpointer.run(session.connection)
        finally:
            self._abandon()

    def _work(self, session: Session) -> bool:
        """Carry out the next group; return whether there may be another."""
        group: list[_Request[Any]] = []
        is_running = True
        try:
            is_running = self._gather(group)
            if group:
                self._carry_out(session, group)
                self._checkpointer.run_if_due(session.connection)
            else:
                self._checkpointer.run(session.connection)
        # Whatever it is, those who wait must be told, and those who come be served.
        except BaseException as error:  # noqa: BLE001 - see above
            self._survive(group, error)
        return is_running

    def _survive(self, group: Sequence[_Request[Any]], error: BaseException) -> None:
        self._is_healthy = False
        log.critical("index.writer_failed", exc_info=error)
        for request in group:
            if not request.future.done():
                # Nobody knows how far it came.
                request.future.set_exception(CommitInDoubtError("The index failed in an unforeseen way"))
        time.sleep(_RETRY_SECONDS)

    def _abandon(self) -> None:
        """Let nobody wait for a thread that has ended: all is done unless something was unforeseen."""
        with self._gate:
            was_open, self._is_open = self._is_open, False
        if was_open:
            self._is_healthy = False
            log.critical("index.writer_ended", queued=self._queue.qsize())
        while not self._queue.empty():
            request = self._queue.get_nowait()
            if request is not None and request.future.set_running_or_notify_cancel():
                request.future.set_exception(OutOfResourcesError("The index is closed"))

    def _tell_of_jobs(self) -> None:
        if (callback := self._jobs_committed) is None:
            return
        try:
            callback()
        # It is committed, whoever cannot be told of it; jobs are looked for now and then in any case.
        except Exception:
            log.exception("index.jobs_not_told")

    def _gather(self, group: list[_Request[Any]]) -> bool:
        """Wait for a request and take those behind it; none when a log waits for an idle moment.

        Returns False once the end was asked for.
        """
        try:
            request = self._queue.get(timeout=_IDLE_SECONDS if self._checkpointer.is_useful else None)
            while request is not None:
                if request.future.set_running_or_notify_cancel():
                    group.append(request)
                if len(group) >= self._max_group_count:
                    return True
                request = self._queue.get_nowait()
        except queue.Empty:
            return True
        return False

    def _carry_out(self, session: Session, group: Sequence[_Request[Any]]) -> None:
        try:
            if len(group) == 1:
                self._carry_out_alone(session, group[0])
                return
            results = session.transact([request.command for request in group])
        except (CommitInDoubtError, DatabaseUnavailableError) as error:
            self._fail(group, error)
        except Exception:  # noqa: BLE001 - whatever one command raised must not harm the others
            self._replay(session, group)
        else:
            self._succeed(group, results)

    def _replay(self, session: Session, group: Sequence[_Request[Any]]) -> None:
        """Carry out each request by itself, but wait for a database that is not there only once."""
        self._replays += 1
        for position, request in enumerate(group):
            try:
                self._carry_out_alone(session, request)
            except DatabaseUnavailableError as error:
                self._fail(group[position:], error)
                return

    def _carry_out_alone(self, session: Session, request: _Request[Any]) -> None:
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                results = session.transact([request.command])
            except DatabaseUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - goes to whoever submitted the command
                if attempt == _MAX_ATTEMPTS or not is_worth_retrying(error):
                    self._fail([request], error)
                    return
                time.sleep((attempt - 1) * _RETRY_SECONDS)
            else:
                self._succeed([request], results)
                return

    def _succeed(self, group: Sequence[_Request[Any]], results: Sequence[Any]) -> None:
        self._is_healthy = True
        self._commits += 1
        self._commands += len(group)
        self._largest_group = max(self._largest_group, len(group))
        self._checkpointer.note(len(group))
        for request, result in zip(group, results, strict=True):
            request.future.set_result(result)

    def _fail(self, group: Sequence[_Request[Any]], error: Exception) -> None:
        self._failures += len(group)
        if isinstance(as_reported(error), OutOfResourcesError):
            self._is_healthy = False
            log.error("index.write_failed", reason=describe(error), commands=len(group))
        for request in group:
            request.future.set_exception(as_reported(error))
