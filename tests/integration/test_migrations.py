"""The schema's revisions, on both databases."""

import time
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from support.index import Index, make_entry

import pacslite
from pacslite.index import migrate
from pacslite.index.engine import open_writer_engine
from pacslite.index.tables import metadata
from pacslite.model.errors import DataFolderError, IndexRevisionError
from pacslite.model.instances import Outcome


def script() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_folder()))
    return ScriptDirectory.from_config(config)


def execute(url: str, statement: str) -> None:
    engine = open_writer_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_the_program_knows_the_newest_revision() -> None:
    assert script().get_current_head() == migrate.HEAD == migrate.head()


def test_the_migrated_schema_is_the_one_that_the_program_uses(index_url: str) -> None:
    engine = open_writer_engine(index_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        names = {
            table: {index["name"] for index in inspect(connection).get_indexes(table)}
            for table in metadata.tables
        }
    engine.dispose()
    for name, table in metadata.tables.items():
        assert {index.name for index in table.indexes} <= names[name]


def test_an_upgraded_index_passes_the_check(index_url: str) -> None:
    migrate.check(index_url)
    assert migrate.current(index_url) == migrate.HEAD


def test_upgrading_twice_changes_nothing(index_url: str) -> None:
    index = Index(index_url)
    index.receive(make_entry("1.1"))
    migrate_while_open = Index(index_url)
    migrate_while_open.close()
    index.close()
    migrate.upgrade(index_url)
    again = Index(index_url)
    assert again.reader.instance("1.1") is not None
    assert again.receive(make_entry("1.2")).outcome is Outcome.STORED
    again.close()


def test_no_index_is_said_to_need_an_upgrade(any_url: str) -> None:
    assert migrate.current(any_url) is None
    with pytest.raises(IndexRevisionError, match=r"has no schema yet.*pacslite db upgrade"):
        migrate.check(any_url)


def test_asking_for_the_revision_makes_no_file(sqlite_url: str, tmp_path: Path) -> None:
    assert migrate.current(sqlite_url) is None
    assert list(tmp_path.iterdir()) == []


def test_an_older_revision_is_refused_with_the_command_that_mends_it(index_url: str) -> None:
    execute(index_url, "UPDATE alembic_version SET version_num = '0000_before'")
    with pytest.raises(IndexRevisionError, match=r"0000_before.*pacslite db upgrade"):
        migrate.check(index_url)


def test_an_index_of_a_newer_program_is_left_alone(index_url: str) -> None:
    execute(index_url, "UPDATE alembic_version SET version_num = '9999_later'")
    with pytest.raises(IndexRevisionError, match="9999_later"):
        migrate.upgrade(index_url)
    assert migrate.current(index_url) == "9999_later"


def test_an_unreachable_server_is_told_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://me:secret@/index?host={tmp_path}"
    for ask in (migrate.check, migrate.upgrade):
        with pytest.raises(DataFolderError, match="cannot be used") as caught:
            ask(url)
        assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_told(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"not a database at all" * 1000)
    for ask in (migrate.check, migrate.upgrade):
        with pytest.raises(DataFolderError, match="not a database"):
            ask(sqlite_url)


def test_a_failed_upgrade_leaves_nothing(any_url: str) -> None:
    execute(any_url, "CREATE TABLE job (pk INTEGER)")
    with pytest.raises(DataFolderError, match="job"):
        migrate.upgrade(any_url)
    assert migrate.current(any_url) is None
    execute(any_url, "DROP TABLE job")
    migrate.upgrade(any_url)
    migrate.check(any_url)


def test_a_downgrade_leaves_no_table(index_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_folder()))
    engine = open_writer_engine(index_url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    engine.dispose()


def test_installed_migrations_come_before_those_of_the_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pacslite"
    package.mkdir()
    monkeypatch.setattr(pacslite, "__file__", str(package / "__init__.py"))
    assert migrate.migrations_folder() == tmp_path / "migrations"
    (package / "migrations").mkdir()
    assert migrate.migrations_folder() == package / "migrations"


def test_a_new_index_is_made_quickly(tmp_path: Path) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path / 'warm.sqlite'}")
    taken = []
    for number in range(3):
        start = time.perf_counter()
        migrate.upgrade(f"sqlite:///{tmp_path / f'{number}.sqlite'}")
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.15
