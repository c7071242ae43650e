"""The simulator of power cuts itself: what a cut leaves of the writes of a record."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.block_recorder import Flush, RecordedDisk, Write, read_log
from support.power import SECTOR_BYTES, CrashedDisk, PowerCut, Survival, surviving

SIZE = 64 * SECTOR_BYTES
OLD, NEW, NEWER = (bytes([value]) * SIZE for value in b"ONX")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def disk(image: Path, tmp_path: Path) -> Iterator[RecordedDisk]:
    disk = RecordedDisk(image, tmp_path / "log")
    yield disk
    disk.destroy("/")


def crash(disk: RecordedDisk, tmp_path: Path, survival: Survival, *, behind: int | None = None) -> bytes:
    """Return what is left of a cut right after the event number `behind`, or after all."""
    disk.destroy("/")
    events = list(read_log(tmp_path / "log"))
    at_ns = events[-1 if behind is None else behind].at_ns
    crashed = CrashedDisk(tmp_path / "image", tmp_path / "log", tmp_path)
    return crashed.cut(PowerCut(at_ns, survival, 1)).read_bytes()


def test_a_record_is_read_as_it_was_written(disk: RecordedDisk, image: Path, tmp_path: Path) -> None:
    assert disk.write("/disk", b"abc", 5, 0) == 3
    assert disk.fsync("/disk", 0, 0) == 0
    assert disk.read("/disk", 4, 4, 0) == OLD[:1] + b"abc"
    disk.destroy("/")
    write, flush = read_log(tmp_path / "log")
    assert isinstance(write, Write)
    assert (write.offset, bytes(write.data)) == (5, b"abc")
    assert isinstance(flush, Flush)
    assert write.at_ns <= flush.at_ns
    assert image.read_bytes() == OLD


@pytest.mark.parametrize("survival", Survival)
def test_what_was_flushed_survives(survival: Survival, disk: RecordedDisk, tmp_path: Path) -> None:
    disk.write("/disk", NEW, 0, 0)
    disk.fsync("/disk", 0, 0)
    assert crash(disk, tmp_path, survival) == NEW


@pytest.mark.parametrize("survival", Survival)
def test_what_came_after_the_cut_is_not_there(survival: Survival, disk: RecordedDisk, tmp_path: Path) -> None:
    disk.write("/disk", NEW, 0, 0)
    disk.fsync("/disk", 0, 0)
    disk.write("/disk", NEWER, 0, 0)
    assert crash(disk, tmp_path, survival, behind=1) == NEW


def test_a_flush_that_came_after_the_cut_saves_nothing(disk: RecordedDisk, tmp_path: Path) -> None:
    disk.write("/disk", NEW, 0, 0)
    disk.fsync("/disk", 0, 0)
    assert crash(disk, tmp_path, Survival.NOTHING, behind=0) == OLD


def test_what_was_not_flushed_is_lost_or_kept_or_torn(disk: RecordedDisk, tmp_path: Path) -> None:
    disk.write("/disk", NEW, 0, 0)
    assert crash(disk, tmp_path, Survival.NOTHING) == OLD
    assert crash(disk, tmp_path, Survival.EVERYTHING) == NEW
    assert crash(disk, tmp_path, Survival.WRITES) in (OLD, NEW)
    torn = crash(disk, tmp_path, Survival.SECTORS)
    assert len(torn) == SIZE
    assert set(sectors(torn)) == {OLD[:SECTOR_BYTES], NEW[:SECTOR_BYTES]}


def test_an_earlier_write_may_survive_a_later_one(disk: RecordedDisk, tmp_path: Path) -> None:
    disk.write("/disk", NEW, 0, 0)
    disk.write("/disk", NEWER, 0, 0)
    torn = crash(disk, tmp_path, Survival.SECTORS)
    assert set(sectors(torn)) == {data[:SECTOR_BYTES] for data in (OLD, NEW, NEWER)}


def test_the_same_cut_makes_the_same_image() -> None:
    writes = [Write(number, number * SIZE, memoryview(NEW)) for number in range(5)]
    cut = PowerCut(9, Survival.SECTORS, 3)
    assert list(surviving(writes, cut)) == list(surviving(writes, cut))
    assert list(surviving(writes, cut)) != list(surviving(writes, PowerCut(9, Survival.SECTORS, 4)))


def test_a_disk_takes_nothing_behind_its_end(disk: RecordedDisk) -> None:
    with pytest.raises(OSError, match="No space"):
        disk.write("/disk", b"ab", SIZE - 1, 0)
    with pytest.raises(FileNotFoundError):
        disk.getattr("/other")


def sectors(data: bytes) -> list[bytes]:
    return [data[start : start + SECTOR_BYTES] for start in range(0, len(data), SECTOR_BYTES)]
