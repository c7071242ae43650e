"""One owner per data folder."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pacslite.model.errors import DataFolderError
from pacslite.storage.folders import make_folder

LOCK_NAME: Final = "lock"


class DataFolderLock:
    """Holds the data folder for this process; a context manager.

    Parameters
    ----------
    data_folder
        Made when it is not there.

    Raises
    ------
    DataFolderError
        On entering: the folder cannot be made or written, or a process holds it, whose PID the text names.
    """

    def __init__(self, data_folder: Path) -> None:
        self._data_folder = data_folder
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock."""
        try:
            make_folder(self._data_folder)
            descriptor = os.open(self._data_folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataFolderError(f"{self._data_folder}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            os.close(descriptor)
            owner = read_owner(self._data_folder)
            raise DataFolderError(f"{self._data_folder} is in use by process {owner or 'unknown'}") from None
        except OSError as error:
            os.close(descriptor)
            raise DataFolderError(f"{self._data_folder} cannot be locked: {error.strerror}") from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; the lock file stays, since removing it would let two owners in."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def read_owner(data_folder: Path) -> int | None:
    """Return the PID that the lock file names, or None; the process may have ended since."""
    try:
        return int((data_folder / LOCK_NAME).read_text().strip())
    except (OSError, ValueError):
        return None


def find_owner(data_folder: Path) -> int | None:
    """Return the PID of the process that holds the data folder now, or None."""
    try:
        descriptor = os.open(data_folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return read_owner(data_folder)
    finally:
        os.close(descriptor)
    return None
