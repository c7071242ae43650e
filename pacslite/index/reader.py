"""Reading the index: short transactions on connections that cannot write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, RowMapping, Select, Table, bindparam, func, select

from pacslite.index.rows import EVERY_LEVEL, FILE_COLUMNS, HEADER_COLUMNS
from pacslite.index.tables import conflict, discrepancy, instance, patient, receipt, series, study
from pacslite.model.attributes import HEADER_ATTRIBUTES, Level
from pacslite.model.errors import UnavailableError
from pacslite.model.header import ColumnValue
from pacslite.model.instances import InstanceKey, StoredFile

T = TypeVar("T")

_COUNTED: Final = (patient, study, series, instance, conflict, discrepancy)
_COUNTS: Final = select(
    *(select(func.count()).select_from(table).scalar_subquery() for table in _COUNTED),
    select(func.count()).select_from(instance).where(instance.c.path.is_(None)).scalar_subquery(),
    select(func.coalesce(func.sum(instance.c.file_bytes), 0))
    .where(instance.c.path.is_not(None))
    .scalar_subquery()
    + select(func.coalesce(func.sum(conflict.c.file_bytes), 0)).scalar_subquery(),
)
_FIND_INSTANCE: Final = (
    select(
        *HEADER_COLUMNS,
        *FILE_COLUMNS,
        instance.c.availability,
        instance.c.is_misdeclared,
        instance.c.received_at,
        instance.c.calling_ae_title,
    )
    .select_from(EVERY_LEVEL)
    .where(instance.c.sop_instance_uid == bindparam("uid"))
)
_HIGHEST_CHARACTER: Final = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class IndexCounts:
    """How much the index holds.

    Parameters
    ----------
    patients, studies, series, instances, conflicts, discrepancies
        Rows of each kind.
    unavailable
        Instances whose files were deleted; `instances` counts them too.
    file_bytes
        Size of all files that the index names.
    """

    patients: int
    studies: int
    series: int
    instances: int
    conflicts: int
    discrepancies: int
    unavailable: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class IndexedInstance:
    """An instance as the index has it.

    Parameters
    ----------
    key
        What it is.
    stored_file
        Where it lies; None once its file was deleted.
    study_instance_uid, series_instance_uid
        Where it belongs.
    received_at, calling_ae_title
        When and from whom the archive's version came.
    availability
        Instance Availability (0008,0056).
    is_misdeclared
        Whether its pixel data contradicts its transfer syntax.
    values
        By level, what each queryable attribute is answered with, by column; the upper levels keep what they
        received first.
    """

    key: InstanceKey
    stored_file: StoredFile | None
    study_instance_uid: str
    series_instance_uid: str
    received_at: datetime
    calling_ae_title: str
    availability: str
    is_misdeclared: bool
    values: Mapping[Level, Mapping[str, ColumnValue]]

    @property
    def file(self) -> StoredFile:
        """Where it lies.

        Raises
        ------
        UnavailableError
            Its file was deleted.
        """
        if self.stored_file is None:
            raise UnavailableError(f"{self.key.sop_instance_uid} is no longer available")
        return self.stored_file


class IndexReader:
    """Answers questions about what is committed.

    Parameters
    ----------
    engine
        From `open_reader_engine`; the caller disposes of it. Any thread may ask; as many as the engine has
        connections are answered at a time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, query: Callable[[Connection], T]) -> T:
        """Return what `query` reads in one short transaction, which sees one state of the index."""
        with self._engine.connect() as connection:
            return query(connection)

    def counts(self) -> IndexCounts:
        """Return how many rows each table has, and what their files come to."""
        with self._engine.connect() as connection:
            return IndexCounts(*(int(count) for count in connection.execute(_COUNTS).one()))

    def named_paths(self, prefix: str) -> set[str]:
        """Return the paths starting with `prefix` that instances and conflicts name."""
        with self._engine.connect() as connection:
            return {
                path
                for table in (instance, conflict)
                for path in connection.scalars(
                    select(table.c.path).where(
                        table.c.path >= prefix, table.c.path < prefix + _HIGHEST_CHARACTER
                    )
                )
            }

    def instance(self, sop_instance_uid: str) -> IndexedInstance | None:
        """Return the archive's version of an instance, or None."""
        with self._engine.connect() as connection:
            row = connection.execute(_FIND_INSTANCE, {"uid": sop_instance_uid}).mappings().one_or_none()
        return None if row is None else _indexed(row)

    def patients(self, patient_id: str) -> list[RowMapping]:
        """Return the patients with this Patient ID: one for each issuer (M28)."""
        return self._records(patient, select(patient).where(patient.c.patient_id == patient_id))

    def study(self, study_instance_uid: str) -> RowMapping | None:
        """Return a study with its patient, or None."""
        columns = (column for column in patient.c if column is not patient.c.pk)
        found = select(study, *columns).join_from(study, patient)
        records = self._records(study, found.where(study.c.study_instance_uid == study_instance_uid))
        return records[0] if records else None

    def series(self, series_instance_uid: str) -> list[RowMapping]:
        """Return the series with this UID: one for each study that has it."""
        found = select(series, study.c.study_instance_uid).join_from(series, study)
        return self._records(series, found.where(series.c.series_instance_uid == series_instance_uid))

    def receipts(self, sop_instance_uid: str) -> list[RowMapping]:
        """Return every receipt of an instance, oldest first."""
        found = select(receipt).join_from(receipt, instance)
        return self._records(receipt, found.where(instance.c.sop_instance_uid == sop_instance_uid))

    def conflicts(self, sop_instance_uid: str) -> list[RowMapping]:
        """Return the versions of an instance that are kept aside, oldest first."""
        found = select(conflict).join_from(conflict, instance)
        return self._records(conflict, found.where(instance.c.sop_instance_uid == sop_instance_uid))

    def discrepancies(self) -> list[RowMapping]:
        """Return what instances of one patient, study or series said differently, oldest first."""
        return self._records(discrepancy, select(discrepancy))

    def _records(self, table: Table, found: Select[Any]) -> list[RowMapping]:
        with self._engine.connect() as connection:
            return list(connection.execute(found.order_by(table.c.pk)).mappings())


def _indexed(row: RowMapping) -> IndexedInstance:
    file = StoredFile(row["path"] or "", row["file_bytes"], row["data_set_offset"], row["digest"])
    return IndexedInstance(
        key=InstanceKey(row["sop_class_uid"], row["sop_instance_uid"], row["transfer_syntax_uid"]),
        stored_file=file if row["path"] is not None else None,
        study_instance_uid=row["study_instance_uid"],
        series_instance_uid=row["series_instance_uid"],
        received_at=row["received_at"],
        calling_ae_title=row["calling_ae_title"],
        availability=row["availability"],
        is_misdeclared=row["is_misdeclared"],
        values={
            level: {attribute.column: row[attribute.column] for attribute in HEADER_ATTRIBUTES[level]}
            for level in Level
        },
    )
