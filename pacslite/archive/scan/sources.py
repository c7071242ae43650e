"""Where the scanner's bytes come from: memory, the stored file, a deflate stream."""

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from pacslite.model.errors import CannotUnderstandError, OutOfResourcesError

WINDOW_BYTES: Final = 64 * 1024
_DEFLATED_STEP_BYTES: Final = 16 * 1024
_GZIP_TRAILER_BYTES: Final = 8
_RAW_DEFLATE: Final = -zlib.MAX_WBITS

Reader = Callable[[int, int], bytes]
"""Takes size and offset within the data set, in bytes; returns exactly that many."""


class BeyondHeadError(Exception):
    """The bytes wanted are not in memory and there is no file to read them from."""


class BeyondEndError(Exception):
    """The offset lies behind the last byte of the data set."""


class Source(Protocol):
    """A data set's bytes, read forward."""

    def window(self, offset: int, need_bytes: int, most_bytes: int) -> bytes:
        """Return the bytes from `offset` on: `need_bytes` or all that remain, and not over `most_bytes`.

        `offset` never goes back before the one of the call before.

        Raises
        ------
        BeyondEndError
            `offset` lies behind the end; exactly at the end nothing is returned.
        BeyondHeadError
            See there.
        """
        ...


@dataclass(frozen=True, slots=True)
class ByteSource:
    """A data set of which the head is in memory and the rest, perhaps, in a file.

    Parameters
    ----------
    head
        The first bytes of the data set.
    total_bytes
        Size of the whole data set.
    read
        Reads the rest; None if only the head is at hand.
    """

    head: bytes | bytearray | memoryview
    total_bytes: int
    read: Reader | None = None

    def window(self, offset: int, need_bytes: int, most_bytes: int) -> bytes:
        """See `Source.window`."""
        remaining = self.total_bytes - offset
        if remaining < 0:
            raise BeyondEndError
        wanted_bytes = min(need_bytes, remaining)
        if not wanted_bytes or offset + wanted_bytes <= len(self.head):
            return bytes(self.head[offset : offset + most_bytes])
        if self.read is None:
            raise BeyondHeadError
        return self.read(min(most_bytes, remaining), offset)


def file_reader(fd: int, data_set_offset: int) -> Reader:
    """Return a reader of the data set that starts at `data_set_offset` of the open file `fd`.

    The reader keeps no position of its own and leaves the descriptor's alone.

    Raises
    ------
    OutOfResourcesError
        From the reader: the file is shorter than the data set was.
    """

    def read(size: int, offset: int) -> bytes:
        data = os.pread(fd, size, data_set_offset + offset)
        while len(data) < size:
            more = os.pread(fd, size - len(data), data_set_offset + offset + len(data))
            if not more:
                raise OutOfResourcesError("The stored file is shorter than what was received")
            data += more
        return data

    return read


class InflatedSource:
    """The data set inside a deflate stream, inflated step by step and never held whole (PS3.5 A.5).

    Parameters
    ----------
    deflated
        The stream's bytes.
    max_inflated_bytes
        Where inflating ends.
    """

    def __init__(self, deflated: Source, max_inflated_bytes: int) -> None:
        self._deflated = deflated
        self._deflated_offset = 0
        self._inflated_bytes = 0
        self._max_inflated_bytes = max_inflated_bytes
        self._inflater = zlib.decompressobj(_RAW_DEFLATE)
        self._start = 0
        self._inflated = b""

    def window(self, offset: int, need_bytes: int, most_bytes: int) -> bytes:
        """See `Source.window`.

        Raises
        ------
        CannotUnderstandError
            The deflate stream is broken or cut off.
        OutOfResourcesError
            The stream inflates to more than allowed.
        """
        while offset > self._start + len(self._inflated):
            self._start += len(self._inflated)
            self._inflated = self._step()
            if not self._inflated:
                raise BeyondEndError
        self._inflated = self._inflated[offset - self._start :]
        self._start = offset
        parts = [self._inflated]
        missing_bytes = need_bytes - len(self._inflated)
        while missing_bytes > 0 and (more := self._step()):
            parts.append(more)
            missing_bytes -= len(more)
        self._inflated = b"".join(parts)
        return self._inflated[:most_bytes]

    def _step(self) -> bytes:
        """Return the next inflated bytes, nothing at the end of the stream."""
        while not self._inflater.eof:
            chunk = self._inflater.unconsumed_tail or self._next_deflated()
            try:
                inflated = self._inflater.decompress(chunk, WINDOW_BYTES)
            except zlib.error:
                raise CannotUnderstandError("Broken deflate stream") from None
            if inflated:
                self._inflated_bytes += len(inflated)
                if self._inflated_bytes > self._max_inflated_bytes:
                    raise OutOfResourcesError("Deflated data set inflates to more than the node's limit")
                return inflated
            if not chunk and not self._inflater.eof:
                raise CannotUnderstandError("Deflate stream ends early")
        self._check_padding()
        return b""

    def _next_deflated(self) -> bytes:
        chunk = self._deflated.window(self._deflated_offset, 1, _DEFLATED_STEP_BYTES)
        self._deflated_offset += len(chunk)
        return chunk

    def _check_padding(self) -> None:
        """Allow the byte that makes the length even (PS3.5 A.5), and a trailer as gzip has it."""
        behind = self._inflater.unused_data
        behind += self._deflated.window(self._deflated_offset, 1, _GZIP_TRAILER_BYTES)
        if len(behind) > _GZIP_TRAILER_BYTES + 1:
            raise CannotUnderstandError("Bytes behind the deflate stream")
