"""Headers: values by level from raw elements, whatever the peer put there."""

import json
import struct
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from support.index import make_header

from pacslite.model.attributes import HEADER_ATTRIBUTES, WANTED_TAGS, Kind, Level
from pacslite.model.elements import MAX_ITEMS, sequence_items
from pacslite.model.header import InstanceHeader, RawElement

CHARSET_FILES = [
    path
    for path in sorted((Path(pydicom.__file__).parent / "data" / "charset_files").glob("*.dcm"))
    if not path.name.startswith("chrSQ")  # those have names in sequences only
]
REQUEST_ATTRIBUTES = 0x0040_0275


def header_of(values: dict[int, RawElement]) -> InstanceHeader:
    return InstanceHeader(values, "1.2.840.10008.1.2.1")


def raw_sequence(
    items: list[Dataset], *, is_implicit: bool, is_little: bool, is_undefined: bool
) -> RawElement:
    """Return the sequence as it stands in a data set of the given encoding."""
    outer = Dataset()
    outer.RequestAttributesSequence = items
    outer["RequestAttributesSequence"].is_undefined_length = is_undefined
    for item in items:
        item.is_undefined_length_sequence_item = is_undefined
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = is_implicit, is_little
    write_dataset(buffer, outer)
    start = 8 if is_implicit else 12
    return RawElement("SQ", buffer.getvalue()[start:], is_little, is_implicit)


def request_item(number: int, *, has_nest: bool = False) -> Dataset:
    item = Dataset()
    item.RequestedProcedureID = f"R{number}"
    item.ScheduledProcedureStepID = f"S{number}"
    if has_nest:
        inner = Dataset()
        inner.CodeValue = "1"
        inner.is_undefined_length_sequence_item = True
        item.ScheduledProtocolCodeSequence = [inner]
        item["ScheduledProtocolCodeSequence"].is_undefined_length = True
    return item


@pytest.mark.parametrize("is_implicit", [True, False])
@pytest.mark.parametrize("is_little", [True, False])
@pytest.mark.parametrize("is_undefined", [True, False])
def test_items_of_a_sequence_are_kept_in_every_encoding(
    *, is_implicit: bool, is_little: bool, is_undefined: bool
) -> None:
    raw = raw_sequence(
        [request_item(1, has_nest=True), request_item(2)],
        is_implicit=is_implicit,
        is_little=is_little,
        is_undefined=is_undefined,
    )
    column = header_of({REQUEST_ATTRIBUTES: raw}).values(Level.SERIES)["request_attributes_sequence"]
    assert isinstance(column, str)
    assert json.loads(column) == [
        {"RequestedProcedureID": "R1", "ScheduledProcedureStepID": "S1"},
        {"RequestedProcedureID": "R2", "ScheduledProcedureStepID": "S2"},
    ]


def test_a_sequence_that_a_relay_called_unknown_is_read_as_implicit() -> None:
    raw = raw_sequence([request_item(1)], is_implicit=True, is_little=True, is_undefined=False)
    unknown = RawElement("UN", raw.value, is_little_endian=True, is_implicit_vr=False)
    assert len(list(sequence_items(unknown))) == 1


def test_items_have_a_character_set_of_their_own() -> None:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 192"
    item.RequestedProcedureDescription = "Schädel"
    raw = raw_sequence([item], is_implicit=False, is_little=True, is_undefined=False)
    column = header_of({REQUEST_ATTRIBUTES: raw}).values(Level.SERIES)["request_attributes_sequence"]
    assert column == '[{"RequestedProcedureDescription": "Schädel"}]'


def test_a_sequence_of_empty_items_is_empty() -> None:
    raw = raw_sequence([Dataset()], is_implicit=False, is_little=True, is_undefined=True)
    assert header_of({REQUEST_ATTRIBUTES: raw}).values(Level.SERIES)["request_attributes_sequence"] is None


def test_no_more_items_than_the_limit_are_looked_at() -> None:
    raw = RawElement("SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1000)
    assert len(list(sequence_items(raw))) == MAX_ITEMS


def test_a_deep_nest_neither_recurses_nor_raises() -> None:
    open_item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFF_FFFF)
    nest = struct.pack("<HHI", 0x0040, 0x0008, 0xFFFF_FFFF) + open_item
    assert list(sequence_items(RawElement("SQ", open_item + nest * 20_000))) == []


@given(value=st.binary(max_size=120), is_little=st.booleans(), is_implicit=st.booleans())
def test_any_bytes_are_some_items(*, value: bytes, is_little: bool, is_implicit: bool) -> None:
    list(sequence_items(RawElement("SQ", value, is_little, is_implicit)))


@given(st.dictionaries(st.sampled_from(sorted(WANTED_TAGS)), st.binary(max_size=40), max_size=8))
def test_any_bytes_in_any_attribute_are_some_values(values: dict[int, bytes]) -> None:
    header = header_of({tag: RawElement("UN", value) for tag, value in values.items()})
    for level in Level:
        columns = header.values(level)
        for attribute in HEADER_ATTRIBUTES[level]:
            value = columns[attribute.column]
            if isinstance(value, str) and attribute.kind is not Kind.SEQUENCE:
                assert "\0" not in value
        header.fingerprint(level)


@pytest.mark.parametrize("path", CHARSET_FILES, ids=lambda path: path.stem)
def test_m10_names_of_real_files_are_what_pydicom_reads(path: Path) -> None:
    data_set = pydicom.dcmread(path)
    name = data_set.get_item("PatientName")
    terms = data_set.get("SpecificCharacterSet", "")
    joined = terms if isinstance(terms, str) else "\\".join(terms)
    header = header_of(
        {
            0x0008_0005: RawElement("CS", joined.encode()),
            0x0010_0010: RawElement("PN", name.value),
        }
    )
    assert header.values(Level.PATIENT)["patient_name"] == str(data_set.PatientName)


def test_a_real_header_is_decoded_at_every_level() -> None:
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    data_set = pydicom.dcmread(path)
    items = {tag: data_set.get_item(tag) for tag in WANTED_TAGS if tag in data_set}
    header = header_of(
        {
            tag: RawElement(item.VR or "", item.value, is_implicit_vr=False)
            for tag, item in items.items()
            if isinstance(item.value, bytes)
        }
    )
    assert header.study_instance_uid == data_set.StudyInstanceUID
    assert header.series_instance_uid == data_set.SeriesInstanceUID
    assert header.sop_instance_uid == data_set.SOPInstanceUID
    assert header.sop_class_uid == data_set.SOPClassUID
    assert header.values(Level.STUDY)["study_date"] == data_set.StudyDate
    assert header.values(Level.INSTANCE)["rows"] == data_set.Rows
    assert header.values(Level.INSTANCE)["image_type"] == "\\".join(data_set.ImageType)


def test_absent_and_empty_values_are_unknown() -> None:
    header = make_header(PatientName="", StudyDate=" ", Modality=" ")
    assert set(header.values(Level.PATIENT).values()) == {None}
    assert header.values(Level.STUDY)["study_date"] is None
    assert header.values(Level.SERIES)["modality"] is None
    assert header.study_instance_uid == header.patient_id == ""


@pytest.mark.parametrize(
    ("keyword", "raw", "column", "value"),
    [
        ("StudyDate", "2024.01.31", "study_date", "20240131"),
        ("StudyDate", "20240231", "study_date", None),
        ("StudyTime", "1030 ", "study_time", "1030"),
        ("StudyTime", "1030", "study_time_start", 37_800_000_000),
        ("StudyTime", "noon", "study_time", "noon"),
        ("StudyTime", "noon", "study_time_start", None),
        ("PatientSize", " 1.80", "patient_size", "1.80"),
        ("PatientSize", "1.80", "patient_size_value", 1.8),
        ("PatientSize", "1,80", "patient_size_value", None),
        ("PatientSize", "nan", "patient_size_value", None),
        ("PatientSize", "1e9999", "patient_size_value", None),
        ("StudyInstanceUID", "1.2.3\0", "study_instance_uid", "1.2.3"),
        ("StudyInstanceUID", "1" * 80, "study_instance_uid", "1" * 64),
        ("AdmittingDiagnosesDescription", "A \\ B", "admitting_diagnoses_description", "A\\B"),
        ("NameOfPhysiciansReadingStudy", "A^\\É==", "name_of_physicians_reading_study", "A\\É"),
        ("NameOfPhysiciansReadingStudy", "A^\\É==", "name_of_physicians_reading_study_folded", "a\\e"),
        ("ReferringPhysicianName", "Doe^J=山田", "referring_physician_name_ideographic", "山田"),
        ("TimezoneOffsetFromUTC", "+0100", "timezone_offset_from_utc", "+0100"),
    ],
)
def test_values_of_a_study_are_normalized(keyword: str, raw: str, column: str, value: object) -> None:
    assert make_header(**{keyword: raw}).values(Level.STUDY)[column] == value


@pytest.mark.parametrize("text", ["1", "01", " 1 ", "+1", "1\\2"])
def test_m26_integer_strings_are_numbers(text: str) -> None:
    assert make_header(SeriesNumber=text).values(Level.SERIES)["series_number"] == 1


@pytest.mark.parametrize("text", ["1.0", "one", "1_0", "9223372036854775808", "9" * 5000, "\u0661"])
def test_what_is_no_integer_of_64_bits_is_unknown(text: str) -> None:
    assert make_header(SeriesNumber=text).values(Level.SERIES)["series_number"] is None


def test_m17_a_date_time_counts_in_utc_where_the_zone_is_known() -> None:
    local = make_header(AcquisitionDateTime="20240101120000")
    zoned = make_header(AcquisitionDateTime="20240101120000", TimezoneOffsetFromUTC="+0200")
    own = make_header(AcquisitionDateTime="20240101120000+0300", TimezoneOffsetFromUTC="+0200")
    values = [header.values(Level.INSTANCE)["acquisition_date_time_start"] for header in (local, zoned, own)]
    starts = [value for value in values if isinstance(value, int)]
    hour = 3_600_000_000
    assert [starts[0] - start for start in starts] == [0, 2 * hour, 3 * hour]


@pytest.mark.parametrize(
    ("value", "is_little", "number"),
    [
        (b"\x00\x02", True, 512),
        (b"\x02\x00", False, 512),
        (b"\x00\x02\x00\x00", True, 512),
        (b"\x01", True, None),
        (b"512", True, None),
    ],
)
def test_s21_unsigned_values_follow_the_byte_order(
    *, value: bytes, is_little: bool, number: int | None
) -> None:
    header = header_of({0x0028_0010: RawElement("US", value, is_little)})
    assert header.values(Level.INSTANCE)["rows"] == number


def test_s30_a_wrong_character_set_costs_characters_at_most() -> None:
    header = make_header("ISO_IR 999", PatientName="Jérôme")
    assert header.values(Level.PATIENT)["patient_name"] == "J\ufffd\ufffdr\ufffd\ufffdme"


def test_a_fingerprint_tells_values_of_its_level_apart() -> None:
    one = make_header(StudyID="AB", StudyDescription="C", SeriesNumber="1")
    moved = make_header(StudyID="A", StudyDescription="BC", SeriesNumber="1")
    same = make_header(StudyID="AB", StudyDescription="C", SeriesNumber="2")
    absent, empty = make_header(), make_header(StudyID="")
    assert one.fingerprint(Level.STUDY) == same.fingerprint(Level.STUDY)
    assert one.fingerprint(Level.STUDY) != moved.fingerprint(Level.STUDY)
    assert one.fingerprint(Level.SERIES) != same.fingerprint(Level.SERIES)
    assert absent.fingerprint(Level.STUDY) != empty.fingerprint(Level.STUDY)


def test_a_fingerprint_depends_on_the_character_set() -> None:
    left, right = make_header("ISO_IR 192", PatientName="é"), make_header("ISO_IR 100", PatientName="é")
    assert left.fingerprint(Level.PATIENT) != right.fingerprint(Level.PATIENT)


def test_patient_ids_are_whole_and_clean() -> None:
    header = make_header(PatientID=" P\0" + "1" * 600, IssuerOfPatientID="A ")
    assert header.patient_id == "P" + "1" * 600
    assert header.issuer_of_patient_id == "A"
    assert header.values(Level.PATIENT)["patient_id"] == "P" + "1" * 511
