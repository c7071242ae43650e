"""What a command of the index writer works with: the open transaction and what is known of rows in it."""

from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection

from pacslite.index.tallies import Tallies

_MAX_ENTITIES: Final = 4096
_MAX_FINGERPRINTS: Final = 64

EntityT = TypeVar("EntityT")
KeyT = TypeVar("KeyT")


@dataclass(slots=True)
class Fingerprints:
    """Raw values that were found to agree with an entity's row, or whose disagreement is on record."""

    _known: set[bytes] = field(default_factory=set)

    def __contains__(self, fingerprint: bytes) -> bool:
        return fingerprint in self._known

    def add(self, fingerprint: bytes) -> None:
        """Remember `fingerprint`; a sender of ever new values costs time, not memory."""
        if len(self._known) >= _MAX_FINGERPRINTS:
            self._known.clear()
        self._known.add(fingerprint)


@dataclass(slots=True)
class KnownStudy:
    """A study's row, as far as each further instance needs it."""

    pk: int
    patient_pk: int
    patient_key: str
    sop_classes: set[str]
    fingerprints: Fingerprints = field(default_factory=Fingerprints)
    patient_fingerprints: Fingerprints = field(default_factory=Fingerprints)


@dataclass(slots=True)
class KnownSeries:
    """A series' row, as far as each further instance needs it."""

    pk: int
    study: KnownStudy
    fingerprints: Fingerprints = field(default_factory=Fingerprints)


class _Recent(Generic[KeyT, EntityT]):
    """The entities seen last; the oldest makes room."""

    def __init__(self) -> None:
        self._entities: dict[KeyT, EntityT] = {}

    def get(self, key: KeyT) -> EntityT | None:
        return self._entities.get(key)

    def put(self, key: KeyT, entity: EntityT) -> None:
        if len(self._entities) >= _MAX_ENTITIES:
            del self._entities[next(iter(self._entities))]
        self._entities[key] = entity

    def clear(self) -> None:
        self._entities.clear()


class EntityCache:
    """Rows of recent studies and series.

    Only the writer's thread touches it, inside transactions; a transaction that does not commit clears it, so
    that it never tells of rows that are not there.
    """

    def __init__(self) -> None:
        self.studies: _Recent[str, KnownStudy] = _Recent()
        self.series: _Recent[tuple[str, str], KnownSeries] = _Recent()

    def clear(self) -> None:
        """Forget everything: a transaction was rolled back, or rows were deleted."""
        self.studies.clear()
        self.series.clear()


class WriteTransaction:
    """An open transaction.

    Parameters
    ----------
    connection
        Execute statements on it; never commit it or roll it back.
    cache
        The rows known so far.
    """

    def __init__(self, connection: Connection, cache: EntityCache) -> None:
        self.connection = connection
        self.cache = cache
        self.tallies = Tallies()
        self.has_new_jobs = False
        """Whether a job may be due once this is committed."""

    def flush(self) -> None:
        """Write the counters that commands of this transaction have raised."""
        self.tallies.flush(self.connection)
