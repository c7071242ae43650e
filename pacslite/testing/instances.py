"""Valid synthetic instances: every attribute of type 1 and 2 of their IOD, and pixel data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from pacslite.model.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)

DEFAULT_SIDE: Final = 64
"""Rows and columns, in pixels: 8 KiB of pixel data."""

_COLUMNS: Final = 512
_MAX_ROWS: Final = 65_535
_PIXEL_BYTES: Final = 2
_UUID_BITS: Final = 128
_NOISE_BYTES: Final = 1024 * 1024
"""Of noise, before it repeats itself."""

_SOP_CLASSES: Final = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
}
_OTHER_MODALITY: Final = "OT"

_IMAGE_PLANE: Final[dict[str, Any]] = {
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "",
    "SliceThickness": "1.25",
    "PixelSpacing": ["0.5", "0.5"],
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
}
_OF_MODALITY: Final[dict[str, dict[str, Any]]] = {
    "CT": {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "KVP": "120",
        "AcquisitionNumber": 1,
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
        **_IMAGE_PLANE,
    },
    "MR": {
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "ScanningSequence": "SE",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "RepetitionTime": "500",
        "EchoTime": "15",
        "EchoTrainLength": 1,
        **_IMAGE_PLANE,
    },
    "CR": {
        "ViewPosition": "PA",
        "KVP": "120",
        "PlateID": "",
        "AcquisitionNumber": 1,
        "PatientOrientation": ["L", "F"],
    },
    "OT": {"ConversionType": "SYN", "PatientOrientation": ["L", "F"]},
}


def make_instance(
    *,
    seed: int | None = None,
    modality: str = "CT",
    side: int = DEFAULT_SIDE,
    size_bytes: int | None = None,
    transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN,
    **attributes: Any,
) -> Dataset:
    """Return a synthetic image that `save_as` can write.

    Parameters
    ----------
    seed
        The same seed and modality give the same instance; None: one of another patient each time.
    modality
        CT, MR and CR give an image of that IOD, any other a Secondary Capture; `SOPClassUID` overrides it.
    side
        Rows and columns, in pixels of two bytes.
    size_bytes
        At least so many bytes of pixel data, in rows of 512 pixels; wins over `side`.
    transfer_syntax_uid
        An uncompressed one, or one whose encapsulated `PixelData` is among the attributes.
    attributes
        Values by keyword; None removes the attribute.

    Raises
    ------
    ValueError
        A keyword is none of the standard's, or `size_bytes` is more than one frame can hold.
    """
    random = _random(seed, modality)
    rows, columns = _shape(side, size_bytes)
    values: dict[str, Any] = {
        **_study_values(random),
        **_series_values(random, modality),
        **_instance_values(random, modality, number=1),
        **_pixels(random, rows, columns),
    }
    return _dataset(values | attributes, transfer_syntax_uid)


def make_study(
    *,
    seed: int | None = None,
    modalities: Sequence[str] = ("CT",),
    instances_per_series: int = 3,
    side: int = DEFAULT_SIDE,
    transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN,
    **attributes: Any,
) -> list[Dataset]:
    """Return the images of one study of one patient: a series for each of `modalities`.

    Parameters
    ----------
    seed, side, transfer_syntax_uid, attributes
        As for `make_instance`; attributes are those of every instance.
    """
    random = _random(seed, *modalities)
    study = _study_values(random)
    instances = []
    for series_number, modality in enumerate(modalities, start=1):
        series = _series_values(random, modality) | {"SeriesNumber": series_number}
        for number in range(1, instances_per_series + 1):
            own = _instance_values(random, modality, number=number) | _pixels(random, side, side)
            instances.append(_dataset(study | series | own | attributes, transfer_syntax_uid))
    return instances


def write_instance(path: Path, instance: Dataset | None = None, **choices: Any) -> Path:
    """Write `instance`, or what `make_instance(**choices)` gives, as a Part 10 file; return `path`.

    Folders above it are made.

    Raises
    ------
    TypeError
        Both an instance and choices are given.
    """
    if instance is not None and choices:
        raise TypeError("give an instance or choices, not both")
    if instance is None:
        instance = make_instance(**choices)
    path.parent.mkdir(parents=True, exist_ok=True)
    instance.save_as(path, enforce_file_format=True)
    return path


def _random(seed: int | None, *modalities: str) -> Random:
    return Random(None if seed is None else f"{seed} {modalities}")  # noqa: S311 - synthetic data


def _new_uid(random: Random) -> str:
    return f"2.25.{random.getrandbits(_UUID_BITS)}"


def _shape(side: int, size_bytes: int | None) -> tuple[int, int]:
    if size_bytes is None:
        return side, side
    pixels = -(-size_bytes // _PIXEL_BYTES)
    columns = _COLUMNS if pixels <= _COLUMNS * _MAX_ROWS else _MAX_ROWS
    rows = max(1, -(-pixels // columns))
    if rows > _MAX_ROWS:
        raise ValueError(f"one frame cannot hold {size_bytes} bytes")
    return rows, columns


def _study_values(random: Random) -> dict[str, Any]:
    number = random.randrange(10**6)
    return {
        "PatientName": f"Synthetic^Patient {number:06}",
        "PatientID": f"SYN{number:06}",
        "PatientBirthDate": f"19{random.randrange(40, 100)}0{random.randrange(1, 10)}15",
        "PatientSex": random.choice("FMO"),
        "StudyInstanceUID": _new_uid(random),
        "StudyDate": f"2024{random.randrange(1, 13):02}{random.randrange(1, 29):02}",
        "StudyTime": f"{random.randrange(24):02}{random.randrange(60):02}00",
        "StudyID": str(number % 10_000),
        "AccessionNumber": f"A{number:06}",
        "ReferringPhysicianName": "Referring^Physician",
        "StudyDescription": "Synthetic study",
    }


def _series_values(random: Random, modality: str) -> dict[str, Any]:
    values = {
        "Modality": modality,
        "SeriesInstanceUID": _new_uid(random),
        "SeriesNumber": 1,
        "BodyPartExamined": "CHEST",
        "Manufacturer": "pacslite",
    }
    if "PositionReferenceIndicator" in _OF_MODALITY.get(modality, {}):
        values["FrameOfReferenceUID"] = _new_uid(random)
    return values


def _instance_values(random: Random, modality: str, *, number: int) -> dict[str, Any]:
    kind = modality if modality in _SOP_CLASSES else _OTHER_MODALITY
    values = {
        "SOPClassUID": _SOP_CLASSES[kind],
        "SOPInstanceUID": _new_uid(random),
        "InstanceNumber": number,
        **_OF_MODALITY[kind],
    }
    if "PixelSpacing" in values:
        values["ImagePositionPatient"] = ["-16", "-16", f"{number * 1.25:g}"]
    return values


def _pixels(random: Random, rows: int, columns: int) -> dict[str, Any]:
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": _noise(random, rows * columns * _PIXEL_BYTES),
    }


def _noise(random: Random, size_bytes: int) -> bytes:
    block = random.randbytes(min(size_bytes, _NOISE_BYTES))
    return (block * -(-size_bytes // _NOISE_BYTES))[:size_bytes]


def _dataset(values: Mapping[str, Any], transfer_syntax_uid: str) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        if tag_for_keyword(keyword) is None:
            raise ValueError(f"no attribute has the keyword {keyword!r}")
        if value is not None:
            setattr(dataset, keyword, value)
    syntax = UID(transfer_syntax_uid)
    if syntax.is_encapsulated and "PixelData" in dataset:
        dataset["PixelData"].is_undefined_length = True
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID")
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID")
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    return dataset
