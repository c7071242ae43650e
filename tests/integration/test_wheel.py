"""The wheel holds all that a node needs: it is built, installed apart from the sources, and used."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
REVISIONS = sorted(path.name for path in (PROJECT / "migrations" / "versions").glob("*.py"))


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, PROJECT)
    run(*build, folder=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    folder = wheel.parent / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder)
    run(*pip, wheel, folder=wheel.parent)
    return folder


def test_the_wheel_holds_the_package_its_types_and_its_migrations(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(PROJECT)) for path in (PROJECT / "pacslite").rglob("*.py")}
    assert REVISIONS
    assert {f"pacslite/migrations/versions/{name}" for name in REVISIONS} <= names
    assert {"pacslite/migrations/env.py", "pacslite/py.typed"} | sources <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pacslite"}


def test_the_wheel_names_its_program_and_its_pytest_plugin(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    text = archive.read(entry_points).decode()
    assert "[console_scripts]\npacslite = pacslite.cli:main" in text
    assert "[pytest11]\npacslite = pacslite.testing.plugin" in text


def test_a_database_is_upgraded_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    def pacslite(*words: str) -> str:
        program = (sys.executable, "-m", "pacslite", *words)
        return run(*program, folder=tmp_path, PYTHONPATH=str(installed))

    where = "import pacslite, pacslite.index.migrate as m; print(pacslite.__file__, m.migrations_folder())"
    code, migrations = run(sys.executable, "-c", where, folder=tmp_path, PYTHONPATH=str(installed)).split()
    assert Path(code) == installed / "pacslite" / "__init__.py"
    assert Path(migrations) == installed / "pacslite" / "migrations"

    pacslite("db", "upgrade", "--data", "data")
    pacslite("db", "check", "--data", "data")
    assert (tmp_path / "data" / "archives" / "main" / "index.sqlite").stat().st_size > 0
