"""All that an index says, without the numbers that a database gives its rows."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Final

Dump = dict[str, Counter[tuple[Any, ...]]]

FOUR_LEVELS: Final = ("patient", "study", "series", "instance")

_NAMES: Final = {
    "patient": ("patient AS t", "t.patient_key"),
    "study": ("study AS t JOIN patient AS p ON p.pk = t.patient_pk", "p.patient_key"),
    "series": ("series AS t JOIN study AS s ON s.pk = t.study_pk", "s.study_instance_uid"),
    "instance": (
        "instance AS t JOIN series AS e ON e.pk = t.series_pk JOIN study AS s ON s.pk = e.study_pk",
        "e.series_instance_uid, s.study_instance_uid",
    ),
    "receipt": ("receipt AS t JOIN instance AS i ON i.pk = t.instance_pk", "i.sop_instance_uid"),
    "conflict": (
        "conflict AS t JOIN instance AS i ON i.pk = t.instance_pk JOIN receipt AS r ON r.pk = t.receipt_pk",
        "i.sop_instance_uid, r.received_at, r.digest",
    ),
    "discrepancy": (
        """discrepancy AS t LEFT JOIN patient AS p ON t.level = 'PATIENT' AND p.pk = t.entity_pk
        LEFT JOIN study AS s ON t.level = 'STUDY' AND s.pk = t.entity_pk
        LEFT JOIN series AS e ON t.level = 'SERIES' AND e.pk = t.entity_pk""",
        "coalesce(p.patient_key, s.study_instance_uid, e.series_instance_uid)",
    ),
    "job": ("job AS t", "t.pk"),
    "store": ("store AS t", "t.node_name"),
}


def dump(index: Path) -> Dump:
    """Return every row of every table, each with what it belongs to by name, after checking the database."""
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        tables = {name for (name,) in connection.execute(_TABLES)} - {"alembic_version", "sqlite_sequence"}
        assert tables == set(_NAMES)
        return {name: _rows(connection, name) for name in _NAMES}


_TABLES: Final = "SELECT name FROM sqlite_master WHERE type = 'table'"


def _rows(connection: sqlite3.Connection, name: str) -> Counter[tuple[Any, ...]]:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
    wanted = ", ".join(f"t.{column}" for column in columns if column not in _numbers(name))
    joined, names = _NAMES[name]
    rows = Counter(connection.execute(f"SELECT {names}, {wanted} FROM {joined}"))
    (count,) = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
    assert rows.total() == count, f"{name}: a row belongs to nothing"
    return rows


def _numbers(name: str) -> set[str]:
    references = {f"{other}_pk" for other in _NAMES} | {"entity_pk"}
    return references if name == "job" else {*references, "pk"}


def difference(before: Dump, after: Dump, *names: str) -> dict[str, tuple[Any, Any]]:
    """Return what only one of two dumps has, by table; of `names` only, if given."""
    chosen = names or tuple(before)
    return {
        name: (list(before[name] - after[name]), list(after[name] - before[name]))
        for name in chosen
        if before[name] != after[name]
    }
