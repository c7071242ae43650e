"""A node in the foreground of a process: from start to drain, driven by signals."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from pacslite.cli.exits import ExitCode
from pacslite.model.errors import ConfigurationError
from pacslite.settings.schema import Settings

logger = structlog.get_logger(__name__)


class Runnable(Protocol):
    """What of `pacslite.node.Node` it takes to run one."""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""

    async def start(self) -> None:
        """Recover, then listen."""

    async def drain(self) -> None:
        """Let associations finish, within their deadline."""

    async def stop(self) -> None:
        """End everything."""

    async def reload_peers(self, settings: Settings) -> None:
        """Take the peers and the admission rules of `settings` for associations from now on."""


class _StopSignals:
    """The first signal asks for an end, the second one insists."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()

    def note(self) -> None:
        (self.insisted if self.asked.is_set() else self.asked).set()


class _PeerReload:
    """Reads the settings again, off the event loop, when SIGHUP asks for it."""

    def __init__(self, node: Runnable, load: Callable[[], Settings]) -> None:
        self._node = node
        self._load = load
        self._tasks: set[asyncio.Task[None]] = set()

    def request(self) -> None:
        task = asyncio.create_task(self._reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        try:
            settings = await asyncio.to_thread(self._load)
        except ConfigurationError as error:
            logger.error("peers.kept", reason=str(error))  # noqa: TRY400 - a traceback tells no more
            return
        await self._node.reload_peers(settings)


async def run_until_stopped(
    node: Runnable, load: Callable[[], Settings], announce: Callable[[list[tuple[str, int]]], None]
) -> ExitCode:
    """Start `node`, `announce` its addresses, and run it until SIGTERM or SIGINT.

    The first signal drains it, a second one ends it at once. SIGHUP: it takes the peers that `load` returns.
    Signals that come while it starts take effect once it has: a start is not cut off half-way.
    """
    loop = asyncio.get_running_loop()
    signals = _StopSignals()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.note)
    await node.start()
    try:
        loop.add_signal_handler(signal.SIGHUP, _PeerReload(node, load).request)
        announce(node.addresses)
        await signals.asked.wait()
        is_drained = await _complete_unless(signals.insisted, node.drain())
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        await node.stop()
    return ExitCode.OK if is_drained else ExitCode.INTERRUPTED


async def _complete_unless(event: asyncio.Event, work: Awaitable[None]) -> bool:
    """Await `work`, or cancel it once `event` is set; return whether it came to its end."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        is_complete = working.done()
        working.cancel()
    if is_complete:
        working.result()
    else:
        await asyncio.gather(working, return_exceptions=True)
    return is_complete
