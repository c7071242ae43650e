"""`pacslite serve` as a process of its own, always reaped."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pacslite.settings.document import ENVIRONMENT_PREFIX, variable_name
from pacslite.storage.lock import read_owner

SERVE = (sys.executable, "-m", "pacslite", "serve")
START_SECONDS = 30.0
"""Generous, for a busy machine; a start takes under a second."""

Address = tuple[str, int]


class ProcessError(AssertionError):
    """The process did not do in time what it should; the text ends with its log."""


class NodeProcess:
    """A node on a free port; a context manager that leaves no process behind.

    Parameters
    ----------
    data_folder
        Its data.
    arguments
        More of the command line.
    settings
        Settings by dotted key; they travel in the environment.
    wrapper
        A command that starts the node, such as strace with its options.
    program
        What is the node, in place of `pacslite serve`.
    """

    def __init__(
        self,
        data_folder: Path,
        *arguments: str,
        settings: Mapping[str, object] | None = None,
        wrapper: Sequence[str] = (),
        program: Sequence[str] = SERVE,
    ) -> None:
        self.data_folder = data_folder
        self._command = [*wrapper, *program, "--port", "0", "--json", "--data", str(data_folder), *arguments]
        self._environment = environment({"logging.format": "json"} | dict(settings or {}))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process: subprocess.Popen[bytes]
        self._announcement: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        # a session of its own: what a wrapper starts is reached by the group's id, and nobody else is
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=self._environment,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    @property
    def announcement(self) -> dict[str, Any]:
        """The line with which the node says that it listens; waits for it."""
        if self._announcement is None:
            self._announcement = json.loads(self._first_line())
        return self._announcement

    @property
    def address(self) -> Address:
        """Host and port of the first listener; waits until there is one."""
        (first, *_) = self.announcement["addresses"]
        return first["host"], first["port"]

    @property
    def pid(self) -> int:
        """The node's own process id; waits until it listens."""
        return int(self.announcement["pid"])

    @property
    def log(self) -> str:
        """What the process has written to standard error so far."""
        return os.pread(self._log.fileno(), 1 << 24, 0).decode("utf-8", "replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log's events called `name`."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        return [event for event in lines if event.get("event") == name]

    def wait_until_folder_is_taken(self) -> None:
        """Wait until the node holds its data folder: recovery starts now."""
        self.wait_for(lambda: read_owner(self.data_folder) == self._process.pid, "the lock")

    def wait_for(self, condition: Any, what: str, seconds: float = START_SECONDS) -> None:
        """Wait until `condition()` is true while the process runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise ProcessError(f"no {what} in {seconds} s:\n{self.log}")
            time.sleep(0.001)

    def terminate(self) -> None:
        """Ask the node to drain and end."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Return the exit code once the process has ended."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"still running after {seconds} s:\n{self.log}") from None

    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process, and all that it started, without a word."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _first_line(self) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise ProcessError(f"did not listen in {START_SECONDS} s:\n{self.log}")
        return line


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return this process's environment with `settings`, by dotted key, in place of its own."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(ENVIRONMENT_PREFIX)}
    # JSON is YAML; text stands as it is
    given = {
        variable_name(key): value if isinstance(value, str) else json.dumps(value)
        for key, value in settings.items()
    }
    return inherited | given


def run_serve(
    *arguments: str, settings: Mapping[str, object] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a node that is to refuse to start."""
    return subprocess.run(
        [*SERVE, "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
        env=environment(settings or {}),
    )
