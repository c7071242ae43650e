"""Everything that a keeper can ask of an archive, by name."""

from collections.abc import Mapping
from typing import Any, Final

from pacslite.archive import conflicts, deletion, importing, job_keeping, restoring
from pacslite.archive.operation import Operation
from pacslite.model.errors import OperationError

OPERATIONS: Final[Mapping[str, Operation[Any]]] = {
    "conflicts.accept": Operation(conflicts.ConflictArguments, conflicts.accept_conflict),
    "conflicts.discard": Operation(conflicts.ConflictArguments, conflicts.discard_conflict),
    "delete": Operation(deletion.DeleteArguments, deletion.delete),
    "import": Operation(importing.ImportArguments, importing.import_files, is_abandonable=True),
    "jobs.cancel": Operation(job_keeping.JobChoice, job_keeping.cancel),
    "jobs.retry": Operation(job_keeping.JobChoice, job_keeping.retry),
    "mend": Operation(restoring.MendArguments, restoring.mend, is_abandonable=True),
}


def operation_of(name: str) -> Operation[Any]:
    """Return the operation called `name`.

    Raises
    ------
    OperationError
        There is none.
    """
    operation = OPERATIONS.get(name)
    if operation is None:
        raise OperationError(f"there is no operation {name!r}")
    return operation
