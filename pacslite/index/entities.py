"""Patients, studies and series: found, or made by their first instance (S7, S11 to S13)."""

from typing import Final

import xxhash
from sqlalchemy import bindparam, insert, select

from pacslite.index import discrepancies
from pacslite.index.entries import Header, IndexEntry
from pacslite.index.rows import insert_row
from pacslite.index.tables import patient, series, study
from pacslite.index.tallies import split
from pacslite.index.transaction import Fingerprints, KnownSeries, KnownStudy, WriteTransaction
from pacslite.model.attributes import Level
from pacslite.model.text import TEXT_MAX_CHARACTERS

_FIND_PATIENT: Final = select(patient.c.pk).where(patient.c.patient_key == bindparam("key"))
_FIND_STUDY: Final = (
    select(study.c.pk, study.c.patient_pk, patient.c.patient_key, study.c.sop_classes_in_study)
    .join_from(study, patient)
    .where(study.c.study_instance_uid == bindparam("uid"))
)
_FIND_SERIES: Final = select(series.c.pk).where(
    series.c.study_pk == bindparam("study"), series.c.series_instance_uid == bindparam("uid")
)
_INSERT_PATIENT: Final = insert(patient)
_INSERT_STUDY: Final = insert(study)
_INSERT_SERIES: Final = insert(series)


def patient_key(header: Header) -> str:
    """Return what identifies the patient: Patient ID with its issuer (M28), or the study where there is none.

    Two emergencies without a Patient ID are never one patient (S7). A key too long for its column is replaced
    by a digest, so that two long Patient IDs with one beginning stay two patients.
    """
    identity, issuer = header.patient_id, header.issuer_of_patient_id
    key = f"id\\{len(identity)}\\{identity}\\{issuer}" if identity else f"study\\{header.study_instance_uid}"
    return key if len(key) <= TEXT_MAX_CHARACTERS else f"digest\\{xxhash.xxh3_128_hexdigest(key.encode())}"


def series_of(transaction: WriteTransaction, entry: IndexEntry) -> KnownSeries:
    """Return the series of the instance, making what is missing above it.

    What the instance says differently of patient, study or series is recorded, and changes nothing there
    (S11, S12, M29, M30).
    """
    key = (entry.header.study_instance_uid, entry.header.series_instance_uid)
    known = transaction.cache.series.get(key)
    if known is None:
        known = _find_or_make_series(transaction, entry)
        transaction.cache.series.put(key, known)
    if entry.key.sop_class_uid not in known.study.sop_classes:
        known.study.sop_classes.add(entry.key.sop_class_uid)
        transaction.tallies.add_sop_class(known.study.pk, entry.key.sop_class_uid)
    discrepancies.note(transaction.connection, entry, known, patient_key(entry.header))
    return known


def _find_or_make_series(transaction: WriteTransaction, entry: IndexEntry) -> KnownSeries:
    known_study = _study_of(transaction, entry)
    uid = entry.header.series_instance_uid
    parameters = {"study": known_study.pk, "uid": uid}
    pk = transaction.connection.execute(_FIND_SERIES, parameters).scalar()
    if pk is not None:
        return KnownSeries(pk, known_study)
    values = entry.header.values(Level.SERIES)
    row = {
        **values,
        "study_pk": known_study.pk,
        "received_at": entry.provenance.received_at,
    }
    pk = insert_row(transaction.connection, _INSERT_SERIES, row)
    transaction.tallies.add_series(known_study.pk, values["modality"])
    known = KnownSeries(pk, known_study)
    known.fingerprints.add(entry.header.fingerprint(Level.SERIES))
    return known


def _study_of(transaction: WriteTransaction, entry: IndexEntry) -> KnownStudy:
    uid = entry.header.study_instance_uid
    known = transaction.cache.studies.get(uid)
    if known is None:
        row = transaction.connection.execute(_FIND_STUDY, {"uid": uid}).one_or_none()
        if row is None:
            known = _make_study(transaction, entry)
        else:
            known = KnownStudy(row.pk, row.patient_pk, row.patient_key, split(row.sop_classes_in_study))
        transaction.cache.studies.put(uid, known)
    return known


def _make_study(transaction: WriteTransaction, entry: IndexEntry) -> KnownStudy:
    header, connection = entry.header, transaction.connection
    key = patient_key(header)
    patient_pk = connection.execute(_FIND_PATIENT, {"key": key}).scalar()
    fingerprints = Fingerprints()
    if patient_pk is None:
        patient_row = {**header.values(Level.PATIENT), "patient_key": key}
        patient_pk = insert_row(connection, _INSERT_PATIENT, patient_row)
        fingerprints.add(header.fingerprint(Level.PATIENT))
    row = {
        **header.values(Level.STUDY),
        "patient_pk": patient_pk,
        "received_at": entry.provenance.received_at,
    }
    pk = insert_row(connection, _INSERT_STUDY, row)
    known = KnownStudy(pk, patient_pk, key, set(), patient_fingerprints=fingerprints)
    known.fingerprints.add(header.fingerprint(Level.STUDY))
    return known
