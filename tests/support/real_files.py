"""The real DICOM files that are installed with pydicom and pydicom-data."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import data_store  # type: ignore[import-untyped]  # it holds files, not code
import pydicom
from pydicom.errors import InvalidDicomError

_FOLDERS: Final = (
    Path(pydicom.__file__).parent / "data",
    Path(data_store.__file__).parent / "data",
)
_PREAMBLE_BYTES: Final = 132
_LONG_VRS: Final = frozenset({b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT", b"UC", b"UR"})


@dataclass(frozen=True, slots=True)
class RealFile:
    """A Part 10 file whose data set a storage client can send.

    Parameters
    ----------
    data_set_offset
        Where the data set starts, in bytes.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int

    @property
    def name(self) -> str:
        return self.path.name

    def data_set(self) -> bytes:
        """Return the bytes behind the file meta, as they are."""
        return self.path.read_bytes()[self.data_set_offset :]


def meta_end(raw: bytes) -> int:
    """Return where the file meta of a Part 10 file ends, found from its elements alone."""
    position = _PREAMBLE_BYTES
    while raw[position : position + 2] == b"\x02\x00":
        vr = raw[position + 4 : position + 6]
        if vr in _LONG_VRS:
            position += 12 + int(struct.unpack_from("<L", raw, position + 8)[0])
        else:
            position += 8 + int(struct.unpack_from("<H", raw, position + 6)[0])
    return position


@contextmanager
def tolerating_faults() -> Iterator[None]:
    """Silence the warnings that pydicom rightly gives for faults of real files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@tolerating_faults()
def _real_file(path: Path) -> RealFile | None:
    with path.open("rb") as file:
        head = file.read(_PREAMBLE_BYTES)
    if head[128:] != b"DICM":
        return None
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, ValueError, NotImplementedError, EOFError):
        return None
    meta = dataset.file_meta
    sop_class_uid = str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")
    sop_instance_uid = str(dataset.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID") or "")
    transfer_syntax_uid = str(meta.get("TransferSyntaxUID") or "")
    if not (sop_class_uid and sop_instance_uid and transfer_syntax_uid):
        return None
    return RealFile(path, sop_class_uid, sop_instance_uid, transfer_syntax_uid, meta_end(path.read_bytes()))


def _paths() -> Iterator[Path]:
    for folder in _FOLDERS:
        yield from sorted(path for path in folder.rglob("*") if path.is_file())


@cache
def readable_files() -> tuple[RealFile, ...]:
    """Return every installed Part 10 file that names its instance, class and transfer syntax."""
    return tuple(file for path in _paths() if (file := _real_file(path)))


@cache
def distinct_files() -> tuple[RealFile, ...]:
    """Return one file per SOP Instance UID: the first in order of path."""
    first: dict[str, RealFile] = {}
    for file in readable_files():
        first.setdefault(file.sop_instance_uid, file)
    return tuple(first.values())


@cache
def colliding_files() -> tuple[RealFile, ...]:
    """Return the files whose SOP Instance UID another of `distinct_files` carries already."""
    chosen = {file.path for file in distinct_files()}
    return tuple(file for file in readable_files() if file.path not in chosen)
