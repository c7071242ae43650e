"""What a keeper can do about jobs: see them, let them be tried again, let them be."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import model_validator

from pacslite.archive.operation import Arguments, Progress
from pacslite.index.job_list import BATCH, JobFilter, cancel_jobs, find_jobs, retry_jobs
from pacslite.index.transaction import WriteTransaction
from pacslite.model.errors import NotFoundError
from pacslite.model.jobs import JobState

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive


class _Change(Protocol):
    def __call__(self, transaction: WriteTransaction, numbers: Sequence[int]) -> list[int]: ...


class JobChoice(Arguments):
    """Which jobs are meant: those that meet every condition, of which there must be one."""

    numbers: tuple[int, ...] = ()
    kind: str | None = None
    state: JobState | None = None

    @model_validator(mode="after")
    def _check_something_is_chosen(self) -> "JobChoice":
        if not (self.numbers or self.kind or self.state):
            raise ValueError("say which jobs: by number, kind or state")
        return self


def retry(archive: "Archive", chosen: JobChoice, progress: Progress) -> dict[str, Any]:
    """Make the chosen jobs due at once, dead and cancelled ones too; those being done stay as they are.

    Returns
    -------
    dict[str, Any]
        `changed` and `unchanged`: the numbers of the jobs.

    Raises
    ------
    NotFoundError
        One of the numbers is no job's; nothing was changed.
    """
    return _change(archive, chosen, progress, retry_jobs)


def cancel(archive: "Archive", chosen: JobChoice, progress: Progress) -> dict[str, Any]:
    """Let the chosen jobs not be done; an attempt under way may come to its end all the same.

    Returns
    -------
    dict[str, Any]
        `changed` and `unchanged`: the numbers of the jobs.

    Raises
    ------
    NotFoundError
        One of the numbers is no job's; nothing was changed.
    """
    return _change(archive, chosen, progress, cancel_jobs)


def _change(archive: "Archive", chosen: JobChoice, progress: Progress, change: _Change) -> dict[str, Any]:
    numbers = _numbers(archive, chosen)
    changed: list[int] = []
    for start in range(0, len(numbers), BATCH):
        progress(start, len(numbers), "jobs")
        batch = numbers[start : start + BATCH]
        changed += archive.writer.submit(partial(change, numbers=batch)).result()
    unchanged = sorted(set(numbers).difference(changed))
    return {"changed": changed, "unchanged": unchanged}


def _numbers(archive: "Archive", chosen: JobChoice) -> list[int]:
    wanted = JobFilter(chosen.numbers, chosen.kind, chosen.state)
    numbers: list[int] = []
    while True:
        after = numbers[-1] if numbers else 0
        found = archive.reader.read(partial(find_jobs, wanted=wanted, after=after, limit=BATCH))
        numbers += [record.pk for record in found]
        if len(found) < BATCH:
            break
    missing = sorted(set(chosen.numbers).difference(numbers))
    if missing:
        raise NotFoundError(f"there is no such job: {', '.join(map(str, missing))}")
    return numbers
