"""Jobs to test with: what archive and index look like to a runner, without the rest."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

from sqlalchemy import select
from support.index import Index

from pacslite.archive.jobs import JobHandler, JobRunner
from pacslite.index.job_list import JobFilter, JobRecord, find_jobs
from pacslite.index.jobs import enqueue
from pacslite.index.tables import job
from pacslite.settings.schema import JobSettings

FAST = JobSettings(lease_seconds=0.6, retry_seconds_min=0.02, retry_seconds_max=0.1, max_attempts=3)


def promise(
    index: Index, kind: str = "note", payload: Mapping[str, Any] | None = None, **choices: Any
) -> Any:
    """Promise a job; return its number."""
    return index.run(partial(_enqueue, kind=kind, payload=payload or {}, choices=choices))


def _enqueue(transaction: Any, kind: str, payload: Mapping[str, Any], choices: Mapping[str, Any]) -> Any:
    return enqueue(transaction, kind, payload, **choices)


def jobs_of(index: Index) -> list[JobRecord]:
    return index.reader.read(partial(find_jobs, wanted=JobFilter(), limit=1000))


def change(index: Index, number: int, **values: Any) -> None:
    """Change a job's row behind the queue's back."""
    index.run(
        lambda transaction: transaction.connection.execute(
            job.update().where(job.c.pk == number).values(**values)
        )
    )


def rows_of(index: Index) -> int:
    with index.reader_engine.connect() as connection:
        return len(connection.execute(select(job.c.pk)).all())


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.002)


class RunningJobs:
    """A runner in a thread of its own."""

    def __init__(
        self,
        index: Index,
        handlers: Mapping[str, JobHandler],
        settings: JobSettings = FAST,
        node_name: str = "node1",
    ) -> None:
        archive: Any = SimpleNamespace(
            name="main", reader=index.reader, writer=index.writer, store=SimpleNamespace(node_name=node_name)
        )
        self.runner = JobRunner(archive, handlers, settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self) -> Self:
        self.call(self.runner.start())
        return self

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def stop(self) -> None:
        self.call(self.runner.stop())
        self.abandon()

    def abandon(self) -> None:
        """End without a word, as kill -9 would, but for threads."""
        self.runner._archive.writer.call_when_jobs_are_committed(None)
        self._loop.call_soon_threadsafe(self._cancel_all)
        self._thread.join(10)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _cancel_all(self) -> None:
        self._loop.create_task(self._end())

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop.stop()


@contextmanager
def running_jobs(
    index: Index,
    handlers: Mapping[str, JobHandler],
    settings: JobSettings = FAST,
    node_name: str = "node1",
) -> Iterator[RunningJobs]:
    running = RunningJobs(index, handlers, settings, node_name).start()
    try:
        yield running
    finally:
        running.stop()
