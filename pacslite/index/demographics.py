"""Whether an instance says otherwise of a known patient: the "pregnant man" (S12)."""

from typing import Final

from sqlalchemy import Connection, bindparam, select

from pacslite.index import discrepancies
from pacslite.index.entities import patient_key
from pacslite.index.entries import IndexEntry
from pacslite.index.tables import patient
from pacslite.model.attributes import HEADER_ATTRIBUTES, Attribute, Level

_CHECKED: Final = tuple(
    attribute
    for attribute in HEADER_ATTRIBUTES[Level.PATIENT]
    if attribute.keyword in {"PatientName", "PatientBirthDate", "PatientSex"}
)
_COLUMNS: Final = {attribute: attribute.match_columns or (attribute.column,) for attribute in _CHECKED}
_FIND: Final = select(patient).where(patient.c.patient_key == bindparam("key"))


def differing_tags(connection: Connection, entry: IndexEntry) -> tuple[int, ...]:
    """Return the tags of name, birth date and sex that contradict what is kept of this Patient ID and issuer.

    What one side leaves empty contradicts nothing, nor do case and accents of a name. Contradictions are
    journaled among the discrepancies, so that a keeper finds out why a sender is refused.
    """
    if not entry.header.patient_id:
        return ()
    kept = connection.execute(_FIND, {"key": patient_key(entry.header)}).mappings().one_or_none()
    if kept is None:
        return ()
    received = entry.header.values(Level.PATIENT)

    def differs(attribute: Attribute) -> bool:
        pairs = ((kept[column], received[column]) for column in _COLUMNS[attribute])
        return any(ours and theirs and ours != theirs for ours, theirs in pairs)

    differing = [attribute for attribute in _CHECKED if differs(attribute)]
    discrepancies.record(
        connection,
        entry,
        (Level.PATIENT, kept["pk"]),
        [(attribute.keyword, kept[attribute.column], received[attribute.column]) for attribute in differing],
    )
    return tuple(attribute.tag for attribute in differing)
