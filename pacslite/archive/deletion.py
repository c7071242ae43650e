"""Deleting studies, series and instances: files for good, metadata only on demand."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from pacslite.archive.operation import Arguments, Progress
from pacslite.archive.removal import remove_now
from pacslite.index import deletion
from pacslite.index.deletion import Extent, Taken, Target
from pacslite.index.transaction import WriteTransaction
from pacslite.model.attributes import Level
from pacslite.model.errors import NotFoundError

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive

BATCH: Final = 100
"""Instances of one transaction: receipts wait behind it for a few milliseconds."""

LEVELS: Final = {"study": Level.STUDY, "series": Level.SERIES, "instance": Level.INSTANCE}

log = structlog.get_logger(__name__)


class DeleteArguments(Arguments):
    """What is to be deleted, and whether its metadata are to be forgotten too."""

    level: Literal["study", "series", "instance"]
    uid: str
    forget: bool = False


def extent_of(archive: "Archive", level: str, uid: str) -> Extent:
    """Return how much the deletion of a study, series or instance would take.

    Raises
    ------
    NotFoundError
        There is nothing of this UID.
    """
    target = Target(LEVELS[level], uid)
    extent = archive.reader.read(partial(deletion.extent_of, target=target))
    if not extent.instances and not extent.conflicts:
        raise NotFoundError(f"there is no {level} {uid}")
    return extent


def delete(archive: "Archive", arguments: DeleteArguments, progress: Progress) -> dict[str, Any]:
    """Delete what there is now of a study, series or instance, in small transactions.

    What arrives meanwhile stays. Of each batch the rows change first and durably, together with a job that
    removes the files; then the files are removed, and the job with them. A process that is killed leaves the
    rest of the files to the job, and the rest of the instances to the next time.

    Returns
    -------
    dict
        `instances` and `conflicts` deleted, and `files_left`: files that could not be removed yet.

    Raises
    ------
    NotFoundError
        There is nothing of this UID.
    OperationStoppedError
        As `progress`; what was done until then stays done.
    """
    extent_of(archive, arguments.level, arguments.uid)
    deleting = _Deletion(archive, arguments, progress)
    try:
        deleting.run()
    finally:
        log.info("archive.deleted", archive=archive.name, level=arguments.level, **deleting.told)
    return deleting.told


class _Deletion:
    """One deletion, batch by batch."""

    def __init__(self, archive: "Archive", arguments: DeleteArguments, progress: Progress) -> None:
        self._archive = archive
        self._target = Target(LEVELS[arguments.level], arguments.uid)
        self._is_forgetting = arguments.forget
        self._progress = progress
        self._study_pks: frozenset[int] = frozenset()
        self.told = {"instances": 0, "conflicts": 0, "files_left": 0}

    def run(self) -> None:
        """Delete everything that is there now."""
        target, is_forgetting = self._target, self._is_forgetting
        find = partial(deletion.find_instances, target=target, is_forgetting=is_forgetting)
        keys = self._archive.reader.read(find)
        try:
            for start in range(0, len(keys), BATCH):
                self._progress(start, len(keys), "instances")
                batch = keys[start : start + BATCH]
                self._note(self._submit(batch, is_last=start + BATCH >= len(keys)))
        finally:
            if self._study_pks:  # stopped half-way
                self._archive.writer.submit(partial(deletion.settle, study_pks=self._study_pks)).result()
        self._take_asides()
        self._progress(len(keys), len(keys), "instances")

    def _submit(self, keys: Sequence[int], *, is_last: bool) -> Taken:
        def command(transaction: WriteTransaction) -> Taken:
            taken = deletion.take_instances(
                transaction, self._target, keys, is_forgetting=self._is_forgetting
            )
            touched = self._study_pks | taken.study_pks
            if is_last and touched:
                deletion.settle(transaction, touched)
            return taken

        taken = self._archive.writer.submit(command).result()
        self._study_pks = frozenset() if is_last else self._study_pks | taken.study_pks
        return taken

    def _take_asides(self) -> None:
        """Take versions that belong to what is deleted, though the archive's version of them does not."""
        keys = self._archive.reader.read(partial(deletion.find_asides, target=self._target))
        for start in range(0, len(keys), BATCH):
            self._progress(start, len(keys), "conflicts")
            command = partial(
                deletion.take_asides, keys=keys[start : start + BATCH], is_forgetting=self._is_forgetting
            )
            self._note(self._archive.writer.submit(command).result())

    def _note(self, taken: Taken) -> None:
        self.told["instances"] += taken.instances
        self.told["conflicts"] += taken.conflicts
        self.told["files_left"] += remove_now(self._archive, taken.removal)
