import os
import struct
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import UID, MediaStorageDirectoryStorage
from support.real_files import readable_files

from pacslite.media.files import (
    HEAD_BYTES,
    BrokenInstanceError,
    NotAnInstanceError,
    read_instance_file,
)
from pacslite.testing import make_instance, write_instance

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


def _raw(tmp_path: Path, **choices: Any) -> tuple[bytes, int]:
    """Return a file's bytes, and where its data set starts."""
    file = read_instance_file(write_instance(tmp_path / "whole.dcm", **choices))
    return file.path.read_bytes(), file.data_set_offset


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_real_files_are_what_pydicom_says_they_are() -> None:
    refused: dict[str, str] = {}
    checked = 0
    for real in readable_files():
        try:
            file = read_instance_file(real.path)
        except NotAnInstanceError as error:
            refused[real.name] = str(error)
            continue
        assert file.key.sop_class_uid == real.sop_class_uid, real.path
        assert file.key.sop_instance_uid == real.sop_instance_uid, real.path
        assert file.key.transfer_syntax_uid == real.transfer_syntax_uid, real.path
        assert file.data_set_offset == real.data_set_offset, real.path
        assert file.data_set_bytes == real.path.stat().st_size - real.data_set_offset
        checked += 1
    assert checked > 200
    broken = refused.pop("bad_sequence.dcm")
    assert broken == "it is identified by what is no UID"
    assert set(refused.values()) == {"a DICOMDIR"}


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED])
def test_the_data_set_says_what_it_is(tmp_path: Path, syntax: str) -> None:
    instance = make_instance(transfer_syntax_uid=syntax)
    instance.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    instance.file_meta.MediaStorageSOPClassUID = UID("1.2.3.5")
    path = tmp_path / "a.dcm"
    instance.save_as(path, enforce_file_format=False, overwrite=True)
    file = read_instance_file(path)
    assert file.key.sop_instance_uid == instance.SOPInstanceUID
    assert file.key.sop_class_uid == instance.SOPClassUID
    assert file.key.transfer_syntax_uid == syntax


def test_file_meta_says_what_the_data_set_does_not(tmp_path: Path) -> None:
    instance = make_instance()
    del instance.SOPInstanceUID
    path = tmp_path / "a.dcm"
    instance.save_as(path, enforce_file_format=True)
    assert read_instance_file(path).key.sop_instance_uid == instance.file_meta.MediaStorageSOPInstanceUID


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_bare_data_sets_are_recognised(tmp_path: Path, syntax: str) -> None:
    raw, offset = _raw(tmp_path, transfer_syntax_uid=syntax)
    file = read_instance_file(_write(tmp_path / "bare", raw[offset:]))
    assert file.key.transfer_syntax_uid == syntax
    assert (file.data_set_offset, file.data_set_bytes) == (0, len(raw) - offset)


def test_file_meta_without_preamble_is_recognised(tmp_path: Path) -> None:
    raw, offset = _raw(tmp_path, transfer_syntax_uid=BIG_ENDIAN)
    file = read_instance_file(_write(tmp_path / "short", raw[132:]))
    assert file.key.transfer_syntax_uid == BIG_ENDIAN
    assert file.data_set_offset == offset - 132


def test_a_sequence_before_the_uids_is_stepped_over(tmp_path: Path) -> None:
    item = Dataset()
    item.CodeValue = "en"
    instance = make_instance(LanguageCodeSequence=[item])
    instance["LanguageCodeSequence"].is_undefined_length = True
    path = tmp_path / "a.dcm"
    instance.save_as(path, enforce_file_format=True)
    raw = path.read_bytes()
    offset = read_instance_file(path).data_set_offset
    bare = read_instance_file(_write(tmp_path / "bare", raw[offset:]))
    assert bare.key.sop_instance_uid == instance.SOPInstanceUID


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"Hello, world\n" * 50, bytes(2000), b"\x89PNG\r\n\x1a\n" + bytes(500), b"\xff" * 300],
)
def test_what_is_no_dicom_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(NotAnInstanceError, match="not DICOM"):
        read_instance_file(_write(tmp_path / "other", data))


def test_a_dicomdir_is_no_instance(tmp_path: Path) -> None:
    instance = make_instance()
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        delattr(instance, keyword)
    instance.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    instance.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    with pytest.raises(NotAnInstanceError, match="DICOMDIR"):
        read_instance_file(tmp_path / "DICOMDIR")


def test_pipes_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(NotAnInstanceError, match="regular file"):
            read_instance_file(path)


def test_broken_instances_are_told_from_other_files(tmp_path: Path) -> None:
    raw, offset = _raw(tmp_path)
    with pytest.raises(BrokenInstanceError, match="no data set"):
        read_instance_file(_write(tmp_path / "empty", raw[:offset]))
    with pytest.raises(BrokenInstanceError, match="cut off"):
        read_instance_file(_write(tmp_path / "cut", raw[: offset - 3]))
    with pytest.raises(BrokenInstanceError, match="does not say"):
        read_instance_file(_write(tmp_path / "short", raw[:160]))
    uid = raw[offset:].index(b"2.25.") + offset
    with pytest.raises(BrokenInstanceError, match="no UID"):
        read_instance_file(_write(tmp_path / "path", raw[:uid] + b"../x" + raw[uid + 4 :]))


def test_a_file_that_changed_is_not_sent_on(tmp_path: Path) -> None:
    file = read_instance_file(write_instance(tmp_path / "a.dcm"))
    data = bytearray(100)
    file.fill([memoryview(data)[:40], memoryview(data)[40:]], 8)
    start = file.data_set_offset + 8
    assert data == file.path.read_bytes()[start : start + 100]
    write_instance(tmp_path / "other.dcm").rename(file.path)
    with pytest.raises(OSError, match="changed"):
        file.fill([memoryview(data)], 0)


def test_reading_beyond_the_end_is_an_error(tmp_path: Path) -> None:
    file = read_instance_file(write_instance(tmp_path / "a.dcm"))
    with pytest.raises(OSError, match="to its end"):
        file.fill([memoryview(bytearray(100))], file.data_set_bytes - 50)


def test_no_bytes_make_it_raise_anything_else(tmp_path: Path) -> None:
    raw, offset = _raw(tmp_path)
    path = tmp_path / "hostile"
    for position in range(128, offset + 120):
        for value in (0x00, 0xFF):
            data = raw[:position] + bytes([value]) + raw[position + 1 : offset + 300]
            path.write_bytes(data)
            try:
                file = read_instance_file(path)
            except NotAnInstanceError:
                continue
            assert 0 <= file.data_set_offset < len(data)


def test_only_the_head_is_read(tmp_path: Path) -> None:
    meta = struct.pack("<HH2sxxI", 2, 0x102, b"OB", HEAD_BYTES) + bytes(HEAD_BYTES)
    with pytest.raises(BrokenInstanceError, match="cut off"):
        read_instance_file(_write(tmp_path / "long", bytes(128) + b"DICM" + meta))
