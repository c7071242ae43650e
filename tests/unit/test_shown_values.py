"""What people see of an element's value, whatever the encoding."""

import struct
from pathlib import Path

import pytest
from support.instances import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    element,
    encapsulated,
    item,
    make_instance,
    write_part10,
)

from pacslite.archive.scan import ScanLimits
from pacslite.archive.values import MAX_CHARACTERS, shown_values

LIMITS = ScanLimits()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_text_numbers_and_bytes(tmp_path: Path, syntax: str) -> None:
    instance = make_instance(syntax, PatientName="Doe^Jane", Rows=512, pixels=bytes(4000))
    names = {"PatientName", "Rows", "PixelData", "PatientComments"}
    assert shown_values(write_part10(instance, tmp_path / "a"), names, LIMITS) == {
        "PatientName": "Doe^Jane",
        "Rows": "512",
        "PixelData": "4000 bytes",
    }


def test_the_character_set_is_honoured(tmp_path: Path) -> None:
    instance = make_instance(SpecificCharacterSet="ISO_IR 100", PatientName=b"J\xe4ger^J\xf6rg ")
    assert shown_values(write_part10(instance, tmp_path / "a"), {"PatientName"}, LIMITS) == {
        "PatientName": "Jäger^Jörg"
    }


def test_what_is_long_nested_private_or_many(tmp_path: Path) -> None:
    nested = item(element(0x0008_1150, "UI", b"1.2.3\0"))
    floats = struct.pack("<10d", *(number / 2 for number in range(10)))
    extra = {
        0x0008_1140: ("SQ", nested),
        0x0011_1010: ("LO", b"private "),
        0x0018_9089: ("FD", floats),
        0x0010_4000: ("LT", b"x" * 5000),
    }
    values = shown_values(
        write_part10(make_instance(extra=extra), tmp_path / "a"),
        {"ReferencedImageSequence", "(0011,1010)", "DiffusionGradientOrientation", "PatientComments"},
        LIMITS,
    )
    assert values == {
        "ReferencedImageSequence": "a sequence",
        "(0011,1010)": "private",
        "DiffusionGradientOrientation": "0\\0.5\\1\\1.5\\2\\2.5\\3\\3.5…",
        "PatientComments": "x" * MAX_CHARACTERS + "…",
    }


def test_encapsulated_pixel_data(tmp_path: Path) -> None:
    instance = make_instance(JPEG_BASELINE, pixels=None, appended=encapsulated([b"ab", b"cd"]))
    names = {"PixelData", "PatientID"}
    assert shown_values(write_part10(instance, tmp_path / "a"), names, LIMITS) == {
        "PatientID": "P1",
        "PixelData": "encapsulated pixel data",
    }


def test_a_broken_file_tells_what_comes_before_the_break(tmp_path: Path) -> None:
    path = write_part10(make_instance(PatientName="Doe^Jane"), tmp_path / "a")
    path.write_bytes(path.read_bytes()[:-100])
    values = shown_values(path, {"PatientName", "PixelData"}, LIMITS)
    assert values["PatientName"] == "Doe^Jane"
    path.write_bytes(b"nothing of ours")
    assert shown_values(path, {"PatientName"}, LIMITS) == {}
    with pytest.raises(FileNotFoundError):
        shown_values(tmp_path / "none", {"PatientName"}, LIMITS)
