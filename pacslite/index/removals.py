"""Files that no row names any longer: their removal is promised in the transaction that made them so."""

import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select

from pacslite.index.jobs import enqueue
from pacslite.index.tables import job
from pacslite.index.transaction import WriteTransaction

REMOVE_FILES: Final = "remove-files"
"""The kind of the job; its payload is `{"paths": […]}`, relative to the store."""

_FIND: Final = select(job.c.payload).where(job.c.kind == REMOVE_FILES)


def promise_removal(transaction: WriteTransaction, paths: Sequence[str]) -> None:
    """Have the files removed once the transaction, which took their paths out of all rows, is durable."""
    if paths:
        enqueue(transaction, REMOVE_FILES, {"paths": list(paths)})


def doomed_paths(connection: Connection, prefix: str) -> set[str]:
    """Return the paths starting with `prefix` of files that are still to be removed.

    Jobs that were given up or cancelled count too: their files are nobody's.
    """
    payloads = (json.loads(payload) for payload in connection.scalars(_FIND))
    return {path for payload in payloads for path in payload["paths"] if path.startswith(prefix)}
