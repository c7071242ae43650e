"""What a scanning process says of a file: small, and kept as bytes until its turn in the index comes."""

import pickle
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, fields
from functools import partial
from operator import attrgetter
from typing import Final

from pacslite.index.entries import IndexEntry
from pacslite.model.attributes import Level
from pacslite.model.header import ColumnValue, InstanceHeader
from pacslite.model.instances import DuplicatePolicy, InstanceKey, Provenance, StoredFile

SharedValues = Callable[[bytes], bytes]
"""Returns what `write_record` put under a fingerprint."""

_SHARED_LEVELS: Final = (Level.PATIENT, Level.STUDY, Level.SERIES)
_POSITIONS: Final = {level: position for position, level in enumerate(_SHARED_LEVELS)}
_COLUMNS: Final = {level: tuple(InstanceHeader({}, "").values(level)) for level in Level}
_dump: Final = partial(pickle.dumps, protocol=pickle.HIGHEST_PROTOCOL)
_key_values: Final = attrgetter(*(field.name for field in fields(InstanceKey)))
_file_values: Final = attrgetter(*(field.name for field in fields(StoredFile)))
_provenance_values: Final = attrgetter(*(field.name for field in fields(Provenance)))


@dataclass(frozen=True, slots=True)
class DecodedHeader:
    """A header whose values were decoded elsewhere; see `InstanceHeader`."""

    shared: SharedValues
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    is_misdeclared: bool
    fingerprints: tuple[bytes, ...]
    instance_values: tuple[ColumnValue, ...]

    def values(self, level: Level) -> dict[str, ColumnValue]:
        """See `InstanceHeader.values`."""
        values = self.instance_values
        if level is not Level.INSTANCE:
            # written by our own scanning process into a file of our own
            values = pickle.loads(self.shared(self.fingerprint(level)))  # noqa: S301 - see above
        return dict(zip(_COLUMNS[level], values, strict=True))

    def fingerprint(self, level: Level) -> bytes:
        """See `InstanceHeader.fingerprint`; the instance's own level has none."""
        return self.fingerprints[_POSITIONS[level]]


def write_record(
    header: InstanceHeader,
    key: InstanceKey,
    file: StoredFile,
    provenance: Provenance,
    shared: MutableMapping[bytes, bytes],
) -> bytes:
    """Return all that the index wants of an instance; what instances have in common goes to `shared`."""
    fingerprints = []
    for level in _SHARED_LEVELS:
        fingerprint = header.fingerprint(level)
        fingerprints.append(fingerprint)
        if fingerprint not in shared:
            shared[fingerprint] = _dump(tuple(header.values(level).values()))
    said = (
        header.study_instance_uid,
        header.series_instance_uid,
        header.patient_id,
        header.issuer_of_patient_id,
        header.is_misdeclared,
        tuple(fingerprints),
        tuple(header.values(Level.INSTANCE).values()),
    )
    return _dump((said, _key_values(key), _file_values(file), _provenance_values(provenance)))


def read_record(record: bytes, shared: SharedValues, policy: DuplicatePolicy) -> IndexEntry:
    """Return what `write_record` wrote as a receipt under `policy`."""
    # written by our own scanning process into a file of our own
    said, key, file, provenance = pickle.loads(record)  # noqa: S301 - see above
    return IndexEntry(
        header=DecodedHeader(shared, *said),
        key=InstanceKey(*key),
        file=StoredFile(*file),
        provenance=Provenance(*provenance),
        policy=policy,
    )
