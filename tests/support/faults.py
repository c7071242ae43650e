"""Failing system calls, for a node in this process."""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOR_EVER = 1 << 30


class FaultyOs:
    """The `os` module as one module sees it, with a function that fails from its `first` to its `last` call.

    Parameters
    ----------
    function
        Name of the function.
    error_number
        What it fails with.
    """

    def __init__(self, function: str, error_number: int, *, first: int = 1, last: int = FOR_EVER) -> None:
        self._function = function
        self._error_number = error_number
        self._first = first
        self._last = last
        self._lock = threading.Lock()
        self.calls = 0
        self.failed_paths: list[str] = []
        self.retried_paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        return self._watched(name, found) if name in {self._function, "fsync", "fdatasync"} else found

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            path = _path_of(arguments[0])
            if "sync" in name and path in self.failed_paths:
                self.retried_paths.append(path)
            if name == self._function and self._fails():
                self.failed_paths.append(path)
                raise OSError(self._error_number, os.strerror(self._error_number))
            return function(*arguments)

        return call

    def _fails(self) -> bool:
        with self._lock:
            self.calls += 1
            return self._first <= self.calls <= self._last


class ShortWritingOs:
    """The `os` module with a `writev` that takes half of what it is given, and a `write` that may fail."""

    def __init__(self, error_number: int | None = None) -> None:
        self._error_number = error_number
        self.short_writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def writev(self, descriptor: int, pieces: list[bytes | memoryview]) -> int:
        data = b"".join(pieces)
        self.short_writes += 1
        return os.write(descriptor, data[: (len(data) + 1) // 2])

    def write(self, descriptor: int, data: memoryview) -> int:
        if self._error_number is not None:
            raise OSError(self._error_number, os.strerror(self._error_number))
        return os.write(descriptor, data[:100_000])


@dataclass(frozen=True)
class CommitFault:
    """How a commit fails.

    Parameters
    ----------
    error_name
        SQLite's name of the error.
    is_committed
        Whether it is there all the same.
    """

    error_name: str
    is_committed: bool = False


class CommitFaults:
    """What becomes of the commits of the writing connection: `choose` says how each one fails, if it does."""

    def __init__(self) -> None:
        self.choose: Callable[[], CommitFault | None] = lambda: None
        self.failures = 0

    def set(self, fault: CommitFault | None) -> None:
        """Let every commit from now on fail so, or none."""
        self.choose = lambda: fault

    def install(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        """Let `module` see a `sqlite3` whose connections commit so."""
        faults = self

        class Connection(sqlite3.Connection):
            def commit(self) -> None:
                fault = faults.choose() if self.in_transaction else None
                if fault is None or fault.is_committed:
                    super().commit()
                if fault is not None:
                    faults.failures += 1
                    error = sqlite3.OperationalError("injected")
                    error.sqlite_errorname = fault.error_name
                    raise error

        class FaultySqlite:
            def __getattr__(self, name: str) -> Any:
                return getattr(sqlite3, name)

            def connect(self, database: str | Path, **choices: Any) -> sqlite3.Connection:
                return sqlite3.connect(database, factory=Connection, **choices)

        monkeypatch.setattr(module, "sqlite3", FaultySqlite())


def _path_of(what: Any) -> str:
    return str(Path(f"/proc/self/fd/{what}").readlink()) if isinstance(what, int) else str(what)


NO_ROOM = errno.ENOSPC
BROKEN = errno.EIO


class FailingCalls:
    """A function of `os` whose calls about a folder fail, from the `first` to the `last`, wherever made from.

    Parameters
    ----------
    folder
        Calls about what lies in it, or is it, count; others pass.
    function
        Name of the function; its first argument is a path or a descriptor.
    """

    def __init__(
        self, folder: Path, function: str, error_number: int, *, first: int = 1, last: int = FOR_EVER
    ) -> None:
        self._folder = folder
        self._name = function
        self._function = getattr(os, function)
        self._error_number = error_number
        self._first = first
        self._last = last
        self._lock = threading.Lock()
        self.calls = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put itself in the function's place."""
        monkeypatch.setattr(os, self._name, self)

    @property
    def has_failed(self) -> bool:
        return self.calls >= self._first

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        path = _path_of(arguments[0])
        if Path(path).is_relative_to(self._folder) and self._is_failing():
            raise OSError(self._error_number, os.strerror(self._error_number), path)
        return self._function(*arguments, **named)

    def _is_failing(self) -> bool:
        with self._lock:
            self.calls += 1
            return self._first <= self.calls <= self._last
