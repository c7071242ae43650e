"""What is told to the index of a receipt, and what it answers."""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Protocol

from pacslite.model.attributes import Level
from pacslite.model.header import ColumnValue
from pacslite.model.instances import DuplicatePolicy, InstanceKey, Outcome, Provenance, StoredFile


@unique
class Question(Enum):
    """What the index must be told before it decides."""

    COMPARE = "compare"
    """Whether the newcomer's content is that of the existing file: a `Comparison`."""

    INSPECT = "inspect"
    """Whether the existing file is whole: an `Inspection`."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether a newcomer says the same as the version that the index named.

    Parameters
    ----------
    existing_digest
        Of the version that was compared; the verdict counts only while that is the current one.
    is_same_content
        Whether all element values are equal regardless of their encoding.
    is_existing_whole
        False when the existing file was found missing or damaged: then no policy refuses the newcomer.
    """

    existing_digest: str
    is_same_content: bool
    is_existing_whole: bool = True


@dataclass(frozen=True, slots=True)
class Inspection:
    """Whether a file that the index named is there and has the digest that the index has of it.

    Parameters
    ----------
    path
        Of the file; the verdict counts only while the index names it.
    is_whole
        The verdict.
    """

    path: str
    is_whole: bool


class Header(Protocol):
    """What the index asks of a data set's header; see `pacslite.model.header.InstanceHeader`."""

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID without padding."""

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID without padding."""

    @property
    def patient_id(self) -> str:
        """Patient ID, cleaned but not truncated; empty if unknown."""

    @property
    def issuer_of_patient_id(self) -> str:
        """Issuer of Patient ID, cleaned but not truncated; empty if unknown."""

    @property
    def is_misdeclared(self) -> bool:
        """Whether pixel data contradicts the transfer syntax."""

    def values(self, level: Level) -> dict[str, ColumnValue]:
        """Return the value of every index column that `level` fills from the data set."""

    def fingerprint(self, level: Level) -> bytes:
        """Return a digest of the raw values of `level`: equal digests mean equal columns."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A received instance whose file is durable.

    Parameters
    ----------
    header, key, file, provenance
        What it is, where it lies and where it comes from.
    policy
        For a SOP Instance UID that is here with other content.
    comparison, inspection
        Answers to what the index asked before.
    refuses_changed_demographics
        Whether an instance that says otherwise of its patient than the index is refused (S12).
    """

    header: Header
    key: InstanceKey
    file: StoredFile
    provenance: Provenance
    policy: DuplicatePolicy
    comparison: Comparison | None = None
    inspection: Inspection | None = None
    refuses_changed_demographics: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the index decided.

    Parameters
    ----------
    outcome
        None: nothing was recorded; answer the `question` about `existing` and ask again.
        STORED: the file is the archive's. IDENTICAL: `existing` holds the same, the new file is not needed.
        HEALED: the file has taken the place of `existing`, which holds the same no more.
        KEPT_ASIDE: the file is named as a conflict beside `existing`. REPLACED: the file is the archive's,
        `existing` is kept as a conflict. REFUSED, REFUSED_PATIENT: the new file is not needed.
    existing
        The version that was there before; None for a new instance and for one whose file was deleted.
    existing_transfer_syntax_uid
        Its transfer syntax.
    question
        What the index must know to decide; None when it has decided.
    differing_tags
        Of REFUSED_PATIENT: what is said otherwise of the patient.
    """

    outcome: Outcome | None
    existing: StoredFile | None = None
    existing_transfer_syntax_uid: str | None = None
    question: Question | None = None
    differing_tags: tuple[int, ...] = ()
