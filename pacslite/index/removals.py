"""Files that no row names any longer: their removal is promised in the transaction that made them so."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, select

from pacslite.index.jobs import enqueue
from pacslite.index.tables import conflict, instance, job
from pacslite.index.transaction import WriteTransaction

REMOVE_FILES: Final = "remove-files"
"""The kind of the job; its payload is `{"paths": […]}`, relative to the store."""

_FIND: Final = select(job.c.payload).where(job.c.kind == REMOVE_FILES)


@dataclass(frozen=True, slots=True)
class Removal:
    """The job that removes `paths`, should nobody do it before."""

    job_pk: int
    paths: tuple[str, ...]


def promise_removal(transaction: WriteTransaction, paths: Sequence[str]) -> Removal | None:
    """Have the files removed once the transaction, which took their paths out of all rows, is durable."""
    if not paths:
        return None
    job_pk = enqueue(transaction, REMOVE_FILES, {"paths": list(paths)})
    return None if job_pk is None else Removal(job_pk, tuple(paths))


def settle(transaction: WriteTransaction, removal: Removal) -> None:
    """Take note that the files are gone: the job need not be done."""
    is_job = (job.c.pk == removal.job_pk, job.c.kind == REMOVE_FILES)
    transaction.connection.execute(delete(job).where(*is_job))


def doomed_paths(connection: Connection, prefix: str) -> set[str]:
    """Return the paths starting with `prefix` of files that are still to be removed.

    Jobs that were given up or cancelled count too: their files are nobody's.
    """
    payloads = (json.loads(payload) for payload in connection.scalars(_FIND))
    return {path for payload in payloads for path in payload["paths"] if path.startswith(prefix)}


def named_among(connection: Connection, paths: Sequence[str]) -> set[str]:
    """Return those of `paths` that an instance or a conflict names."""
    return {
        path
        for table in (instance, conflict)
        for path in connection.scalars(select(table.c.path).where(table.c.path.in_(paths)))
    }
