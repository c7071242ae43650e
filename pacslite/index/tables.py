"""The tables: patients, studies, series, instances, and what happened to them.

The columns of the four levels come from `pacslite.model.attributes`; the rest is bookkeeping.
"""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

from pacslite.index.types import UtcDateTime, key, long_text, string
from pacslite.model.attributes import ATTRIBUTES, Attribute, Kind, Level, Source
from pacslite.model.text import TEXT_MAX_CHARACTERS
from pacslite.model.uids import MAX_UID_LENGTH

_AE_TITLE_LENGTH: Final = 16
_ADDRESS_LENGTH: Final = 64
_DIGEST_LENGTH: Final = 32
_PATH_LENGTH: Final = 255
_WORD_LENGTH: Final = 16
_KEYWORD_LENGTH: Final = 64
_UIDS: Final = ("study_instance_uid", "series_instance_uid", "sop_instance_uid", "sop_class_uid")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _primary_key() -> Column[int]:
    return Column("pk", key(), primary_key=True)


def _reference(table: str, *, is_nullable: bool = False) -> Column[int]:
    return Column(f"{table}_pk", key(), ForeignKey(f"{table}.pk"), nullable=is_nullable)


def _type(attribute: Attribute) -> TypeEngine[str] | TypeEngine[int]:
    match attribute.kind:
        case Kind.INTEGER:
            return BigInteger()
        case Kind.UNSIGNED:
            return BigInteger()
        case Kind.DATE:
            return string(8)
        case Kind.UID:
            return string(MAX_UID_LENGTH)
        case Kind.LINES | Kind.SEQUENCE:
            return long_text()
        case _:
            return string(TEXT_MAX_CHARACTERS)


def _columns(level: Level) -> Iterator[Column[object]]:
    for attribute in ATTRIBUTES:
        if attribute.level is not level or attribute.source is not Source.HEADER:
            continue
        yield Column(attribute.column, _type(attribute), nullable=attribute.column not in _UIDS)
        for column in attribute.match_columns:
            if attribute.kind is Kind.NAME:
                yield Column(column, string(TEXT_MAX_CHARACTERS))
            else:
                yield Column(column, Double() if attribute.kind is Kind.DECIMAL else BigInteger())


def _counter(name: str) -> Column[int]:
    return Column(name, BigInteger(), nullable=False, default=0)


def _word(name: str, length: int = _WORD_LENGTH) -> Column[str]:
    return Column(name, string(length), nullable=False)


def _moment(name: str, *, is_nullable: bool = False) -> Column[object]:
    return Column(name, UtcDateTime(), nullable=is_nullable)


def _file_columns(*, is_always_there: bool) -> Iterator[Column[object]]:
    yield Column("path", string(_PATH_LENGTH), nullable=not is_always_there, unique=True)
    yield Column("file_bytes", BigInteger(), nullable=False)
    yield Column("data_set_offset", BigInteger(), nullable=False)
    yield Column("digest", string(_DIGEST_LENGTH), nullable=False)
    yield Column("transfer_syntax_uid", string(MAX_UID_LENGTH), nullable=False)


patient = Table(
    "patient",
    metadata,
    _primary_key(),
    # Patient ID with its issuer, or the study of one whose Patient ID is unknown.
    Column("patient_key", string(TEXT_MAX_CHARACTERS), nullable=False, unique=True),
    *_columns(Level.PATIENT),
    Index(None, "patient_id"),
    Index(None, "patient_name"),
    Index(None, "patient_name_alphabetic"),
    Index(None, "patient_name_ideographic"),
    Index(None, "patient_name_phonetic"),
    Index(None, "patient_birth_date"),
)

study = Table(
    "study",
    metadata,
    _primary_key(),
    _reference("patient"),
    *_columns(Level.STUDY),
    _counter("number_of_study_related_series"),
    _counter("number_of_study_related_instances"),
    # Sorted and joined by backslashes, like every other value of many.
    Column("modalities_in_study", long_text(), nullable=False, default=""),
    Column("sop_classes_in_study", long_text(), nullable=False, default=""),
    _moment("received_at"),
    UniqueConstraint("study_instance_uid"),
    Index(None, "patient_pk"),
    Index(None, "study_date", "study_time_start"),
    Index(None, "accession_number"),
    Index(None, "study_id"),
    Index(None, "referring_physician_name_alphabetic"),
)

series = Table(
    "series",
    metadata,
    _primary_key(),
    _reference("study"),
    *_columns(Level.SERIES),
    _counter("number_of_series_related_instances"),
    _moment("received_at"),
    UniqueConstraint("study_pk", "series_instance_uid"),
    Index(None, "series_instance_uid"),
    Index(None, "modality", "study_pk"),
    Index(None, "performed_procedure_step_start_date"),
)

instance = Table(
    "instance",
    metadata,
    _primary_key(),
    _reference("series"),
    *_columns(Level.INSTANCE),
    # Of an instance that was deleted the path is null; the rest tells what it was.
    *_file_columns(is_always_there=False),
    _word("availability"),
    Column("is_misdeclared", Boolean(), nullable=False),
    _moment("received_at"),
    _word("calling_ae_title", _AE_TITLE_LENGTH),
    UniqueConstraint("sop_instance_uid"),
    Index(None, "series_pk"),
)

receipt = Table(
    "receipt",
    metadata,
    _primary_key(),
    _reference("instance"),
    _word("outcome"),
    Column("digest", string(_DIGEST_LENGTH), nullable=False),
    Column("transfer_syntax_uid", string(MAX_UID_LENGTH), nullable=False),
    _moment("received_at"),
    _word("calling_ae_title", _AE_TITLE_LENGTH),
    _word("called_ae_title", _AE_TITLE_LENGTH),
    _word("peer_address", _ADDRESS_LENGTH),
    _word("local_address", _ADDRESS_LENGTH),
    _word("implementation_class_uid", MAX_UID_LENGTH),
    _word("implementation_version_name"),
    _word("association_id", _ADDRESS_LENGTH),
    _word("move_originator_ae_title", _AE_TITLE_LENGTH),
    Column("move_originator_message_id", Integer()),
    Index(None, "instance_pk"),
)

conflict = Table(
    "conflict",
    metadata,
    _primary_key(),
    _reference("instance"),
    # Whether the file kept aside came later than the archive's version or was replaced by it.
    _word("role"),
    *_file_columns(is_always_there=True),
    _word("sop_class_uid", MAX_UID_LENGTH),
    _word("study_instance_uid", MAX_UID_LENGTH),
    _word("series_instance_uid", MAX_UID_LENGTH),
    # The other version: the one that the archive answered with when this one was put aside.
    Column("other_digest", string(_DIGEST_LENGTH), nullable=False),
    # A JSON list; attributes that the index does not keep may differ as well.
    Column("differing_keywords", long_text(), nullable=False),
    # The receipt by which the file kept aside came.
    _reference("receipt"),
    _moment("recorded_at"),
    Index(None, "instance_pk"),
    Index(None, "study_instance_uid"),
    Index(None, "series_instance_uid"),
    # Keepers name a conflict by its key: it must never come to mean another one.
    sqlite_autoincrement=True,
)

discrepancy = Table(
    "discrepancy",
    metadata,
    _primary_key(),
    _word("level"),
    # The primary key of the patient, study or series whose first received value was kept.
    Column("entity_pk", key(), nullable=False),
    _word("keyword", _KEYWORD_LENGTH),
    _word("kept_value", TEXT_MAX_CHARACTERS),
    _word("received_value", TEXT_MAX_CHARACTERS),
    _word("sop_instance_uid", MAX_UID_LENGTH),
    _moment("recorded_at"),
    UniqueConstraint("level", "entity_pk", "keyword", "received_value"),
    Index(None, "sop_instance_uid"),
)

job = Table(
    "job",
    metadata,
    _primary_key(),
    _word("kind", _KEYWORD_LENGTH),
    # Refuses a second job for the same purpose while it is set.
    Column("dedupe_key", string(_PATH_LENGTH), unique=True),
    Column("payload", long_text(), nullable=False),
    _word("state"),
    Column("attempts", Integer(), nullable=False, default=0),
    _moment("not_before"),
    Column("lease_owner", string(_ADDRESS_LENGTH)),
    _moment("lease_until", is_nullable=True),
    Column("last_error", long_text()),
    _moment("created_at"),
    _moment("updated_at"),
    Index(None, "state", "not_before"),
    # A job that is done leaves no row, and its number must not come back in another one's.
    sqlite_autoincrement=True,
)

store = Table(
    "store",
    metadata,
    Column("node_name", string(_ADDRESS_LENGTH), primary_key=True),
    # The same as in the store's own folder: says that the two belong together.
    _word("identity", _DIGEST_LENGTH),
)

TABLES: Final = {Level.PATIENT: patient, Level.STUDY: study, Level.SERIES: series, Level.INSTANCE: instance}
