"""Data sets made element by element, in any transfer syntax and with any fault; nothing is validated."""

import itertools
import struct
import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pydicom.datadict import dictionary_VR, tag_for_keyword

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
MR: Final = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"

_ROOT: Final = "1.2.826.0.1.3680043.8.498.77."
_LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OW", "SQ", "UC", "UN", "UR", "UT"})
_WORDS: Final = {"US": "H", "SS": "H", "OW": "H", "AT": "H", "UL": "I", "SL": "I", "FL": "I", "FD": "d"}
_PIXEL_DATA: Final = 0x7FE0_0010
_UNDEFINED: Final = 0xFFFF_FFFF
_numbers = itertools.count(1)

Value = str | bytes | int | None
Elements = Mapping[int, tuple[str, bytes]]


class Sendable(Protocol):
    """What a storage client needs to know of an instance; `RealFile` is one too."""

    @property
    def sop_class_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def transfer_syntax_uid(self) -> str: ...
    def data_set(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Instance:
    """A synthetic instance."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    raw: bytes
    study_instance_uid: str
    series_instance_uid: str

    def data_set(self) -> bytes:
        return self.raw


def unique_uid() -> str:
    return f"{_ROOT}{next(_numbers)}"


def value_of(vr: str, value: str | bytes | int) -> bytes:
    """Return `value` in little endian, padded as its VR wants it; bytes stay as they are."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return struct.pack("<H" if vr in {"US", "SS"} else "<I", value)
    raw = value.encode()
    return raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)


def element(tag: int, vr: str, value: bytes, syntax: str = EXPLICIT, *, length: int | None = None) -> bytes:
    """Return one element; `length` lies about the value."""
    length = len(value) if length is None else length
    order = ">" if syntax == BIG_ENDIAN else "<"
    if syntax == BIG_ENDIAN and vr in _WORDS:
        words = array(_WORDS[vr], value)
        words.byteswap()
        value = words.tobytes()
    group, number = tag >> 16, tag & 0xFFFF
    if syntax == IMPLICIT:
        return struct.pack("<HHI", group, number, length) + value
    if vr in _LONG_VRS:
        return struct.pack(f"{order}HH2sHI", group, number, vr.encode(), 0, length) + value
    return struct.pack(f"{order}HH2sH", group, number, vr.encode(), length) + value


def item(content: bytes, syntax: str = EXPLICIT) -> bytes:
    """Return a sequence item, or a fragment, of defined length."""
    return struct.pack(">HHI" if syntax == BIG_ENDIAN else "<HHI", 0xFFFE, 0xE000, len(content)) + content


def encapsulated(fragments: Iterable[bytes]) -> bytes:
    """Return a pixel data element of undefined length, with an empty offset table (PS3.5 A.4)."""
    value = b"".join(item(fragment) for fragment in [b"", *fragments])
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return element(_PIXEL_DATA, "OB", value + end, length=_UNDEFINED)


def deflated(data: bytes, *, is_padded: bool = True) -> bytes:
    """Return a deflate stream without header (PS3.5 A.5), padded to even length if asked to."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = compressor.compress(data) + compressor.flush()
    return stream + b"\0" * (len(stream) % 2) if is_padded else stream


def encode(elements: Elements, syntax: str) -> bytes:
    """Return the data set of `elements`, in ascending order of tags."""
    if syntax == DEFLATED:
        return deflated(encode(elements, EXPLICIT))
    return b"".join(element(tag, vr, value, syntax) for tag, (vr, value) in sorted(elements.items()))


def make_instance(
    syntax: str = EXPLICIT,
    *,
    pixels: bytes | None = bytes(range(128)),
    extra: Elements | None = None,
    appended: bytes = b"",
    **values: Value,
) -> Instance:
    """Return an instance of a study of its own; `values` by keyword replace, add, or, as None, remove.

    Parameters
    ----------
    pixels
        Value of native pixel data; None leaves the element out.
    extra
        Further elements by tag: VR and value.
    appended
        Comes behind the last element.
    """
    wanted: dict[str, Value] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": unique_uid(),
        "StudyDate": "20240229",
        "Modality": "CT",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "StudyInstanceUID": unique_uid(),
        "SeriesInstanceUID": unique_uid(),
        "InstanceNumber": "1",
        "Rows": 8,
        "Columns": 8,
        **values,
    }
    elements: dict[int, tuple[str, bytes]] = dict(extra or {})
    for keyword, value in wanted.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        if value is not None:
            vr = dictionary_VR(tag)
            elements[tag] = vr, value_of(vr, value)
    if pixels is not None:
        elements[_PIXEL_DATA] = "OW", pixels
    return Instance(
        str(wanted["SOPClassUID"]),
        str(wanted["SOPInstanceUID"]),
        syntax,
        encode(elements, syntax) + appended,
        str(wanted["StudyInstanceUID"]),
        str(wanted["SeriesInstanceUID"]),
    )


def write_part10(instance: Instance, path: Path) -> Path:
    """Write a file whose meta says the least that it must (PS3.10 7.1)."""
    meta = b"".join(
        element(0x0002_0000 | number, vr, value)
        for number, vr, value in (
            (0x0001, "OB", b"\0\1"),
            (0x0002, "UI", value_of("UI", instance.sop_class_uid)),
            (0x0003, "UI", value_of("UI", instance.sop_instance_uid)),
            (0x0010, "UI", value_of("UI", instance.transfer_syntax_uid)),
            (0x0012, "UI", value_of("UI", f"{_ROOT}0")),
        )
    )
    length = element(0x0002_0000, "UL", struct.pack("<I", len(meta)))
    path.write_bytes(bytes(128) + b"DICM" + length + meta + instance.raw)
    return path
