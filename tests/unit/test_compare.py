import shutil
import struct
import subprocess
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from support.real_files import RealFile, distinct_files

from pacslite.archive.compare import MAX_DIFFERING, ContentComparison, compare_contents
from pacslite.archive.scan import ScanLimits
from pacslite.model.instances import InstanceKey, Provenance
from pacslite.model.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pacslite.storage.part10 import build_part10_head

LIMITS: Final = ScanLimits()
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
PROVENANCE: Final = Provenance(datetime(2024, 1, 1, tzinfo=UTC), "A", "B", "127.0.0.1:1", "127.0.0.1:2")
SAME: Final = ContentComparison(is_same=True, differing=())
NOT_PARSED: Final = ContentComparison(is_same=False, differing=())
ITEM: Final = b"\xfe\xff\x00\xe0"
SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"
PIXELS: Final = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
CONVERSIONS: Final = {
    "implicit": ["+ti"],
    "explicit": ["+te"],
    "big endian": ["+tb"],
    "deflated": ["+td"],
    "undefined lengths": ["-e"],
    "group lengths": ["+g", "+e"],
}


def written(folder: Path, name: str, data_set: bytes, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> Path:
    path = folder / name
    path.write_bytes(build_part10_head(InstanceKey("1.2", "1.3", syntax), PROVENANCE, 1) + data_set)
    return path


def encoded(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    buffer.is_little_endian = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    write_dataset(buffer, dataset)
    return buffer.getvalue()


# Holds one element twice, of which DCMTK drops one.
MENDED_BY_DCMTK: Final = {"winter.dcm"}


def small_native_files() -> list[RealFile]:
    native = {IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN}
    return [
        file
        for file in distinct_files()
        if file.transfer_syntax_uid in native
        and file.name not in MENDED_BY_DCMTK
        and file.path.stat().st_size < 300_000
    ]


def is_converted(source: Path, target: Path, options: list[str]) -> bool:
    command = ["dcmconv", *options, str(source), str(target)]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0


@pytest.mark.skipif(shutil.which("dcmconv") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_s8_real_files_equal_themselves_in_another_encoding(tmp_path: Path, conversion: str) -> None:
    compared = 0
    different = {}
    for file in small_native_files():
        target = tmp_path / f"{compared}.dcm"
        if is_converted(file.path, target, CONVERSIONS[conversion]):
            comparison = compare_contents(file.path, target, LIMITS)
            if not comparison.is_same:
                different[file.name] = comparison.differing
            compared += 1
    assert different == {}
    assert compared > 60


def test_s8_real_files_equal_themselves() -> None:
    for file in distinct_files():
        comparison = compare_contents(file.path, file.path, LIMITS)
        assert comparison == SAME or "truncated" in file.name or "too_short" in file.name, file.name


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (b"\x10\0\x20\0LO\2\0ID", b"\x10\0\x20\0LO\4\0ID  "),
        (b"\x08\0\x18\0UI\4\x001.2\0", b"\x08\0\x18\0UI\4\x001.2 "),
        (b"\x10\0\x20\0LO\2\0ID", b"\x10\0\0\0UL\4\0\x0a\0\0\0\x10\0\x20\0LO\2\0ID"),
        (b"\x10\0\x20\0LO\2\0ID", b"\x10\0\x20\0LO\2\0ID\xfc\xff\xfc\xffOB\0\0\2\0\0\0\1\2"),
        (b"\x10\0\x20\0LO\2\0ID", b"\x10\0\x20\0LO\2\0ID" + SEQUENCE_END + bytes(20)),
        (b"\x40\0\x75\2SQ\0\0\0\0\0\0", b"\x40\0\x75\2SQ\0\0\xff\xff\xff\xff" + SEQUENCE_END),
    ],
    ids=["text", "uid", "group length", "trailing padding", "zeros", "empty sequence"],
)
def test_s8_what_says_nothing_makes_no_difference(tmp_path: Path, left: bytes, right: bytes) -> None:
    a, b = written(tmp_path, "a", left), written(tmp_path, "b", right)
    assert compare_contents(a, b, LIMITS) == SAME
    assert compare_contents(b, a, LIMITS) == SAME


def sample(**changes: object) -> Dataset:
    dataset = Dataset()
    dataset.SOPInstanceUID = "1.3"
    dataset.PatientID = "ID"
    item, inner = Dataset(), Dataset()
    inner.CodeValue = "T-1"
    item.PurposeOfReferenceCodeSequence = [inner]
    item.ReferencedSOPInstanceUID = "1.9"
    dataset.ReferencedImageSequence = [item, item]
    dataset.add_new(0x00091001, "SQ", [inner])
    dataset.Rows = 258
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


SYNTAXES: Final = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)


@pytest.mark.parametrize("left", SYNTAXES)
@pytest.mark.parametrize("right", SYNTAXES)
def test_s9_differing_elements_are_named_in_every_encoding(tmp_path: Path, left: str, right: str) -> None:
    one, other = Dataset(), Dataset()
    one.ReferencedSOPInstanceUID = "1.8"
    other.CodeValue = "T-2"
    a = written(tmp_path, "a", encoded(sample(), left), left)
    for changes, differing in (
        ({}, ()),
        ({"PatientID": "id"}, ("PatientID",)),
        ({"Rows": 513}, ("Rows",)),
        ({"PatientName": "X", "Rows": 1}, ("PatientName", "Rows")),
        ({"ReferencedImageSequence": []}, ("ReferencedImageSequence",)),
        ({"ReferencedImageSequence": [one, one]}, ("ReferencedImageSequence",)),
        ({"PatientComments": "more"}, ("PatientComments",)),
    ):
        b = written(tmp_path, "b", encoded(sample(**changes), right), right)
        assert compare_contents(a, b, LIMITS) == ContentComparison(not differing, differing)
        assert compare_contents(b, a, LIMITS) == ContentComparison(not differing, differing)
    changed = sample()
    changed[0x00091001].value = [other]
    b = written(tmp_path, "b", encoded(changed, right), right)
    assert compare_contents(a, b, LIMITS).differing == ("(0009,1001)",)


def fragmented(*fragments: bytes) -> bytes:
    items = (ITEM + struct.pack("<L", len(fragment)) + fragment for fragment in fragments)
    return PIXELS + b"".join(items) + SEQUENCE_END


@pytest.mark.parametrize(
    ("left", "right", "is_same"),
    [
        (fragmented(b"", b"abcd"), fragmented(b"", b"abcd"), True),
        (fragmented(b"", b"abcd"), fragmented(b"", b"abce"), False),
        (fragmented(b"", b"abcd"), fragmented(b"", b"ab", b"cd"), False),
        (fragmented(b"", b"abcd"), fragmented(b"\0\0\0\0", b"abcd"), False),
        (fragmented(b"", b"abcd"), b"\xe0\x7f\x10\x00OB\0\0\4\0\0\0abcd", False),
    ],
)
def test_encapsulated_pixel_data_are_compared_by_fragment(
    tmp_path: Path, left: bytes, right: bytes, *, is_same: bool
) -> None:
    behind = b"\xfe\x7f\x10\x00LO\2\0ab"
    a = written(tmp_path, "a", left + behind, JPEG_BASELINE)
    b = written(tmp_path, "b", right + behind, JPEG_BASELINE)
    expected = ContentComparison(is_same, () if is_same else ("PixelData",))
    assert compare_contents(a, b, LIMITS) == expected
    assert compare_contents(b, a, LIMITS) == expected


@pytest.mark.parametrize(
    "broken",
    [
        b"\x10\0\x20\0LO\4\0ID",
        b"\x10\0\x20\0LO\2\0ID\x10",
        b"\x40\0\x75\2SQ\0\0\xff\xff\xff\xff",
        b"\x40\0\x75\2SQ\0\0\xff\xff\xff\xff" + ITEM + b"\xff\xff\xff\xff\0\0\0\0",
    ],
)
def test_file_that_does_not_parse_is_not_the_same_as_itself(tmp_path: Path, broken: bytes) -> None:
    path = written(tmp_path, "a", broken)
    assert compare_contents(path, path, LIMITS) == NOT_PARSED


def test_file_without_a_head_or_beyond_the_limits_is_not_the_same(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(b"no DICOM")
    assert compare_contents(path, path, LIMITS) == NOT_PARSED
    many = written(tmp_path, "many", b"\x09\0\1\0LO\0\0" * 50)
    assert compare_contents(many, many, ScanLimits(max_element_count=49)) == NOT_PARSED


def test_names_of_differing_elements_are_bounded(tmp_path: Path) -> None:
    elements = (struct.pack("<HH2sH", 9, 0x1000 + number, b"LO", 0) for number in range(500))
    a, b = written(tmp_path, "a", b"".join(elements)), written(tmp_path, "b", b"")
    comparison = compare_contents(a, b, LIMITS)
    assert not comparison.is_same
    assert len(comparison.differing) == MAX_DIFFERING


@pytest.mark.parametrize("right", [EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN])
@pytest.mark.parametrize("is_nested", [True, False])
def test_large_values_are_compared_in_constant_memory(tmp_path: Path, right: str, *, is_nested: bool) -> None:
    pixels = bytes(range(256)) * (16 * 1024**2 // 256)
    swapped = bytearray(pixels)
    swapped[0::2], swapped[1::2] = pixels[1::2], pixels[0::2]
    paths = {}
    for name, value, syntax in (("a", pixels, EXPLICIT_VR_LITTLE_ENDIAN), ("b", swapped, right)):
        dataset, outer = Dataset(), Dataset()
        dataset.add_new(0x7FE00010, "OW", bytes(pixels if syntax == EXPLICIT_VR_LITTLE_ENDIAN else value))
        outer.IconImageSequence = [dataset]
        paths[name] = written(tmp_path, name, encoded(outer if is_nested else dataset, syntax), syntax)
    tracemalloc.start()
    try:
        assert compare_contents(paths["a"], paths["b"], LIMITS) == SAME
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()


def test_deep_nesting_neither_recurses_nor_fails(tmp_path: Path) -> None:
    data = b""
    for _ in range(3000):
        item = ITEM + struct.pack("<L", len(data)) + data
        data = b"\x40\0\x75\2SQ\0\0" + struct.pack("<L", len(item)) + item
    path = written(tmp_path, "deep", data)
    assert compare_contents(path, path, LIMITS) == SAME


@given(data=st.binary(max_size=200), syntax=st.sampled_from([*SYNTAXES, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN]))
def test_random_bytes_never_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes, syntax: str) -> None:
    folder = tmp_path_factory.mktemp("random")
    a = written(folder, "a", data, syntax)
    b = written(folder, "b", encoded(sample(), EXPLICIT_VR_LITTLE_ENDIAN))
    compare_contents(a, a, LIMITS)
    compare_contents(a, b, LIMITS)
