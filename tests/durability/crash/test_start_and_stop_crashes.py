"""The node ends at each step of its first start, of recovery and of a clean stop."""

import os
import shutil
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from support.crash_node import CRASHED, Crash, CrashNodes, Moment
from support.crash_trial import Case, Trial

SETTINGS: Final = {"storage.reserve_bytes": 0, "storage.segment_files": 3}
MAKES: Final = (
    pytest.param("os:mkdir", marks=pytest.mark.campaign),
    pytest.param("os:open", marks=pytest.mark.campaign),
    "os:fsync",
    "os:replace",
    "sqlalchemy:Connection.commit",
)
MENDS: Final = ("os:unlink", "os:fsync", "pacslite.archive.recovery:seal", "pathlib:Path.touch")
STOPS: Final = (
    "pacslite.archive.archive:Archive.stop",
    "pacslite.storage.store:Store.stop",
    "pacslite.storage.segments:seal",
    "pacslite.index.writer:IndexWriter.stop",
    "pacslite.index.sqlite:checkpoint",
    "os:unlink",
)

MOMENTS: Final = (pytest.param(Moment.BEFORE, marks=pytest.mark.campaign), Moment.AFTER)
"""Before a call is mostly after the one before it."""


@pytest.fixture
def debris(nodes: CrashNodes, tmp_path: Path) -> Trial:
    """Return a trial whose nodes were killed with instances kept, half kept and kept twice."""
    trial = Trial(nodes, tmp_path)
    for target, case in (
        ("pacslite.storage.incoming:IncomingFile._finish", Case.NEW),
        ("sqlalchemy:Connection.commit", Case.CONFLICT),
        ("pacslite.storage.incoming:IncomingFile._discard", Case.DUPLICATE),
    ):
        trial.crash_while_sending(Crash(target, Moment.BEFORE), case, 2)
    return trial


def crash_each_start(
    nodes: CrashNodes, data: Path | None, folder: Path, target: str, moment: Moment
) -> Iterator[Path]:
    """Yield a folder for each call of `target` that a start on `data` makes, after a crash at that call."""
    for nth in count(1):
        trial = folder / str(nth)
        trial.mkdir()
        if data is not None:
            # a copy of a socket is none; the next start on the folder itself meets the one that a kill leaves
            shutil.copytree(data, trial / "data", ignore=shutil.ignore_patterns("*.sock"))
        with nodes.start(trial, SETTINGS, Crash(target, moment, nth), is_armed=True) as node:
            if node.wait_until_it_listens() is not None:
                assert nth > 1, "no start makes this call"
                return
            assert node.exit_code == CRASHED
        yield trial


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("target", MAKES)
def test_a_crash_at_any_step_of_the_first_start_leaves_a_folder_that_works(
    target: str, moment: Moment, nodes: CrashNodes, tmp_path: Path
) -> None:
    for folder in crash_each_start(nodes, None, tmp_path, target, moment):
        Trial(nodes, folder).check()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("target", MENDS)
def test_a_crash_at_any_step_of_recovery_is_recovered_from(
    target: str, moment: Moment, debris: Trial, nodes: CrashNodes, tmp_path: Path
) -> None:
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for folder in crash_each_start(nodes, debris.data_folder, crashed, target, moment):
        Trial(nodes, folder, debris.ledger).check()


@pytest.mark.parametrize("target", STOPS)
@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
def test_a_crash_at_any_step_of_a_clean_stop_is_recovered_from(
    target: str, moment: Moment, nodes: CrashNodes, tmp_path: Path
) -> None:
    trial = Trial(nodes, tmp_path)
    with nodes.start(tmp_path, SETTINGS, Crash(target, moment)) as node:
        trial.send_new(node.address, 5)
        node.arm()
        os.kill(node.pid, signal.SIGTERM)
        assert node.wait() == CRASHED
    trial.check()
