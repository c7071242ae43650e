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
_patient_pair, _study_pair, _series_pair, _instance_pair = (_PAIR[level] for level in Level)

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
    _keep_earlier_values(connection)
    _add_lost(connection)
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


def _earlier(level: Level) -> Select[Any]:
    """Select what was first received, by the former index, before any file that is left."""
    table, pair = TABLES[level], _PAIR[level]
    if level is Level.PATIENT:
        former = _first_received(_f_study, pair.c.former_pk)
        return select(pair.c.pk).where(former < _first_received(study, pair.c.pk))
    return (
        select(pair.c.pk)
        .join_from(pair, table, table.c.pk == pair.c.pk)
        .join(_former(table), _former(table).c.pk == pair.c.former_pk)
        .where(_former(table).c.received_at < table.c.received_at)
    )


_STUDIES_TO_COUNT: Final = union(
    _LOST_STUDIES,
    select(_f_series.c.study_pk)
    .join(_series_pair, _series_pair.c.former_pk == _f_series.c.pk)
    .where(_series_pair.c.pk.in_(_earlier(Level.SERIES))),
)


def _keep_earlier_values(connection: Connection) -> None:
    """Keep what was received first, although its bearer is gone."""
    for level in _ENTITIES:  # patients first: whose turn it is shows in the studies
        table, pair = TABLES[level], _PAIR[level]
        earlier = connection.scalars(_earlier(level)).all()
        names = [name for name in _values_of(table) if name not in _COUNTED]
        values = {name: _former(table).c[name] for name in names}
        for pk in earlier:
            found = select(*values.values()).join(pair, pair.c.former_pk == _former(table).c.pk)
            row = connection.execute(found.where(pair.c.pk == pk)).mappings().one()
            connection.execute(update(table).where(table.c.pk == pk).values(dict(row)))
            of_entity = (discrepancy.c.level == level.value, discrepancy.c.entity_pk == pk)
            connection.execute(delete(discrepancy).where(*of_entity))


def _values_of(table: Table) -> list[str]:
    return [column.name for column in table.c if not column.primary_key and not column.foreign_keys]


def _add_lost(connection: Connection) -> None:
    """Add the instances that no file shows, and what is missing above them."""
    lost = connection.execute(select(func.count()).select_from(_LOST.subquery())).scalar_one()
    if not lost:
        return
    wanted: dict[Level, tuple[Select[Any], Table | None, str]] = {
        Level.PATIENT: (_LOST_PATIENTS, None, ""),
        Level.STUDY: (_LOST_STUDIES, _patient_pair, "patient_pk"),
        Level.SERIES: (_LOST_SERIES, _study_pair, "study_pk"),
        Level.INSTANCE: (_LOST, _series_pair, "series_pk"),
    }
    for level, (pks, above, reference) in wanted.items():
        table, former, pair = TABLES[level], _former(TABLES[level]), _PAIR[level]
        names = _values_of(table)
        columns: list[ColumnElement[Any]] = [former.c[name] for name in names]
        found = select(*columns)
        if above is not None:
            found = select(*columns, above.c.pk).join(above, above.c.former_pk == former.c[reference])
            names.append(reference)
        is_missing = ~exists().where(pair.c.former_pk == former.c.pk)
        _copy(connection, table, names, found.where(former.c.pk.in_(pks), is_missing).order_by(former.c.pk))
        _pair(connection, level)


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
    former = _former(discrepancy)
    names = [name for name in _values_of(discrepancy) if name != "entity_pk"]
    for level in _ENTITIES:
        pair = _PAIR[level]
        is_known = exists().where(
            discrepancy.c.level == former.c.level,
            discrepancy.c.entity_pk == pair.c.pk,
            discrepancy.c.keyword == former.c.keyword,
            discrepancy.c.received_value == former.c.received_value,
        )
        found = (
            select(*(former.c[name] for name in names), pair.c.pk)
            .join(pair, pair.c.former_pk == former.c.entity_pk)
            .where(former.c.level == level.value, ~is_known)
        )
        _copy(connection, discrepancy, [*names, "entity_pk"], found.order_by(former.c.pk))


def _copy(connection: Connection, table: Table, names: list[str], found: Select[Any]) -> None:
    connection.execute(insert(table).from_select(names, found))
