"""Every installed real file, against pydicom as the reference reader."""

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final, cast

import pydicom
import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import data_element_generator
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32
from support.real_files import RealFile, readable_files, tolerating_faults

from pacslite.archive.scan import ByteSource, ScanLimits, file_reader, scan_head, scan_header, validate
from pacslite.model.attributes import WANTED_TAGS
from pacslite.model.elements import RawElement, sequence_items
from pacslite.model.errors import CannotUnderstandError, OutOfResourcesError
from pacslite.model.header import InstanceHeader
from pacslite.model.instances import InstanceKey
from pacslite.model.statuses import ERROR_COMMENT_MAX_LENGTH
from pacslite.model.uids import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

LIMITS: Final = ScanLimits()

NO_STUDY: Final = "Study Instance UID is missing or empty"
NO_CLASS: Final = "SOP Class UID is missing or empty"
REFUSED: Final = {
    # A media directory names no instance of its own.
    "DICOMDIR": NO_CLASS,
    "DICOMDIR-bigEnd": NO_CLASS,
    "DICOMDIR-empty.dcm": NO_CLASS,
    "DICOMDIR-implicit": NO_CLASS,
    "DICOMDIR-nooffset": NO_CLASS,
    "DICOMDIR-nopatient": NO_CLASS,
    "DICOMDIR-reordered": NO_CLASS,
    # Fragments made to test one element; they lack the UIDs that every instance has.
    "UN_sequence.dcm": NO_CLASS,
    "chrSQEncoding.dcm": NO_CLASS,
    "chrSQEncoding1.dcm": NO_CLASS,
    "no_meta_group_length.dcm": NO_CLASS,
    "priv_SQ.dcm": NO_CLASS,
    "JPEGLSNearLossless_08.dcm": NO_STUDY,
    "JPEGLSNearLossless_16.dcm": NO_STUDY,
    "SC_rgb_jls_lossy_line.dcm": NO_STUDY,
    "SC_rgb_jls_lossy_sample.dcm": NO_STUDY,
    # Color Palettes belong to no study; theirs is another service class (PS3.4 X).
    "fall.dcm": NO_STUDY,
    "hotiron.dcm": NO_STUDY,
    "hotmetalblue.dcm": NO_STUDY,
    "pet.dcm": NO_STUDY,
    "pet20step.dcm": NO_STUDY,
    "spring.dcm": NO_STUDY,
    "summer.dcm": NO_STUDY,
    "winter.dcm": NO_STUDY,
    # De-identified with hashes in place of UIDs.
    "bad_sequence.dcm": "SOP Instance UID is not a UID",
    # Cut off.
    "MR_truncated.dcm": "Data set ends inside an element",
    "rtplan_truncated.dcm": "Data set ends inside an element",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "Data set ends inside a sequence",
}


def scanned(file: RealFile) -> InstanceHeader:
    data_set = file.data_set()
    header = scan_head(data_set, len(data_set), file.transfer_syntax_uid, LIMITS)
    assert header is not None
    validate(header, InstanceKey(file.sop_class_uid, file.sop_instance_uid, file.transfer_syntax_uid))
    return header


def accepted_files() -> list[RealFile]:
    return [file for file in readable_files() if file.name not in REFUSED]


def smallest(transfer_syntax_uid: str) -> RealFile:
    files = (file for file in accepted_files() if file.transfer_syntax_uid == transfer_syntax_uid)
    return min(files, key=lambda file: file.path.stat().st_size)


def boundaries(file: RealFile, data_set: bytes) -> set[int]:
    """Return where top-level elements start, as pydicom finds them."""
    is_implicit = file.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    is_little_endian = file.transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    starts = set()
    with tolerating_faults():
        for element in data_element_generator(BytesIO(data_set), is_implicit, is_little_endian):
            value_tell = element.value_tell if isinstance(element, RawDataElement) else element.file_tell
            assert value_tell is not None
            is_long = not is_implicit and element.VR in EXPLICIT_VR_LENGTH_32
            starts.add(value_tell - (12 if is_long else 8))
    return starts


def test_real_files_are_refused_for_the_reasons_listed() -> None:
    refused = {}
    for file in readable_files():
        try:
            scanned(file)
        except CannotUnderstandError as error:
            refused[file.name] = error.comment
    assert refused == REFUSED
    assert all(len(comment) <= ERROR_COMMENT_MAX_LENGTH for comment in refused.values())


def check_element(raw: RawElement, dataset: pydicom.Dataset, tag: int) -> None:
    reference = cast("DataElement | RawDataElement", dataset.get_item(tag))
    if isinstance(reference, RawDataElement):
        assert raw.value == (reference.value or b"")
    elif dataset[tag].VR == "SQ":
        assert len(list(sequence_items(raw))) == len(dataset[tag].value or ())
    else:
        value = dataset[tag].value or ""
        said = raw.value.decode("ascii").rstrip().split("\\")
        assert said == ([value] if isinstance(value, str) else list(value))


def test_headers_of_real_files_hold_what_pydicom_reads() -> None:
    checked = 0
    for file in accepted_files():
        header = scanned(file)
        with tolerating_faults():
            dataset = pydicom.dcmread(file.path, stop_before_pixels=True)
            tags = {int(tag) for tag in WANTED_TAGS if tag in dataset}
            assert set(header.elements) == tags, file.name
            for tag in tags:
                check_element(header.elements[tag], dataset, tag)
                checked += 1
    assert checked > 5000


def test_head_alone_and_file_give_the_same_header() -> None:
    for file in accepted_files():
        with file.path.open("rb") as opened:
            total_bytes = file.path.stat().st_size - file.data_set_offset
            read = file_reader(opened.fileno(), file.data_set_offset)
            for head_bytes in (0, 11, 700, 4096):
                source = ByteSource(file.data_set()[:head_bytes], total_bytes, read)
                assert scan_header(source, file.transfer_syntax_uid, LIMITS) == scanned(file), file.name


def test_head_that_holds_all_but_native_pixels_suffices() -> None:
    file = next(file for file in accepted_files() if file.name == "CT_small.dcm")
    data_set = file.data_set()
    pixel_data_at = data_set.index(b"\xe0\x7f\x10\x00OW")
    total_bytes = pixel_data_at + 12 + 128 * 128 * 2
    scan = partial(scan_head, transfer_syntax_uid=file.transfer_syntax_uid, limits=LIMITS)
    assert scan(memoryview(data_set)[: pixel_data_at + 12], total_bytes) == scan(
        data_set[:total_bytes], total_bytes
    )
    assert scan(data_set[: pixel_data_at + 11], total_bytes) is None
    assert scan(data_set[: pixel_data_at + 12], total_bytes + 8) is None
    with pytest.raises(CannotUnderstandError):
        scan(data_set[: pixel_data_at + 12], total_bytes - 1)


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "JPEG2000.dcm",
        "SC_rgb_rle.dcm",
        "reportsi.dcm",
        "rtplan.dcm",
        "image_dfl.dcm",
    ],
)
def test_s6_cut_off_real_file_is_refused_unless_cut_between_elements(name: str) -> None:
    file = next(file for file in accepted_files() if file.name == name)
    data_set = file.data_set()
    whole = boundaries(file, data_set)
    if file.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        # The first byte of the next group is a zero, as padding is.
        whole |= {start + 1 for start in whole}
    step = max(1, len(data_set) // 4000)
    for size in {*range(0, len(data_set), step), *range(0, len(data_set), 1 + step // 7)}:
        try:
            scan_head(data_set[:size], size, file.transfer_syntax_uid, LIMITS)
        except CannotUnderstandError:
            continue
        assert size in whole or file.name == "image_dfl.dcm", size
        if file.name == "image_dfl.dcm":
            assert size in {0, *range(len(data_set) - 8, len(data_set))}


def test_source_shorter_than_promised_is_not_taken_for_a_bad_data_set(tmp_path: Path) -> None:
    file = smallest(IMPLICIT_VR_LITTLE_ENDIAN)
    path = tmp_path / "short"
    path.write_bytes(file.data_set()[:-2])
    with path.open("rb") as opened:
        source = ByteSource(b"", len(file.data_set()), file_reader(opened.fileno(), 0))
        with pytest.raises(OutOfResourcesError):
            scan_header(source, file.transfer_syntax_uid, LIMITS)
