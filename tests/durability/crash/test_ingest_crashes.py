"""The node ends at each step of taking an instance: no promise is broken, and the next start goes on."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from support.crash_node import Crash, CrashNodes, Moment
from support.crash_trial import Case, Trial

BEFORE, AFTER, BEHIND = Moment
EVERY_CASE: Final = tuple(Case)
ADDS_A_ROW: Final = (Case.NEW, Case.NEW_STUDY)
COMPARES: Final = (Case.CONFLICT, Case.REPLACEMENT)
KEEPS_ITS_FILE: Final = (*ADDS_A_ROW, *COMPARES, Case.HEALING)

STEPS: Final[dict[str, tuple[str, tuple[Case, ...]]]] = {
    "a folder for files": ("pacslite.storage.segments:SegmentMaker._add_segment", EVERY_CASE),
    "a file made ahead": ("pacslite.storage.segments:SegmentMaker._make_slot", EVERY_CASE),
    "the folder synced": ("pacslite.storage.segments:sync_folder", EVERY_CASE),
    "a file taken": ("pacslite.storage.segments:SegmentMaker.take", EVERY_CASE),
    "the file opened": ("pacslite.storage.incoming:IncomingFile._open", EVERY_CASE),
    "the head written": ("pacslite.storage.incoming:write_all", EVERY_CASE),
    "all written": ("pacslite.storage.incoming:IncomingFile._append", EVERY_CASE),
    "the header scanned": ("pacslite.archive.ingest:scan_head", EVERY_CASE),
    "the file synced": ("pacslite.storage.incoming:os.fdatasync", EVERY_CASE),
    "the transaction begun": ("pacslite.index.session:Session._begin", EVERY_CASE),
    "the receipt decided": ("pacslite.archive.ingest:record_receipt", EVERY_CASE),
    "the study's row": ("pacslite.index.recording:series_of", ADDS_A_ROW),
    "the instance's row": ("pacslite.index.recording:insert_row", ADDS_A_ROW),
    "the contents compared": ("pacslite.archive.ingest:Ingest._compare", COMPARES),
    "the file there looked at": ("pacslite.archive.ingest:Ingest._inspect", (Case.DUPLICATE, Case.HEALING)),
    "the damaged file given up": ("pacslite.index.recording:promise_removal", (Case.HEALING,)),
    "the newcomer kept aside": ("pacslite.index.conflicts:keep_aside", (Case.CONFLICT,)),
    "the file before replaced": ("pacslite.index.conflicts:replace", (Case.REPLACEMENT,)),
    "counters written": ("pacslite.index.transaction:WriteTransaction.flush", EVERY_CASE),
    "the commit": ("sqlalchemy:Connection.commit", EVERY_CASE),
    "who waits told": ("pacslite.index.writer:IndexWriter._succeed", EVERY_CASE),
    "the outcome concluded": ("pacslite.archive.ingest:Ingest._conclude", EVERY_CASE),
    "the file discarded": ("pacslite.storage.incoming:IncomingFile._discard", (Case.DUPLICATE,)),
    "the folder sealed": ("pacslite.storage.segments:seal", KEEPS_ITS_FILE),
    "the answer": ("pacslite.dimse.session:Session.send", EVERY_CASE),
}

BESIDE_THE_ANSWER: Final = {
    "a folder for files",
    "a file made ahead",
    "the folder synced",
    "who waits told",
    "the file discarded",
    "the folder sealed",
}
"""Steps of other threads than the one that answers, or later than the answer."""


def crashes(step: str, cases: Sequence[Case], nth: int = 1) -> Iterator[tuple[Crash, Case]]:
    moments = (BEFORE, BEHIND) if step == "the answer" else (BEFORE, AFTER)
    for case in cases:
        for moment in moments:
            yield Crash(STEPS[step][0], moment, nth), case


def some_crashes(step: str) -> list[tuple[Crash, Case]]:
    """Return one crash before and one after the step, in the step's turn of the cases."""
    cases = STEPS[step][1]
    start = 2 * list(STEPS).index(step)
    return [list(crashes(step, [cases[(start + turn) % len(cases)]]))[turn] for turn in range(2)]


def check(trial: Trial, step: str, wanted: Iterable[tuple[Crash, Case]]) -> None:
    for crash, case in wanted:
        answered = trial.crash_while_sending(crash, case, 1)
        if step not in BESIDE_THE_ANSWER:
            assert answered == (crash.moment is BEHIND), (crash, case)
    trial.check()


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_of_a_receipt_breaks_no_promise(
    step: str, nodes: CrashNodes, tmp_path: Path
) -> None:
    check(Trial(nodes, tmp_path), step, some_crashes(step))


@pytest.mark.campaign
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_of_a_receipt_of_any_kind_breaks_no_promise(
    step: str, nodes: CrashNodes, tmp_path: Path
) -> None:
    check(Trial(nodes, tmp_path), step, crashes(step, STEPS[step][1]))


@pytest.mark.parametrize(
    "step",
    [step if step == "the commit" else pytest.param(step, marks=pytest.mark.campaign) for step in STEPS],
)
def test_a_crash_while_four_associations_send_breaks_no_promise(
    step: str, nodes: CrashNodes, tmp_path: Path
) -> None:
    trial = Trial(nodes, tmp_path)
    for crash, case in crashes(step, STEPS[step][1], nth=3):
        trial.crash_while_sending(crash, case, 4)
    trial.check()
