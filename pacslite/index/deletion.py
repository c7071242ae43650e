"""Taking instances out: their files always, their metadata only when they are to be forgotten.

Each function is one short step, so that receipts go between them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from pacslite.index.recount import recount_study
from pacslite.index.removals import Removal, promise_removal
from pacslite.index.rows import UNAVAILABLE
from pacslite.index.tables import conflict, discrepancy, instance, receipt, series, study
from pacslite.index.transaction import WriteTransaction
from pacslite.model.attributes import Level

_UID_COLUMNS: Final = {
    Level.STUDY: study.c.study_instance_uid,
    Level.SERIES: series.c.series_instance_uid,
    Level.INSTANCE: instance.c.sop_instance_uid,
}
_ASIDE_UID_COLUMNS: Final = {
    Level.STUDY: conflict.c.study_instance_uid,
    Level.SERIES: conflict.c.series_instance_uid,
}
_KEYS: Final[BindParameter[Any]] = bindparam("keys", expanding=True)
_OF_STUDY: Final = instance.join(series).join(study)
_FIND_ASIDE_PATHS: Final = select(conflict.c.path).where(conflict.c.instance_pk.in_(_KEYS))
_DELETE_ASIDES: Final = delete(conflict).where(conflict.c.instance_pk.in_(_KEYS))
_DELETE_RECEIPTS: Final = delete(receipt).where(receipt.c.instance_pk.in_(_KEYS))
_DELETE_DISCREPANCIES: Final = delete(discrepancy).where(discrepancy.c.sop_instance_uid.in_(_KEYS))
_DELETE_INSTANCES: Final = delete(instance).where(instance.c.pk.in_(_KEYS))
_MAKE_UNAVAILABLE: Final = (
    update(instance).where(instance.c.pk.in_(_KEYS)).values(path=None, availability=UNAVAILABLE)
)


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be deleted.

    Parameters
    ----------
    level
        STUDY, SERIES or INSTANCE.
    uid
        Of it; a series UID that several studies have means all of these series.
    """

    level: Level
    uid: str

    @property
    def is_instance(self) -> ColumnElement[bool]:
        """Whether an instance, joined with its series and study, belongs to it."""
        return _UID_COLUMNS[self.level] == self.uid

    @property
    def is_aside(self) -> ColumnElement[bool] | None:
        """Whether a version kept aside says that it belongs to it, whatever its instance says."""
        column = _ASIDE_UID_COLUMNS.get(self.level)
        return None if column is None else column == self.uid


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a target comes to.

    Parameters
    ----------
    instances
        Instances, `unavailable` included.
    unavailable
        Those whose files were deleted before.
    conflicts
        Versions kept aside: of these instances, and of others but saying that they belong here.
    file_bytes
        Size of all their files.
    """

    instances: int
    unavailable: int
    conflicts: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What one step took out.

    Parameters
    ----------
    instances, conflicts
        How many.
    removal
        What becomes of their files.
    study_pks
        The studies that lost instances' metadata.
    """

    instances: int = 0
    conflicts: int = 0
    removal: Removal | None = None
    study_pks: frozenset[int] = frozenset()


def extent_of(connection: Connection, target: Target) -> Extent:
    """Count what deleting `target` would take."""
    instances = select(func.count(), func.count(instance.c.path)).select_from(_OF_STUDY)
    total, available = connection.execute(instances.where(target.is_instance)).one()
    file_bytes = select(func.coalesce(func.sum(instance.c.file_bytes), 0)).select_from(_OF_STUDY)
    own = connection.scalar(file_bytes.where(target.is_instance, instance.c.path.is_not(None)))
    asides = select(func.count(), func.coalesce(func.sum(conflict.c.file_bytes), 0))
    count, aside_bytes = connection.execute(asides.where(_is_doomed_aside(target))).one()
    return Extent(total, total - available, count, int(own or 0) + int(aside_bytes))


def find_instances(connection: Connection, target: Target, *, is_forgetting: bool) -> list[int]:
    """Return the keys of the instances there are now, without those deleted before unless to forget them."""
    found = select(instance.c.pk).select_from(_OF_STUDY).where(target.is_instance)
    if not is_forgetting:
        found = found.where(instance.c.path.is_not(None))
    return sorted(connection.scalars(found))


def find_asides(connection: Connection, target: Target) -> list[int]:
    """Return the keys of the conflicts whose version says that it belongs to `target`."""
    if target.is_aside is None:
        return []
    return sorted(connection.scalars(select(conflict.c.pk).where(target.is_aside)))


def take_instances(
    transaction: WriteTransaction, target: Target, keys: Sequence[int], *, is_forgetting: bool
) -> Taken:
    """Take the files of some instances, and all versions of them kept aside, out of the archive.

    Those of `keys` that no longer belong to `target` stay. To forget, counters follow, but what is left empty
    stays until `settle`.
    """
    connection = transaction.connection
    rows = _still_there(connection, target, keys)
    found = {"keys": [row.pk for row in rows]}
    if not rows:
        return Taken()
    asides = list(connection.scalars(_FIND_ASIDE_PATHS, found))
    connection.execute(_DELETE_ASIDES, found)
    if is_forgetting:
        _forget(transaction, rows)
    else:
        connection.execute(_MAKE_UNAVAILABLE, found)
    paths = [*(row.path for row in rows if row.path is not None), *asides]
    touched = frozenset(row.study_pk for row in rows) if is_forgetting else frozenset()
    return Taken(len(rows), len(asides), promise_removal(transaction, paths), touched)


def take_asides(transaction: WriteTransaction, keys: Iterable[int], *, is_forgetting: bool) -> Taken:
    """Take versions that are kept aside out of the archive; to forget, with the receipts of them."""
    connection = transaction.connection
    paths = []
    for key in keys:
        row = connection.execute(select(conflict).where(conflict.c.pk == key)).one_or_none()
        if row is None:
            continue
        paths.append(row.path)
        connection.execute(delete(conflict).where(conflict.c.pk == key))
        if is_forgetting:
            of_version = (
                receipt.c.instance_pk == row.instance_pk,
                receipt.c.digest == row.digest,
                receipt.c.transfer_syntax_uid == row.transfer_syntax_uid,
            )
            connection.execute(delete(receipt).where(*of_version))
    return Taken(conflicts=len(paths), removal=promise_removal(transaction, paths))


def settle(transaction: WriteTransaction, study_pks: Iterable[int]) -> None:
    """Count studies that lost instances anew, and remove series, studies and patients left empty."""
    transaction.flush()
    for study_pk in sorted(study_pks):
        recount_study(transaction.connection, study_pk)
    # Rows that the cache tells of may be gone.
    transaction.cache.clear()


def _still_there(connection: Connection, target: Target, keys: Sequence[int]) -> Sequence[Row[Any]]:
    found = (
        select(instance.c.pk, instance.c.path, instance.c.sop_instance_uid, instance.c.series_pk)
        .add_columns(series.c.study_pk)
        .select_from(_OF_STUDY)
        .where(instance.c.pk.in_(_KEYS), target.is_instance)
    )
    return connection.execute(found, {"keys": list(keys)}).all()


def _forget(transaction: WriteTransaction, rows: Sequence[Row[Any]]) -> None:
    connection = transaction.connection
    found = {"keys": [row.pk for row in rows]}
    connection.execute(_DELETE_RECEIPTS, found)
    connection.execute(_DELETE_DISCREPANCIES, {"keys": [row.sop_instance_uid for row in rows]})
    connection.execute(_DELETE_INSTANCES, found)
    for row in rows:
        transaction.tallies.take_instance(row.study_pk, row.series_pk)


def _is_doomed_aside(target: Target) -> ColumnElement[bool]:
    of_instances = conflict.c.instance_pk.in_(
        select(instance.c.pk).select_from(_OF_STUDY).where(target.is_instance)
    )
    return of_instances if target.is_aside is None else or_(of_instances, target.is_aside)
