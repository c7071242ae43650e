"""What no file can tell, taken from the former index into the one that is rebuilt.

Deleted and lost instances with what stands above them, receipts, conflicts, discrepancies, first received
values whose bearer is gone, and jobs: set by set, in the database, whatever the size of the archive.
"""

from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union,
    update,
)

from pacslite.index import sqlite
from pacslite.index.former import FORMER_TABLES
from pacslite.index.recount import recount_study
from pacslite.index.tables import (
    TABLES,
    conflict,
    discrepancy,
    instance,
    metadata,
    patient,
    receipt,
    series,
    store,
    study,
)
from pacslite.model.attributes import ATTRIBUTES, Level, Source

_REBUILT: Final = frozenset(table.name for table in (*TABLES.values(), receipt, conflict, discrepancy, store))
_COUNTED: Final = frozenset(attribute.column for attribute in ATTRIBUTES if attribute.source is Source.KEPT)
_ENTITIES: Final = (Level.PATIENT, Level.STUDY, Level.SERIES)
_temporary: Final = MetaData()


def _former(table: Table) -> Table:
    return FORMER_TABLES[table.name]


def _pair_table(table: Table) -> Table:
    """Return a table of which row of the former index is which of the new one."""
    columns = (Column("former_pk", Integer, primary_key=True), Column("pk", Integer, nullable=False))
    return Table(f"{table.name}_pair", _temporary, *columns, prefixes=["TEMPORARY"])


_PAIR: Final = {level: _pair_table(table) for level, table in TABLES.items()}
_f_patient, _f_study, _f_series, _f_instance = (_former(TABLES[level]) for level in Level)
_f_discrepancy = _former(discrepancy)
_patient_pair, _study_pair, _series_pair, _instance_pair = (_PAIR[level] for level in Level)

_ABOVE: Final = {
    Level.STUDY: (_patient_pair, "patient_pk"),
    Level.SERIES: (_study_pair, "study_pk"),
    Level.INSTANCE: (_series_pair, "series_pk"),
}

_LOST: Final = (
    select(_f_instance.c.pk)
    .where(~exists().where(_instance_pair.c.former_pk == _f_instance.c.pk))
    .where(~exists().where(instance.c.path == _f_instance.c.path))
)
"""Instances of the former index that no file shows."""

_LOST_SERIES: Final = select(_f_instance.c.series_pk).where(_f_instance.c.pk.in_(_LOST))
_LOST_STUDIES: Final = select(_f_series.c.study_pk).where(_f_series.c.pk.in_(_LOST_SERIES))
_LOST_PATIENTS: Final = select(_f_study.c.patient_pk).where(_f_study.c.pk.in_(_LOST_STUDIES))


def carry_over(connection: Connection) -> None:
    """Bring what the former index tells and files do not into the index.

    The index holds, without receipts, those instances that the former one answered with and whose files are
    whole.
    """
    _temporary.create_all(connection, checkfirst=False)
    for level in Level:
        _pair(connection, level)
    changed = set(connection.scalars(_STUDIES_TO_COUNT))
    _keep_first_values(connection)
    _add_lost(connection)
    _remove_empty_patients(connection)
    _copy_receipts(connection)
    _copy_conflicts(connection)
    _copy_discrepancies(connection)
    for name in FORMER_TABLES.keys() - _REBUILT:
        names = [column.name for column in metadata.tables[name].c]
        _copy(connection, metadata.tables[name], names, select(FORMER_TABLES[name]))
    sqlite.copy_sequences(connection)
    for former_pk in changed:
        found = select(_study_pair.c.pk).where(_study_pair.c.former_pk == former_pk)
        recount_study(connection, connection.execute(found).scalar_one())
    _temporary.drop_all(connection, checkfirst=False)


def _same(level: Level) -> ColumnElement[bool]:
    """Whether a row of the former index means the same as one of the new index."""
    match level:
        case Level.PATIENT:
            return patient.c.patient_key == _f_patient.c.patient_key
        case Level.STUDY:
            return study.c.study_instance_uid == _f_study.c.study_instance_uid
        case Level.SERIES:
            return and_(
                _study_pair.c.former_pk == _f_series.c.study_pk,
                series.c.study_pk == _study_pair.c.pk,
                series.c.series_instance_uid == _f_series.c.series_instance_uid,
            )
        case Level.INSTANCE:
            return instance.c.sop_instance_uid == _f_instance.c.sop_instance_uid


def _pair(connection: Connection, level: Level) -> None:
    """Note which rows are the same, as far as that is not noted yet."""
    table, pair = TABLES[level], _PAIR[level]
    found = select(_former(table).c.pk, table.c.pk).where(
        _same(level), ~exists().where(pair.c.former_pk == _former(table).c.pk)
    )
    connection.execute(insert(pair).from_select(["former_pk", "pk"], found))
    if level is Level.INSTANCE:
        # a row of the former index that named another instance than its file holds
        mended = (
            select(_f_instance.c.pk, instance.c.pk)
            .where(instance.c.path == _f_instance.c.path)
            .where(~exists().where(pair.c.former_pk == _f_instance.c.pk))
        )
        connection.execute(insert(pair).from_select(["former_pk", "pk"], mended))


def _first_received(studies: Table, patients: ColumnElement[int]) -> Any:
    return select(func.min(studies.c.received_at)).where(studies.c.patient_pk == patients).scalar_subquery()


def _bereft(level: Level) -> Select[Any]:
    """Select, as pairs, what was first received from an instance that no file shows as it came then."""
    table, pair = TABLES[level], _PAIR[level]
    if level is Level.PATIENT:
        first = _first_received(study, pair.c.pk)
        # A patient outlives the study that made it known; what came next may have been found to differ.
        was_known = exists().where(
            _f_discrepancy.c.level == level.value,
            _f_discrepancy.c.entity_pk == pair.c.former_pk,
            _f_discrepancy.c.recorded_at <= first,
        )
        return select(pair).where(or_(_first_received(_f_study, pair.c.former_pk) != first, was_known))
    return (
        select(pair)
        .join_from(pair, table, table.c.pk == pair.c.pk)
        .join(_former(table), _former(table).c.pk == pair.c.former_pk)
        .where(_former(table).c.received_at != table.c.received_at)
    )


_STUDIES_TO_COUNT: Final = union(
    _LOST_STUDIES,
    select(_f_series.c.study_pk)
    .join(_series_pair, _series_pair.c.former_pk == _f_series.c.pk)
    .where(_series_pair.c.former_pk.in_(select(_bereft(Level.SERIES).subquery().c.former_pk))),
)


def _keep_first_values(connection: Connection) -> None:
    """Keep what was received first, although its bearer is gone."""
    pairs = {level: connection.execute(_bereft(level)).all() for level in _ENTITIES}
    for former_pk, _ in pairs[Level.STUDY]:  # the first instance says whose the study is
        of_study = select(_f_study.c.patient_pk).where(_f_study.c.pk == former_pk)
        _add_missing(connection, Level.PATIENT, of_study)
    for level, found in pairs.items():
        for former_pk, pk in found:
            _forget_discrepancies(connection, level, pk)
            if level is Level.PATIENT:
                for study_pk in connection.scalars(select(study.c.pk).where(study.c.patient_pk == pk)).all():
                    _forget_discrepancies(connection, Level.STUDY, study_pk)
            _take_values(connection, level, former_pk, pk)


def _take_values(connection: Connection, level: Level, former_pk: int, pk: int) -> None:
    table, former = TABLES[level], _former(TABLES[level])
    names = [name for name in _values_of(table) if name not in _COUNTED]
    found = select(*(former.c[name] for name in names)).where(former.c.pk == former_pk)
    values = dict(connection.execute(found).mappings().one())
    if level is Level.STUDY:
        misplaced_at = connection.execute(select(study.c.patient_pk).where(study.c.pk == pk)).scalar_one()
        _forget_discrepancies(connection, Level.PATIENT, misplaced_at)
        owner = select(_patient_pair.c.pk).join(_f_study, _f_study.c.patient_pk == _patient_pair.c.former_pk)
        values["patient_pk"] = connection.execute(owner.where(_f_study.c.pk == former_pk)).scalar_one()
    connection.execute(update(table).where(table.c.pk == pk).values(values))


def _forget_discrepancies(connection: Connection, level: Level, pk: int) -> None:
    of_entity = (discrepancy.c.level == level.value, discrepancy.c.entity_pk == pk)
    connection.execute(delete(discrepancy).where(*of_entity))


def _values_of(table: Table) -> list[str]:
    return [column.name for column in table.c if not column.primary_key and not column.foreign_keys]


def _add_lost(connection: Connection) -> None:
    """Add the instances that no file shows, and what is missing above them."""
    _add_missing(connection, Level.PATIENT, _LOST_PATIENTS)
    _add_missing(connection, Level.STUDY, _LOST_STUDIES)
    _add_missing(connection, Level.SERIES, _LOST_SERIES)
    _add_missing(connection, Level.INSTANCE, _LOST)


def _add_missing(connection: Connection, level: Level, pks: Select[Any]) -> None:
    """Add those rows of the former index that have no pair, below the pairs of what is above them."""
    table, former, pair = TABLES[level], _former(TABLES[level]), _PAIR[level]
    names = _values_of(table)
    columns: list[ColumnElement[Any]] = [former.c[name] for name in names]
    found = select(*columns)
    if level is not Level.PATIENT:
        above, reference = _ABOVE[level]
        found = select(*columns, above.c.pk).join(above, above.c.former_pk == former.c[reference])
        names.append(reference)
    is_missing = ~exists().where(pair.c.former_pk == former.c.pk)
    _copy(connection, table, names, found.where(former.c.pk.in_(pks), is_missing).order_by(former.c.pk))
    _pair(connection, level)


def _remove_empty_patients(connection: Connection) -> None:
    """Remove patients whose only study turned out to be another's."""
    empty = select(patient.c.pk).where(~exists().where(study.c.patient_pk == patient.c.pk))
    for pk in connection.scalars(empty).all():
        _forget_discrepancies(connection, Level.PATIENT, pk)
        connection.execute(delete(patient).where(patient.c.pk == pk))


def _copy_receipts(connection: Connection) -> None:
    former = _former(receipt)
    names = ["pk", *_values_of(receipt)]
    found = select(*(former.c[name] for name in names), _instance_pair.c.pk).join(
        _instance_pair, _instance_pair.c.former_pk == former.c.instance_pk
    )
    _copy(connection, receipt, [*names, "instance_pk"], found)


def _copy_conflicts(connection: Connection) -> None:
    former = _former(conflict)
    names = ["pk", "receipt_pk", *_values_of(conflict)]
    found = (
        select(*(former.c[name] for name in names), _instance_pair.c.pk)
        .join(_instance_pair, _instance_pair.c.former_pk == former.c.instance_pk)
        .where(~exists().where(instance.c.path == former.c.path))
    )
    _copy(connection, conflict, [*names, "instance_pk"], found)


def _copy_discrepancies(connection: Connection) -> None:
    """Copy who was first to say otherwise, in place of who is now."""
    former, now = _f_discrepancy, discrepancy.alias("now")
    names = [name for name in _values_of(discrepancy) if name != "entity_pk"]
    for level in _ENTITIES:
        pair = _PAIR[level]
        is_of_pair = and_(former.c.level == level.value, former.c.entity_pk == pair.c.former_pk)
        is_same = and_(
            now.c.level == level.value,
            now.c.entity_pk == pair.c.pk,
            now.c.keyword == former.c.keyword,
            now.c.received_value == former.c.received_value,
        )
        same = select(now.c.pk).select_from(pair.join(former, is_of_pair).join(now, is_same))
        connection.execute(delete(discrepancy).where(discrepancy.c.pk.in_(same)))
        found = select(*(former.c[name] for name in names), pair.c.pk).join(pair, is_of_pair)
        _copy(connection, discrepancy, [*names, "entity_pk"], found.order_by(former.c.pk))


def _copy(connection: Connection, table: Table, names: list[str], found: Select[Any]) -> None:
    connection.execute(insert(table).from_select(names, found))
