"""The states of jobs."""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is between its promise and its end; one that is done is nowhere."""

    QUEUED = "queued"
    LEASED = "leased"
    """A node is at it."""
    DEAD = "dead"
    """Given up after too many attempts; a keeper may let it be tried again."""
    CANCELLED = "cancelled"
    """A keeper does not want it done."""
