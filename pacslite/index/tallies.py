"""Counters and collected values of studies and series, folded over one transaction."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from pacslite.index.tables import series, study

_ADD_TO_SERIES: Final = (
    update(series)
    .where(series.c.pk == bindparam("key"))
    .values(
        number_of_series_related_instances=series.c.number_of_series_related_instances
        + bindparam("instances")
    )
)
_ADD_TO_STUDY: Final = (
    update(study)
    .where(study.c.pk == bindparam("key"))
    .values(
        number_of_study_related_series=study.c.number_of_study_related_series + bindparam("series"),
        number_of_study_related_instances=study.c.number_of_study_related_instances + bindparam("instances"),
    )
)
_COLLECTED: Final = select(study.c.modalities_in_study, study.c.sop_classes_in_study).where(
    study.c.pk == bindparam("key")
)
_SET_COLLECTED: Final = (
    update(study)
    .where(study.c.pk == bindparam("key"))
    .values(
        modalities_in_study=bindparam("modalities"),
        sop_classes_in_study=bindparam("sop_classes"),
    )
)


@dataclass(slots=True)
class _StudyTally:
    series: int = 0
    instances: int = 0
    modalities: set[str] = field(default_factory=set)
    sop_classes: set[str] = field(default_factory=set)


class Tallies:
    """What one transaction adds to its studies and series, written once before it commits."""

    def __init__(self) -> None:
        self._studies: defaultdict[int, _StudyTally] = defaultdict(_StudyTally)
        self._series: defaultdict[int, int] = defaultdict(int)

    def add_series(self, study_pk: int, modality: object) -> None:
        """Count a new series."""
        tally = self._studies[study_pk]
        tally.series += 1
        if isinstance(modality, str):
            tally.modalities.add(modality)

    def add_instance(self, study_pk: int, series_pk: int) -> None:
        """Count a new instance."""
        self._studies[study_pk].instances += 1
        self._series[series_pk] += 1

    def take_instance(self, study_pk: int, series_pk: int) -> None:
        """Count an instance less; the collected values stay until `recount_study`."""
        self._studies[study_pk].instances -= 1
        self._series[series_pk] -= 1

    def add_sop_class(self, study_pk: int, sop_class_uid: str) -> None:
        """Collect a SOP Class that the study may not have had."""
        self._studies[study_pk].sop_classes.add(sop_class_uid)

    def flush(self, connection: Connection) -> None:
        """Write all that was counted, in one order on every node, so that two nodes never wait crosswise."""
        for study_pk, tally in sorted(self._studies.items()):
            parameters = {"key": study_pk, "series": tally.series, "instances": tally.instances}
            connection.execute(_ADD_TO_STUDY, parameters)
            if tally.modalities or tally.sop_classes:
                _collect(connection, study_pk, tally)
        for series_pk, instances in sorted(self._series.items()):
            connection.execute(_ADD_TO_SERIES, {"key": series_pk, "instances": instances})
        self._studies.clear()
        self._series.clear()


def _collect(connection: Connection, study_pk: int, tally: _StudyTally) -> None:
    # The update of the counters has locked the row: what another node adds is either here or waits for us.
    modalities, sop_classes = connection.execute(_COLLECTED, {"key": study_pk}).one()
    connection.execute(
        _SET_COLLECTED,
        {
            "key": study_pk,
            "modalities": join({*split(modalities), *tally.modalities}),
            "sop_classes": join({*split(sop_classes), *tally.sop_classes}),
        },
    )


def join(values: Iterable[str]) -> str:
    """Return `values` sorted and joined as DICOM joins them."""
    return "\\".join(sorted(values))


def split(joined: str) -> set[str]:
    """Return the values that `join` joined."""
    return set(joined.split("\\")) - {""}
