"""`pacslite serve` that ends, as by kill -9, right before or after a chosen call of a chosen function.

One process (`python -m support.crash_node`) imports the node once and forks one for each test: the node knows
nothing of it, and a start costs no imports. Requests and answers are lines of JSON.
"""

import asyncio
import ctypes
import functools
import importlib
import inspect
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from support.processes import START_SECONDS, Address, ProcessError, environment

CRASHED: Final = 77
"""The exit code of a node that came to the chosen call."""

ARMED_NAME: Final = "armed"
_TURNS_TO_SEND: Final = 3
_PR_SET_PDEATHSIG: Final = 1


class Moment(StrEnum):
    """When the node ends; BEHIND is once what the call has handed to the event loop is on its way."""

    BEFORE = "before"
    AFTER = "after"
    BEHIND = "behind"


@dataclass(frozen=True, slots=True)
class Crash:
    """A call at which the node ends.

    Parameters
    ----------
    target
        `module:name.name` of a function, as its caller finds it.
    moment
        Before or after the call.
    nth
        Which of its calls, from when the node is armed.
    """

    target: str
    moment: Moment
    nth: int = 1


class CrashingNode:
    """A node; a context manager that leaves no process behind. It crashes once it is armed."""

    def __init__(self, nodes: "CrashNodes", data_folder: Path, pid: int, log: Path) -> None:
        self.data_folder = data_folder
        self.pid = pid
        self._nodes = nodes
        self._log = log
        self.exit_code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait_until_it_listens(self) -> Address | None:
        """Return host and port of the listener, or None if the node has ended."""
        answer = self._nodes.answer(self._log)
        if "exit" in answer:
            self.exit_code = int(answer["exit"])
            return None
        (first, *_) = answer["addresses"]
        return first["host"], first["port"]

    @property
    def address(self) -> Address:
        """Host and port of the listener; waits until there is one."""
        address = self.wait_until_it_listens()
        if address is None:
            raise ProcessError(f"ended with {self.exit_code}:\n{self._log.read_text()}")
        return address

    @property
    def log(self) -> str:
        """What all nodes of the folder have logged so far."""
        return self._log.read_text()

    def arm(self) -> None:
        """Count the calls from now on."""
        (self._log.parent / ARMED_NAME).touch()

    def wait(self) -> int:
        """Return the exit code once the node has ended."""
        while self.exit_code is None:
            self.wait_until_it_listens()
        return self.exit_code

    def stop(self) -> None:
        """Ask the node to drain and end, and check that it does."""
        os.kill(self.pid, signal.SIGTERM)
        if self.wait():
            raise ProcessError(f"ended with {self.exit_code}:\n{self._log.read_text()}")


class CrashNodes:
    """The process that forks nodes, one at a time; a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.crash_node"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._unread = b""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def start(
        self,
        folder: Path,
        settings: Mapping[str, object],
        crash: Crash | None = None,
        *,
        is_armed: bool = False,
    ) -> CrashingNode:
        """Start a node on `folder/data`."""
        log = folder / "node.log"
        (folder / ARMED_NAME).unlink(missing_ok=True)
        if is_armed:
            (folder / ARMED_NAME).touch()
        request = {
            "folder": str(folder),
            "environment": environment({"logging.format": "json"} | dict(settings)),
            "crash": None if crash is None else asdict(crash),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return CrashingNode(self, folder / "data", int(self.answer(log)["pid"]), log)

    def answer(self, log: Path) -> dict[str, Any]:
        """Return what the process, or its node, says next."""
        assert self._process.stdout is not None
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
            more = self._process.stdout.read(4096) if ready else b""
            if not more:
                raise ProcessError(f"no answer in {START_SECONDS} s:\n{log.read_text()}")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


class _Crasher:
    """Wraps the chosen function."""

    def __init__(self, crash: Crash, armed: Path) -> None:
        self._moment = Moment(crash.moment)
        self._nth = crash.nth
        self._armed = armed
        self._calls = 0
        self._lock = threading.Lock()
        owner, self._name = _find(crash.target)
        self._function = getattr(owner, self._name)
        if inspect.iscoroutinefunction(self._function):
            wrapped: Callable[..., Any] = self._wrap_coroutine()
        else:
            wrapped = self._wrap()
        static = isinstance(inspect.getattr_static(owner, self._name), staticmethod)
        setattr(owner, self._name, staticmethod(wrapped) if static else wrapped)

    def _wrap(self) -> Callable[..., Any]:
        @functools.wraps(self._function)
        def call(*arguments: Any, **named: Any) -> Any:
            is_it = self._is_it()
            self._end_if(is_it, Moment.BEFORE)
            result = self._function(*arguments, **named)
            self._end_if(is_it, Moment.AFTER)
            if is_it:
                _end_behind(_TURNS_TO_SEND)
            return result

        return call

    def _wrap_coroutine(self) -> Callable[..., Any]:
        @functools.wraps(self._function)
        async def call(*arguments: Any, **named: Any) -> Any:
            is_it = self._is_it()
            self._end_if(is_it, Moment.BEFORE)
            result = await self._function(*arguments, **named)
            self._end_if(is_it, Moment.AFTER)
            return result

        return call

    def _is_it(self) -> bool:
        if not self._armed.exists():
            return False
        with self._lock:
            self._calls += 1
            return self._calls == self._nth

    def _end_if(self, is_it: bool, moment: Moment) -> None:  # noqa: FBT001 - the call that is meant, or not
        if is_it and self._moment is moment:
            os._exit(CRASHED)


def _end_behind(turns: int) -> None:
    loop = asyncio.get_running_loop()
    if turns:
        loop.call_soon(_end_behind, turns - 1)
    else:
        os._exit(CRASHED)


def _find(target: str) -> tuple[Any, str]:
    module, path = target.split(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    return owner, name


def _run_node(request: Mapping[str, Any]) -> None:
    """Be the node; never return."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    folder = Path(request["folder"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(folder / "node.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["crash"] is not None:
        _Crasher(Crash(**request["crash"]), folder / ARMED_NAME)
    from pacslite.cli.app import app  # noqa: PLC0415 - the process that asks for nodes needs none of it

    app(["serve", "--port", "0", "--json", "--data", str(folder / "data")], prog_name="pacslite")


def _main() -> None:
    for module in ("pacslite.cli.app", "pacslite.node", "alembic.command", "uvloop"):
        importlib.import_module(module)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _run_node(json.loads(line))
        print(json.dumps({"pid": pid}), flush=True)  # noqa: T201 - the answer
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    _main()
