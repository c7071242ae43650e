"""What is told to the index of a receipt, and what it answers."""

from dataclasses import dataclass
from typing import Protocol

from pacslite.model.attributes import Level
from pacslite.model.header import ColumnValue
from pacslite.model.instances import DuplicatePolicy, InstanceKey, Outcome, Provenance, StoredFile


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether a newcomer says the same as the version that the index named.

    Parameters
    ----------
    existing_digest
        Of the version that was compared; the verdict counts only while that is the current one.
    is_same_content
        Whether all element values are equal regardless of their encoding.
    """

    existing_digest: str
    is_same_content: bool


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
    """A received instance whose file is durable."""

    header: Header
    key: InstanceKey
    file: StoredFile
    provenance: Provenance
    policy: DuplicatePolicy
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the index decided.

    Parameters
    ----------
    outcome
        None: the same SOP Instance UID is here with another digest or transfer syntax, and nothing was
        recorded; compare the contents of `existing` and ask again with a `Comparison`.
        STORED: the file is the archive's. IDENTICAL: `existing` holds the same, the new file is not needed.
        KEPT_ASIDE: the file is named as a conflict beside `existing`. REPLACED: the file is the archive's,
        `existing` is kept as a conflict. REFUSED: the new file is not needed.
    existing
        The version that was there before; None for a new instance.
    existing_transfer_syntax_uid
        Its transfer syntax.
    """

    outcome: Outcome | None
    existing: StoredFile | None = None
    existing_transfer_syntax_uid: str | None = None
