"""Synthetic instances: written once, given new UIDs for each run, so that no receiver sees a duplicate."""

import hashlib
import io
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

MIB: Final = 1024 * 1024

_SERIES_INSTANCES: Final = 100
_PLACEHOLDERS: Final = {
    "study": "2.25." + "1" * 39,
    "series": "2.25." + "2" * 39,
    "instance": "2.25." + "3" * 39,
}
_DIGITS_RANGE: Final = (10**38, 2**128)
"""UUID-derived UIDs (PS3.5 B.2) of 39 digits: each fits into the place of any other."""


@dataclass(frozen=True)
class Shape:
    """Size of an image: `bytes_each` is 1 or 2 per pixel; more than one frame makes it an ultrasound loop."""

    rows: int
    columns: int
    bytes_each: int = 2
    frames: int = 1

    @property
    def pixel_bytes(self) -> int:
        """Length of Pixel Data in bytes."""
        return self.rows * self.columns * self.bytes_each * self.frames


CT: Final = Shape(512, 512)
SMALL: Final = Shape(38, 38)


class Batch:
    """Files of one study in series of 100 instances.

    Parameters
    ----------
    folder
        Where the files are written; it must not exist.
    shape
        What each instance holds.
    count
        How many instances.
    """

    def __init__(self, folder: Path, shape: Shape, count: int) -> None:
        folder.mkdir()
        head = _head(shape)
        self._places = {level: list(_find(head, uid)) for level, uid in _PLACEHOLDERS.items()}
        self.files = [folder / f"{number:05}.dcm" for number in range(count)]
        for number, file in enumerate(self.files):
            _write(file, head, shape, number)
        self.renew()

    def renew(self) -> None:
        """Give all files new Study, Series and SOP Instance UIDs, in place."""
        study = _new_uid()
        series = study
        for number, file in enumerate(self.files):
            series = _new_uid() if number % _SERIES_INSTANCES == 0 else series
            uids = {"study": study, "series": series, "instance": _new_uid()}
            with file.open("r+b") as opened:
                for level, uid in uids.items():
                    for place in self._places[level]:
                        opened.seek(place)
                        opened.write(uid)


class Supplies:
    """The batches that workloads ask for, each written when it is first asked for.

    Parameters
    ----------
    folder
        An empty folder on the disk where the receivers' data will be.
    ct_count, small_count
        How many instances the batches hold.
    multi_frame_bytes
        Size of the one large instance.
    """

    def __init__(self, folder: Path, ct_count: int, small_count: int, multi_frame_bytes: int) -> None:
        self._folder = folder
        self._counts = (ct_count, small_count)
        self._frames = multi_frame_bytes // (512 * 512)

    @cached_property
    def ct(self) -> Batch:
        """CT slices of 525 kB."""
        return Batch(self._folder / "ct", CT, self._counts[0])

    @cached_property
    def small(self) -> Batch:
        """CT slices of 4 kB."""
        return Batch(self._folder / "small", SMALL, self._counts[1])

    @cached_property
    def multi_frame(self) -> Batch:
        """One large ultrasound loop."""
        return Batch(self._folder / "multi-frame", Shape(512, 512, 1, self._frames), 1)


def _new_uid() -> bytes:
    lowest, end = _DIGITS_RANGE
    return f"2.25.{lowest + secrets.randbelow(end - lowest)}".encode("ascii")


def _find(head: bytes, uid: str) -> Iterator[int]:
    place = head.find(uid.encode("ascii"))
    while place >= 0:
        yield place
        place = head.find(uid.encode("ascii"), place + 1)


def _write(file: Path, head: bytes, shape: Shape, number: int) -> None:
    """Write `head` and Pixel Data (PS3.5 8.1.2: OW, or OB for 8 bits), noise that no file system shrinks."""
    vr = b"OW" if shape.bytes_each == CT.bytes_each else b"OB"
    noise = hashlib.shake_128(str(number).encode("ascii")).digest(min(shape.pixel_bytes, MIB))
    with file.open("wb") as opened:
        opened.write(head + struct.pack("<HH2sHI", 0x7FE0, 0x0010, vr, 0, shape.pixel_bytes))
        for start in range(0, shape.pixel_bytes, len(noise)):
            opened.write(noise[: shape.pixel_bytes - start])


def _head(shape: Shape) -> bytes:
    """Return a Part 10 file in Explicit VR Little Endian up to Pixel Data, with placeholders as UIDs."""
    dataset = _image(shape)
    is_loop = shape.frames > 1
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage if is_loop else CTImageStorage
    dataset.Modality = "US" if is_loop else "CT"
    if is_loop:
        dataset.NumberOfFrames = shape.frames
        dataset.FrameTime = 40
    else:
        dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
        dataset.ImagePositionPatient, dataset.SliceThickness = [-250, -250, 100], 1.25
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = io.BytesIO()
    dcmwrite(written, dataset, enforce_file_format=True)
    return written.getvalue()


def _image(shape: Shape) -> Dataset:
    """Return what the two kinds of image have in common."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyInstanceUID = _PLACEHOLDERS["study"]
    dataset.SeriesInstanceUID = _PLACEHOLDERS["series"]
    dataset.SOPInstanceUID = _PLACEHOLDERS["instance"]
    dataset.PatientName, dataset.PatientID = "Synthetic^Bench", "BENCH-1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20240102"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "101112"
    dataset.AccessionNumber, dataset.StudyID = "B0001", "1"
    dataset.StudyDescription, dataset.SeriesDescription = "Synthetic study", "Synthetic series"
    dataset.ReferringPhysicianName, dataset.Manufacturer = "", "pacslite bench"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, 1
    dataset.Rows, dataset.Columns = shape.rows, shape.columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * shape.bytes_each
    dataset.HighBit, dataset.PixelRepresentation = 8 * shape.bytes_each - 1, 0
    dataset.PixelSpacing = [0.5, 0.5]
    return dataset
