"""Memory and CPU time of a receiver and the processes it forked."""

import contextlib
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from bench.processes import Process, StepError

_INTERVAL_SECONDS: Final = 0.01
_ANONYMOUS: Final = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)


def anonymous_bytes(process: Process) -> int:
    """Return the resident anonymous memory of `process` and its children: heap and stacks, not files.

    A page that a fork still shares with its parent counts for both.
    """
    total = 0
    for member in process.members():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # A process that has ended but was not waited for has no such line.
            found = _ANONYMOUS.search(Path(f"/proc/{member.pid}/status").read_text())
            total += int(found.group(1)) * 1024 if found else 0
    return total


def cpu_seconds(process: Process) -> float:
    """Return the user and system time that `process` and its living children have used."""
    total = 0.0
    for member in process.members():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system
    return total


class MemorySampler:
    """Sees the highest anonymous memory of a process while the block runs, in steps of 10 ms.

    Raises
    ------
    StepError
        The system does not tell anonymous memory apart: it is not Linux.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory-sampler", daemon=True)
        self.first_bytes = self.peak_bytes = anonymous_bytes(process)
        if not self.first_bytes:
            raise StepError("the system does not tell anonymous memory apart")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(_INTERVAL_SECONDS):
            self.peak_bytes = max(self.peak_bytes, anonymous_bytes(self._process))
