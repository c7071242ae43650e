"""Copies of stored files: made by the kernel where it can, and read again before anybody relies on them."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import xxhash

from pacslite.model.errors import CannotUnderstandError
from pacslite.model.instances import InstanceKey, StoredFile
from pacslite.storage.part10 import read_part10_head

_FILE_MODE: Final = 0o600
_BLOCK_BYTES: Final = 1024 * 1024
_RANGE_BYTES: Final = 1 << 30
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_BY_KERNEL: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY}
)


class DamagedFileError(Exception):
    """A file is not what it was; the text says how."""


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Yield a reading descriptor of a file that is no link.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    descriptor = os.open(path, _READ_FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def new_copy(source: Path, target: Path) -> Iterator[int]:
    """Copy `source` into the new file `target`, yield its descriptor for a check, then sync it.

    Raises
    ------
    OSError
        A file cannot be read or written.
    """
    with opened(source) as source_descriptor:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(target, flags, _FILE_MODE)
        try:
            copy_content(source_descriptor, descriptor)
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def copy_content(source: int, target: int) -> None:
    """Copy all of one file into another, empty one; a file system that can shares the blocks.

    Raises
    ------
    OSError
        It failed.
    """
    position, size = 0, os.fstat(source).st_size
    while position < size:
        try:
            count = os.copy_file_range(source, target, min(size - position, _RANGE_BYTES), position, position)
        except OSError as error:
            if error.errno not in _NOT_BY_KERNEL:
                raise
            count = 0
        if not count:
            _copy_blocks(source, target, position)
            return
        position += count


def check_stored_file(descriptor: int, file: StoredFile, key: InstanceKey) -> str:
    """Verify that a file is the one that a row of the index names, and return the digest of all its bytes.

    Raises
    ------
    DamagedFileError
        Its size, its data set's digest, or what its file meta says is another.
    OSError
        It cannot be read.
    """
    _check_size(descriptor, file.file_bytes)
    whole, data_set = xxhash.xxh3_128(), xxhash.xxh3_128()
    buffer = memoryview(bytearray(min(_BLOCK_BYTES, max(file.file_bytes, 1))))
    position = 0
    while count := os.preadv(descriptor, [buffer], position):
        block = buffer[:count]
        whole.update(block)
        data_set.update(block[max(file.data_set_offset - position, 0) :])
        position += count
    if data_set.hexdigest() != file.digest:
        raise DamagedFileError("its data set is not what was received")
    try:
        head = read_part10_head(descriptor)
    except CannotUnderstandError as error:
        raise DamagedFileError("its file meta is damaged") from error
    if not head.is_intact or head.data_set_offset != file.data_set_offset or head.key != key:
        raise DamagedFileError("its file meta is damaged")
    return whole.hexdigest()


def digest_of(descriptor: int) -> str:
    """Return the XXH3-128 of all of a file's bytes, as 32 hexadecimal digits.

    Raises
    ------
    OSError
        It cannot be read.
    """
    whole = xxhash.xxh3_128()
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    position = 0
    while count := os.preadv(descriptor, [buffer], position):
        whole.update(buffer[:count])
        position += count
    return whole.hexdigest()


def check_content(descriptor: int, file_bytes: int, digest: str) -> None:
    """Verify that a file has this size and this digest of all its bytes.

    Raises
    ------
    DamagedFileError
        It has not.
    OSError
        It cannot be read.
    """
    _check_size(descriptor, file_bytes)
    if digest_of(descriptor) != digest:
        raise DamagedFileError("its bytes are not what they were")


def _check_size(descriptor: int, file_bytes: int) -> None:
    found = os.fstat(descriptor).st_size
    if found != file_bytes:
        raise DamagedFileError(f"it has {found} bytes in place of {file_bytes}")


def _copy_blocks(source: int, target: int, position: int) -> None:
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    while count := os.preadv(source, [buffer], position):
        block = buffer[:count]
        while block:
            written = os.pwrite(target, block, position)
            position += written
            block = block[written:]
