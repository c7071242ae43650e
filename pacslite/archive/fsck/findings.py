"""What a check of an archive finds."""

from dataclasses import dataclass, field
from enum import StrEnum, unique


@unique
class Kind(StrEnum):
    """What is wrong."""

    MISSING = "missing"
    """A row names a file that is not there."""
    DAMAGED = "damaged"
    """A file is not what was received."""
    WRONG_METADATA = "wrong-metadata"
    """A row says otherwise than its file, which is what was received."""
    EXTRA = "extra"
    """Something lies in the store that no row names."""
    INDEX = "index"
    """The index contradicts itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    kind
        See there.
    what
        In words, without values of patients.
    path
        Of the file, relative to the store.
    sop_instance_uid
        Of the instance, as the index says.
    """

    kind: Kind
    what: str
    path: str | None = None
    sop_instance_uid: str | None = None


@dataclass(slots=True)
class FsckReport:
    """What a check found.

    Parameters
    ----------
    files
        Files that rows name and that were checked.
    file_bytes
        Their size.
    awaiting_removal
        Files that a deletion left to its job; nothing is wrong with that.
    seconds
        How long it took.
    findings
        What is wrong.
    """

    files: int = 0
    file_bytes: int = 0
    awaiting_removal: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
