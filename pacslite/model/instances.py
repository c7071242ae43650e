"""What is known of an instance on its way from a peer into the archive."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, unique


@unique
class DuplicatePolicy(Enum):
    """What happens when a SOP Instance UID arrives again with other content."""

    KEEP_FIRST = "keep-first"
    REPLACE_SAME_SOURCE = "replace-same-source"
    REPLACE = "replace"
    REFUSE = "refuse"


@unique
class Outcome(Enum):
    """What the index decided of a receipt.

    HEALED: the same is here, but its file was missing or damaged; the newcomer's took its place.
    REFUSED: the same UID is here with other content. REFUSED_PATIENT: it says otherwise of its patient.
    """

    STORED = "stored"
    IDENTICAL = "identical"
    HEALED = "healed"
    KEPT_ASIDE = "kept-aside"
    REPLACED = "replaced"
    REFUSED = "refused"
    REFUSED_PATIENT = "refused-patient"


@dataclass(frozen=True, slots=True)
class InstanceKey:
    """What the C-STORE command and its presentation context say the data set is."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where and when a data set was received.

    Parameters
    ----------
    received_at
        Start of the receipt, in UTC.
    calling_ae_title, called_ae_title
        As negotiated, without padding.
    peer_address, local_address
        `host:port` of either end.
    implementation_class_uid, implementation_version_name
        The sender's own (PS3.7 D.3.3.2); empty when it sent none.
    association_id
        Ties the receipt to the log lines of its association.
    move_originator_ae_title, move_originator_message_id
        From (0000,1030) and (0000,1031) when another node's C-MOVE caused the receipt (PS3.7 9.1.1.1.9).
    """

    received_at: datetime
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    local_address: str
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    association_id: str = ""
    move_originator_ae_title: str = ""
    move_originator_message_id: int | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A durable Part 10 file of the store.

    Parameters
    ----------
    path
        Relative to the store's folder, made by the server: `<node>/<segment>/<name>`.
    file_bytes
        Size of the whole file.
    data_set_offset
        Where the data set starts: behind preamble and file meta, in bytes.
    digest
        XXH3-128 of the data set's bytes, 32 hexadecimal digits.
    """

    path: str
    file_bytes: int
    data_set_offset: int
    digest: str

    @property
    def data_set_bytes(self) -> int:
        """Size of the data set."""
        return self.file_bytes - self.data_set_offset
