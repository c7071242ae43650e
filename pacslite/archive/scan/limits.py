"""How much a data set may ask of the scanner."""

from dataclasses import dataclass

from pacslite.archive.scan.sources import WINDOW_BYTES


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """How much a data set may ask of the scanner.

    Parameters
    ----------
    max_inflated_bytes
        What a deflated data set may inflate to.
    max_element_count
        Element, item and delimiter headers looked at.
    max_depth
        Sequences of undefined length inside each other.
    max_value_bytes
        Longest value collected; of a longer one the start if it is text, else nothing. At most 64 KiB.
    """

    max_inflated_bytes: int = 1024**3
    max_element_count: int = 1_000_000
    max_depth: int = 64
    max_value_bytes: int = WINDOW_BYTES
