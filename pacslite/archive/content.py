"""What a stored file really holds, read from the disk and nowhere else."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import xxhash

from pacslite.archive.scan import ByteSource, ScanLimits, file_reader, scan_header
from pacslite.model.errors import CannotUnderstandError
from pacslite.model.header import InstanceHeader
from pacslite.storage.part10 import MAX_HEAD_BYTES, Part10Head, parse_part10_head

FIRST_BYTES: Final = 2 * MAX_HEAD_BYTES
"""Read at once: the head, the header of nearly every instance, and all of a small one."""

_BLOCK_BYTES: Final = 1024 * 1024


class StoredContent:
    """An open file of the store.

    Parameters
    ----------
    descriptor
        Open for reading; its position is left alone.

    Raises
    ------
    CannotUnderstandError
        It is no regular file.
    OSError
        It cannot be read; from the methods too.
    """

    def __init__(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CannotUnderstandError("Not a regular file")
        self._descriptor = descriptor
        self.file_bytes = status.st_size
        self.modified_ns = status.st_mtime_ns
        self._first = os.pread(descriptor, min(self.file_bytes, FIRST_BYTES), 0)

    def head(self) -> Part10Head:
        """Return what preamble and file meta say.

        Raises
        ------
        CannotUnderstandError
            As `parse_part10_head`.
        """
        return parse_part10_head(self._first)

    def digest(self, data_set_offset: int) -> str:
        """Return the XXH3-128 of all bytes from `data_set_offset` on."""
        digest = xxhash.xxh3_128(memoryview(self._first)[data_set_offset:])
        position = max(len(self._first), data_set_offset)
        if position < self.file_bytes:
            block = bytearray(_BLOCK_BYTES)
            while count := os.preadv(self._descriptor, [block], position):
                digest.update(memoryview(block)[:count])
                position += count
        return digest.hexdigest()

    def header(self, data_set_offset: int, transfer_syntax_uid: str, limits: ScanLimits) -> InstanceHeader:
        """Scan the data set.

        Raises
        ------
        CannotUnderstandError, OutOfResourcesError
            As `scan_header`.
        """
        source = ByteSource(
            self._first[data_set_offset:],
            self.file_bytes - data_set_offset,
            file_reader(self._descriptor, data_set_offset),
        )
        return scan_header(source, transfer_syntax_uid, limits)


@contextmanager
def open_content(path: Path | str) -> Iterator[StoredContent]:
    """Open a file of the store, whatever it is: no link is followed, no pipe waited for.

    Raises
    ------
    CannotUnderstandError
        It is no regular file.
    OSError
        It is not there, or cannot be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        yield StoredContent(descriptor)
    finally:
        os.close(descriptor)
