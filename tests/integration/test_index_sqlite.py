"""What only SQLite has: pragmas, the write-ahead log, locks, query plans."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Select, make_url, select, text
from sqlalchemy.dialects import sqlite as dialect
from support.index import Index, make_entry

from pacslite.index import migrate, sqlite
from pacslite.index.engine import open_reader_engine, open_writer_engine
from pacslite.index.tables import conflict, instance, metadata, patient, series, study
from pacslite.model.errors import ConfigurationError, OutOfResourcesError
from pacslite.model.instances import Outcome
from pacslite.settings.schema import IndexSettings


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "index.sqlite"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def only_sqlite(database: Path) -> Iterator[Index]:
    index = Index(f"sqlite:///{database}", IndexSettings(checkpoint_wal_bytes=256 * 1024))
    yield index
    index.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("wal_autocheckpoint", 0), ("foreign_keys", 1)],
)
def test_the_writer_is_durable_and_checkpoints_by_hand(database: Path, pragma: str, value: object) -> None:
    engine = open_writer_engine(f"sqlite:///{database}", busy_seconds=1.5)
    with engine.connect() as connection:
        assert connection.scalar(text(f"PRAGMA {pragma}")) == value
        assert connection.scalar(text("PRAGMA busy_timeout")) == 1500
    engine.dispose()


def test_a_reader_never_checkpoints(database: Path) -> None:
    engine = open_reader_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA wal_autocheckpoint")) == 0
        assert connection.scalar(text("PRAGMA query_only")) == 1
    engine.dispose()


def test_a_path_with_odd_characters_is_read_and_written(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%20e"
    folder.mkdir()
    url = make_url("sqlite://").set(database=str(folder / "index.sqlite"))
    migrate.upgrade(url)
    migrate.check(url)
    assert [path.name for path in folder.iterdir() if path.suffix == ".sqlite"] == ["index.sqlite"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/index"])
def test_an_index_that_would_forget_or_is_not_supported_is_refused(url: str) -> None:
    with pytest.raises((ConfigurationError, ModuleNotFoundError)):
        open_writer_engine(url)


def test_text_compares_by_code_point(only_sqlite: Index) -> None:
    only_sqlite.receive(make_entry(PatientID="a_1"))
    assert only_sqlite.reader.patients("A_1") == []


def test_the_log_stays_near_its_limit(only_sqlite: Index) -> None:
    for number in range(600):
        only_sqlite.receive(make_entry(f"1.{number}"))
    statistics = only_sqlite.writer.statistics()
    assert statistics.checkpoints >= 5
    assert statistics.wal_bytes < 3 * 256 * 1024


def test_a_reader_that_holds_its_snapshot_stops_neither_receipts_nor_later_checkpoints(
    only_sqlite: Index,
) -> None:
    with only_sqlite.reader_engine.connect() as connection:
        connection.execute(select(patient.c.pk)).all()
        for number in range(200):
            only_sqlite.receive(make_entry(f"1.{number}"))
        assert connection.execute(select(patient.c.pk)).all() == []
    for number in range(200, 300):
        only_sqlite.receive(make_entry(f"1.{number}"))
    grown = only_sqlite.writer.statistics().wal_bytes
    for number in range(300, 600):
        only_sqlite.receive(make_entry(f"1.{number}"))
    assert only_sqlite.reader.counts().instances == 600
    assert only_sqlite.writer.statistics().wal_bytes == grown


def test_after_stop_nothing_is_left_in_the_log(database: Path) -> None:
    index = Index(f"sqlite:///{database}")
    index.receive(make_entry())
    index.close()
    log = Path(f"{database}-wal")
    assert not log.exists() or log.stat().st_size == 0


def test_what_was_acknowledged_is_there_for_a_process_that_finds_the_log(database: Path) -> None:
    index = Index(f"sqlite:///{database}")
    index.receive(make_entry("1.1"))
    copy = database.with_name("copy.sqlite")
    copy.write_bytes(database.read_bytes())
    Path(f"{copy}-wal").write_bytes(Path(f"{database}-wal").read_bytes())
    index.close()
    other = Index(f"sqlite:///{copy}")
    assert other.reader.instance("1.1") is not None
    other.close()


def test_a_lock_of_another_process_is_waited_for_once_and_then_out_of_resources(database: Path) -> None:
    index = Index(f"sqlite:///{database}", IndexSettings(busy_seconds=0.2))
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    futures = [index.submit(make_entry(f"1.{number}")) for number in range(30)]
    errors = {type(future.exception(timeout=20)) for future in futures}
    other.execute("ROLLBACK")
    other.close()
    assert errors == {OutOfResourcesError}
    assert time.monotonic() - start < 2
    assert index.receive(make_entry()).outcome is Outcome.STORED
    index.close()


def send_studies(index: Index, count: int) -> None:
    for number in range(count):
        comments = "x" * 9000
        index.receive(
            make_entry(f"1.{number}", study=f"2.{number}", PatientID=f"{number}", PatientComments=comments)
        )


def test_a_full_database_is_out_of_resources_until_there_is_room(only_sqlite: Index) -> None:
    only_sqlite.run(lambda transaction: transaction.connection.scalar(text("PRAGMA max_page_count=1")))
    with pytest.raises(OutOfResourcesError):
        send_studies(only_sqlite, 1000)
    assert not only_sqlite.is_healthy()
    only_sqlite.run(lambda transaction: transaction.connection.scalar(text("PRAGMA max_page_count=1000000")))
    assert only_sqlite.receive(make_entry("9.9")).outcome is Outcome.STORED
    assert only_sqlite.is_healthy()


def test_a_failed_checkpoint_costs_no_receipt(only_sqlite: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> sqlite.Checkpoint:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sqlite, "checkpoint", fail)
    for number in range(100):
        only_sqlite.receive(make_entry(f"1.{number}"))
    assert only_sqlite.writer.statistics().wal_bytes > 256 * 1024
    assert only_sqlite.is_healthy()
    monkeypatch.undo()


QUERIES = {
    "patient id": select(patient.c.pk).where(patient.c.patient_id == "x"),
    "patient name": select(patient.c.pk).where(patient.c.patient_name_alphabetic.between("a", "b")),
    "study date": select(study.c.pk).where(study.c.study_date.between("20200101", "20201231")),
    "accession number": select(study.c.pk).where(study.c.accession_number == "x"),
    "study uid": select(study.c.pk).where(study.c.study_instance_uid == "1.2"),
    "studies of a patient": select(study.c.pk).where(study.c.patient_pk == 1),
    "series of a study": select(series.c.pk).where(series.c.study_pk == 1),
    "modality": select(series.c.study_pk).where(series.c.modality == "CT"),
    "instances of a series": select(instance.c.pk).where(instance.c.series_pk == 1),
    "instance uid": select(instance.c.pk).where(instance.c.sop_instance_uid == "1.2"),
    "paths": select(instance.c.path).where(instance.c.path >= "a", instance.c.path < "b"),
    "conflicts": select(conflict.c.pk).where(conflict.c.instance_pk == 1),
}


@pytest.mark.parametrize("name", QUERIES)
def test_no_common_question_scans_a_table(only_sqlite: Index, name: str) -> None:
    query: Select[tuple[object]] = QUERIES[name]
    compiled = query.compile(dialect=dialect.dialect(), compile_kwargs={"literal_binds": True})
    with only_sqlite.reader_engine.connect() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
    assert all(step.startswith("SEARCH") for step in plan), plan


def test_every_foreign_key_has_an_index(only_sqlite: Index) -> None:
    assert only_sqlite.reader.counts().instances == 0
    for table in metadata.tables.values():
        leading = {next(iter(index.columns)).name for index in table.indexes}
        unique = {
            next(iter(constraint.columns)).name  # type: ignore[attr-defined]  # not all kinds have columns
            for constraint in table.constraints
            if getattr(constraint, "columns", None)
        }
        for key in table.foreign_keys:
            assert key.parent.name in leading | unique or key.parent.name == "receipt_pk"
