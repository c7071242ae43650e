"""What is kept of an instance: its bytes, its file meta, its index rows, its provenance.

Cases S7, S11 to S13, S16, S17, S23, S24 and S26 to S30. S29, the status of an object that a plugin filters
out, has no test: nothing filters yet, so that every Success means that the instance is kept.
"""

import struct
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pydicom
import pytest
from support import pdus
from support.dcmtk import dump, needs_dcmtk
from support.index import Index, make_entry
from support.instances import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    MR,
    Instance,
    Sendable,
    element,
    item,
    make_instance,
    unique_uid,
)
from support.kept import archive_of, check_kept, check_nothing_else, indexed, path_of
from support.nodes import RunningNode, running_node
from support.raw_sender import RawSender, store, syntax_of
from support.scripted_peer import ScriptedPeer

from pacslite.archive.scan import ByteSource, ScanLimits, scan_header
from pacslite.index import migrate
from pacslite.model.attributes import Level
from pacslite.model.instances import StoredFile
from pacslite.model.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacslite.settings.schema import ArchiveSettings

GIB: Final = 1024**3
SENDERS: Final = 16


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running
        assert not running.loop_errors


def kept(node: RunningNode, instance: Sendable) -> Any:
    assert store(node.address, instance).status == 0
    return check_kept(node, instance)


def study_of(node: RunningNode, instance: Instance) -> Any:
    found = archive_of(node).reader.study(instance.study_instance_uid)
    assert found is not None
    return found


@pytest.mark.parametrize("patient_id", [None, "", "  ", b"\0\0"], ids=["missing", "empty", "spaces", "nul"])
def test_s7_unknown_patients_are_never_one_patient(node: RunningNode, patient_id: str | None) -> None:
    name = "Unknown^Emergency"
    first, second = (make_instance(PatientID=patient_id, PatientName=name) for _ in range(2))
    third = make_instance(PatientID=patient_id, PatientName=name, StudyInstanceUID=first.study_instance_uid)
    before = archive_of(node).reader.counts().patients
    for each in (first, second, third):
        kept(node, each)
    assert archive_of(node).reader.counts().patients == before + 2
    patients = {study_of(node, each)["patient_pk"] for each in (first, second)}
    assert len(patients) == 2
    assert study_of(node, first)["number_of_study_related_instances"] == 2


def test_s11_one_study_of_two_patients_keeps_its_first(node: RunningNode) -> None:
    first = make_instance(PatientID=unique_uid(), PatientName="Doe^Jane")
    second = make_instance(
        PatientID=unique_uid(), PatientName="Roe^Rick", StudyInstanceUID=first.study_instance_uid
    )
    for each in (first, second):
        kept(node, each)
    reader = archive_of(node).reader
    study = study_of(node, first)
    assert study["patient_name"] == "Doe^Jane"
    assert study["number_of_study_related_instances"] == 2
    assert study["number_of_study_related_series"] == 2
    noted = {
        row["keyword"]: (row["kept_value"], row["received_value"])
        for row in reader.discrepancies()
        if row["sop_instance_uid"] == second.sop_instance_uid
    }
    assert noted["PatientName"] == ("Doe^Jane", "Roe^Rick")
    assert "PatientID" in noted
    # what came keeps its own values
    assert (
        pydicom.dcmread(path_of(node, indexed(node, second.sop_instance_uid).file)).PatientName == "Roe^Rick"
    )


def test_s12_another_name_changes_no_demographics(node: RunningNode) -> None:
    patient_id = unique_uid()
    first = make_instance(PatientID=patient_id, PatientName="Doe^Jane", PatientBirthDate="19700101")
    second = make_instance(PatientID=patient_id, PatientName="Roe^Rick", PatientBirthDate="19800808")
    for each in (first, second):
        kept(node, each)
    (patient,) = archive_of(node).reader.patients(patient_id)
    assert (patient["patient_name"], patient["patient_birth_date"]) == ("Doe^Jane", "19700101")
    noted = {
        row["keyword"]
        for row in archive_of(node).reader.discrepancies()
        if row["sop_instance_uid"] == second.sop_instance_uid
    }
    assert noted >= {"PatientName", "PatientBirthDate"}


def test_s12_two_issuers_of_one_patient_id_are_two_patients(node: RunningNode) -> None:
    patient_id = unique_uid()
    for issuer in ("HOSPITAL-A", "HOSPITAL-B"):
        kept(node, make_instance(PatientID=patient_id, IssuerOfPatientID=issuer))
    assert len(archive_of(node).reader.patients(patient_id)) == 2


def send_at_once(node: RunningNode, instances: list[Instance]) -> None:
    barrier = threading.Barrier(len(instances))

    def send(instance: Instance) -> int:
        with RawSender.of(node.address, instance) as sender:
            barrier.wait(20)
            return sender.store(instance).status

    with ThreadPoolExecutor(len(instances)) as pool:
        assert Counter(pool.map(send, instances)) == {0: len(instances)}


def test_s13_concurrent_first_instances_make_one_patient_study_and_series(node: RunningNode) -> None:
    before = archive_of(node).reader.counts()
    for _ in range(3):
        uid = unique_uid()
        names: dict[str, Any] = {"PatientID": uid, "StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1"}
        instances = [make_instance(**names) for _ in range(SENDERS)]
        send_at_once(node, instances)
        study = study_of(node, instances[0])
        assert study["number_of_study_related_instances"] == SENDERS
        assert study["number_of_study_related_series"] == 1
        assert len(archive_of(node).reader.patients(uid)) == 1
        (series,) = archive_of(node).reader.series(f"{uid}.1")
        assert series["number_of_series_related_instances"] == SENDERS
        for each in instances:
            check_kept(node, each)
    after = archive_of(node).reader.counts()
    assert (after.patients, after.studies, after.series) == (
        before.patients + 3,
        before.studies + 3,
        before.series + 3,
    )
    check_nothing_else(node)


def test_s13_concurrent_series_of_one_study_are_counted(node: RunningNode) -> None:
    uid = unique_uid()
    instances = [
        make_instance(
            PatientID=uid,
            StudyInstanceUID=uid,
            SeriesInstanceUID=f"{uid}.{number % 4}",
            Modality=("CT", "MR", "PT", "SR")[number % 4],
        )
        for number in range(SENDERS)
    ]
    send_at_once(node, instances)
    study = study_of(node, instances[0])
    assert study["number_of_study_related_instances"] == SENDERS
    assert study["number_of_study_related_series"] == 4
    assert study["modalities_in_study"] == "CT\\MR\\PT\\SR"


ODD_DATA_SETS: Final = {
    "odd lengths": make_instance(PatientName=b"Doe", PatientID=b"1", pixels=bytes(3)),
    "trailing zeros": make_instance(appended=bytes(17)),
    "not in order": make_instance(appended=element(0x0008_0060, "CS", b"MR")),
    "twice the same element": make_instance(appended=element(0x0010_0020, "LO", b"P2")),
    "trailing padding": make_instance(appended=element(0xFFFC_FFFC, "OB", bytes(100))),
    "no pixel data": make_instance(pixels=None),
    "private elements": make_instance(extra={0x0009_0010: ("LO", b"ACME"), 0x0009_1001: ("UN", bytes(9))}),
    "NUL padded text": make_instance(PatientName=b"Doe^Jane\0\0", Modality=b"CT\0\0"),
    "unknown VR": make_instance(extra={0x0009_1002: ("ZZ", b"ab")}),
    "long header": make_instance(
        extra={0x0009_0010: ("LO", b"ACME"), 0x0009_1001: ("UN", bytes(200_000))}, pixels=bytes(50_000)
    ),
    "delimiter at the end": make_instance(appended=struct.pack("<HHI", 0xFFFE, 0xE00D, 0)),
}


@pytest.mark.parametrize("oddity", sorted(ODD_DATA_SETS))
def test_s16_bytes_are_kept_as_received(node: RunningNode, oddity: str) -> None:
    kept(node, ODD_DATA_SETS[oddity])


@pytest.mark.parametrize("size", [1, 2, 7, 4095, 65_537, 131_066])
def test_s16_bytes_are_kept_as_received_from_any_fragments(node: RunningNode, size: int) -> None:
    instance = make_instance(pixels=bytes(range(256)) * (4 if size < 100 else 1500))
    with RawSender.of(node.address, instance) as sender:
        assert sender.store(instance, fragment_bytes=size).status == 0
    check_kept(node, instance)


def test_an_instance_goes_to_the_archive_that_is_called(tmp_path: Path) -> None:
    archives = [ArchiveSettings(name=name, ae_titles=[name.upper()]) for name in ("clinical", "research")]
    instance = make_instance()
    with running_node(tmp_path, archives=archives) as node:
        with RawSender(node.address, [syntax_of(instance)], called="RESEARCH") as sender:
            assert sender.store(instance).status == 0
        counts = {name: archive.reader.counts().instances for name, archive in node.node.archives.items()}
        assert counts == {"clinical": 0, "research": 1}
        with RawSender(node.address, [syntax_of(instance)], called="CLINICAL") as sender:
            assert sender.store(instance).status == 0
        check_kept(node, instance)
    files = [path for path in tmp_path.rglob("*.dcm") if path.stat().st_size]
    assert {path.relative_to(tmp_path).parts[1] for path in files} == {"clinical", "research"}


@pytest.mark.parametrize("calling", [b"CT1\0\0", b"  CT 1 ", b"X" * 16])
def test_a_calling_ae_title_is_kept_without_its_padding(node: RunningNode, calling: bytes) -> None:
    instance = make_instance()
    with ScriptedPeer.connect(node.address) as peer:
        peer.associate([pdus.context(1, *syntax_of(instance))], calling=calling)
        command = pdus.p_data(pdus.pdv(1, pdus.COMMAND | pdus.LAST, pdus.store_rq(instance.sop_instance_uid)))
        data = pdus.p_data(*pdus.fragments(1, 0, instance.raw, 16_000))
        peer.send(command + data)
        assert peer.expect_response().status == 0
        peer.release()
    title = indexed(node, instance.sop_instance_uid).calling_ae_title
    assert title == title.strip()
    assert "\0" not in title
    check_kept(node, instance, calling=title)


def huge_source(head: bytes, total_bytes: int, markers: dict[int, bytes]) -> ByteSource:
    """Return a data set of zeros behind `head`, but for `markers` by offset, without holding it."""

    def read(size: int, offset: int) -> bytes:
        data = bytearray(size)
        for start, marker in {0: head, **markers}.items():
            for index, value in enumerate(marker):
                if offset <= start + index < offset + size:
                    data[start + index - offset] = value
        return bytes(data)

    return ByteSource(head, total_bytes, read)


def test_s17_native_pixel_data_of_almost_4_gib_are_scanned() -> None:
    length = 0xFFFF_FFFE
    instance = make_instance(pixels=None)
    head = instance.raw + element(0x7FE0_0010, "OW", b"", length=length)
    header = scan_header(huge_source(head, len(head) + length, {}), EXPLICIT, ScanLimits())
    assert header.sop_instance_uid == instance.sop_instance_uid
    assert not header.is_misdeclared


def test_s17_encapsulated_pixel_data_over_4_gib_are_scanned() -> None:
    instance = make_instance(pixels=None)
    fragment_bytes = 256 * 1024**2
    start = instance.raw + element(0x7FE0_0010, "OB", b"", length=0xFFFF_FFFF) + item(b"")
    fragment = struct.pack("<HHI", 0xFFFE, 0xE000, fragment_bytes)
    offsets = [len(start) + number * (8 + fragment_bytes) for number in range(21)]
    markers = dict.fromkeys(offsets[:-1], fragment)
    markers[offsets[-1]] = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    total = offsets[-1] + 8
    assert total > 5 * GIB
    source = huge_source(start + fragment, total, markers)
    header = scan_header(source, "1.2.840.10008.1.2.4.90", ScanLimits())
    assert header.sop_instance_uid == instance.sop_instance_uid
    assert not header.is_misdeclared


def test_s17_the_index_holds_sizes_of_64_bits(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'index.sqlite'}"
    migrate.upgrade(url)
    entry = make_entry(unique_uid())
    file = StoredFile("node1/0001/huge.dcm", 5 * GIB + 800, 800, entry.file.digest)
    index = Index(url)
    try:
        index.receive(replace(entry, file=file))
        found = index.reader.instance(entry.key.sop_instance_uid)
    finally:
        index.close()
    assert found is not None
    assert found.file == file
    assert found.file.data_set_bytes == 5 * GIB


def test_s23_group_lengths_and_foreign_groups_are_kept_and_not_indexed(node: RunningNode) -> None:
    group_length = struct.pack("<I", 0x7FFF_FFFF)
    instance = make_instance(
        extra={
            0x0000_0002: ("UI", b"1.2.3\0"),
            0x0000_1000: ("UI", b"1.2.4\0"),
            0x0002_0000: ("UL", group_length),
            0x0002_0003: ("UI", b"1.2.5\0"),
            0x0002_0010: ("UI", b"1.2.840.10008.1.2.2\0"),
            0x0008_0000: ("UL", group_length),
            0x0010_0000: ("UL", b"\0\0\0\0"),
        }
    )
    found = kept(node, instance)
    assert found.key.transfer_syntax_uid == EXPLICIT
    assert found.values[Level.PATIENT]["patient_name"] == "Doe^Jane"


def test_s24_the_move_originator_is_recorded(node: RunningNode) -> None:
    instance = make_instance()
    command = {0x1030: b"WORKSTATION ", 0x1031: struct.pack("<H", 4711)}
    assert store(node.address, instance, command).status == 0
    check_kept(node, instance)
    (receipt,) = archive_of(node).reader.receipts(instance.sop_instance_uid)
    assert receipt["move_originator_ae_title"] == "WORKSTATION"
    assert receipt["move_originator_message_id"] == 4711


@pytest.mark.parametrize(
    ("title", "message_id"),
    [(b"X" * 40, b"\1"), (b"\xff\0\n\x1b[2J", b"\1\0\0\0"), (b"", b"")],
    ids=["too long", "no text", "empty"],
)
def test_s24_a_malformed_move_originator_costs_nothing(
    node: RunningNode, title: bytes, message_id: bytes
) -> None:
    instance = make_instance()
    assert store(node.address, instance, {0x1030: title, 0x1031: message_id}).status == 0
    check_kept(node, instance)
    (receipt,) = archive_of(node).reader.receipts(instance.sop_instance_uid)
    assert len(receipt["move_originator_ae_title"]) <= 16
    assert receipt["move_originator_message_id"] is None


def test_s26_the_name_of_the_file_is_the_nodes_own(node: RunningNode) -> None:
    instance = make_instance()
    path = kept(node, instance).file.path
    assert instance.sop_instance_uid not in path
    folder, segment, name = path.split("/")
    assert folder == "node1"
    assert int(segment, 16) > 0
    assert int(name.removesuffix(".dcm"), 16) >= 0


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_s27_values_that_are_too_long_are_kept_and_cut_in_the_index(node: RunningNode, syntax: str) -> None:
    long = "x" * 2000
    instance = make_instance(
        syntax,
        PatientName=f"{long}^Jane",
        PatientID=unique_uid() + long,
        StudyDescription=long,
        AccessionNumber=long,
        Modality="C" * 100,
        InstanceNumber="1" * 60,
        StudyDate="2024-02-29 and so on",
        FrameOfReferenceUID="1." + "2" * 98,
        PatientComments=long * 30,
    )
    found = kept(node, instance)
    for level in Level:
        for column, value in found.values[level].items():
            assert len(str(value)) <= 10_240, column
    assert str(found.values[Level.PATIENT]["patient_name"]).startswith("xxx")


def test_s27_long_patient_ids_of_one_beginning_are_two_patients(node: RunningNode) -> None:
    start = "1" * 600
    studies = [make_instance(PatientID=start + end) for end in "ab"]
    for each in studies:
        kept(node, each)
    assert len({study_of(node, each)["patient_pk"] for each in studies}) == 2


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_s28_the_file_meta_says_what_and_whence(node: RunningNode, syntax: str) -> None:
    instance = make_instance(syntax, SOPClassUID=MR)
    assert store(node.address, instance, calling="MR1").status == 0
    found = check_kept(node, instance, calling="MR1")
    stored = pydicom.dcmread(path_of(node, found.file))
    meta = stored.file_meta
    assert stored.preamble == bytes(128)
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.MediaStorageSOPClassUID == MR
    assert meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid
    assert meta.TransferSyntaxUID == syntax
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert meta.SourceApplicationEntityTitle == "MR1"
    assert meta.SendingApplicationEntityTitle == "MR1"
    assert meta.ReceivingApplicationEntityTitle == "PACSLITE"
    (receipt,) = archive_of(node).reader.receipts(instance.sop_instance_uid)
    assert meta.SourcePresentationAddress == f"dicom:{receipt['peer_address']}"
    assert meta.PrivateInformationCreatorUID == IMPLEMENTATION_CLASS_UID
    assert meta.FileMetaInformationGroupLength == found.file.data_set_offset - 144
    assert stored.SOPInstanceUID == instance.sop_instance_uid


@needs_dcmtk
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_s28_dcmdump_reads_what_is_kept(node: RunningNode, syntax: str) -> None:
    instance = make_instance(syntax)
    path = path_of(node, kept(node, instance).file)
    assert dump(path, "0002,0003", "0002,0010", "0008,0018") == {
        "0002,0003": instance.sop_instance_uid,
        "0002,0010": syntax,
        "0008,0018": instance.sop_instance_uid,
    }


CHARSETS: Final = {
    "ISO_IR 100": ("Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
    "ISO IR 100": ("Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
    "ISO_IR 100\\": ("Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
    "ISO_IR_100": ("Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
    "ISO 8859-1": ("Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
    "UTF8": ("Müller^Jürgen".encode(), "Müller^Jürgen"),
    "UTF-8": ("Müller^Jürgen".encode(), "Müller^Jürgen"),
    "ISO 2022 IR 6": (b"Doe^Jane", "Doe^Jane"),
    "\\ISO 2022 IR 87": (b"Yamada^Tarou", "Yamada^Tarou"),
    "ISO_IR 144": ("Иванов^Иван".encode("iso8859_5"), "Иванов^Иван"),
    "GB18030": ("王^小东".encode("gb18030"), "王^小东"),
    "NONSENSE": (b"M\xfcller^J\xfcrgen", "M\ufffdller^J\ufffdrgen"),
    "ISO_IR 192": (b"M\xfcller^Jane", "M\ufffdller^Jane"),
    "": (b"M\xfcller^Jane", "Müller^Jane"),
}


@pytest.mark.parametrize("charset", sorted(CHARSETS))
def test_s30_odd_charsets_are_kept_and_read_as_well_as_can_be(node: RunningNode, charset: str) -> None:
    raw, name = CHARSETS[charset]
    instance = make_instance(
        SpecificCharacterSet=charset, PatientID=unique_uid(), PatientName=raw + b" " * (len(raw) % 2)
    )
    found = kept(node, instance)
    assert found.values[Level.PATIENT]["patient_name"] == name


def test_s30_bytes_that_are_no_text_at_all_are_kept(node: RunningNode) -> None:
    noise = bytes(range(1, 256)).replace(b"\\", b"")
    kept(
        node, make_instance(SpecificCharacterSet=noise[:-1], PatientName=noise + b" ", PatientID=noise + b" ")
    )
