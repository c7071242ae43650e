"""The header scanner on data sets made for one question each."""

import struct
import zlib
from io import BytesIO
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from pacslite.archive.scan import ByteSource, ScanLimits, scan_head, scan_header, validate
from pacslite.model.attributes import WANTED_TAGS
from pacslite.model.elements import sequence_items
from pacslite.model.errors import (
    CannotUnderstandError,
    ClassMismatchError,
    InstanceMismatchError,
    OutOfResourcesError,
)
from pacslite.model.header import InstanceHeader
from pacslite.model.instances import InstanceKey
from pacslite.model.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

LIMITS: Final = ScanLimits()
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
GE_PRIVATE: Final = "1.2.840.113619.5.2"
UNDEFINED: Final = 0xFFFFFFFF
KEY: Final = InstanceKey("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN)
SYNTAXES: Final = (
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC"}:
        return head + struct.pack("<HL", 0, size) + value
    return head + struct.pack("<H", size) + value


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, size) + value


ITEM: Final = implicit(0xFFFEE000, b"", UNDEFINED)
ITEM_END: Final = implicit(0xFFFEE00D, b"")
SEQUENCE_END: Final = implicit(0xFFFEE0DD, b"")
UIDS: Final = explicit(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0") + explicit(
    0x00080018, b"UI", b"1.2.3.4\0"
)
STUDY: Final = explicit(0x0020000D, b"UI", b"1.2\0") + explicit(0x0020000E, b"UI", b"1.3\0")


def deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def encode(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    buffer.is_little_endian = transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN
    write_dataset(buffer, dataset)
    data = buffer.getvalue()
    return deflate(data) if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN else data


def scan(data: bytes, transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN) -> InstanceHeader:
    header = scan_head(data, len(data), transfer_syntax_uid, LIMITS)
    assert header is not None
    return header


def refusal(data: bytes, transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN) -> CannotUnderstandError:
    with pytest.raises(CannotUnderstandError) as caught:
        scan(data, transfer_syntax_uid)
    return caught.value


def test_s25_empty_data_set_lacks_its_uids() -> None:
    with pytest.raises(CannotUnderstandError) as caught:
        validate(scan(b""), KEY)
    assert caught.value.offending_tags == (0x00080016,)


@pytest.mark.parametrize("tag", [0x00080016, 0x00080018, 0x0020000D, 0x0020000E])
@pytest.mark.parametrize("value", [None, b"", b" \0", b"../x", b"1" * 66, b"..", b"1.2\\1.3\0"])
def test_s5_instance_without_its_uids_is_refused(tag: int, value: bytes | None) -> None:
    data = b""
    for known, uid in (
        (0x00080016, b"1.2\0"),
        (0x00080018, b"1.3\0"),
        (0x0020000D, b"1.4\0"),
        (0x0020000E, b"1.5\0"),
    ):
        if known != tag:
            data += explicit(known, b"UI", uid)
        elif value is not None:
            data += explicit(known, b"UI", value)
    with pytest.raises(CannotUnderstandError) as caught:
        validate(scan(data), InstanceKey("1.2", "1.3", ""))
    assert caught.value.offending_tags == (tag,)
    assert len(caught.value.comment) <= 64


def test_s2_other_sop_class_than_the_command_is_refused() -> None:
    with pytest.raises(ClassMismatchError):
        validate(scan(UIDS + STUDY), InstanceKey("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", ""))


def test_s3_other_sop_instance_than_the_command_is_refused() -> None:
    with pytest.raises(InstanceMismatchError):
        validate(scan(UIDS + STUDY), InstanceKey("1.2.840.10008.5.1.4.1.1.7", "1.2.3", ""))


def test_padding_of_the_commands_uids_does_not_matter() -> None:
    validate(scan(UIDS + STUDY), InstanceKey("1.2.840.10008.5.1.4.1.1.7\0", "1.2.3.4 ", ""))


@pytest.mark.parametrize("transfer_syntax_uid", SYNTAXES)
@pytest.mark.parametrize("is_undefined_length", [True, False])
def test_s20_s21_header_is_read_in_every_native_encoding(
    transfer_syntax_uid: str, *, is_undefined_length: bool
) -> None:
    dataset = Dataset()
    dataset.SOPInstanceUID = "1.2.3"
    request = Dataset()
    request.ScheduledProcedureStepID = "STEP"
    request.is_undefined_length_sequence_item = is_undefined_length
    nested = Dataset()
    nested.SOPInstanceUID = "9.9"
    nested.PatientID = "nested"
    nested.is_undefined_length_sequence_item = is_undefined_length
    dataset.ReferencedSeriesSequence = [nested, nested]
    dataset["ReferencedSeriesSequence"].is_undefined_length = is_undefined_length
    dataset.PatientID = "top"
    dataset.Rows = 513
    dataset.RequestAttributesSequence = [request]
    dataset["RequestAttributesSequence"].is_undefined_length = is_undefined_length
    header = scan(encode(dataset, transfer_syntax_uid), transfer_syntax_uid)
    assert header.sop_instance_uid == "1.2.3"
    assert header.elements[0x00100020].value == b"top "
    order = "big" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "little"
    assert header.elements[0x00280010].value == (513).to_bytes(2, order)  # type: ignore[arg-type]  # a literal
    items = list(sequence_items(header.elements[0x00400275]))
    assert [item[0x00400009].value for item in items] == [b"STEP"]
    assert not header.is_misdeclared


@pytest.mark.parametrize(
    ("transfer_syntax_uid", "is_encapsulated", "is_misdeclared"),
    [
        (EXPLICIT_VR_LITTLE_ENDIAN, False, False),
        (EXPLICIT_VR_LITTLE_ENDIAN, True, True),
        (JPEG_BASELINE, True, False),
        (JPEG_BASELINE, False, True),
        ("1.2.840.10008.1.2.4.94", False, False),
        ("1.2.3.4.5", True, False),
        ("1.2.3.4.5", False, False),
    ],
)
def test_s22_pixel_data_of_the_other_kind_are_flagged(
    transfer_syntax_uid: str, *, is_encapsulated: bool, is_misdeclared: bool
) -> None:
    pixels = explicit(0x7FE00010, b"OW", b"\1\2\3\4")
    if is_encapsulated:
        fragments = implicit(0xFFFEE000, b"") + implicit(0xFFFEE000, b"\xff\xd8")
        pixels = explicit(0x7FE00010, b"OB", b"", UNDEFINED) + fragments + SEQUENCE_END
    header = scan(UIDS + pixels + explicit(0xFFFCFFFC, b"OB", b"\0\0"), transfer_syntax_uid)
    assert header.is_misdeclared is is_misdeclared


def test_pixel_data_of_an_icon_do_not_count_as_the_instances() -> None:
    icon = explicit(0x00880200, b"SQ", b"", UNDEFINED) + ITEM + explicit(0x7FE00010, b"OW", b"\1\2")
    assert not scan(UIDS + icon + ITEM_END + SEQUENCE_END, JPEG_BASELINE).is_misdeclared


def test_s23_group_lengths_and_file_meta_inside_the_data_set_are_passed_over() -> None:
    strange = (
        explicit(0x00000002, b"UI", b"1.9\0")
        + explicit(0x00020010, b"UI", b"1.9\0")
        + explicit(0x00080000, b"UL", b"\xff\0\0\0")
    )
    header = scan(strange + UIDS + explicit(0x00100000, b"UL", b"\0\0\0\0"))
    assert set(header.elements) == {0x00080016, 0x00080018}


@pytest.mark.parametrize(
    ("data", "transfer_syntax_uid"),
    [(implicit(0x00080018, b"1.2\0"), EXPLICIT_VR_LITTLE_ENDIAN), (UIDS, IMPLICIT_VR_LITTLE_ENDIAN)],
)
def test_wrong_vr_encoding_is_recognized_and_flagged(data: bytes, transfer_syntax_uid: str) -> None:
    header = scan(data, transfer_syntax_uid)
    assert header.sop_instance_uid.startswith("1.2")
    assert header.is_misdeclared


def test_private_transfer_syntaxes_are_read_as_their_first_element_shows() -> None:
    assert scan(UIDS, "1.2.3.4.5").sop_instance_uid == "1.2.3.4"
    header = scan(implicit(0x00080018, b"1.2\0"), "1.2.3.4.5")
    assert header.sop_instance_uid == "1.2"
    assert not header.is_misdeclared
    assert scan(implicit(0x00080018, b"1.2\0"), GE_PRIVATE).sop_instance_uid == "1.2"


def test_single_implicit_elements_among_explicit_ones_are_read() -> None:
    nested = explicit(0x00081140, b"SQ", b"", UNDEFINED) + ITEM + implicit(0x00081155, b"1.2\0") + ITEM_END
    header = scan(UIDS + nested + SEQUENCE_END + implicit(0x00100020, b"ID") + STUDY)
    assert header.elements[0x00100020].value == b"ID"
    assert header.elements[0x00100020].is_implicit_vr
    assert header.study_instance_uid == "1.2"


def test_sequence_inside_un_is_implicit_little_endian() -> None:
    inside = ITEM + implicit(0x00080018, b"1.9\0") + ITEM_END + SEQUENCE_END
    assert scan(explicit(0x00091001, b"UN", b"", UNDEFINED) + inside + UIDS).sop_instance_uid == "1.2.3.4"
    big = struct.pack(">HH2sHL", 9, 0x1001, b"UN", 0, UNDEFINED) + inside
    big += struct.pack(">HH2sH", 0x10, 0x20, b"LO", 2) + b"ID"
    assert scan(big, EXPLICIT_VR_BIG_ENDIAN).elements[0x00100020].value == b"ID"


def test_vrs_to_come_have_the_long_header() -> None:
    future = struct.pack("<HH2sHL", 0x0009, 0x1001, b"ZZ", 0, 4) + b"abcd"
    old = struct.pack("<HH2sH", 0x0009, 0x1002, b"??", 2) + b"ab"
    short = struct.pack("<HH2sH", 0x0009, 0x1003, b"QX", 2) + b"ab"
    assert scan(future + old + short + UIDS).sop_instance_uid == "1.2.3.4"


def test_first_of_duplicate_elements_wins_and_order_does_not_matter() -> None:
    data = STUDY + UIDS + explicit(0x00080018, b"UI", b"1.9\0")
    header = scan(data)
    assert (header.sop_instance_uid, header.study_instance_uid) == ("1.2.3.4", "1.2")


def test_zeros_and_left_over_delimiters_at_the_end_are_tolerated() -> None:
    for padding in range(40):
        assert scan(UIDS + SEQUENCE_END + ITEM_END + bytes(padding)).sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize(
    "data",
    [
        UIDS[:-1],
        UIDS + b"\x10",
        UIDS + b"\x10\0\x20\0LO\4\0ab",
        UIDS + implicit(0xFFFEE000, b"ab"),
        UIDS + explicit(0x00081140, b"SQ", b"", UNDEFINED),
        UIDS + explicit(0x00081140, b"SQ", b"", UNDEFINED) + ITEM,
        UIDS + explicit(0x00081140, b"SQ", b"", UNDEFINED) + ITEM + ITEM_END,
        UIDS + explicit(0x00081140, b"SQ", b"", UNDEFINED) + UIDS,
        UIDS + explicit(0x00081140, b"SQ", b"", UNDEFINED) + ITEM + SEQUENCE_END + SEQUENCE_END,
        UIDS + explicit(0x00081140, b"SQ", b"", 2000),
        UIDS + explicit(0x7FE00010, b"OW", b"ab", 4),
        UIDS + explicit(0x7FE00010, b"OB", b"", UNDEFINED) + implicit(0xFFFEE000, b"ab", 4),
        bytes(128) + b"DICM" + UIDS,
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
    ],
)
def test_s6_data_set_that_does_not_parse_is_refused(data: bytes) -> None:
    assert len(refusal(data).comment) <= 64


def test_refusal_names_the_element_in_which_the_data_set_ends() -> None:
    assert refusal(UIDS + explicit(0x7FE00010, b"OW", b"ab", 4)).offending_tags == (0x7FE00010,)
    nested = explicit(0x00081140, b"SQ", b"", UNDEFINED) + ITEM + explicit(0x00081155, b"UI", b"", 4)
    assert refusal(UIDS + nested).offending_tags == (0x00081140,)


def test_s27_long_values_are_cut_if_text_and_left_out_if_not() -> None:
    comments, code = 0x00104000, 0x00080060
    data = explicit(comments, b"UT", b"x" * 100_000) + explicit(code, b"UN", b"y" * 100_000) + UIDS
    for source in (
        ByteSource(data, len(data)),
        ByteSource(b"", len(data), lambda size, at: data[at : at + size]),
    ):
        header = scan_header(source, EXPLICIT_VR_LITTLE_ENDIAN, LIMITS)
        assert header.elements[comments].value == b"x" * 65536
        assert header.elements[code].value == b""
        assert header.sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize("head_bytes", [0, 20, 65536, 65600])
def test_wanted_sequence_over_a_windows_end_is_whole(head_bytes: int) -> None:
    padding = explicit(0x00091001, b"UT", b"x" * 65480)
    sequence = explicit(0x00400275, b"SQ", b"", UNDEFINED) + ITEM + explicit(0x00400009, b"SH", b"STEP")
    data = UIDS + padding + sequence + ITEM_END + SEQUENCE_END + explicit(0x00400280, b"ST", b"z" * 9000)
    source = ByteSource(data[:head_bytes], len(data), lambda size, at: data[at : at + size])
    for header in (
        scan_header(source, EXPLICIT_VR_LITTLE_ENDIAN, LIMITS),
        scan(deflate(data), DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
    ):
        assert header.elements[0x00400275].value == sequence[12:] + ITEM_END


def test_wanted_sequence_longer_than_the_limit_is_left_empty() -> None:
    item = ITEM + explicit(0x00400009, b"SH", b"STEP") + ITEM_END
    data = explicit(0x00400275, b"SQ", b"", UNDEFINED) + item * 4000 + SEQUENCE_END + UIDS
    assert scan(data).elements[0x00400275].value == b""


def test_s20_even_padding_and_a_gzip_trailer_behind_the_deflate_stream_are_tolerated() -> None:
    data = deflate(UIDS)
    for trailer in (b"", b"\0", b"8 bytes!", b"8 bytes!\0"):
        assert scan(data + trailer, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN).sop_instance_uid == "1.2.3.4"
    assert "behind" in refusal(data + b"ten bytes!", DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN).comment


def test_s20_cut_off_or_broken_deflate_stream_is_refused() -> None:
    data = deflate(UIDS * 50)
    for size in range(len(data)):
        refusal(data[:size], DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
    refusal(UIDS, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)


def test_s20_deflated_head_that_is_not_all_needs_the_file() -> None:
    data = deflate(UIDS * 50)
    assert scan_head(data[:20], len(data), DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, LIMITS) is None


@pytest.mark.parametrize("size", [65535, 65536, 65537, 131072])
def test_s20_inflating_stops_at_the_limit(size: int) -> None:
    data = explicit(0x00091001, b"OB", bytes(size - 12))
    for limit, is_over in ((size, False), (size - 1, True), (size // 2, True)):
        limits = ScanLimits(max_inflated_bytes=limit)
        source = ByteSource(deflate(data), len(deflate(data)))
        if is_over:
            with pytest.raises(OutOfResourcesError):
                scan_header(source, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, limits)
        else:
            scan_header(source, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, limits)


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=40)
ELEMENTS = st.one_of(
    st.tuples(st.sampled_from([0x00080050, 0x00080060, 0x00100020]), st.just("LO"), TEXTS),
    st.tuples(st.sampled_from([0x00280010, 0x00280011, 0x00110011]), st.just("US"), st.integers(0, 0xFFFF)),
    st.tuples(
        st.sampled_from([0x00091010, 0x7FE00010]), st.just("OB"), st.binary(max_size=30).map(lambda b: b * 2)
    ),
)


@st.composite
def datasets(draw: st.DrawFn, depth: int = 3) -> Dataset:
    dataset = Dataset()
    dataset.is_undefined_length_sequence_item = draw(st.booleans())
    for tag, vr, value in draw(st.lists(ELEMENTS, max_size=5)):
        dataset[tag] = DataElement(tag, vr, value)
    if depth:
        for tag in draw(
            st.sets(st.sampled_from([0x00081140, 0x00400275, 0x0040A043, 0x00101002]), max_size=2)
        ):
            items = draw(st.lists(datasets(depth=depth - 1), max_size=2))
            dataset[tag] = DataElement(tag, "SQ", Sequence(items))
            dataset[tag].is_undefined_length = draw(st.booleans())
    return dataset


@given(dataset=datasets(), transfer_syntax_uid=st.sampled_from(SYNTAXES), head_bytes=st.integers(0, 400))
def test_generated_data_sets_are_read_like_pydicom_wrote_them(
    dataset: Dataset, transfer_syntax_uid: str, head_bytes: int
) -> None:
    data = encode(dataset, transfer_syntax_uid)
    header = scan(data, transfer_syntax_uid)
    assert set(header.elements) == {int(tag) for tag in dataset.keys()} & WANTED_TAGS  # noqa: SIM118 - a Dataset iterates over elements
    for tag, raw in header.elements.items():
        element = dataset[tag]
        if element.VR == "SQ":
            assert len(list(sequence_items(raw))) == len(element.value)
        elif element.VR == "LO":
            assert raw.value.decode().rstrip() == str(element.value).rstrip()
    stream = BytesIO(data)

    def read(size: int, offset: int) -> bytes:
        stream.seek(offset)
        return stream.read(size)

    source = ByteSource(data[:head_bytes], len(data), read)
    assert scan_header(source, transfer_syntax_uid, LIMITS) == header
