"""One keeper on the control socket: a request, progress as it comes, an end."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final, TypeVar

from pacslite.control.messages import Request, decode_request, encode
from pacslite.model.errors import OperationError, OperationStoppedError

T = TypeVar("T")

REQUEST_SECONDS: Final = 10.0
"""So long a request may take to arrive."""

SAY_SECONDS: Final = 10.0
"""So long the one who asked may take to read the end."""

_PROGRESS_SECONDS: Final = 0.1
_READ_BYTES: Final = 4096


class Conversation:
    """Talks with the one who asked; made in the event loop.

    Parameters
    ----------
    reader, writer
        Its connection.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._latest: bytes = b""
        self._has_progress = asyncio.Event()
        self._is_told = threading.Event()
        self._ended = asyncio.Event()
        self._end: str | None = None
        self._is_abandonable = True
        self._has_request = False
        writer.transport.set_write_buffer_limits(0)  # drained means: all of it is on its way

    async def request(self) -> Request:
        """Return what is asked.

        Raises
        ------
        OperationError
            It is none, or too long.
        OSError, TimeoutError
            It did not arrive.
        """
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await self._reader.readuntil()
        except asyncio.LimitOverrunError:
            raise OperationError("the request is too long") from None
        except asyncio.IncompleteReadError:
            raise ConnectionResetError from None
        self._has_request = True
        return decode_request(line)

    @contextlib.asynccontextmanager
    async def attended(self, *, is_abandonable: bool) -> AsyncIterator[None]:
        """Tell progress, and notice that the one who asked goes away, inside the block."""
        self._is_abandonable = is_abandonable
        tasks = [asyncio.create_task(self._tell_progress()), asyncio.create_task(self._await_end())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def progress(self, done: int, total: int | None, what: str) -> None:
        """Be the `Progress` of an operation, in any thread."""
        if self._end is not None:
            raise OperationStoppedError(self._end)
        self._latest = encode({"progress": {"done": done, "total": total, "what": what}})
        if not self._is_told.is_set():
            self._is_told.set()
            self._loop.call_soon_threadsafe(self._has_progress.set)

    def stop(self) -> None:
        """End the operation at its next safe point: the node stops."""
        self._end_with("the node is shutting down")

    async def unless_ended(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns, or cancel it once nobody waits for it or the node stops.

        Raises
        ------
        OperationStoppedError
            It was cancelled.
        """
        working, ending = asyncio.ensure_future(work), asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
        if working.done():
            return working.result()
        working.cancel()
        raise OperationStoppedError(self._end or "nobody waits for it any longer")

    async def say(self, line: bytes) -> None:
        """Send a line.

        Raises
        ------
        OSError, TimeoutError
            Nobody reads it.
        """
        async with asyncio.timeout(SAY_SECONDS):
            self._writer.write(line)
            await self._writer.drain()

    def hang_up_unless_asked(self) -> None:
        """Do not wait for a request that is not there yet."""
        if not self._has_request:
            self._writer.transport.abort()

    def close(self) -> None:
        """Hang up; what was not read by then is lost."""
        transport = self._writer.transport
        if transport.get_write_buffer_size():
            transport.abort()
        self._writer.close()

    async def _tell_progress(self) -> None:
        while True:
            await self._has_progress.wait()
            self._has_progress.clear()
            self._is_told.clear()
            self._writer.write(self._latest)
            with contextlib.suppress(OSError):
                await self._writer.drain()
            await asyncio.sleep(_PROGRESS_SECONDS)

    async def _await_end(self) -> None:
        with contextlib.suppress(OSError):
            while await self._reader.read(_READ_BYTES):
                pass  # nothing more is asked on this connection
        self._ended.set()
        if self._is_abandonable:
            self._end_with("nobody waits for it any longer")

    def _end_with(self, why: str) -> None:
        self._end = self._end or why
        self._ended.set()
