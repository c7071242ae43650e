"""kill -9 of `pacslite reindex`: the index is the former one or the new one, and the next run succeeds."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.archives import archive_folder, index_of, keep, settings_of, started
from support.dumps import Dump, difference, dump
from support.instances import make_instance
from support.processes import environment

ROUNDS = 6
CAMPAIGN_ROUNDS = int(os.environ.get("PACSLITE_KILL_ROUNDS", "50"))
INSTANCES = 300
"""Enough for scanning processes."""

SEED = 20_240_229
LONGEST_SECONDS = 2.5


@contextmanager
def reindexing(data_folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pacslite", "reindex", "--json", "--data", str(data_folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment({}),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def filled(folder: Path) -> Dump:
    """Fill an archive and return what its index says."""
    with started(settings_of(folder)) as archive:
        for number in range(INSTANCES):
            keep(archive, make_instance(StudyInstanceUID=f"1.2.{number % 7}", InstanceNumber=str(number)))
    return dump(index_of(folder))


def kill_at_random(folder: Path, rng: random.Random) -> None:
    """Kill the command alone; what it started must end by itself."""
    with reindexing(folder) as process:
        started_by_it: set[psutil.Process] = set()
        deadline = time.monotonic() + rng.uniform(0, LONGEST_SECONDS)
        parent = psutil.Process(process.pid)
        while time.monotonic() < deadline and process.poll() is None:
            started_by_it |= set(parent.children(recursive=True))
            time.sleep(0.01)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(started_by_it, timeout=20)
        assert not alive


def check_rounds(folder: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    right = filled(folder)
    for _ in range(count):
        kill_at_random(folder, rng)
        assert not difference(right, dump(index_of(folder)))
        for kept in archive_folder(folder).glob("index.sqlite.before-*"):
            if not kept.name.endswith(("-wal", "-shm")):
                assert not difference(right, dump(kept))
                kept.unlink()
    with started(settings_of(folder)) as archive:
        assert archive.reader.counts().instances == INSTANCES
    with reindexing(folder) as process:
        assert process.wait(30) == 0
    assert not difference(right, dump(index_of(folder)))
    left = {path.name for path in archive_folder(folder).iterdir() if ".before-" not in path.name}
    assert left <= {"store", "index.sqlite", "index.sqlite-wal", "index.sqlite-shm"}


@pytest.mark.timeout(120)
def test_a_kill_leaves_one_whole_index(tmp_path: Path) -> None:
    check_rounds(tmp_path, ROUNDS, SEED)


@pytest.mark.timeout(120)
def test_a_kill_while_there_is_no_index_leaves_none_or_a_whole_one(tmp_path: Path) -> None:
    rng = random.Random(SEED + 1)
    right = filled(tmp_path)
    for _ in range(ROUNDS // 2):
        index_of(tmp_path).unlink(missing_ok=True)
        kill_at_random(tmp_path, rng)
        if index_of(tmp_path).exists():
            assert not difference(right, dump(index_of(tmp_path)))
    with reindexing(tmp_path) as process:
        assert process.wait(30) == 0
    assert not difference(right, dump(index_of(tmp_path)))


@pytest.mark.timeout(60)
def test_an_interrupt_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    filled(tmp_path)
    before = index_of(tmp_path).read_bytes()
    with reindexing(tmp_path) as process:
        draft = archive_folder(tmp_path) / "index.sqlite.draft-spool"
        deadline = time.monotonic() + 20
        while not draft.exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 130, told
    assert told.decode().endswith("pacslite: interrupted; the index is as it was\n")
    assert index_of(tmp_path).read_bytes() == before
    assert not list(archive_folder(tmp_path).glob("*draft*"))


@pytest.mark.campaign
@pytest.mark.timeout(120 + 10 * CAMPAIGN_ROUNDS)
def test_kill_campaign(tmp_path: Path) -> None:
    check_rounds(tmp_path, CAMPAIGN_ROUNDS, 7 * SEED)
