"""What a transfer syntax says of the bytes of a data set (PS3.5 10, A)."""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pacslite.model.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

GE_PRIVATE_IMPLICIT_VR_BIG_ENDIAN_PIXELS: Final = "1.2.840.113619.5.2"
"""Data set implicit little endian; only the native pixel data are big endian."""

_JPIP_REFERENCED: Final = "1.2.840.10008.1.2.4.94"
_JPIP_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.95"
_JPIP_HTJ2K_REFERENCED: Final = "1.2.840.10008.1.2.4.204"
_JPIP_HTJ2K_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.205"
_PAPYRUS_3_IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.20"

_IMPLICIT: Final = frozenset(
    {
        IMPLICIT_VR_LITTLE_ENDIAN,
        GE_PRIVATE_IMPLICIT_VR_BIG_ENDIAN_PIXELS,
        _PAPYRUS_3_IMPLICIT_VR_LITTLE_ENDIAN,
    }
)
_DEFLATED: Final = frozenset(
    {DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, _JPIP_REFERENCED_DEFLATE, _JPIP_HTJ2K_REFERENCED_DEFLATE}
)
_NATIVE: Final = frozenset(
    {*_IMPLICIT, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN}
)
_WITHOUT_PIXEL_DATA: Final = frozenset(
    {
        _JPIP_REFERENCED,
        _JPIP_REFERENCED_DEFLATE,
        _JPIP_HTJ2K_REFERENCED,
        _JPIP_HTJ2K_REFERENCED_DEFLATE,
    }
)
_DICOM_ROOT: Final = "1.2.840.10008."

SHORT_HEADER_BYTES: Final = 8
LONG_HEADER_BYTES: Final = 12

_SHORT_VRS: Final = (
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH"),
    *(b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    # Written by old toolkits for "unknown", with a two-byte length.
    *(b"??", b"--"),
)
_LONG_VRS: Final = (
    *(b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"),
)

HEADER_BYTES: Final[dict[bytes, int]] = {
    **dict.fromkeys(_SHORT_VRS, SHORT_HEADER_BYTES),
    **dict.fromkeys(_LONG_VRS, LONG_HEADER_BYTES),
}
"""Size of an explicit element header by its VR (PS3.5 7.1.2)."""


class Codec(NamedTuple):
    """How element headers are laid out at one level of nesting.

    Parameters
    ----------
    unpack
        Group, element, VR and 16-bit length of an explicit header; group, element and 32-bit length of an
        implicit one.
    unpack_length
        A 32-bit length.
    """

    is_implicit: bool
    is_little_endian: bool
    unpack: Callable[[bytes, int], tuple[Any, ...]]
    unpack_length: Callable[[bytes, int], tuple[Any, ...]]


def _codec(byte_order: str, *, is_implicit: bool) -> Codec:
    return Codec(
        is_implicit,
        byte_order == "<",
        struct.Struct(byte_order + ("HHL" if is_implicit else "HH2sH")).unpack_from,
        struct.Struct(byte_order + "L").unpack_from,
    )


IMPLICIT_LITTLE: Final = _codec("<", is_implicit=True)
EXPLICIT_LITTLE: Final = _codec("<", is_implicit=False)
EXPLICIT_BIG: Final = _codec(">", is_implicit=False)


class Encoding(NamedTuple):
    """What a transfer syntax promises.

    Parameters
    ----------
    is_encapsulated
        Whether pixel data come as fragments; None where the transfer syntax does not say.
    is_standard
        Whether the transfer syntax is one of DICOM's own, so that what it promises is known.
    """

    codec: Codec
    is_standard: bool
    is_deflated: bool
    is_encapsulated: bool | None


@lru_cache(maxsize=256)
def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Return the encoding of `transfer_syntax_uid`; a private one counts as explicit little endian."""
    codec = EXPLICIT_LITTLE
    if transfer_syntax_uid in _IMPLICIT:
        codec = IMPLICIT_LITTLE
    elif transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        codec = EXPLICIT_BIG
    is_standard = transfer_syntax_uid.startswith(_DICOM_ROOT)
    is_encapsulated: bool | None = None
    if transfer_syntax_uid in _NATIVE:
        is_encapsulated = False
    elif is_standard and transfer_syntax_uid not in _WITHOUT_PIXEL_DATA:
        is_encapsulated = True
    return Encoding(codec, is_standard, transfer_syntax_uid in _DEFLATED, is_encapsulated)


def is_vr(field: bytes) -> bool:
    """Whether a header's VR field holds a VR, if only a future one."""
    return field in HEADER_BYTES or (field.isalpha() and field.isupper())


def recognize(codec: Codec, vr_field: bytes) -> Codec:
    """Return the codec that the first element shows; some senders mix up implicit and explicit VR."""
    if codec is IMPLICIT_LITTLE and vr_field in HEADER_BYTES:
        return EXPLICIT_LITTLE
    if codec is EXPLICIT_LITTLE and not is_vr(vr_field):
        return IMPLICIT_LITTLE
    return codec


def odd_header(codec: Codec, buffer: bytes, p: int) -> tuple[bytes, int, int]:
    """Return VR, header size and length of an explicit element whose VR is not in `HEADER_BYTES`."""
    _, _, vr, length = codec.unpack(buffer, p)
    if not is_vr(vr):
        # Some writers fall back to implicit VR for single elements and inside sequences.
        return b"", SHORT_HEADER_BYTES, codec.unpack_length(buffer, p + 4)[0]
    if length:
        return vr, SHORT_HEADER_BYTES, length
    # PS3.5 6.2: future VRs have the long header, whose reserved field is zero.
    return vr, LONG_HEADER_BYTES, codec.unpack_length(buffer, p + 8)[0]
