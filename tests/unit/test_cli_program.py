import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import run

import pacslite
from pacslite.cli.exits import MEANINGS, ExitCode, exit_code_of
from pacslite.model import errors


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"pacslite {pacslite.__version__}\n")


def test_without_a_command_it_helps() -> None:
    result = run()
    assert "Usage:" in result.output
    assert "serve" in result.output


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["serve", "--nonsense"], ["serve", "--port", "70000"], ["db", "nonsense"]]
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert "Error" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("x"), 3),
        (errors.DataFolderError("x"), 4),
        (errors.IndexRevisionError("x"), 4),
        (errors.AssociationRejectedError("x", 1, 1, 3), 5),
        (errors.AssociationTimeoutError("x"), 5),
        (errors.OutOfResourcesError("x"), 1),
        (errors.PacsliteError("x"), 1),
    ],
)
def test_errors_have_their_exit_code(error: errors.PacsliteError, code: int) -> None:
    assert exit_code_of(error) == code


def test_every_exit_code_is_documented() -> None:
    assert set(MEANINGS) == set(ExitCode)
    operations = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in operations


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PACSLITE_")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=30, env=environ
    )


def test_the_module_runs_as_the_command() -> None:
    result = run_python("-m", "pacslite", "--version")
    assert (result.returncode, result.stdout) == (0, f"pacslite {pacslite.__version__}\n")


def test_help_does_not_load_what_only_commands_need() -> None:
    code = (
        "import sys, pacslite.cli\n"
        "heavy = {'alembic', 'sqlalchemy', 'pynetdicom', 'pydicom', 'asyncpg', 'numpy'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    assert run_python("-c", code).stdout == "[]\n"


def test_an_expected_error_has_no_traceback(tmp_path: Path) -> None:
    result = run_python("-m", "pacslite", "config", "show", "--config", str(tmp_path / "none.yaml"))
    assert result.returncode == 3
    assert result.stderr.startswith("pacslite: ")
    assert result.stderr.count("\n") == 1
