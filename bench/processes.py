"""Processes that the comparison starts, measures and always ends, by their process id."""

import atexit
import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

STOP_SECONDS: Final = 20.0
"""So long a process may take to end by itself."""

_LEFT_OUT_PREFIXES: Final = ("PACSLITE_", "ORTHANC__", "TCP_NODELAY", "TCP_BUFFER_LENGTH")
"""Variables of the caller that would change what one peer does."""


class StepError(Exception):
    """A peer or a sender did not do its part; the message says what happened."""


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what tunes a peer, and with `extra`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_LEFT_OUT_PREFIXES)}
    return {**kept, **extra}


class Process:
    """A running command in a session of its own, so that Ctrl-C reaches only the comparison.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Where its output goes, as `output-<n>`, and which it works in.
    environ
        Its whole environment.
    """

    def __init__(self, command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> None:
        self.name = Path(command[0]).name
        self.log = folder / f"output-{len(list(folder.glob('output-*')))}"
        with self.log.open("wb") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._popen.pid
        atexit.register(self.kill)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._popen.poll() is not None

    def wait(self) -> int:
        """Block until the process has ended and return its exit code."""
        # Without a timeout: Popen.wait(timeout) polls every 50 ms, which a fast run would show.
        return self._popen.wait()

    def last_words(self) -> str:
        """Return the end of what the process printed, on one line."""
        text = self.log.read_text(errors="replace").replace(str(self.log.parent.parent), "")
        return " / ".join(line.strip() for line in text.splitlines() if line.strip())[-300:]

    def members(self) -> list[psutil.Process]:
        """Return the process and those it forked, as far as they live."""
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
                if os.getsid(pid) == self.pid:
                    found.append(psutil.Process(pid))
        return found

    def end(self) -> None:
        """Ask the process to end, wait `STOP_SECONDS`, and kill what is left of it and its children."""
        if not self.has_ended:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill the process and its children at once."""
        members = self.members()
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self._popen.wait()
        deadline = time.monotonic() + STOP_SECONDS
        while any(map(_is_alive, members)) and time.monotonic() < deadline:
            time.sleep(0.01)
        atexit.unregister(self.kill)


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process may still write; one that waits for its parent's wait may not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_together(
    commands: Sequence[Sequence[str]], folder: Path, environ: Mapping[str, str], timeout_seconds: float
) -> float:
    """Run `commands` at the same time and return the seconds until the last has ended.

    Raises
    ------
    StepError
        One of them failed, or they were not done in time.
    """
    processes: list[Process] = []

    def kill() -> None:
        for process in processes:
            process.kill()

    with _deadline(timeout_seconds, kill) as is_over:
        try:
            start = time.perf_counter()
            processes.extend(Process(command, folder, environ) for command in commands)
            codes = [process.wait() for process in processes]
            seconds = time.perf_counter() - start
        finally:
            kill()
    if is_over.is_set():
        raise StepError(f"{processes[0].name} was not done after {timeout_seconds:.0f} s")
    for process, code in zip(processes, codes, strict=True):
        if code:
            raise StepError(f"{process.name} ended with {code}: {process.last_words()}")
    return seconds


@contextlib.contextmanager
def _deadline(seconds: float, end: Callable[[], None]) -> Iterator[threading.Event]:
    """Call `end` after `seconds` unless the block is left before; the event says that it was called."""
    is_over = threading.Event()

    def expire() -> None:
        is_over.set()
        end()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield is_over
    finally:
        timer.cancel()
