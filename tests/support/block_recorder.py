"""A disk whose every write and flush is written down: one file, served by FUSE, under a loop device.

`python -m support.block_recorder IMAGE FOLDER LOG` serves the file `FOLDER/disk`, which starts as IMAGE,
until it is unmounted. IMAGE stays as it is; what is written goes to memory and to LOG.
"""

import errno
import mmap
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DISK_NAME: Final = "disk"
_PATH: Final = f"/{DISK_NAME}"
_RECORD: Final = struct.Struct("<cQQI")
_WRITE: Final = b"W"
_FLUSH: Final = b"F"
_LOG_BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that the disk took at a time of CLOCK_MONOTONIC; until the next flush it may lose them."""

    at_ns: int
    offset: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Flush:
    """The moment from which all earlier writes survive; it is before who asked for it is told so."""

    at_ns: int


Event = Write | Flush


def read_log(path: Path) -> Iterator[Event]:
    """Yield what a recorder wrote down, in its order, which is also that of time."""
    log = memoryview(path.read_bytes())
    position = 0
    while position < len(log):
        kind, at_ns, offset, size = _RECORD.unpack_from(log, position)
        position += _RECORD.size
        if kind == _FLUSH:
            yield Flush(at_ns)
            continue
        yield Write(at_ns, offset, log[position : position + size])
        position += size


class RecordedDisk:
    """What FUSE asks for (see `mfusepy.Operations`), one call at a time: the log's order is the disk's."""

    use_ns = True

    def __init__(self, image: Path, log: Path) -> None:
        with image.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._log = log.open("wb", buffering=_LOG_BUFFER_BYTES)

    def getattr(self, path: str, _handle: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        self._check(path)
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": len(self._memory)}

    def open(self, path: str, _flags: int) -> int:
        self._check(path)
        return 0

    def read(self, _path: str, size: int, offset: int, _handle: int) -> bytes:
        return self._memory[offset : offset + size]

    def write(self, _path: str, data: bytes, offset: int, _handle: int) -> int:
        if offset + len(data) > len(self._memory):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._log.write(_RECORD.pack(_WRITE, time.monotonic_ns(), offset, len(data)))
        self._log.write(data)
        self._memory[offset : offset + len(data)] = data
        return len(data)

    def fsync(self, _path: str, _is_data_only: int, _handle: int) -> int:
        self._log.write(_RECORD.pack(_FLUSH, time.monotonic_ns(), 0, 0))
        return 0

    def destroy(self, _path: str) -> None:
        self._log.close()

    @staticmethod
    def _check(path: str) -> None:
        if path != _PATH:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def _main() -> None:
    import mfusepy  # type: ignore[import-untyped] # noqa: PLC0415 - raises OSError where libfuse is missing

    image, folder, log = sys.argv[1:]
    mfusepy.FUSE(
        RecordedDisk(Path(image), Path(log)),
        folder,
        foreground=True,
        nothreads=True,
        direct_io=True,
        fsname="pacslite-power-test",
    )


if __name__ == "__main__":
    _main()
