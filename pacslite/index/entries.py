"""What is told to the index of a receipt, and what it answers."""

from dataclasses import dataclass

from pacslite.model.header import InstanceHeader
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


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A received instance whose file is durable."""

    header: InstanceHeader
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
