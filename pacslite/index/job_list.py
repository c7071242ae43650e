"""What a keeper sees of the queue of jobs, and does to it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, func, select, true, update

from pacslite.index.tables import job
from pacslite.index.transaction import WriteTransaction
from pacslite.model.jobs import JobState

BATCH: Final = 500
"""So many jobs are changed in one transaction: senders wait for it."""

_RETRIABLE: Final = (JobState.QUEUED, JobState.DEAD, JobState.CANCELLED)
_CANCELLABLE: Final = (JobState.QUEUED, JobState.LEASED, JobState.DEAD)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the queue has it; moments are in UTC."""

    pk: int
    kind: str
    state: JobState
    payload: Mapping[str, Any]
    dedupe_key: str | None
    attempts: int
    not_before: datetime
    lease_owner: str | None
    lease_until: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant: all that meet every condition that is given."""

    numbers: Sequence[int] = ()
    kind: str | None = None
    state: JobState | None = None

    def condition(self) -> ColumnElement[bool]:
        """Return it in SQL."""
        found: ColumnElement[bool] = true()
        if self.numbers:
            found &= job.c.pk.in_(self.numbers)
        if self.kind is not None:
            found &= job.c.kind == self.kind
        if self.state is not None:
            found &= job.c.state == self.state
        return found


def find_jobs(connection: Connection, wanted: JobFilter, *, after: int = 0, limit: int) -> list[JobRecord]:
    """Return up to `limit` jobs, by number, from the one after `after` on."""
    found = select(job).where(wanted.condition(), job.c.pk > after).order_by(job.c.pk).limit(limit)
    return [_record(row) for row in connection.execute(found)]


def count_jobs(connection: Connection) -> dict[tuple[str, JobState], int]:
    """Return how many jobs there are of each kind in each state."""
    found = select(job.c.kind, job.c.state, func.count().label("jobs")).group_by(job.c.kind, job.c.state)
    rows = connection.execute(found.order_by(job.c.kind, job.c.state))
    return {(row.kind, JobState(row.state)): row.jobs for row in rows}


def retry_jobs(transaction: WriteTransaction, numbers: Sequence[int]) -> list[int]:
    """Make jobs due at once, with all their attempts before them, unless they are being done."""
    now = datetime.now(UTC)
    changed = _change(
        transaction, numbers, _RETRIABLE, {"state": JobState.QUEUED, "attempts": 0, "not_before": now}
    )
    transaction.has_new_jobs |= bool(changed)
    return changed


def cancel_jobs(transaction: WriteTransaction, numbers: Sequence[int]) -> list[int]:
    """Let jobs not be done; an attempt under way may come to its end all the same."""
    values = {"state": JobState.CANCELLED, "lease_owner": None, "lease_until": None}
    return _change(transaction, numbers, _CANCELLABLE, values)


def _change(
    transaction: WriteTransaction,
    numbers: Sequence[int],
    states: Sequence[JobState],
    values: Mapping[str, Any],
) -> list[int]:
    """Change the jobs that are in one of `states`; return their numbers."""
    changed = []
    for number in numbers:
        chosen = update(job).where(job.c.pk == number, job.c.state.in_(states))
        if transaction.connection.execute(chosen.values(**values, updated_at=datetime.now(UTC))).rowcount:
            changed.append(number)
    return changed


def _record(row: Row[Any]) -> JobRecord:
    values = row._asdict()
    return JobRecord(
        **(values | {"state": JobState(values["state"]), "payload": json.loads(values["payload"])})
    )
