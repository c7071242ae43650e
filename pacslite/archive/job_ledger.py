"""The queue of jobs as one node's runner sees it: `pacslite.index.leases` as coroutines."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import DBAPIError

from pacslite.archive.lease_watch import LeaseWatch
from pacslite.index import leases
from pacslite.index.jobs import Job
from pacslite.model.errors import OutOfResourcesError
from pacslite.model.jobs import JobState
from pacslite.settings.schema import JobSettings

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive
    from pacslite.index.transaction import WriteTransaction

T = TypeVar("T")


class JobLedger:
    """Reads and writes what one node has to do with the jobs of an archive.

    Every method raises `OutOfResourcesError` when the index fails.

    Parameters
    ----------
    archive
        Started.
    kinds
        Of the jobs that this node can do.
    settings
        Limits and times.
    """

    def __init__(self, archive: "Archive", kinds: Collection[str], settings: JobSettings) -> None:
        self._archive = archive
        self._owner = archive.store.node_name
        self._kinds = list(kinds)
        self._settings = settings
        self._others = LeaseWatch(settings.lease_seconds)

    async def recover(self) -> int:
        """Take back what an earlier life of this node left leased; return how many jobs."""
        count = await self._write(
            lambda transaction: leases.recover(transaction, self._owner, self._settings)
        )
        await self.mend_times()
        return count

    async def mend_times(self) -> None:
        """Make due what waits only because the clock was set back."""
        await self._write(lambda transaction: leases.mend_times(transaction, self._settings))

    async def seconds_until_due(self, at_work: Collection[int]) -> float | None:
        """Return when the next job, but for those `at_work`, is due; None when none is queued."""
        moment = await self._read(lambda connection: leases.next_due(connection, self._kinds, at_work))
        return None if moment is None else moment.timestamp() - time.time()

    async def lease(self, at_work: Collection[int], limit: int) -> list[Job]:
        """Return up to `limit` due jobs, which are ours from now on."""
        return await self._write(
            lambda transaction: leases.lease(
                transaction,
                self._owner,
                self._kinds,
                at_work,
                limit=limit,
                lease_seconds=self._settings.lease_seconds,
            )
        )

    async def renew(self, jobs: Iterable[Job]) -> set[int]:
        """Say that we are still at `jobs`; return the numbers of those that are ours no longer."""
        seconds = self._settings.lease_seconds
        return await self._write(lambda transaction: leases.renew(transaction, self._owner, jobs, seconds))

    async def take_over(self) -> int:
        """Queue the jobs of nodes that fell silent; return how many. To be called every now and then."""
        found = await self._read(lambda connection: leases.leases_of_others(connection, self._owner))
        silent = self._others.silent(found, time.monotonic())
        if not silent:
            return 0
        return await self._write(lambda transaction: leases.take_over(transaction, silent, self._settings))

    async def unknown_kinds(self) -> set[str]:
        """Return the kinds of queued jobs that this node cannot do."""
        return await self._read(lambda connection: leases.unknown_kinds(connection, self._kinds))

    async def complete(self, job: Job) -> bool:
        """Record that a job is done; return whether it was still ours."""
        return await self._write(lambda transaction: leases.complete(transaction, self._owner, job))

    async def fail(self, job: Job, why: str) -> JobState | None:
        """Record that an attempt failed; return what became of the job, None if it was not ours."""
        return await self._write(
            lambda transaction: leases.fail(transaction, self._owner, job, why, self._settings)
        )

    async def give_back(self, job: Job) -> bool:
        """Record that an attempt was broken off; return whether the job was still ours."""
        return await self._write(lambda transaction: leases.give_back(transaction, self._owner, job))

    async def _read(self, query: Callable[[Any], T]) -> T:
        try:
            return await asyncio.to_thread(self._archive.reader.read, query)
        except DBAPIError as error:
            raise OutOfResourcesError("The index cannot be read") from error

    async def _write(self, command: "Callable[[WriteTransaction], T]") -> T:
        return await asyncio.wrap_future(self._archive.writer.submit(command))
