"""What peers answer."""

from dataclasses import dataclass
from typing import Final

_WARNING_CLASS: Final = 0xB000
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})
"""Warnings outside Bxxx (PS3.7 C.3)."""


@dataclass(frozen=True, slots=True)
class Response:
    """What the peer answered.

    Parameters
    ----------
    status
        (0000,0900).
    comment
        (0000,0902); empty when absent.
    """

    status: int
    comment: str

    @property
    def is_success(self) -> bool:
        """Whether the peer did what was asked, without reservation."""
        return self.status == 0

    @property
    def is_warning(self) -> bool:
        """Whether the peer did what was asked, with a reservation (PS3.7 C.3, PS3.4 B.2.3)."""
        return self.status & 0xF000 == _WARNING_CLASS or self.status in _WARNINGS
