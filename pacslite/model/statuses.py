"""DIMSE statuses: one table from what happened to what the peer is told (PS3.7 C, PS3.4 B.2.3)."""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

ERROR_COMMENT_MAX_LENGTH: Final = 64
"""Error Comment (0000,0902) is LO; some peers drop a response that carries a longer one."""


@unique
class Status(Enum):
    """A DIMSE status by name; the value is the code of (0000,0900)."""

    SUCCESS_0000 = 0x0000
    FAILURE_0106_INVALID_ATTRIBUTE_VALUE = 0x0106
    FAILURE_0110_PROCESSING_FAILURE = 0x0110
    FAILURE_0111_DUPLICATE_SOP_INSTANCE = 0x0111
    FAILURE_0122_SOP_CLASS_NOT_SUPPORTED = 0x0122
    FAILURE_0211_UNRECOGNIZED_OPERATION = 0x0211
    FAILURE_A700_OUT_OF_RESOURCES = 0xA700
    FAILURE_A779_CONFLICTING_PATIENT_ATTRIBUTES = 0xA779
    FAILURE_A900_DATA_SET_DOES_NOT_MATCH_SOP_INSTANCE = 0xA900
    FAILURE_A901_DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA901
    FAILURE_C000_CANNOT_UNDERSTAND = 0xC000

    @property
    def code(self) -> int:
        """The 16-bit code of (0000,0900)."""
        return self.value


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What a response says beside its command field.

    Parameters
    ----------
    status
        Goes to (0000,0900).
    comment
        Goes to (0000,0902), truncated to 64 characters; never holds patient data.
    offending_tags
        Go to (0000,0901) as AT values, each `group << 16 | element`.
    """

    status: Status
    comment: str = ""
    offending_tags: tuple[int, ...] = ()


SUCCESS: Final = StatusReport(Status.SUCCESS_0000)
