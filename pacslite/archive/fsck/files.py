"""One file of the store against what the index says of it."""

from collections.abc import Iterator
from pathlib import Path

from pacslite.archive.content import StoredContent, open_content
from pacslite.archive.fsck.findings import Finding, Kind
from pacslite.archive.scan import ScanLimits
from pacslite.index.checking import NamedFile
from pacslite.index.entities import patient_key
from pacslite.model.attributes import HEADER_ATTRIBUTES, Level
from pacslite.model.errors import CannotUnderstandError, DataFolderError, OutOfResourcesError
from pacslite.model.header import InstanceHeader
from pacslite.model.text import TEXT_MAX_CHARACTERS
from pacslite.storage.part10 import Part10Head
from pacslite.storage.store import stored_path


class FileChecker:
    """Checks files, in any thread.

    Parameters
    ----------
    store_folder
        Of the archive.
    limits
        Of the scan.
    is_quick
        Whether to look at sizes only.
    """

    def __init__(self, store_folder: Path, limits: ScanLimits, *, is_quick: bool) -> None:
        self._folder = store_folder
        self._limits = limits
        self._is_quick = is_quick

    def check(self, named: NamedFile) -> list[Finding]:
        """Return what is wrong with a file, or with what the index says of it."""
        try:
            path = stored_path(self._folder, named.file.path)
            if self._is_quick:
                problems = list(_of_size(path.lstat().st_size, named))
            else:
                with open_content(path) as content:
                    problems = list(self._of_content(content, named))
        except FileNotFoundError:
            problems = [(Kind.MISSING, "its file is not there")]
        except DataFolderError as error:
            problems = [(Kind.INDEX, str(error))]
        except OSError as error:
            problems = [(Kind.DAMAGED, f"its file cannot be read: {error.strerror}")]
        except (CannotUnderstandError, OutOfResourcesError) as error:
            problems = [(Kind.DAMAGED, error.comment)]
        return [Finding(kind, what, named.file.path, named.key.sop_instance_uid) for kind, what in problems]

    def _of_content(self, content: StoredContent, named: NamedFile) -> Iterator[tuple[Kind, str]]:
        if problem := next(_of_size(content.file_bytes, named), None):
            yield problem
            return
        head = content.head()
        is_foreign = head.is_intact and head.provenance is None and not named.calling_ae_title
        if head.provenance is None and not is_foreign:
            yield Kind.DAMAGED, "its file meta is not what was written"
        elif head.data_set_offset != named.file.data_set_offset:
            yield Kind.DAMAGED, "its data set does not start where it did"
        elif content.digest(named.file.data_set_offset) != named.file.digest:
            yield Kind.DAMAGED, "its data set is not what was received"
        else:
            differing = list(self._differing(content, head, named))
            if differing:
                yield Kind.WRONG_METADATA, f"the index says otherwise of {', '.join(differing)}"

    def _differing(self, content: StoredContent, head: Part10Head, named: NamedFile) -> Iterator[str]:
        """Yield names of what the row says otherwise than the file."""
        syntax = head.key.transfer_syntax_uid
        header = content.header(head.data_set_offset, syntax, self._limits)
        yield from _differing_uids(header, syntax, named)
        if head.provenance is not None and named.received_at is not None:
            if head.provenance.received_at != named.received_at:
                yield "received_at"
            if head.provenance.calling_ae_title != named.calling_ae_title:
                yield "calling_ae_title"
        if named.rows:
            yield from _differing_values(header, named)


def _of_size(file_bytes: int, named: NamedFile) -> Iterator[tuple[Kind, str]]:
    if file_bytes != named.file.file_bytes:
        yield Kind.DAMAGED, f"its file has {file_bytes} bytes in place of {named.file.file_bytes}"


def _differing_uids(header: InstanceHeader, transfer_syntax_uid: str, named: NamedFile) -> Iterator[str]:
    study, series = named.study_instance_uid, named.series_instance_uid
    if named.rows:
        study = named.rows[Level.STUDY]["study_instance_uid"]
        series = named.rows[Level.SERIES]["series_instance_uid"]
    pairs = {
        "sop_instance_uid": (named.key.sop_instance_uid, header.sop_instance_uid),
        "sop_class_uid": (named.key.sop_class_uid, header.sop_class_uid),
        "transfer_syntax_uid": (named.key.transfer_syntax_uid, transfer_syntax_uid),
        "study_instance_uid": (study, header.study_instance_uid),
        "series_instance_uid": (series, header.series_instance_uid),
    }
    yield from (name for name, (ours, theirs) in pairs.items() if ours != theirs)


def _differing_values(header: InstanceHeader, named: NamedFile) -> Iterator[str]:
    row = named.rows[Level.INSTANCE]
    if row["is_misdeclared"] != header.is_misdeclared:
        yield "is_misdeclared"
    for level, kept in named.rows.items():
        if not _made(named, level):
            continue
        values = header.values(level)
        for attribute in HEADER_ATTRIBUTES[level]:
            if attribute.keyword in named.told and level is not Level.INSTANCE:
                continue
            columns = (attribute.column, *attribute.match_columns)
            yield from (column for column in columns if kept[column] != values[column])
        if level is Level.PATIENT and _has_other_key(header, named):
            yield "patient_key"


def _made(named: NamedFile, level: Level) -> bool:
    """Whether a row has its values from this instance: what was received first wins."""
    # A patient tells no time of its own; who made the study most often made the patient too.
    timed = Level.STUDY if level is Level.PATIENT else level
    return level is Level.INSTANCE or bool(named.rows[timed]["received_at"] == named.received_at)


def _has_other_key(header: InstanceHeader, named: NamedFile) -> bool:
    if named.told & {"PatientID", "IssuerOfPatientID"} or len(header.patient_id) > TEXT_MAX_CHARACTERS:
        return False
    return bool(named.rows[Level.PATIENT]["patient_key"] != patient_key(header))
