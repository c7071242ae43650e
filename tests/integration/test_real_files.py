"""The real files of pydicom and pydicom-data, sent as they are: what an SCP can take is kept as it is.

`UNACCEPTED` and `REFUSED` are complete: every other file must be answered with Success.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom
import pytest
from support.kept import (
    archive_of,
    aside,
    check_kept,
    check_nothing_else,
    element_values,
    indexed,
    outcomes,
    stored_data_set,
)
from support.nodes import RunningNode, running_node
from support.raw_sender import Answer, RawSender
from support.real_files import RealFile, colliding_files, distinct_files, tolerating_faults

ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3

MEDIA_DIRECTORY: Final = "Media Storage Directory is a file format, not a storage SOP class (PS3.10 8.6)"
COLOR_PALETTE: Final = "Color Palettes are non-patient objects, which another service class stores (PS3.4 GG)"
UNACCEPTED: Final = {
    "DICOMDIR": MEDIA_DIRECTORY,
    "DICOMDIR-bigEnd": MEDIA_DIRECTORY,
    "DICOMDIR-empty.dcm": MEDIA_DIRECTORY,
    "DICOMDIR-implicit": MEDIA_DIRECTORY,
    "DICOMDIR-nooffset": MEDIA_DIRECTORY,
    "DICOMDIR-nopatient": MEDIA_DIRECTORY,
    "DICOMDIR-reordered": MEDIA_DIRECTORY,
    "fall.dcm": COLOR_PALETTE,
    "hotiron.dcm": COLOR_PALETTE,
    "hotmetalblue.dcm": COLOR_PALETTE,
    "pet.dcm": COLOR_PALETTE,
    "pet20step.dcm": COLOR_PALETTE,
    "spring.dcm": COLOR_PALETTE,
    "summer.dcm": COLOR_PALETTE,
    "winter.dcm": COLOR_PALETTE,
}
"""Files whose presentation context is not accepted, and why."""

NO_CLASS: Final = (0xC000, "SOP Class UID is missing or empty")
NO_STUDY: Final = (0xC000, "Study Instance UID is missing or empty")
CUT_OFF: Final = (0xC000, "Data set ends inside an element")
REFUSED: Final = {
    # Fragments made to test one element: they lack the UIDs that every instance has (S5).
    "UN_sequence.dcm": NO_CLASS,
    "chrSQEncoding.dcm": NO_CLASS,
    "chrSQEncoding1.dcm": NO_CLASS,
    "no_meta_group_length.dcm": NO_CLASS,
    "priv_SQ.dcm": NO_CLASS,
    "JPEGLSNearLossless_08.dcm": NO_STUDY,
    "JPEGLSNearLossless_16.dcm": NO_STUDY,
    "SC_rgb_jls_lossy_line.dcm": NO_STUDY,
    "SC_rgb_jls_lossy_sample.dcm": NO_STUDY,
    # De-identified with hashes in place of UIDs (S26).
    "bad_sequence.dcm": (0xC000, "Affected SOP Instance UID is not a UID"),
    # Cut off (S6).
    "MR_truncated.dcm": CUT_OFF,
    "rtplan_truncated.dcm": CUT_OFF,
    "emri_small_jpeg_2k_lossless_too_short.dcm": (0xC000, "Data set ends inside a sequence"),
}
"""Files that are answered with a failure: its status and comment."""


@dataclass(frozen=True)
class Delivery:
    """What a node said of each file, in the order of sending."""

    node: RunningNode
    rejected: dict[RealFile, int]
    answers: dict[RealFile, Answer]

    @property
    def kept(self) -> list[RealFile]:
        return [file for file, answer in self.answers.items() if answer.status == 0]


def deliver(node: RunningNode, files: tuple[RealFile, ...]) -> Delivery:
    with RawSender.of(node.address, *files) as sender:
        rejected = {file: sender.result(file) for file in files if sender.result(file)}
        answers = {file: sender.store(file) for file in files if file not in rejected}
    return Delivery(node, rejected, answers)


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    """One file of each SOP Instance UID, sent to a node of its own."""
    with running_node(tmp_path_factory.mktemp("distinct")) as node:
        yield deliver(node, distinct_files())


@pytest.fixture(scope="module")
def collision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    """The files whose SOP Instance UID the node has already, with other bytes."""
    with running_node(tmp_path_factory.mktemp("colliding")) as node:
        deliver(node, distinct_files())
        yield deliver(node, colliding_files())


def test_there_are_real_files_to_send() -> None:
    assert len(distinct_files()) >= 143
    assert len(colliding_files()) >= 71


def test_contexts_are_refused_only_to_what_is_no_patient_object(
    delivery: Delivery, collision: Delivery
) -> None:
    rejected = delivery.rejected | collision.rejected
    assert {file.name for file in rejected} == set(UNACCEPTED)
    assert set(rejected.values()) == {ABSTRACT_SYNTAX_NOT_SUPPORTED}


def test_files_are_refused_only_for_the_listed_reasons(delivery: Delivery, collision: Delivery) -> None:
    refused = {
        file.name: (answer.status, answer.comment)
        for file, answer in (delivery.answers | collision.answers).items()
        if answer.status
    }
    assert refused == REFUSED


def test_all_others_are_kept_byte_for_byte(delivery: Delivery) -> None:
    for file in delivery.kept:
        check_kept(delivery.node, file)
    assert len(delivery.kept) == len(distinct_files()) - len(
        [file for file in distinct_files() if file.name in UNACCEPTED | REFUSED]
    )
    assert archive_of(delivery.node).reader.counts().instances == len(delivery.kept)
    check_nothing_else(delivery.node)


def test_kept_files_read_as_they_were_sent(delivery: Delivery) -> None:
    for file in delivery.kept:
        path = archive_of(delivery.node).store.path(indexed(delivery.node, file.sop_instance_uid).file.path)
        with tolerating_faults():
            stored = pydicom.dcmread(path)
        assert stored.file_meta.TransferSyntaxUID == file.transfer_syntax_uid, file.name
        assert stored.file_meta.MediaStorageSOPInstanceUID == file.sop_instance_uid, file.name
        assert stored.SOPInstanceUID == file.sop_instance_uid, file.name


def test_all_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with running_node(tmp_path) as node:
        kept = deliver(node, distinct_files()).kept
        before = {file: indexed(node, file.sop_instance_uid) for file in kept}
        counts = archive_of(node).reader.counts()
    with running_node(tmp_path) as node:
        for file in kept:
            assert check_kept(node, file) == before[file], file.name
        assert archive_of(node).reader.counts() == counts
        check_nothing_else(node)
        assert deliver(node, tuple(kept)).kept == kept
        assert {outcome for file in kept for outcome in outcomes(node, file.sop_instance_uid)[1:]} == {
            "identical"
        }
        assert archive_of(node).reader.counts() == counts
        check_nothing_else(node)


def test_colliding_files_take_nothing_from_those_before_them(collision: Delivery) -> None:
    for file in distinct_files():
        if file.name not in UNACCEPTED | REFUSED:
            check_kept(collision.node, file)
    check_nothing_else(collision.node)


def test_nothing_of_colliding_files_is_lost(collision: Delivery) -> None:
    firsts = {file.sop_instance_uid: file for file in distinct_files()}
    same_values = set()
    for file in collision.kept:
        versions = [
            stored_data_set(collision.node, indexed(collision.node, file.sop_instance_uid).file),
            *(version for _, version in aside(collision.node, file.sop_instance_uid)),
        ]
        if file.data_set() not in versions:
            assert_same_values(firsts[file.sop_instance_uid].path, file.path)
            same_values.add(file.name)
    # each of these is another file in another encoding, value by value
    assert same_values == {
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "emri_small_big_endian.dcm",
        "gdcm-US-ALOKA-16_big.dcm",
        "liver_expb_1frame.dcm",
    }


def test_every_collision_is_on_record(collision: Delivery) -> None:
    for file in collision.kept:
        first, *later = outcomes(collision.node, file.sop_instance_uid)
        assert first == "stored", file.name
        assert later, file.name
        assert set(later) <= {"kept-aside", "identical"}, file.name
    conflicts = archive_of(collision.node).reader.counts().conflicts
    recorded = [
        outcome
        for uid in {file.sop_instance_uid for file in collision.kept}
        for outcome in outcomes(collision.node, uid)
    ]
    assert recorded.count("kept-aside") == conflicts > 0


def assert_same_values(a: Path, b: Path) -> None:
    """Check with pydicom, not with our own comparison, that two files say the same."""
    with tolerating_faults():
        left, right = (element_values(pydicom.dcmread(path)) for path in (a, b))
    assert left.keys() == right.keys(), f"{a.name}, {b.name}"
    differing = [f"{tag:08X}" for tag, value in left.items() if value != right[tag]]
    assert not differing, f"{a.name}, {b.name}: {differing}"
