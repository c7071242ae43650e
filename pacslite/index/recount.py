"""Counting a study anew after it lost an instance, and removing what that left empty."""

from sqlalchemy import Connection, delete, exists, func, select, update

from pacslite.index.tables import discrepancy, instance, patient, series, study
from pacslite.index.tallies import join
from pacslite.model.attributes import Level


def recount_study(connection: Connection, study_pk: int) -> None:
    """Bring a study that lost an instance up to date; remove series, study and patient left empty."""
    # Whoever counts up afterwards waits for us; whoever did before is seen (on SQLite nobody else writes).
    connection.execute(select(study.c.pk).where(study.c.pk == study_pk).with_for_update())
    of_study = series.c.study_pk == study_pk
    counts = (
        select(series.c.pk, func.count(instance.c.pk))
        .join_from(series, instance, isouter=True)
        .where(of_study)
        .group_by(series.c.pk)
    )
    total = kept = 0
    for series_pk, count in connection.execute(counts).all():
        total += count
        kept += bool(count)
        if count:
            change = update(series).values(number_of_series_related_instances=count)
            connection.execute(change.where(series.c.pk == series_pk))
        else:
            connection.execute(delete(series).where(series.c.pk == series_pk))
            _forget_discrepancies(connection, Level.SERIES, series_pk)
    if total:
        _rewrite_study(connection, study_pk, kept, total)
    else:
        _remove_study(connection, study_pk)


def _rewrite_study(connection: Connection, study_pk: int, series_count: int, instance_count: int) -> None:
    of_study = series.c.study_pk == study_pk
    modalities = connection.scalars(select(series.c.modality).where(of_study).distinct())
    sop_classes = connection.scalars(
        select(instance.c.sop_class_uid).join_from(series, instance).where(of_study).distinct()
    )
    connection.execute(
        update(study)
        .where(study.c.pk == study_pk)
        .values(
            number_of_study_related_series=series_count,
            number_of_study_related_instances=instance_count,
            modalities_in_study=join(value for value in modalities if value),
            sop_classes_in_study=join(sop_classes),
        )
    )


def _remove_study(connection: Connection, study_pk: int) -> None:
    patient_pk = connection.execute(select(study.c.patient_pk).where(study.c.pk == study_pk)).scalar()
    if patient_pk is None:
        return  # removed already
    connection.execute(delete(study).where(study.c.pk == study_pk))
    _forget_discrepancies(connection, Level.STUDY, study_pk)
    others = exists().where(study.c.patient_pk == patient_pk)
    removal = connection.execute(delete(patient).where(patient.c.pk == patient_pk, ~others))
    if removal.rowcount:
        _forget_discrepancies(connection, Level.PATIENT, patient_pk)


def _forget_discrepancies(connection: Connection, level: Level, pk: int) -> None:
    # SQLite gives the key of a removed row to another.
    of_entity = (discrepancy.c.level == level.value, discrepancy.c.entity_pk == pk)
    connection.execute(delete(discrepancy).where(*of_entity))
