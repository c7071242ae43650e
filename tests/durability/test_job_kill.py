"""kill -9 of a real node while it does jobs: each is done at least once, twice only what was under way."""

import random
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from support import counting_node
from support.index import Index
from support.jobs import jobs_of
from support.processes import NodeProcess

from pacslite.archive.archive import index_url
from pacslite.index.jobs import enqueue
from pacslite.index.transaction import WriteTransaction
from pacslite.settings.schema import Settings

JOBS = 500
KILLS = 4
WORKERS = 3
SEED = 20_261_120
SETTINGS = {"jobs.worker_count": WORKERS, "jobs.retry_seconds_min": 0.01, "jobs.retry_seconds_max": 0.05}


def open_index(data_folder: Path) -> Index:
    settings = Settings(data_folder=data_folder)
    return Index(str(index_url(settings, settings.archives[0])))


def promise_all(data_folder: Path) -> None:
    def command(transaction: WriteTransaction) -> None:
        for number in range(JOBS):
            enqueue(transaction, counting_node.COUNT, {"number": number})

    index = open_index(data_folder)
    index.run(command)
    index.close()


def count_lines(counted: Path) -> int:
    return counted.read_bytes().count(b"\n") if counted.exists() else 0


@pytest.mark.timeout(120)
def test_a_killed_node_does_each_job_at_least_once_and_few_twice(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    data_folder, counted = tmp_path / "data", tmp_path / "counted"
    start = partial(NodeProcess, data_folder, settings=SETTINGS, program=counting_node.program(counted))
    with start() as node:
        assert node.address
        node.terminate()
        assert node.wait(20) == 0
    promise_all(data_folder)
    for _ in range(KILLS):
        before = count_lines(counted)
        with start() as node:
            node.wait_for(lambda: count_lines(counted) > before, "job")  # noqa: B023 - called at once
            time.sleep(rng.uniform(0, 0.1))
            node.kill()
    at_last = count_lines(counted)
    assert at_last < JOBS, "the kills came too late to mean anything"
    with start() as node:
        node.wait_for(lambda: count_lines(counted) >= JOBS, "end of the jobs")
        index = open_index(data_folder)
        node.wait_for(lambda: not jobs_of(index), "empty queue")
        index.close()
        node.terminate()
        assert node.wait(20) == 0
        assert node.events("job.failed") == []
    done = Counter(int(line) for line in counted.read_text().splitlines())
    assert set(done) == set(range(JOBS))
    assert done.total() - JOBS <= KILLS * WORKERS
