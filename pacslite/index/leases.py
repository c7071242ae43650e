"""Who works on which job: commands of the index writer, and what the runner reads beside it.

A lease is a row's owner, its attempt and a moment that the owner renews. Nothing is decided by comparing that
moment with a clock, which may be set: a node knows its own leases, and takes another node's when it has seen
the same moment for too long (`pacslite.archive.jobs.LeaseWatch`).
"""

import random
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from pacslite.index.jobs import Job, as_job
from pacslite.index.tables import job
from pacslite.index.transaction import WriteTransaction
from pacslite.model.jobs import JobState
from pacslite.settings.schema import JobSettings

LeaseMoments = Mapping[int, datetime]
"""The moments that leases say, by the number of the job."""

_LOST: Final = "the node ended during the attempt"


def next_due(connection: Connection, kinds: Collection[str], at_work: Collection[int]) -> datetime | None:
    """Return when the first queued job of `kinds`, but for those `at_work`, is due; None: there is none."""
    moment = select(job.c.not_before).where(_queued(kinds, at_work)).order_by(job.c.not_before).limit(1)
    return connection.execute(moment).scalar_one_or_none()


def unknown_kinds(connection: Connection, kinds: Collection[str]) -> set[str]:
    """Return the kinds of queued jobs that are not among `kinds`."""
    found = select(job.c.kind).distinct().where(job.c.state == JobState.QUEUED, job.c.kind.not_in(kinds))
    return set(connection.execute(found).scalars())


def leases_of_others(connection: Connection, owner: str) -> dict[int, datetime]:
    """Return the leases of every node but `owner`."""
    found = select(job.c.pk, job.c.lease_until).where(
        job.c.state == JobState.LEASED, job.c.lease_owner != owner
    )
    return {row.pk: row.lease_until for row in connection.execute(found)}


def lease(
    transaction: WriteTransaction,
    owner: str,
    kinds: Collection[str],
    at_work: Collection[int],
    *,
    limit: int,
    lease_seconds: float,
) -> list[Job]:
    """Give `owner` up to `limit` due jobs of `kinds`, the longest due first, but for those `at_work`.

    PostgreSQL passes over what another node is about to take; SQLite has one writer and knows no such words.
    """
    now = datetime.now(UTC)
    due = (
        select(job)
        .where(_queued(kinds, at_work), job.c.not_before <= now)
        .order_by(job.c.not_before, job.c.pk)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    leased = []
    for row in transaction.connection.execute(due).all():
        taken = update(job).where(job.c.pk == row.pk, job.c.state == JobState.QUEUED)
        values = {"state": JobState.LEASED, "attempts": row.attempts + 1, "lease_owner": owner}
        values |= {"lease_until": now + timedelta(seconds=lease_seconds), "updated_at": now}
        if transaction.connection.execute(taken.values(values)).rowcount:
            leased.append(as_job(row, attempts=row.attempts + 1))
    return leased


def renew(transaction: WriteTransaction, owner: str, jobs: Iterable[Job], lease_seconds: float) -> set[int]:
    """Say that `owner` is still at `jobs`; return the numbers of those that are its no longer."""
    now = datetime.now(UTC)
    values = {"lease_until": now + timedelta(seconds=lease_seconds)}
    return {
        leased.pk
        for leased in jobs
        if not transaction.connection.execute(update(job).where(_held(leased, owner)).values(values)).rowcount
    }


def complete(transaction: WriteTransaction, owner: str, done: Job) -> bool:
    """Remove the row of a job that is done; return whether it was still `owner`'s."""
    return bool(transaction.connection.execute(delete(job).where(_held(done, owner))).rowcount)


def fail(
    transaction: WriteTransaction, owner: str, failed: Job, why: str, settings: JobSettings
) -> JobState | None:
    """Queue a job again for later, or give it up; return what became of it, None if it was not `owner`'s."""
    values = _after_failure(failed.attempts, why, settings)
    changed = transaction.connection.execute(update(job).where(_held(failed, owner)).values(values))
    return values["state"] if changed.rowcount else None


def give_back(transaction: WriteTransaction, owner: str, unfinished: Job) -> bool:
    """Queue a job again whose attempt was broken off by us and does not count."""
    now = datetime.now(UTC)
    values = _queued_values(unfinished.attempts - 1, now, now)
    changed = transaction.connection.execute(update(job).where(_held(unfinished, owner)).values(values))
    transaction.has_new_jobs = True
    return bool(changed.rowcount)


def recover(transaction: WriteTransaction, owner: str, settings: JobSettings) -> int:
    """Take back the leases of an earlier life of `owner`; return how many there were.

    The attempts count: what ends a node may be the job.
    """
    connection = transaction.connection
    mine = and_(job.c.state == JobState.LEASED, job.c.lease_owner == owner)
    rows = connection.execute(select(job.c.pk, job.c.attempts).where(mine)).all()
    for row in rows:
        _take_back(connection, and_(mine, job.c.pk == row.pk), row.attempts, settings)
    return len(rows)


def take_over(transaction: WriteTransaction, silent: LeaseMoments, settings: JobSettings) -> int:
    """Queue the jobs whose leases still say the moment of `silent`; return how many."""
    taken = 0
    for pk, moment in silent.items():
        held = and_(job.c.pk == pk, job.c.state == JobState.LEASED, job.c.lease_until == moment)
        row = transaction.connection.execute(select(job.c.attempts).where(held)).one_or_none()
        if row is not None:
            taken += _take_back(transaction.connection, held, row.attempts, settings)
    transaction.has_new_jobs |= taken > 0
    return taken


def mend_times(transaction: WriteTransaction, settings: JobSettings) -> int:
    """Make due what waits only because the clock was set back; return how many jobs.

    That is what was promised for at once, and retries that are further away than a retry can be.
    """
    now = datetime.now(UTC)
    furthest = now + timedelta(seconds=settings.retry_seconds_max)
    was_at_once = and_(job.c.created_at > now, job.c.not_before <= job.c.created_at)
    is_too_far = and_(job.c.attempts > 0, job.c.not_before > furthest)
    late = and_(job.c.state == JobState.QUEUED, job.c.not_before > now, or_(was_at_once, is_too_far))
    changed = transaction.connection.execute(update(job).where(late).values(not_before=now)).rowcount
    transaction.has_new_jobs |= changed > 0
    return changed


def retry_pause(attempts: int, settings: JobSettings) -> timedelta:
    """Return how long to wait after so many attempts: doubling, and scattered so that few meet again."""
    doubled = settings.retry_seconds_min * 2.0 ** min(attempts - 1, 64)
    longest = min(doubled, settings.retry_seconds_max)
    return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - scatters, hides nothing


def _take_back(
    connection: Connection, where: ColumnElement[bool], attempts: int, settings: JobSettings
) -> int:
    values = _after_failure(attempts, _LOST, settings)
    if attempts == 1:  # most likely the node just ended, and not because of this job
        values["not_before"] = values["updated_at"]
    return connection.execute(update(job).where(where).values(values)).rowcount


def _after_failure(attempts: int, why: str, settings: JobSettings) -> dict[str, Any]:
    now = datetime.now(UTC)
    values = _queued_values(attempts, now + retry_pause(attempts, settings), now) | {"last_error": why}
    return values if attempts < settings.max_attempts else values | {"state": JobState.DEAD}


def _queued_values(attempts: int, not_before: datetime, now: datetime) -> dict[str, Any]:
    return {
        "state": JobState.QUEUED,
        "attempts": attempts,
        "not_before": not_before,
        "lease_owner": None,
        "lease_until": None,
        "updated_at": now,
    }


def _queued(kinds: Collection[str], at_work: Collection[int]) -> ColumnElement[bool]:
    return and_(job.c.state == JobState.QUEUED, job.c.kind.in_(kinds), job.c.pk.not_in(at_work))


def _held(held: Job, owner: str) -> ColumnElement[bool]:
    """Say that `owner` is at just this attempt: a node that was frozen for long must not end a later one."""
    return and_(
        job.c.pk == held.pk,
        job.c.state == JobState.LEASED,
        job.c.lease_owner == owner,
        job.c.attempts == held.attempts,
    )
