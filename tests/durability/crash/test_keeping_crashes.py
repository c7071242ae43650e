"""The node ends at each step of a deletion, of the job that finishes it, and of settling a conflict."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from support.crash_keeping import KeepingTrial
from support.crash_node import Crash, CrashNodes, Moment

COMMIT: Final = "sqlalchemy:Connection.commit"
DELETES: Final = (
    ("pacslite.index.deletion:take_instances", 1),
    ("pacslite.index.deletion:promise_removal", 1),
    (COMMIT, 1),
    (COMMIT, 2),
    ("pacslite.archive.removal:remove_durably", 1),
    ("os:unlink", 1),
    ("os:unlink", 2),
    ("os:fsync", 1),
    ("pacslite.index.removals:settle", 1),
    ("pacslite.archive.deletion:_Deletion.run", 1),
)
REMOVES: Final = (
    ("pacslite.index.leases:recover", 1),
    ("pacslite.index.leases:lease", 1),
    ("pacslite.archive.removal:remove_durably", 1),
    ("os:fsync", 1),
    ("pacslite.index.leases:complete", 1),
    (COMMIT, 1),
    (COMMIT, 2),
)
SETTLES: Final = (
    ("conflicts.accept", "pacslite.index.conflicts:accept"),
    ("conflicts.accept", COMMIT),
    ("conflicts.discard", "pacslite.index.conflicts:discard"),
    ("conflicts.discard", COMMIT),
    ("conflicts.discard", "os:unlink"),
)


def moments(target: str, nth: int = 1) -> Iterator[Crash]:
    for moment in (Moment.BEFORE, Moment.AFTER):
        yield Crash(target, moment, nth)


@pytest.mark.parametrize(
    "is_forgetting",
    [pytest.param(False, id="metadata-stay"), pytest.param(True, id="forget", marks=pytest.mark.campaign)],
)
@pytest.mark.parametrize(("target", "nth"), DELETES)
def test_a_crash_at_any_step_of_a_deletion_loses_nothing_else_and_can_be_finished(
    target: str, nth: int, nodes: CrashNodes, tmp_path: Path, *, is_forgetting: bool
) -> None:
    trial = KeepingTrial(nodes, tmp_path)
    for crash in moments(target, nth):
        trial.crash_while_deleting(crash, is_forgetting=is_forgetting)


@pytest.mark.parametrize(("target", "nth"), REMOVES)
def test_a_crash_at_any_step_of_a_job_leaves_it_to_the_next_node(
    target: str, nth: int, nodes: CrashNodes, tmp_path: Path
) -> None:
    trial = KeepingTrial(nodes, tmp_path)
    for crash in moments(target, nth):
        trial.crash_while_removing(crash)


@pytest.mark.parametrize(("operation", "target"), SETTLES)
def test_a_crash_at_any_step_of_settling_a_conflict_keeps_what_it_should(
    operation: str, target: str, nodes: CrashNodes, tmp_path: Path
) -> None:
    trial = KeepingTrial(nodes, tmp_path)
    for crash in moments(target):
        trial.crash_while_settling(crash, operation)
