"""What is known of conflicts: both versions of an instance, and how each came."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, or_, select

from pacslite.index import receipts
from pacslite.index.tables import conflict, instance, receipt, series, study
from pacslite.model.errors import NotFoundError
from pacslite.model.instances import Provenance, StoredFile

_ORIGIN_COLUMNS: Final = (
    receipt.c.received_at,
    receipt.c.calling_ae_title,
    receipt.c.called_ae_title,
    receipt.c.peer_address,
    receipt.c.local_address,
    receipt.c.implementation_class_uid,
    receipt.c.implementation_version_name,
    receipt.c.association_id,
    receipt.c.move_originator_ae_title,
    receipt.c.move_originator_message_id,
)
_FIND_ORIGIN: Final = select(*_ORIGIN_COLUMNS)
_FIND_ASIDES: Final[Select[Any]] = (
    select(
        conflict.c.pk,
        conflict.c.role,
        conflict.c.recorded_at,
        conflict.c.instance_pk,
        conflict.c.receipt_pk,
        conflict.c.differing_keywords,
        instance.c.sop_instance_uid,
    )
    .select_from(conflict.join(instance).join(series).join(study))
    .order_by(conflict.c.pk)
)
_VERSION_COLUMNS: Final = (
    "path",
    "file_bytes",
    "data_set_offset",
    "digest",
    "transfer_syntax_uid",
    "sop_class_uid",
)
_FIND_ASIDE: Final[Select[Any]] = select(
    *(conflict.c[name] for name in _VERSION_COLUMNS),
    conflict.c.study_instance_uid,
    conflict.c.series_instance_uid,
)
_FIND_CURRENT: Final[Select[Any]] = select(
    *(instance.c[name] for name in _VERSION_COLUMNS),
    study.c.study_instance_uid,
    series.c.series_instance_uid,
).select_from(instance.join(series).join(study))


@dataclass(frozen=True, slots=True)
class ConflictFilter:
    """Which conflicts are meant: those that meet every condition that is set.

    Parameters
    ----------
    study, series
        UID that the archive's version or the one kept aside says it belongs to.
    instance
        SOP Instance UID.
    role
        `conflicts.NEWCOMER` or `conflicts.REPLACED`.
    """

    study: str | None = None
    series: str | None = None
    instance: str | None = None
    role: str | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """In SQL."""
        found: list[ColumnElement[bool]] = []
        if self.study is not None:
            uids = (study.c.study_instance_uid, conflict.c.study_instance_uid)
            found.append(or_(*(uid == self.study for uid in uids)))
        if self.series is not None:
            uids = (series.c.series_instance_uid, conflict.c.series_instance_uid)
            found.append(or_(*(uid == self.series for uid in uids)))
        if self.instance is not None:
            found.append(instance.c.sop_instance_uid == self.instance)
        if self.role is not None:
            found.append(conflict.c.role == self.role)
        return found


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an instance.

    Parameters
    ----------
    file
        Where it lies.
    transfer_syntax_uid, sop_class_uid, study_instance_uid, series_instance_uid
        What it says of itself.
    origin
        Where the file came from.
    """

    file: StoredFile
    transfer_syntax_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    origin: Provenance


@dataclass(frozen=True, slots=True)
class Conflict:
    """A version kept aside, and the archive's.

    Parameters
    ----------
    pk
        Its number, which never comes to mean another conflict.
    role
        `conflicts.NEWCOMER` or `conflicts.REPLACED`.
    recorded_at
        When it was put aside.
    sop_instance_uid
        Of both versions.
    current, aside
        What the archive answers with, and what it keeps.
    differing_keywords
        Attributes of the index that differed when it was put aside.
    """

    pk: int
    role: str
    recorded_at: datetime
    sop_instance_uid: str
    current: Version
    aside: Version
    differing_keywords: tuple[str, ...]


def find_conflicts(connection: Connection, wanted: ConflictFilter, *, limit: int) -> list[Conflict]:
    """Return the first conflicts that meet all conditions, oldest first."""
    found = _FIND_ASIDES.where(*wanted.conditions).limit(limit)
    return [_conflict(connection, row) for row in connection.execute(found).all()]


def find_conflict(connection: Connection, pk: int) -> Conflict:
    """Return a conflict.

    Raises
    ------
    NotFoundError
        There is none of this number.
    """
    row = connection.execute(_FIND_ASIDES.where(conflict.c.pk == pk)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no conflict {pk}")
    return _conflict(connection, row)


def _conflict(connection: Connection, row: Row[Any]) -> Conflict:
    current = connection.execute(_FIND_CURRENT.where(instance.c.pk == row.instance_pk)).one()
    aside = connection.execute(_FIND_ASIDE.where(conflict.c.pk == row.pk)).one()
    current_receipt = receipts.of_version(
        connection, row.instance_pk, current.digest, current.transfer_syntax_uid
    )
    return Conflict(
        pk=row.pk,
        role=row.role,
        recorded_at=row.recorded_at,
        sop_instance_uid=row.sop_instance_uid,
        current=_version(current, _origin(connection, current_receipt)),
        aside=_version(aside, _origin(connection, row.receipt_pk)),
        differing_keywords=tuple(json.loads(row.differing_keywords)),
    )


def _version(row: Row[Any], origin: Provenance) -> Version:
    return Version(
        file=StoredFile(row.path or "", row.file_bytes, row.data_set_offset, row.digest),
        transfer_syntax_uid=row.transfer_syntax_uid,
        sop_class_uid=row.sop_class_uid,
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        origin=origin,
    )


def _origin(connection: Connection, receipt_pk: int) -> Provenance:
    row = connection.execute(_FIND_ORIGIN.where(receipt.c.pk == receipt_pk)).mappings().one()
    return Provenance(**row)
