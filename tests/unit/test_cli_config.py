import json
from pathlib import Path

import pytest
import yaml
from support.command_line import run

from pacslite.cli.config import effective_values
from pacslite.settings.load import load_settings
from pacslite.settings.schema import ArchiveSettings, Settings

PROJECT = Path(__file__).parents[2]


def test_show_prints_what_can_be_read_back(tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text("ae_title: FILE\nnode_name: from-file\n")
    result = run("config", "show", "--config", config, "--data", "/x", env={"PACSLITE_AE_TITLE": "ENV"})
    assert result.exit_code == 0
    shown = tmp_path / "shown.yaml"
    shown.write_text(result.stdout)
    expected = Settings(ae_title="ENV", node_name="from-file", data_folder=Path("/x"))
    assert load_settings(shown) == expected
    as_json = run(
        "config", "show", "--json", "--config", config, "--data", "/x", env={"PACSLITE_AE_TITLE": "ENV"}
    )
    assert json.loads(as_json.stdout) == yaml.safe_load(result.stdout)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://pacs:geheim@db:5432/pacs", "postgresql+psycopg://pacs:***@db:5432/pacs"),
        ("postgresql+psycopg://pacs:ge@he:im@db/pacs", "postgresql+psycopg://pacs:***@db/pacs"),
        ("postgresql+psycopg://pacs@db/pacs", "postgresql+psycopg://pacs@db/pacs"),
        (
            "postgresql+psycopg:///pacs?password=geheim&host=db",
            "postgresql+psycopg:///pacs?password=***&host=db",
        ),
        ("sqlite:////srv/index.sqlite", "sqlite:////srv/index.sqlite"),
    ],
)
def test_show_masks_passwords(url: str, shown: str) -> None:
    values = effective_values(Settings(archives=[ArchiveSettings(index_url=url)]))
    assert values["archives"][0]["index_url"] == shown


def test_check_says_ok() -> None:
    result = run("config", "check", "--config", PROJECT / "config" / "pacslite.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "ok\n", "")


def test_check_names_each_thing_to_mend(tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text("ae_titel: A\nstorage:\n  reserve_bytes: much\n")
    result = run("config", "check", "--config", config)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert sorted(result.stderr.splitlines()) == [
        f"pacslite: {config}:1: ae_titel: there is no such setting; did you mean ae_title?",
        f"pacslite: {config}:3: storage.reserve_bytes: expected a whole number, not 'much'",
    ]


def test_other_commands_say_it_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "pacslite.yaml"
    config.write_text("ae_titel: A\nnode_nam: B\n")
    for command in (["config", "show"], ["db", "check"], ["db", "upgrade"], ["serve"]):
        result = run(*command, "--config", config)
        assert result.exit_code == 3
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith(f"pacslite: {config}:1: ae_titel")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = run("config", "check", "--config", tmp_path / "none.yaml")
    assert result.exit_code == 3
    assert "cannot be read: No such file or directory" in result.stderr
