"""The table of queryable attributes."""

import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag

from pacslite.index.tables import TABLES
from pacslite.model.attributes import ATTRIBUTES, WANTED_TAGS, Attribute, Kind, Level, Source

REQUIRED_AND_UNIQUE_KEYS = {
    Level.PATIENT: {"PatientName", "PatientID"},
    Level.STUDY: {"StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyInstanceUID"},
    Level.SERIES: {"Modality", "SeriesNumber", "SeriesInstanceUID"},
    Level.INSTANCE: {"InstanceNumber", "SOPInstanceUID", "SOPClassUID"},
}
"""PS3.4 C.6.1.1 and C.6.2.1."""


@pytest.mark.parametrize("level", Level)
def test_required_and_unique_keys_are_there(level: Level) -> None:
    assert {attribute.keyword for attribute in ATTRIBUTES if attribute.level is level} >= (
        REQUIRED_AND_UNIQUE_KEYS[level]
    )


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda attribute: attribute.keyword)
def test_each_attribute_is_the_dictionarys(attribute: Attribute) -> None:
    assert keyword_for_tag(attribute.tag) == attribute.keyword
    assert dictionary_VR(attribute.tag) == attribute.vr


def test_no_keyword_and_no_column_occurs_twice() -> None:
    keywords = [attribute.keyword for attribute in ATTRIBUTES]
    columns = [column for item in ATTRIBUTES for column in (item.column, *item.match_columns)]
    assert len(set(keywords)) == len(keywords)
    assert len(set(columns)) == len(columns)


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda attribute: attribute.keyword)
def test_each_attribute_but_a_derived_one_has_its_columns(attribute: Attribute) -> None:
    table = TABLES[attribute.level]
    if attribute.source is Source.DERIVED:
        assert attribute.column not in table.c
    else:
        assert {attribute.column, *attribute.match_columns} <= set(table.c.keys())


@pytest.mark.parametrize(
    ("keyword", "column", "match_columns"),
    [
        ("PatientID", "patient_id", ()),
        ("SOPInstanceUID", "sop_instance_uid", ()),
        ("OtherPatientIDsSequence", "other_patient_ids_sequence", ()),
        ("TimezoneOffsetFromUTC", "timezone_offset_from_utc", ()),
        ("StudyTime", "study_time", ("study_time_start",)),
        ("PatientSize", "patient_size", ("patient_size_value",)),
        ("OperatorsName", "operators_name", ("operators_name_folded",)),
        (
            "PatientName",
            "patient_name",
            ("patient_name_alphabetic", "patient_name_ideographic", "patient_name_phonetic"),
        ),
    ],
)
def test_columns_are_named_after_keywords(keyword: str, column: str, match_columns: tuple[str, ...]) -> None:
    (attribute,) = (attribute for attribute in ATTRIBUTES if attribute.keyword == keyword)
    assert (attribute.column, attribute.match_columns) == (column, match_columns)


def test_the_scanner_collects_what_headers_say_and_the_character_set() -> None:
    assert 0x0008_0005 in WANTED_TAGS
    assert 0x0010_0010 in WANTED_TAGS
    assert 0x0020_1208 not in WANTED_TAGS
    assert len(WANTED_TAGS) == 1 + sum(attribute.source is Source.HEADER for attribute in ATTRIBUTES)


def test_only_sequences_have_items() -> None:
    for attribute in ATTRIBUTES:
        assert bool(attribute.items) == (attribute.kind is Kind.SEQUENCE)
