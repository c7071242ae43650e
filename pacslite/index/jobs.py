"""The queue of jobs: work that the index promised, in the transaction that made it necessary.

A job that is done leaves no row: the queue is as long as what is to be done, and its purpose is free again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select

from pacslite.index.tables import job
from pacslite.index.transaction import WriteTransaction
from pacslite.model.jobs import JobState

_PROMISED: Final = (JobState.QUEUED, JobState.LEASED)


@dataclass(frozen=True, slots=True)
class Job:
    """What a handler is given.

    Parameters
    ----------
    pk
        Its number.
    kind
        What is to be done.
    payload
        To what; whatever JSON can say.
    attempts
        Which attempt this is, from 1.
    created_at
        When it was promised, UTC.
    """

    pk: int
    kind: str
    payload: Mapping[str, Any]
    attempts: int
    created_at: datetime


def enqueue(
    transaction: WriteTransaction,
    kind: str,
    payload: Mapping[str, Any],
    *,
    dedupe_key: str | None = None,
    not_before: datetime | None = None,
) -> int | None:
    """Promise a job: it will be done, at least once, if and only if the transaction is committed.

    Parameters
    ----------
    transaction
        The one whose consequence the job is.
    kind
        Picks the handler; a job of a kind that no node knows waits.
    payload
        What JSON can say, without patient data where UIDs and paths will do.
    dedupe_key
        While a job with this key is queued or leased, no other one is made; dead and cancelled ones give way.
    not_before
        UTC; None: at once.

    Returns
    -------
    int | None
        The job's number; None when there is one for `dedupe_key`.
    """
    connection = transaction.connection
    if dedupe_key is not None:
        same = job.c.dedupe_key == dedupe_key
        if connection.execute(select(job.c.pk).where(same, job.c.state.in_(_PROMISED))).first():
            return None
        connection.execute(delete(job).where(same))
    now = datetime.now(UTC)
    result = connection.execute(
        insert(job).values(
            kind=kind,
            dedupe_key=dedupe_key,
            payload=json.dumps(payload),
            state=JobState.QUEUED,
            attempts=0,
            not_before=not_before or now,
            created_at=now,
            updated_at=now,
        )
    )
    transaction.has_new_jobs = True
    (pk,) = result.inserted_primary_key or (None,)
    return pk


def as_job(row: Row[Any], *, attempts: int) -> Job:
    """Return the job that `row` of the table says, in its attempt `attempts`."""
    return Job(row.pk, row.kind, json.loads(row.payload), attempts, row.created_at)
