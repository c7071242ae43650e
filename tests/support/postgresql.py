"""A PostgreSQL of our own: a temporary cluster on a Unix socket, with the syncs of a real one."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

ACCOUNT = "postgres"
"""initdb refuses to run as root; Debian's package makes this account."""


class Cluster:
    """A running PostgreSQL server in a temporary folder."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._databases = 0

    def initialize(self) -> None:
        self._run("initdb", "--auth=trust", f"--username={ACCOUNT}", "--encoding=UTF8", "--locale=C.UTF-8")

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}' -c fsync=on"
        self._run("pg_ctl", "start", "--wait", "--log", str(self._folder / "log"), "--options", options)

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        self._databases += 1
        name = f"index{self._databases}"
        with psycopg.connect(host=str(self._folder), user=ACCOUNT, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url = URL.create("postgresql", username=ACCOUNT, database=name, query={"host": str(self._folder)})
        return url.render_as_string()

    def _run(self, program: str, *arguments: str) -> None:
        as_account = ["runuser", "-u", ACCOUNT, "--"] if os.geteuid() == 0 else []
        command = [
            *as_account,
            str(self._programs / program),
            "--pgdata",
            str(self._folder / "data"),
            *arguments,
        ]
        # The server keeps inherited pipes open for as long as it runs.
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _programs() -> Path | None:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[Cluster]:
    """A running cluster; skips where PostgreSQL is not installed, and fails there in CI."""
    programs = _programs()
    if programs is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="pacslite-pg-", dir="/tmp") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, ACCOUNT)
        cluster = Cluster(programs, folder)
        cluster.initialize()
        cluster.start()
        try:
            yield cluster
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                cluster.stop("immediate")


@pytest.fixture
def postgresql_url(postgresql_cluster: Cluster) -> str:
    """The URL of an empty database."""
    return postgresql_cluster.new_database()
