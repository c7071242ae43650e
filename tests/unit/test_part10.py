import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.real_files import readable_files

from pacslite.model.errors import CannotUnderstandError
from pacslite.model.instances import InstanceKey, Provenance
from pacslite.model.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacslite.storage.part10 import MAX_HEAD_BYTES, build_part10_head, read_part10_head

KEY = InstanceKey("1.2.840.10008.5.1.4.1.1.2", "1.2.3.45", "1.2.840.10008.1.2.1")
PROVENANCE = Provenance(
    received_at=datetime(2024, 2, 29, 12, 30, 1, 250, tzinfo=UTC),
    calling_ae_title="CT1",
    called_ae_title="PACSLITE",
    peer_address="[::1]:50123",
    local_address="127.0.0.1:11112",
    implementation_class_uid="1.2.276.0.7230010.3.0.3.6.7",
    implementation_version_name="OFFIS_DCMTK_367",
    association_id="a1",
    move_originator_ae_title="MOVER",
    move_originator_message_id=0,
)
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=16)


def written(folder: Path, head: bytes, data_set: bytes = b"") -> Path:
    path = folder / "file.dcm"
    path.write_bytes(head + data_set)
    return path


def test_head_is_what_pydicom_reads(tmp_path: Path) -> None:
    path = written(tmp_path, build_part10_head(KEY, PROVENANCE, 7), b"\x08\x00\x60\x00CS\x02\x00CT")
    dataset = pydicom.dcmread(path)
    meta = dataset.file_meta
    assert dataset.Modality == "CT"
    assert dataset.preamble == bytes(128)
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert meta.MediaStorageSOPClassUID == KEY.sop_class_uid
    assert meta.MediaStorageSOPInstanceUID == KEY.sop_instance_uid
    assert meta.TransferSyntaxUID == KEY.transfer_syntax_uid
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert meta.SourceApplicationEntityTitle == meta.SendingApplicationEntityTitle == "CT1"
    assert meta.ReceivingApplicationEntityTitle == "PACSLITE"
    assert meta.SourcePresentationAddress == "dicom:[::1]:50123"
    assert meta.ReceivingPresentationAddress == "dicom:127.0.0.1:11112"
    assert meta.PrivateInformationCreatorUID == IMPLEMENTATION_CLASS_UID
    assert b'"sequence": 7' in meta.PrivateInformation
    assert meta.FileMetaInformationGroupLength == read_part10_head(path).data_set_offset - 144


def test_head_equals_what_pydicom_would_write(tmp_path: Path) -> None:
    path = written(tmp_path, build_part10_head(KEY, PROVENANCE, 7))
    again = tmp_path / "again.dcm"
    pydicom.dcmread(path, force=True).save_as(again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("odd", ["", "1"])
def test_head_passes_dcmtk_without_a_warning(tmp_path: Path, odd: str) -> None:
    key = InstanceKey(KEY.sop_class_uid, KEY.sop_instance_uid + odd, KEY.transfer_syntax_uid)
    path = written(tmp_path, build_part10_head(key, PROVENANCE, 7), b"\x08\x00\x60\x00CS\x02\x00CT")
    try:
        done = subprocess.run(
            ["dcmdump", "-v", str(path)], capture_output=True, text=True, check=True, timeout=30
        )
    except FileNotFoundError:
        pytest.skip("DCMTK is not installed")
    assert "W: " not in done.stderr
    assert "E: " not in done.stderr
    assert "dicom:127.0.0.1:11112" in done.stdout


@given(
    uid=st.from_regex(r"[0-9.]{1,64}", fullmatch=True),
    ae_title=TEXT,
    address=TEXT,
    originator=TEXT,
    message_id=st.none() | st.integers(0, 0xFFFF),
    sequence_number=st.integers(0, 2**63),
    received_at=st.datetimes(timezones=st.just(UTC)),
)
def test_head_read_back_is_what_was_built(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    uid: str,
    ae_title: str,
    address: str,
    originator: str,
    message_id: int | None,
    sequence_number: int,
    received_at: datetime,
) -> None:
    key = InstanceKey(uid, uid, uid)
    provenance = Provenance(
        received_at,
        ae_title,
        ae_title[::-1],
        address,
        address,
        uid,
        ae_title,
        ae_title,
        move_originator_ae_title=originator,
        move_originator_message_id=message_id,
    )
    head = build_part10_head(key, provenance, sequence_number)
    path = written(tmp_path_factory.mktemp("head"), head, b"\x08\x00")
    assert read_part10_head(path) == (key, provenance, len(head), sequence_number, True)
    assert len(head) % 2 == 0


def test_head_of_hostile_names_stays_well_formed(tmp_path: Path) -> None:
    key = InstanceKey("../etc/passwd\0é", "9" * 70_000, "")
    provenance = Provenance(PROVENANCE.received_at, "Ä" * 40, "\\\r\n", "x", "y", '"\ud800{', "\x00")
    path = written(tmp_path, build_part10_head(key, provenance, 1))
    head = read_part10_head(path)
    assert head.key.sop_instance_uid == "9" * 64
    assert head.data_set_offset == path.stat().st_size
    assert head.provenance is not None
    assert head.provenance.calling_ae_title == "?" * 16


def test_head_read_from_a_descriptor_leaves_its_position(tmp_path: Path) -> None:
    with written(tmp_path, build_part10_head(KEY, PROVENANCE, 7)).open("rb") as file:
        file.seek(5)
        assert read_part10_head(file.fileno()).key == KEY
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 5


def test_heads_of_real_files_have_no_provenance_of_ours() -> None:
    for file in readable_files():
        head = read_part10_head(file.path)
        assert head.provenance is None
        assert head.sequence_number is None
        assert head.data_set_offset == file.data_set_offset
        assert head.key.transfer_syntax_uid == file.transfer_syntax_uid


@pytest.mark.parametrize(
    "raw",
    [b"", bytes(132), bytes(128) + b"DICM\x02\x00\x01\x00OB\0\0\xff\xff\xff\xff\0\1"],
    ids=["empty", "no prefix", "cut off"],
)
def test_no_part_10_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(CannotUnderstandError):
        read_part10_head(written(tmp_path, raw))


def test_file_meta_longer_than_looked_at_is_refused(tmp_path: Path) -> None:
    value = b"\x02\x00\x02\x01OB\0\0" + MAX_HEAD_BYTES.to_bytes(4, "little") + bytes(MAX_HEAD_BYTES)
    with pytest.raises(CannotUnderstandError):
        read_part10_head(written(tmp_path, bytes(128) + b"DICM" + value))


@pytest.mark.parametrize(
    "private",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"sequence": 1}',
        b"[" * 50_000,
        b'{"implementation": 1, "move": 2}',
        b"\xff",
    ],
)
def test_private_information_that_is_not_ours_gives_no_provenance(tmp_path: Path, private: bytes) -> None:
    head = build_part10_head(KEY, PROVENANCE, 7)
    start = head.index(b"\x02\x00\x02\x01OB")
    head = head[:start] + b"\x02\x00\x02\x01OB\0\0" + len(private).to_bytes(4, "little") + private
    read = read_part10_head(written(tmp_path, head))
    assert read.provenance is None
    assert not read.is_intact
    assert read.key == KEY


def test_a_flipped_bit_anywhere_shows(tmp_path: Path) -> None:
    head = build_part10_head(KEY, PROVENANCE, 7)
    for position in range(len(head)):
        flipped = bytearray(head)
        flipped[position] ^= 1 << position % 8
        try:
            read = read_part10_head(written(tmp_path, bytes(flipped)))
        except CannotUnderstandError:
            continue
        assert read.provenance is None, position
