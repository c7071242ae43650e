"""What a disk holds after the power failed: all that was flushed, and any part of what was not."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Final

from support.block_recorder import Event, Write, read_log

SECTOR_BYTES: Final = 512
"""What a disk writes as a whole or not at all."""


class Survival(Enum):
    """What becomes of the writes behind the last flush."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    WRITES = "some writes"
    SECTORS = "some sectors"


@dataclass(frozen=True, slots=True)
class PowerCut:
    """A moment of CLOCK_MONOTONIC, and what survives of the writes behind the last flush before it.

    Parameters
    ----------
    seed
        The same cut of the same record makes the same image.
    """

    at_ns: int
    survival: Survival
    seed: int


class CrashedDisk:
    """Makes the images that power cuts leave, the earliest cut first.

    Parameters
    ----------
    image
        The disk when the record began.
    log
        The record.
    folder
        Work is done here; needs room for the disk twice.
    """

    def __init__(self, image: Path, log: Path, folder: Path) -> None:
        self.durable = folder / "durable.img"
        self.crashed = folder / "crashed.img"
        shutil.copyfile(image, self.durable)
        self._events = read_log(log)
        self._next: Event | None = next(self._events, None)
        self._unsafe: list[Write] = []

    def cut(self, cut: PowerCut) -> Path:
        """Return the disk after `cut`; it is overwritten by the next one."""
        self._advance(cut.at_ns)
        shutil.copyfile(self.durable, self.crashed)
        with self.crashed.open("r+b") as disk:
            for offset, data in surviving(self._unsafe, cut):
                disk.seek(offset)
                disk.write(data)
        return self.crashed

    def _advance(self, at_ns: int) -> None:
        with self.durable.open("r+b") as disk:
            while self._next is not None and self._next.at_ns <= at_ns:
                self._take(self._next, disk)
                self._next = next(self._events, None)

    def _take(self, event: Event, disk: BinaryIO) -> None:
        if isinstance(event, Write):
            self._unsafe.append(event)
            return
        for write in self._unsafe:
            disk.seek(write.offset)
            disk.write(write.data)
        self._unsafe.clear()


def surviving(writes: list[Write], cut: PowerCut) -> Iterator[tuple[int, memoryview]]:
    """Yield what reaches the disk of writes that no flush covers, in their order.

    Dropping an earlier write of a sector and keeping a later one is a disk that reorders; keeping the earlier
    and dropping the later leaves the sector old.
    """
    if cut.survival is Survival.NOTHING:
        return
    rng = random.Random(cut.seed)
    share = 1.0 if cut.survival is Survival.EVERYTHING else rng.random()
    for write in writes:
        step = SECTOR_BYTES if cut.survival is Survival.SECTORS else len(write.data)
        for start in range(0, len(write.data), step):
            if rng.random() < share:
                yield write.offset + start, write.data[start : start + step]
