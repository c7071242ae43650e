"""Reading stored files for the index: the part of it that runs in worker processes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from pacslite.archive.content import StoredContent, open_content
from pacslite.archive.reindex.records import write_record
from pacslite.archive.scan import ScanLimits, validate
from pacslite.model.errors import CannotUnderstandError, RefusedError
from pacslite.model.instances import InstanceKey, Provenance, StoredFile
from pacslite.storage.part10 import Part10Head

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ScannedFile(NamedTuple):
    """A whole, readable instance.

    Parameters
    ----------
    path
        Relative to the store's folder.
    received_at, sequence_number
        When it came, and its place among what came at that moment. A file that this software did not write
        has no number, and when it was last written stands for its time.
    is_intact
        Whether its file meta is what was written; else nothing is known of where it came from.
    record
        From `write_record`.
    """

    path: str
    sop_instance_uid: str
    digest: str
    received_at: datetime
    sequence_number: int | None
    is_intact: bool
    record: bytes


@dataclass(slots=True)
class ScannedBatch:
    """What became of a batch of files.

    Parameters
    ----------
    files
        Those that can be indexed.
    shared
        What their records have in common, by fingerprint.
    problems
        Path and reason of each that cannot.
    """

    files: list[ScannedFile] = field(default_factory=list)
    shared: dict[bytes, bytes] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


def scan_files(store_folder: str, paths: Sequence[str], limits: ScanLimits) -> ScannedBatch:
    """Read the files at `paths`, relative to `store_folder`; never raises because of a file."""
    batch = ScannedBatch()
    for path in paths:
        try:
            with open_content(f"{store_folder}/{path}") as content:
                batch.files.append(_scan(path, content, limits, batch.shared))
        except RefusedError as error:
            batch.problems.append((path, error.comment))
        except OSError as error:
            batch.problems.append((path, error.strerror or str(error)))
    return batch


def _scan(path: str, content: StoredContent, limits: ScanLimits, shared: dict[bytes, bytes]) -> ScannedFile:
    head = content.head()
    offset, syntax = head.data_set_offset, head.key.transfer_syntax_uid
    if not syntax:
        raise CannotUnderstandError("File meta names no transfer syntax")
    header = content.header(offset, syntax, limits)
    # a file of another program may leave out of its file meta what the data set says
    key = InstanceKey(
        head.key.sop_class_uid or header.sop_class_uid,
        head.key.sop_instance_uid or header.sop_instance_uid,
        syntax,
    )
    validate(header, key)
    file = StoredFile(path, content.file_bytes, offset, content.digest(offset))
    provenance = _provenance(head, content)
    record = write_record(header, key, file, provenance, shared)
    return ScannedFile(
        path=path,
        sop_instance_uid=key.sop_instance_uid,
        digest=file.digest,
        received_at=provenance.received_at,
        sequence_number=head.sequence_number,
        is_intact=head.is_intact,
        record=record,
    )


def _provenance(head: Part10Head, content: StoredContent) -> Provenance:
    if head.provenance is not None:
        return head.provenance
    modified_at = _EPOCH + timedelta(microseconds=content.modified_ns // 1000)
    return Provenance(modified_at, "", "", "", "")
