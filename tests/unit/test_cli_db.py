import os
from pathlib import Path

from sqlalchemy import make_url
from support.command_line import run

from pacslite.archive.archive import index_url
from pacslite.index import migrate
from pacslite.settings.schema import ArchiveSettings, Settings
from pacslite.storage.lock import DataFolderLock


def test_upgrade_makes_the_index_of_every_archive(tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text("archives:\n  - name: main\n  - name: deid\n    ae_titles: [DEID]\n")
    data = tmp_path / "data"
    first = run("db", "upgrade", "--config", config, "--data", data)
    head = migrate.head()
    assert first.exit_code == 0
    assert first.stdout == f"main: from nothing to revision {head}\ndeid: from nothing to revision {head}\n"
    again = run("db", "upgrade", "--config", config, "--data", data)
    assert again.stdout == f"main: already at revision {head}\ndeid: already at revision {head}\n"
    check = run("db", "check", "--config", config, "--data", data)
    assert (check.exit_code, check.stdout) == (0, f"main: ok, revision {head}\ndeid: ok, revision {head}\n")
    settings = Settings(data_folder=data)
    assert migrate.current(index_url(settings, settings.archives[0])) == head


def test_check_names_the_command_that_mends(tmp_path: Path) -> None:
    result = run("db", "check", "--data", tmp_path)
    assert result.exit_code == 4
    assert "pacslite db upgrade" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_upgrade_leaves_a_folder_in_use_alone(tmp_path: Path) -> None:
    with DataFolderLock(tmp_path):
        result = run("db", "upgrade", "--data", tmp_path)
    assert result.exit_code == 4
    assert str(os.getpid()) in result.stderr
    assert not (tmp_path / "archives").exists()


def test_upgrade_says_why_a_folder_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    result = run("db", "upgrade", "--data", file)
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1


def test_an_index_elsewhere_is_used(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"
    config = tmp_path / "pacslite.yaml"
    config.write_text(f"archives:\n  - index_url: {url}\n")
    assert run("db", "upgrade", "--config", config, "--data", tmp_path / "data").exit_code == 0
    assert migrate.current(url) == migrate.head()
    assert index_url(Settings(), ArchiveSettings(index_url=url)) == make_url(url)


def test_a_damaged_index_is_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "archives" / "main"
    folder.mkdir(parents=True)
    (folder / "index.sqlite").write_bytes(b"no database" * 100)
    for command in (["db", "check"], ["db", "upgrade"], ["stats"]):
        result = run(*command, "--data", tmp_path)
        assert result.exit_code == 4
        assert result.stderr.endswith("file is not a database\n")
        assert result.stderr.count("\n") == 1
