"""Unmodified DCMTK clients, told nothing but host and port unless the test is about an option."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pydicom
import pytest
from pydicom.data import get_testdata_file
from support.dcmtk import TOOL_SECONDS, dump, needs_dcmtk, run, start
from support.instances import Instance, encapsulated, make_instance, write_part10
from support.kept import (
    archive_of,
    check_nothing_else,
    element_values,
    indexed,
    outcomes,
    path_of,
    wait_until,
)
from support.nodes import RunningNode, running_node
from support.real_files import RealFile, distinct_files, readable_files, tolerating_faults

from pacslite.model.instances import DuplicatePolicy
from pacslite.settings.schema import ArchiveSettings

pytestmark = needs_dcmtk

SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
VIDEO_ENDOSCOPIC: Final = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
DICOM: Final = "1.2.840.10008.1.2"
UNCOMPRESSED: Final = {"-xe": f"{DICOM}.1", "-xb": f"{DICOM}.2", "-xi": DICOM, "-x=": f"{DICOM}.1"}


@dataclass(frozen=True)
class Delivered:
    """A file and the option that makes `storescu` propose its transfer syntax."""

    option: str
    syntax: str
    path: Path


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running
        assert not running.loop_errors


def ct() -> Path:
    return Path(str(get_testdata_file("CT_small.dcm")))


def copy(path: Path, folder: Path, **values: Any) -> Path:
    """Return a copy of a file under a SOP Instance UID of its own."""
    with tolerating_faults():
        dataset = pydicom.dcmread(path)
    uid = pydicom.uid.generate_uid()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not dataset.get(keyword):
            setattr(dataset, keyword, pydicom.uid.generate_uid())
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    target = folder / f"{uid}.dcm"
    dataset.save_as(target)
    return target


def real_file(syntax: str) -> Path:
    """Return the smallest real file of a transfer syntax that is a whole image."""
    files = (file for file in readable_files() if file.transfer_syntax_uid == syntax and is_image(file))
    return min(files, key=lambda file: file.path.stat().st_size).path


def is_image(file: RealFile) -> bool:
    with tolerating_faults():
        dataset = pydicom.dcmread(file.path)
        is_whole = "truncated" not in file.name and "too_short" not in file.name
        return is_whole and all(dataset.get(keyword) for keyword in ("SOPClassUID", "PixelData"))


def video(syntax: str, folder: Path) -> Path:
    """Return a file in a video transfer syntax; DCMTK does not look into the stream."""
    made = make_instance(SOPClassUID=VIDEO_ENDOSCOPIC, Modality="ES", pixels=None)
    raw = made.raw + encapsulated([bytes(range(256)) * 20])
    instance = Instance(
        VIDEO_ENDOSCOPIC,
        made.sop_instance_uid,
        syntax,
        raw,
        made.study_instance_uid,
        made.series_instance_uid,
    )
    return write_part10(instance, folder / f"{made.sop_instance_uid}.dcm")


VIDEO_OPTIONS: Final = {
    "-xm": f"{DICOM}.4.100",
    "-xh": f"{DICOM}.4.101",
    "-xn": f"{DICOM}.4.102",
    "-xl": f"{DICOM}.4.103",
    "-x2": f"{DICOM}.4.104",
    "-x3": f"{DICOM}.4.105",
    "-xo": f"{DICOM}.4.106",
    "-x4": f"{DICOM}.4.107",
    "-x5": f"{DICOM}.4.108",
}
REAL_OPTIONS: Final = {
    **UNCOMPRESSED,
    "-xd": f"{DICOM}.1.99",
    "-xy": f"{DICOM}.4.50",
    "-xx": f"{DICOM}.4.51",
    "-xs": f"{DICOM}.4.70",
    "-xt": f"{DICOM}.4.80",
    "-xu": f"{DICOM}.4.81",
    "-xv": f"{DICOM}.4.90",
    "-xw": f"{DICOM}.4.91",
    "-xr": "1.2.840.10008.1.2.5",
}
ENCODERS: Final = {
    f"{DICOM}.1": ("dcmconv", "+te"),
    f"{DICOM}.2": ("dcmconv", "+tb"),
    DICOM: ("dcmconv", "+ti"),
    f"{DICOM}.1.99": ("dcmconv", "+td"),
    f"{DICOM}.4.57": ("dcmcjpeg", "+el"),
    f"{DICOM}.4.70": ("dcmcjpeg", "+e1"),
    f"{DICOM}.4.80": ("dcmcjpls", "+el"),
    f"{DICOM}.4.81": ("dcmcjpls", "+en"),
    "1.2.840.10008.1.2.5": ("dcmcrle",),
}
PROPOSED_BY_DCMSEND: Final = {f"{DICOM}.2": f"{DICOM}.1", DICOM: f"{DICOM}.1"}
"""What it sends in place of other native transfer syntaxes: it names explicit little endian first."""


def encoded(syntax: str, folder: Path) -> Path:
    """Return an image that DCMTK itself has put into a transfer syntax."""
    source = copy(Path(str(get_testdata_file("SC_rgb_small_odd.dcm"))), folder)
    target = source.with_suffix(".encoded")
    run(*ENCODERS[syntax], source, target)
    return target


def check_delivered(node: RunningNode, path: Path, syntax: str) -> None:
    """Check that what is kept says the same as the file, in this transfer syntax."""
    with tolerating_faults():
        sent = pydicom.dcmread(path)
        found = indexed(node, sent.SOPInstanceUID)
        stored = pydicom.dcmread(path_of(node, found.file))
        assert found.key.transfer_syntax_uid == stored.file_meta.TransferSyntaxUID == syntax
        assert found.calling_ae_title == stored.file_meta.SourceApplicationEntityTitle
        assert element_values(stored) == element_values(sent)
    assert dump(path_of(node, found.file), "0008,0018") == {"0008,0018": sent.SOPInstanceUID}
    check_nothing_else(node)


def test_storescu_without_options(node: RunningNode, tmp_path: Path) -> None:
    path = copy(ct(), tmp_path)
    run("storescu", *node.address, path)
    check_delivered(node, path, f"{DICOM}.1")
    uid = pydicom.dcmread(path).SOPInstanceUID
    (receipt,) = archive_of(node).reader.receipts(uid)
    assert receipt["calling_ae_title"] == "STORESCU"
    assert receipt["called_ae_title"] == "ANY-SCP"
    assert receipt["implementation_version_name"].startswith("OFFIS_DCMTK")


@pytest.mark.parametrize("option", sorted(REAL_OPTIONS))
def test_storescu_delivers_real_files_of_each_transfer_syntax(
    node: RunningNode, tmp_path: Path, option: str
) -> None:
    syntax = REAL_OPTIONS[option]
    path = copy(real_file(syntax), tmp_path)
    run("storescu", option, *node.address, path)
    check_delivered(node, path, syntax)


@pytest.mark.parametrize("option", sorted(VIDEO_OPTIONS))
def test_storescu_delivers_video(node: RunningNode, tmp_path: Path, option: str) -> None:
    path = video(VIDEO_OPTIONS[option], tmp_path)
    # without -R storescu proposes too few SOP classes
    run("storescu", "-R", option, *node.address, path)
    check_delivered(node, path, VIDEO_OPTIONS[option])


@pytest.mark.parametrize("syntax", sorted(ENCODERS))
def test_dcmsend_delivers_what_dcmtk_encodes(node: RunningNode, tmp_path: Path, syntax: str) -> None:
    path = encoded(syntax, tmp_path)
    run("dcmsend", *node.address, path)
    check_delivered(node, path, PROPOSED_BY_DCMSEND.get(syntax, syntax))


def test_dcmsend_delivers_every_transfer_syntax_at_once(node: RunningNode, tmp_path: Path) -> None:
    paths = {copy(real_file(syntax), tmp_path): syntax for syntax in set(REAL_OPTIONS.values())}
    paths |= {video(syntax, tmp_path): syntax for syntax in VIDEO_OPTIONS.values()}
    said = run("dcmsend", "-v", *node.address, *paths)
    assert f"with status SUCCESS  : {len(paths)}" in said
    for path, syntax in paths.items():
        check_delivered(node, path, PROPOSED_BY_DCMSEND.get(syntax, syntax))


CANNOT_UNDERSTAND: Final = "0xc000 (Error: CannotUnderstand)"
NOT_DELIVERED: Final = {
    # They name no study (S5).
    "JPEGLSNearLossless_08.dcm": CANNOT_UNDERSTAND,
    "JPEGLSNearLossless_16.dcm": CANNOT_UNDERSTAND,
    "SC_rgb_jls_lossy_line.dcm": CANNOT_UNDERSTAND,
    "SC_rgb_jls_lossy_sample.dcm": CANNOT_UNDERSTAND,
    # De-identified with hashes in place of UIDs (S26).
    "bad_sequence.dcm": CANNOT_UNDERSTAND,
    # DCMTK cannot read a data set in implicit VR that its file meta declares explicit.
    "SC_rgb_jpeg.dcm": "<not sent>",
    # DCMTK finds no SOP Class UID in an element of VR UN and sends a command without (S4).
    "explicit_VR-UN.dcm": "0x0122 (Refused: SOPClassNotSupported)",
}


def test_dcmsend_delivers_the_real_files(tmp_path: Path) -> None:
    files = [file for file in distinct_files() if is_image(file)]
    report = tmp_path / "report"
    with running_node(tmp_path / "data") as node:
        run("dcmsend", "-nh", "+crf", report, *node.address, *(file.path for file in files))
        told = [
            line.split(":", 1)[1].strip()
            for line in report.read_text().splitlines()
            if line.startswith(("Filename ", "DIMSE Status "))
        ]
        statuses = {Path(path).name: status for path, status in zip(told[::2], told[1::2], strict=True)}
        failed = {name: status for name, status in statuses.items() if "0x0000" not in status}
        assert failed == {name: why for name, why in NOT_DELIVERED.items() if name in statuses}
        assert archive_of(node).reader.counts().instances == len(statuses) - len(failed) > 80
        check_nothing_else(node)


@pytest.mark.parametrize("option", ["+C", "-R"])
def test_storescu_with_fewer_contexts(node: RunningNode, tmp_path: Path, option: str) -> None:
    path = copy(ct(), tmp_path)
    run("storescu", option, *node.address, path)
    check_delivered(node, path, f"{DICOM}.1")


@pytest.mark.parametrize("pdu_bytes", [4096, 131072])
def test_storescu_with_other_pdu_sizes(node: RunningNode, tmp_path: Path, pdu_bytes: int) -> None:
    path = copy(ct(), tmp_path)
    run("storescu", "-pdu", pdu_bytes, "--max-send-pdu", pdu_bytes, *node.address, path)
    check_delivered(node, path, f"{DICOM}.1")


def test_storescu_of_a_folder(node: RunningNode, tmp_path: Path) -> None:
    paths = [copy(ct(), tmp_path) for _ in range(12)]
    run("storescu", "+sd", *node.address, tmp_path)
    for path in paths:
        check_delivered(node, path, f"{DICOM}.1")


def test_storescu_repeat_keeps_one(node: RunningNode, tmp_path: Path) -> None:
    path = copy(ct(), tmp_path)
    run("storescu", "--repeat", 5, *node.address, path)
    check_delivered(node, path, f"{DICOM}.1")
    uid = pydicom.dcmread(path).SOPInstanceUID
    received = Counter(outcomes(node, uid))
    assert received["stored"] == 1
    assert received.keys() == {"stored", "identical"}
    assert received.total() >= 5


def test_storescu_abort_keeps_what_was_acknowledged(node: RunningNode, tmp_path: Path) -> None:
    path = copy(ct(), tmp_path)
    run("storescu", "--abort", *node.address, path)
    check_delivered(node, path, f"{DICOM}.1")
    wait_until(lambda: node.connection_count == 0, "the connection is still counted")


def test_several_storescu_at_once(node: RunningNode, tmp_path: Path) -> None:
    paths = [copy(ct(), tmp_path) for _ in range(8)]
    shared = copy(ct(), tmp_path)
    before = archive_of(node).reader.counts().instances
    senders = [start("storescu", "--repeat", 4, *node.address, path, shared) for path in paths]
    for sender in senders:
        said, _ = sender.communicate(timeout=TOOL_SECONDS)
        assert sender.returncode == 0, said
    for path in (*paths, shared):
        check_delivered(node, path, f"{DICOM}.1")
    assert archive_of(node).reader.counts().instances == before + 9


def test_storescu_with_invented_patients(tmp_path: Path) -> None:
    with running_node(tmp_path / "data") as node:
        run("storescu", "+IP", 1, "+IS", 2, "+IR", 2, "--repeat", 8, *node.address, ct())
        counts = archive_of(node).reader.counts()
        assert counts.instances >= 8
        assert counts.studies >= 2
        check_nothing_else(node)


def test_storescu_is_told_of_a_refusal(tmp_path: Path) -> None:
    archive = ArchiveSettings(duplicate_policy=DuplicatePolicy.REFUSE)
    first = copy(ct(), tmp_path)
    second = tmp_path / "second.dcm"
    dataset = pydicom.dcmread(first)
    dataset.PatientName = "Roe^Rick"
    dataset.save_as(second)
    with running_node(tmp_path / "data", archives=[archive]) as node:
        run("storescu", *node.address, first)
        with start("storescu", "-v", *node.address, second) as sender:
            said, _ = sender.communicate(timeout=TOOL_SECONDS)
        assert "Status: 0x111" in said
        check_delivered(node, first, f"{DICOM}.1")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--repeat", 200),
        ("-pts", 38),
        ("-ppc", 128),
        ("-pts", 38, "-ppc", 128),
        ("-pdu", 4096),
        ("-pdu", 131072),
        ("--abort",),
        ("-aet", "A" * 16, "-aec", "B" * 16),
    ],
    ids=lambda options: " ".join(map(str, options)) or "plain",
)
def test_echoscu(node: RunningNode, options: tuple[object, ...]) -> None:
    run("echoscu", *options, *node.address)


def test_many_echoscu_at_once(node: RunningNode) -> None:
    echoes = [start("echoscu", "--repeat", 20, *node.address) for _ in range(30)]
    for echo in echoes:
        said, _ = echo.communicate(timeout=TOOL_SECONDS)
        assert echo.returncode == 0, said
    wait_until(lambda: node.connection_count == 0, "a connection is still counted")
