from pathlib import Path

import pytest

from pacslite.cli import docs
from pacslite.cli.app import app
from pacslite.cli.docs_cli import cli_page
from pacslite.cli.docs_configuration import configuration_page
from pacslite.settings.keys import all_keys


def test_the_pages_of_the_project_are_fresh() -> None:
    assert docs.stale_pages(docs.FOLDER) == []


def test_every_setting_is_on_its_page() -> None:
    page = configuration_page()
    for key, field in all_keys():
        assert f"| `{key}` |" in page
        assert field.description
        assert field.description in page


def test_every_command_is_on_its_page_with_a_name_for_each_value() -> None:
    page = cli_page()
    for command in app.registered_commands:
        assert f"## `pacslite {command.name}" in page
    assert " None" not in page
    assert "## `pacslite db upgrade [OPTIONS]`" in page


def test_pages_do_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = [make() for make in docs.PAGES.values()]
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERMINAL_WIDTH", "40")
    assert [make() for make in docs.PAGES.values()] == wide


def test_check_names_the_stale_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main([], tmp_path) == 0
    assert docs.main(["--check"], tmp_path) == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "cli.md").write_text("old")
    assert docs.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == "docs/cli.md is stale: run `make docs`\n"
    (tmp_path / "cli.md").unlink()
    (tmp_path / "configuration.md").unlink()
    assert docs.stale_pages(tmp_path) == ["configuration.md", "cli.md"]
    assert docs.main(["--check"], tmp_path) == 1
