"""The attributes that the index keeps and C-FIND answers (PS3.4 C.6), each told once.

Index columns, header decoding, matching and the conformance statement all derive from `ATTRIBUTES`.
"""

import re
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from pydicom.datadict import dictionary_VR, tag_for_keyword

SPECIFIC_CHARACTER_SET_TAG: Final = 0x0008_0005


@unique
class Level(Enum):
    """A level of the information model; the value is what (0008,0052) says (PS3.4 C.6.1.1)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    INSTANCE = "IMAGE"


@unique
class Kind(Enum):
    """How a value is normalised and matched (PS3.5 6.2, PS3.4 C.2.2.2)."""

    TEXT = "text"
    LINES = "lines"
    CODE = "code"
    NAME = "name"
    DATE = "date"
    TIME = "time"
    DATE_TIME = "date-time"
    INTEGER = "integer"
    DECIMAL = "decimal"
    UNSIGNED = "unsigned"
    UID = "uid"
    SEQUENCE = "sequence"


@unique
class Source(Enum):
    """Where an attribute's value comes from.

    HEADER: decoded from the data set. KEPT: a column that each receipt brings up to date. DERIVED: worked out
    by the query, without a column of its own.
    """

    HEADER = "header"
    KEPT = "kept"
    DERIVED = "derived"


_KINDS: Final = {
    "AS": Kind.CODE,
    "CS": Kind.CODE,
    "DA": Kind.DATE,
    "DS": Kind.DECIMAL,
    "DT": Kind.DATE_TIME,
    "IS": Kind.INTEGER,
    "LO": Kind.TEXT,
    "LT": Kind.LINES,
    "PN": Kind.NAME,
    "SH": Kind.TEXT,
    "SQ": Kind.SEQUENCE,
    "TM": Kind.TIME,
    "UC": Kind.TEXT,
    "UI": Kind.UID,
    "US": Kind.UNSIGNED,
}

_MATCH_SUFFIXES: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.TIME: ("start",),
    Kind.DATE_TIME: ("start",),
    Kind.DECIMAL: ("value",),
}

_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

NAME_GROUPS: Final = ("alphabetic", "ideographic", "phonetic")
"""The component groups of a person name, in order (PS3.5 6.2.1)."""

_NAMES_BY_GROUP: Final = frozenset({"PatientName", "ReferringPhysicianName"})


@dataclass(frozen=True, slots=True)
class Attribute:
    """A queryable attribute.

    Parameters
    ----------
    keyword, tag, vr
        As PS3.6 has them; the tag is `group << 16 | element`.
    kind
        How its values are normalised.
    level
        Where C-FIND answers it.
    source
        Where its value comes from.
    items
        For a sequence: the attributes of its items that are kept.
    """

    keyword: str
    tag: int
    vr: str
    kind: Kind
    level: Level
    source: Source = Source.HEADER
    items: tuple["Attribute", ...] = ()

    @property
    def column(self) -> str:
        """The index column that holds the value to answer with."""
        return _WORD_START.sub("_", self.keyword.replace("IDs", "Ids")).lower()

    @property
    def match_columns(self) -> tuple[str, ...]:
        """Further columns that serve matching only.

        A name has folded forms: one per component group, or one for all where many values are usual. A time
        and a date-time have the microsecond at which they start, a decimal string has its number.
        """
        suffixes = _MATCH_SUFFIXES.get(self.kind, ())
        if self.kind is Kind.NAME:
            suffixes = NAME_GROUPS if self.keyword in _NAMES_BY_GROUP else ("folded",)
        return tuple(f"{self.column}_{suffix}" for suffix in suffixes)


def _attribute(
    level: Level, keyword: str, source: Source = Source.HEADER, items: tuple[str, ...] = ()
) -> Attribute:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(f"{keyword} is not in the data dictionary")
    vr = dictionary_VR(tag)
    return Attribute(
        keyword, tag, vr, _KINDS[vr], level, source, tuple(_attribute(level, item) for item in items)
    )


_HEADER_KEYWORDS: Final = {
    Level.PATIENT: (
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientBirthTime",
        "PatientSex",
        "OtherPatientIDs",
        "OtherPatientNames",
        "EthnicGroup",
        "PatientComments",
    ),
    Level.STUDY: (
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyID",
        "StudyDescription",
        "ReferringPhysicianName",
        "NameOfPhysiciansReadingStudy",
        "AdmittingDiagnosesDescription",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "TimezoneOffsetFromUTC",
    ),
    Level.SERIES: (
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "SeriesDate",
        "SeriesTime",
        "BodyPartExamined",
        "Laterality",
        "ProtocolName",
        "PerformingPhysicianName",
        "OperatorsName",
        "InstitutionName",
        "StationName",
        "Manufacturer",
        "ManufacturerModelName",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
    ),
    Level.INSTANCE: (
        "SOPInstanceUID",
        "SOPClassUID",
        "InstanceNumber",
        "ContentDate",
        "ContentTime",
        "AcquisitionNumber",
        "AcquisitionDate",
        "AcquisitionTime",
        "AcquisitionDateTime",
        "ImageType",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "ContainerIdentifier",
        "CompletionFlag",
        "VerificationFlag",
    ),
}

_SEQUENCES: Final = (
    (
        Level.PATIENT,
        "OtherPatientIDsSequence",
        ("PatientID", "IssuerOfPatientID", "TypeOfPatientID"),
    ),
    (
        Level.SERIES,
        "RequestAttributesSequence",
        (
            "RequestedProcedureID",
            "ScheduledProcedureStepID",
            "AccessionNumber",
            "StudyInstanceUID",
            "RequestedProcedureDescription",
            "ScheduledProcedureStepDescription",
        ),
    ),
    (
        Level.INSTANCE,
        "ConceptNameCodeSequence",
        ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"),
    ),
)

_COMPUTED: Final = (
    (Level.PATIENT, "NumberOfPatientRelatedStudies", Source.DERIVED),
    (Level.PATIENT, "NumberOfPatientRelatedSeries", Source.DERIVED),
    (Level.PATIENT, "NumberOfPatientRelatedInstances", Source.DERIVED),
    (Level.STUDY, "NumberOfStudyRelatedSeries", Source.KEPT),
    (Level.STUDY, "NumberOfStudyRelatedInstances", Source.KEPT),
    (Level.STUDY, "ModalitiesInStudy", Source.KEPT),
    (Level.STUDY, "SOPClassesInStudy", Source.KEPT),
    (Level.SERIES, "NumberOfSeriesRelatedInstances", Source.KEPT),
    (Level.INSTANCE, "AvailableTransferSyntaxUID", Source.DERIVED),
)

ATTRIBUTES: Final[tuple[Attribute, ...]] = (
    *(_attribute(level, keyword) for level, keywords in _HEADER_KEYWORDS.items() for keyword in keywords),
    *(_attribute(level, keyword, items=items) for level, keyword, items in _SEQUENCES),
    *(_attribute(level, keyword, source) for level, keyword, source in _COMPUTED),
)
"""Every queryable attribute of the archive's information models."""

HEADER_ATTRIBUTES: Final[dict[Level, tuple[Attribute, ...]]] = {
    level: tuple(
        attribute
        for attribute in ATTRIBUTES
        if attribute.level is level and attribute.source is Source.HEADER
    )
    for level in Level
}
"""What a data set itself says, by level."""

WANTED_TAGS: Final[frozenset[int]] = frozenset(
    {
        SPECIFIC_CHARACTER_SET_TAG,
        *(attribute.tag for attribute in ATTRIBUTES if attribute.source is Source.HEADER),
    }
)
"""What the header scanner collects from a data set."""
