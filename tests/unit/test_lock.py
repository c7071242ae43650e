"""One owner per data folder, and what is said when there cannot be one."""

import errno
import fcntl
import os
from pathlib import Path

import psutil
import pytest

from pacslite.model.errors import DataFolderError
from pacslite.storage.lock import LOCK_NAME, DataFolderLock, find_owner, read_owner


def descriptor_count() -> int:
    return psutil.Process().num_fds()


def test_a_second_owner_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    with DataFolderLock(tmp_path):
        assert find_owner(tmp_path) == os.getpid()
        with pytest.raises(DataFolderError, match=f"is in use by process {os.getpid()}"):
            DataFolderLock(tmp_path).acquire()
        assert find_owner(tmp_path) == os.getpid()
    assert find_owner(tmp_path) is None
    with DataFolderLock(tmp_path):
        assert read_owner(tmp_path) == os.getpid()


def test_a_pid_that_a_killed_owner_left_is_not_an_owner(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("1\n")
    assert find_owner(tmp_path) is None
    assert find_owner(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("module", "function", "number"),
    [(fcntl, "flock", errno.ENOLCK), (os, "pwrite", errno.ENOSPC), (os, "ftruncate", errno.EIO)],
)
def test_a_lock_that_the_disk_does_not_take_is_an_error_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, function: str, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    open_before = descriptor_count()
    with monkeypatch.context() as patch:
        patch.setattr(module, function, fail)
        with pytest.raises(DataFolderError, match=os.strerror(number)):
            DataFolderLock(tmp_path).acquire()
    assert descriptor_count() == open_before
    with DataFolderLock(tmp_path):
        assert find_owner(tmp_path) == os.getpid()
