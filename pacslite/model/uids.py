"""UIDs: the node's own, and what peers send in their place (PS3.5 9.1)."""

import re
from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.286116466513164186270930316410823171342"
"""Identifies pacslite in association negotiation and file meta (PS3.7 D.3.3.2)."""

IMPLEMENTATION_VERSION_NAME: Final = "PACSLITE_0.1.0"
"""At most 16 characters (PS3.7 D.3.3.2.4)."""

PRIVATE_INFORMATION_CREATOR_UID: Final = IMPLEMENTATION_CLASS_UID
"""Says whose (0002,0102) Private Information a stored file carries (PS3.10 7.1)."""

APPLICATION_CONTEXT_UID: Final = "1.2.840.10008.3.1.1.1"
VERIFICATION_SOP_CLASS_UID: Final = "1.2.840.10008.1.1"

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"

MAX_UID_LENGTH: Final = 64

_LEGAL = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_TOLERABLE = re.compile(r"[0-9.]{1,64}")


def strip_uid(raw: bytes | str) -> str:
    r"""Return `raw` as text without the padding peers add: NUL, and wrongly space (PS3.5 9.1, 6.2).

    Bytes outside ASCII become U+FFFD, so that the result is never mistaken for a UID.
    """
    text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
    return text.strip("\0 \t\r\n")


def is_legal_uid(uid: str) -> bool:
    """Whether `uid` follows PS3.5 9.1 to the letter."""
    return len(uid) <= MAX_UID_LENGTH and _LEGAL.fullmatch(uid) is not None


def is_tolerable_uid(uid: str) -> bool:
    """Whether `uid` can identify an instance although its sender broke a rule of PS3.5 9.1.

    Leading zeros and empty components occur in real archives; anything but digits and dots, or more than
    64 characters, is no UID.
    """
    return _TOLERABLE.fullmatch(uid) is not None and any(character != "." for character in uid)
