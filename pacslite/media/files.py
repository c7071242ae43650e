"""Files with instances: what each holds and where its data set lies, found without decoding it."""

import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pacslite.model.instances import InstanceKey
from pacslite.model.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    is_tolerable_uid,
    strip_uid,
)

HEAD_BYTES: Final = 64 * 1024
"""What is read to recognise a file; file meta and the first elements of a data set take about 1 kB."""

_PREAMBLE_BYTES: Final = 128
_PREFIX: Final = b"DICM"
_META_GROUP: Final = 0x0002
_META_SOP_CLASS: Final = 0x0002_0002
_META_SOP_INSTANCE: Final = 0x0002_0003
_META_TRANSFER_SYNTAX: Final = 0x0002_0010
_SOP_CLASS: Final = 0x0008_0016
_SOP_INSTANCE: Final = 0x0008_0018
_MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VRS: Final = _LONG_VRS | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_UNDEFINED_LENGTH: Final = 0xFFFF_FFFF
_SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"


class NotAnInstanceError(Exception):
    """The file holds no DICOM instance; the text says why."""


class BrokenInstanceError(NotAnInstanceError):
    """The file was meant to be DICOM, but nothing can be sent of it."""


class _Encoding(NamedTuple):
    byte_order: str
    is_implicit: bool


_META_ENCODING: Final = _Encoding("<", is_implicit=False)


@dataclass(frozen=True, slots=True)
class InstanceFile:
    """A file that holds an instance.

    Parameters
    ----------
    path
        Where it is.
    key
        What it holds: by its data set if that says so, else by its file meta.
    data_set_offset, data_set_bytes
        Where the data set starts, and its size.
    version
        Tells the file from one that was put in its place, or changed, since.
    """

    path: Path
    key: InstanceKey
    data_set_offset: int
    data_set_bytes: int
    version: tuple[int, ...]

    def fill(self, pieces: Sequence[memoryview], position: int) -> None:
        """Fill `pieces` with the data set's bytes from `position` on.

        Raises
        ------
        OSError
            The file cannot be read, or is not what it was.
        """
        wanted = sum(map(len, pieces))
        with self.path.open("rb", buffering=0) as file:
            self.check_unchanged(file.fileno())
            found = os.preadv(file.fileno(), pieces, self.data_set_offset + position)
        if found != wanted:
            raise OSError("the file could not be read to its end")

    def check_unchanged(self, descriptor: int) -> None:
        """Verify that `descriptor` is of the file that was recognised, and that nobody has changed it.

        Raises
        ------
        OSError
            It is not.
        """
        if _version(os.fstat(descriptor)) != self.version:
            raise OSError("the file was changed meanwhile")


class FoundFile(NamedTuple):
    """A file that may hold an instance; `is_named` when it was asked for by its own path."""

    path: Path
    is_named: bool


def find_files(paths: Iterable[Path]) -> Iterator[FoundFile]:
    """Yield the files at `paths`, and those in the folders among them, in order of name.

    Links to folders inside a folder are not followed; they are yielded like files, and so are folders that
    cannot be read.
    """
    for path in paths:
        if path.is_dir():
            yield from _files_in(path)
        else:
            yield FoundFile(path, is_named=True)


def _files_in(root: Path) -> Iterator[FoundFile]:
    errors: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=errors.append):
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in sorted([*names, *links]):
            yield FoundFile(Path(folder, name), is_named=False)
    for error in errors:
        yield FoundFile(Path(error.filename), is_named=True)


def read_instance_file(path: Path) -> InstanceFile:
    """Recognise the file at `path`: with or without preamble and file meta.

    Raises
    ------
    NotAnInstanceError
        It is no regular file, or holds no instance.
    OSError
        It cannot be read.

    References
    ----------
    PS3.10 7.1; bare data sets are told by their first elements.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
        raise NotAnInstanceError("not a regular file")
    with path.open("rb", buffering=0) as file:
        return recognise(path, read_head(file.fileno()))


class Head(NamedTuple):
    """The first bytes of a file, at most `HEAD_BYTES`, and the file's status before they were read."""

    data: bytes
    status: os.stat_result


def read_head(descriptor: int) -> Head:
    """Read what `recognise` needs; the descriptor's position is left alone.

    Raises
    ------
    NotAnInstanceError
        It is of no regular file.
    OSError
        It cannot be read.
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise NotAnInstanceError("not a regular file")
    return Head(os.pread(descriptor, HEAD_BYTES, 0), status)


def recognise(path: Path, head: Head) -> InstanceFile:
    """Recognise the file at `path` by its head.

    Raises
    ------
    NotAnInstanceError
        It holds no instance.
    """
    data, status = head
    meta, offset = _meta(data)
    syntax = strip_uid(meta.get(_META_TRANSFER_SYNTAX, b"")) or _guess_syntax(data[offset:])
    found = meta | _identification(data[offset:], syntax)
    key = InstanceKey(
        strip_uid(found.get(_SOP_CLASS) or found.get(_META_SOP_CLASS, b"")),
        strip_uid(found.get(_SOP_INSTANCE) or found.get(_META_SOP_INSTANCE, b"")),
        syntax,
    )
    _check(key, has_meta=bool(meta))
    if status.st_size <= offset:
        raise BrokenInstanceError("it has no data set")
    return InstanceFile(path, key, offset, status.st_size - offset, _version(status))


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _meta(head: bytes) -> tuple[dict[int, bytes], int]:
    """Return the file meta's elements, and where the data set starts."""
    start = _PREAMBLE_BYTES
    if head[start : start + len(_PREFIX)] == _PREFIX:
        start += len(_PREFIX)
    elif head[:2] == struct.pack("<H", _META_GROUP) and head[4:6] in _VRS:
        start = 0  # file meta without preamble
    else:
        return {}, 0
    elements, end = _elements(head, start, _META_ENCODING, last_tag=_META_GROUP << 16 | 0xFFFF)
    if end > len(head):
        raise BrokenInstanceError("its file meta is cut off")
    return elements, end


def _guess_syntax(data: bytes) -> str:
    return EXPLICIT_VR_LITTLE_ENDIAN if data[4:6] in _VRS else IMPLICIT_VR_LITTLE_ENDIAN


def _identification(data: bytes, syntax: str) -> dict[int, bytes]:
    """Return the data set's elements up to its SOP Instance UID."""
    if syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, HEAD_BYTES)
        except zlib.error:
            return {}
    encoding = _Encoding(
        ">" if syntax == EXPLICIT_VR_BIG_ENDIAN else "<", is_implicit=syntax == IMPLICIT_VR_LITTLE_ENDIAN
    )
    return _elements(data, 0, encoding, last_tag=_SOP_INSTANCE)[0]


def _elements(
    data: bytes, position: int, encoding: _Encoding, *, last_tag: int
) -> tuple[dict[int, bytes], int]:
    """Return the elements from `position` to `last_tag`, and where they end."""
    elements: dict[int, bytes] = {}
    while position + 12 <= len(data):
        tag, start, length = _element_header(data, position, encoding)
        if tag > last_tag:
            break
        if length == _UNDEFINED_LENGTH:
            end = data.find(_SEQUENCE_END, start)
            if end < 0:
                break
            position = end + len(_SEQUENCE_END)
            continue
        elements.setdefault(tag, data[start : start + length])
        position = start + length
    return elements, position


def _element_header(data: bytes, position: int, encoding: _Encoding) -> tuple[int, int, int]:
    """Return an element's tag, where its value starts, and its length."""
    order = encoding.byte_order
    group, element = struct.unpack_from(order + "HH", data, position)
    tag = group << 16 | element
    vr = data[position + 4 : position + 6]
    if encoding.is_implicit:
        return tag, position + 8, struct.unpack_from(order + "I", data, position + 4)[0]
    if vr in _LONG_VRS:
        return tag, position + 12, struct.unpack_from(order + "I", data, position + 8)[0]
    return tag, position + 8, struct.unpack_from(order + "H", data, position + 6)[0]


def _check(key: InstanceKey, *, has_meta: bool) -> None:
    if key.sop_class_uid == _MEDIA_DIRECTORY:
        raise NotAnInstanceError("a DICOMDIR")
    if not (key.sop_class_uid and key.sop_instance_uid):
        if has_meta:
            raise BrokenInstanceError("it does not say what instance it holds")
        raise NotAnInstanceError("not DICOM")
    for uid in (key.sop_class_uid, key.sop_instance_uid, key.transfer_syntax_uid):
        if not is_tolerable_uid(uid):
            raise BrokenInstanceError("it is identified by what is no UID")
